"""One attempt at a cell: decide it under a limit of service, and turn whatever happens into a receipt.

The one place where failures become rows. Every ended cell leaves a receipt; a cell that was stopped leaves none.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, replace
from typing import Protocol

from redis import RedisError

import agents
from agents import Clients, Gate, ModelCallError, Result, Snapshot
from harness.cells import Cell
from harness.errors import LeaseLost, OverBudget
from harness.experiment.again import JUDGE, REPLAY
from harness.queue.in_flight import POISON_DEATHS
from harness.storage import rows
from harness.storage.rows import Ending, Row
from harness.storage.store import Store, files_of
from harness.workers import recorded
from harness.workers.service_clock import ClockedAdmission, ServiceClock

_WHOLE_RUN = ("run", "model")


class CellAdmission(Gate, Protocol):
    """A gate that remembers what the cell's calls became."""

    @property
    def calls(self) -> list[Row]:
        """Rows of the calls of this cell that no part holds yet, earlier attempts' from the journal included."""

    @property
    def messages(self) -> list[Row]:
        """Rows of the parts that those calls sent."""


@dataclass(frozen=True)
class Attempt:
    """What one attempt at a cell needs."""

    cell: Cell
    number: int
    run_id: str
    gate: CellAdmission
    clients: Clients
    store: Store
    load: Callable[[Cell], Awaitable[Snapshot]]
    soft_s: float
    worker: str
    hosted: Collection[str]
    """Servers that bill by token."""
    is_still_held: Callable[[], Awaitable[bool]]
    """Whether the lease is held; asked right before anything is written."""
    clock: ServiceClock
    is_draining: Callable[[], bool] = lambda: False
    """Whether this process leaves: then no new request is sent."""


@dataclass(frozen=True)
class CellEnded:
    """The receipt as it was written."""

    receipt: Row


@dataclass(frozen=True)
class NotRun:
    """A cap of the whole run binds before anything was paid."""

    scope: str
    reason: str


async def execute(attempt: Attempt) -> CellEnded | NotRun:
    """Run the cell and write its receipt. Raises LeaseLost, Deferred and Draining: then nothing was written."""
    started_at = time.time()
    ending = await _end(attempt, started_at)
    if isinstance(ending, NotRun):
        return ending
    return await _written(attempt, ending)


async def give_up(attempt: Attempt) -> CellEnded:
    """A cell that keeps killing its process ends as failed, with the calls it made. Raises LeaseLost."""
    now = time.time()
    said = f"its process died {POISON_DEATHS} times while it ran alone (memory, or a crash below Python); see workers.log"
    ending = Ending("failed", attempt.number, now, now, 0.0, attempt.worker, error_type="poison", error=said)
    return await _written(attempt, ending)


async def _end(attempt: Attempt, started_at: float) -> Ending | NotRun:
    ending = Ending("ok", attempt.number, started_at, 0.0, 0.0, attempt.worker)
    try:
        result = await _decide(attempt)
        ending = _of_result(ending, result)
    except TimeoutError:
        said = f"more than {attempt.soft_s:g} s of service; raise cell_limit.soft, or use a faster model"
        ending = replace(ending, status="timeout", error_type="soft_limit", error=said)
    except OverBudget as cap:
        if cap.scope in _WHOLE_RUN and not attempt.gate.calls:
            return NotRun(cap.scope, str(cap))
        ending = replace(ending, status="over_budget", error_type=f"cap_{cap.scope}", error=str(cap))
    except (agents.Halt, RedisError):
        raise
    except Exception as error:  # noqa: BLE001 - however a cell ends, it leaves a receipt
        ending = replace(ending, status="failed", error_type=type(error).__name__, error=_sentence(error))
    return replace(ending, finished_at=time.time(), service_s=attempt.clock.service_s)


async def _decide(attempt: Attempt) -> Result:
    cell = attempt.cell
    async with attempt.clock.limited():
        gate = ClockedAdmission(attempt.gate, attempt.clock, attempt.is_draining)
        if cell.kind == JUDGE:
            contests, hidden = await asyncio.to_thread(recorded.answer_pairs, attempt.store, cell), recorded.hidden_names(cell)
            return await agents.judge(contests, hidden, cell.lineup, cell.pipeline, gate, attempt.clients)
        if cell.kind == REPLAY:
            prompts = await asyncio.to_thread(recorded.recorded_prompts, attempt.store, cell)
            return await agents.replay(prompts, cell.lineup, cell.pipeline, gate, attempt.clients)
        snapshot = await attempt.load(cell)
        return await agents.decide(snapshot, cell.lineup, cell.pipeline, gate, attempt.clients)


def _of_result(ending: Ending, result: Result) -> Ending:
    error = result.error
    if error is None:
        return replace(ending, result=result)
    if isinstance(error, RedisError):
        # Our own machinery was away: nothing is known against the cell.
        raise error
    cause = error.cause if isinstance(error, ModelCallError) else type(error).__name__
    return replace(ending, result=result, status="failed", error_type=cause, error=_sentence(error))


def _sentence(error: BaseException) -> str:
    return (str(error) or type(error).__name__)[:2000]


async def _written(attempt: Attempt, ending: Ending) -> CellEnded:
    """Tables are built right here: in a thread beside the loop both would fight for the interpreter. Only the disk has one."""
    cell, store = attempt.cell, attempt.store
    if not await attempt.is_still_held():
        raise LeaseLost(f"cell {cell.cell_id[:12]} was taken over while it ended")
    calls = rows.with_parsed(attempt.gate.calls, ending.result.parsed if ending.result else {})
    earlier = await asyncio.to_thread(store.earlier_calls, cell.cell_id, attempt.number) if attempt.number > 1 else []
    every = {call["call_id"]: call for call in [*earlier, *calls]}
    receipt = rows.cell_row(cell, ending, list(every.values()), run_id=attempt.run_id, hosted=attempt.hosted)
    files = files_of(cell.cell_id, attempt.number, calls, attempt.gate.messages, receipt)
    await asyncio.to_thread(store.put, files)
    return CellEnded(receipt)
