"""The feed: puts cells on the queues in order, a bounded window at a time, so that Redis stays small."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from harness.experiment.matrix import POOLS, pool_of
from harness.queue.broker import purge, queue_name, send, waiting

if TYPE_CHECKING:
    from dramatiq.brokers.redis import RedisBroker

    from harness.cells import Cell
    from harness.queue.registry import RunInfo


WINDOW = 512
"""Cells of one pool that are queued or running at a time; a message is about 4 KB."""


class Feed:
    """The cells of a run that have not ended: waiting here, or on a queue."""

    def __init__(self, broker: RedisBroker, run: RunInfo, cells: Mapping[str, Cell], window: int = WINDOW) -> None:
        """`cells` by cell id, in the order they should run."""
        self._broker = broker
        self._run = run
        self._window = window
        self._waiting: dict[str, deque[tuple[str, Cell]]] = {pool: deque() for pool in POOLS}
        self._out: dict[str, dict[str, Cell]] = {pool: {} for pool in POOLS}
        for cell_id, cell in cells.items():
            self._waiting[pool_of(cell, self._run.hosted)].append((cell_id, cell))

    @property
    def left(self) -> int:
        """Cells that have not ended."""
        return sum(map(len, self._waiting.values())) + self.out

    @property
    def out(self) -> int:
        """Cells that are queued or running."""
        return sum(map(len, self._out.values()))

    def has(self, cell_id: str) -> bool:
        """Whether the cell is waiting, queued or running."""
        is_out = any(cell_id in out for out in self._out.values())
        return is_out or any(cell_id == waiting for queue in self._waiting.values() for waiting, _ in queue)

    def clear_queues(self) -> None:
        """Drop what an earlier runner left on the queues; it is queued again in order."""
        for pool in POOLS:
            for alone in (False, True):
                purge(self._broker, self._queue(pool, alone=alone))

    def fill(self) -> None:
        for pool in POOLS:
            while self._waiting[pool] and len(self._out[pool]) < self._window:
                cell_id, cell = self._waiting[pool].popleft()
                self._send(pool, cell)
                self._out[pool][cell_id] = cell

    def ended(self, cell_id: str) -> None:
        for out in self._out.values():
            out.pop(cell_id, None)

    def add(self, cell_id: str, cell: Cell) -> None:
        """Add a cell at the end."""
        self._waiting[pool_of(cell, self._run.hosted)].append((cell_id, cell))

    def drop(self, condition: Callable[[Cell], bool] = lambda cell: True) -> list[str]:
        """Send no further cell that fulfils the condition; cells that are out may still end. Returns the ids of the dropped."""
        dropped = [cell_id for queue in self._waiting.values() for cell_id, cell in queue if condition(cell)]
        for pool, queue in self._waiting.items():
            self._waiting[pool] = deque(entry for entry in queue if not condition(entry[1]))
        return dropped

    def resend_lost(self) -> int:
        """Queue again the cells of a pool that Redis has lost; returns how many."""
        lost = [(pool, cell) for pool in POOLS if not self._on_queues(pool) for cell in self._out[pool].values()]
        for pool, cell in lost:
            self._send(pool, cell)
        return len(lost)

    def _on_queues(self, pool: str) -> int:
        return sum(waiting(self._broker, self._queue(pool, alone=alone)) for alone in (False, True))

    def _send(self, pool: str, cell: Cell) -> None:
        send(self._broker, self._queue(pool), self._run.run_id, cell.cell_id, cell.to_json())

    def _queue(self, pool: str, *, alone: bool = False) -> str:
        return queue_name(self._run.run_id, self._run.code, pool, alone=alone)
