"""Which cells wait for deferred answers, which are being computed, and which can go on. Safe to use from any thread."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable


class WaitingCells:
    """The cells of one session that may have deferred calls."""

    def __init__(self, cells: Iterable[str]) -> None:
        """`cells`: unfinished cells that are not known to be suspended."""
        self._lock = threading.Lock()
        self._active = set(cells)
        self._arrived: list[str] = []
        self._outstanding: dict[str, set[str]] = {}
        """Suspended cell -> ids of its calls without an answer."""
        self._ready: list[str] = []
        self._left: set[str] = set()

    def suspended(self, cell_id: str) -> None:
        with self._lock:
            self._active.discard(cell_id)
            self._arrived.append(cell_id)

    def ended(self, cell_id: str) -> None:
        """The cell will have no further deferred call."""
        with self._lock:
            self._active.discard(cell_id)

    def active_among(self, cell_ids: Iterable[str]) -> set[str]:
        with self._lock:
            return self._active.intersection(cell_ids)

    def take_arrived(self) -> list[str]:
        """Cells that were suspended since the last call of this; each must be answered by `expect`."""
        with self._lock:
            arrived, self._arrived = self._arrived, []
            for cell_id in arrived:
                self._outstanding.setdefault(cell_id, set())
            return arrived

    def expect(self, cell_id: str, call_ids: Iterable[str]) -> None:
        """A suspended cell goes on when these calls are answered; without any, at once."""
        with self._lock:
            self._outstanding[cell_id] = set(call_ids)
            self._check_ready(cell_id)

    def answered(self, cell_id: str, call_ids: Collection[str]) -> None:
        with self._lock:
            if cell_id in self._outstanding:
                self._outstanding[cell_id].difference_update(call_ids)
                self._check_ready(cell_id)

    def leave(self, cell_ids: Iterable[str]) -> None:
        """These suspended cells do not go on in this session."""
        with self._lock:
            for cell_id in cell_ids:
                if self._outstanding.pop(cell_id, None) is not None:
                    self._left.add(cell_id)

    def take_ready(self) -> list[str]:
        """Cells whose calls are all answered since the last call of this; they count as being computed."""
        with self._lock:
            ready, self._ready = self._ready, []
            self._active.update(ready)
            return ready

    @property
    def waiting(self) -> int:
        """Cells that wait for answers, and go on when they are there."""
        with self._lock:
            return len(self._arrived) + len(self._outstanding) + len(self._ready)

    @property
    def left(self) -> int:
        """Suspended cells that do not go on in this session."""
        with self._lock:
            return len(self._left)

    @property
    def are_all_waiting(self) -> bool:
        """Whether every cell that can be computed has reached its next deferred call."""
        with self._lock:
            return not (self._active or self._arrived or self._ready)

    def _check_ready(self, cell_id: str) -> None:
        if not self._outstanding[cell_id]:
            del self._outstanding[cell_id]
            self._ready.append(cell_id)
