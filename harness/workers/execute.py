"""One attempt at a cell: run its pipeline under the soft limit, and turn the outcome into a receipt.

The one place where failures become rows. Every ended cell leaves a receipt; a stopped cell leaves none.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

from redis import RedisError

import agents
from agents import Clients, Context, Model, ModelCallError, Result, Snapshot
from harness.cells import Cell
from harness.errors import LeaseLost, OverBudget, StoreError
from harness.experiment.attached import Attached
from harness.experiment.replay_cells import JUDGE, REPLAY
from harness.gateway.attached import AttachedPrograms
from harness.queue.in_flight import MOST_SUSPENSIONS, MOST_UNWRITTEN, POISON_DEATHS
from harness.storage import rows
from harness.storage.rows import Ending, Row
from harness.storage.store import Store, files_of
from harness.workers import cascade, recorded
from harness.workers.cascade import PartAdmission
from harness.workers.service_clock import CellGate, ClockedAdmission, ServiceClock

_WHOLE_RUN = ("run", "model", "month")
_TEXTS = ("response", "reasoning", "tool_calls", "parsed", "params", "error")
PASSING = (agents.Halt, RedisError, StoreError, OSError)
"""Raised through `execute`: none of them is the cell's failure, and the cell runs again."""


class CellAdmission(CellGate, Protocol):
    """Admission of a cell that keeps the rows of its calls."""

    @property
    def calls(self) -> list[Row]:
        """Rows of the cell's journalled calls, those of earlier attempts included."""

    @property
    def is_waiting(self) -> bool:
        """Whether some call is answered later."""

    @property
    def messages(self) -> list[Row]:
        """Rows of the message parts of those calls."""


@dataclass(frozen=True)
class Attempt:
    """Everything one attempt at a cell needs."""

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
    """Servers that charge per token."""
    is_still_held: Callable[[], Awaitable[bool]]
    """Whether the lease is held; checked right before anything is written."""
    clock: ServiceClock
    is_draining: Callable[[], bool] = lambda: False
    """Whether this process is shutting down: then no new request is sent."""
    attached: Callable[[], Attached] | None = None
    """Reads how to start the program that decides this cell. Raises InvalidInput."""
    soft_limit_key: str = "cell_limit.soft"
    """Key of the experiment that sets `soft_s`."""
    programs: AttachedPrograms | None = None
    """Runs attached programs in this process."""


@dataclass(frozen=True)
class CellEnded:
    """The receipt as it was written."""

    receipt: Row


@dataclass(frozen=True)
class NotRun:
    """A budget of the whole run was used up before the cell paid for anything."""

    scope: str
    reason: str


async def execute(attempt: Attempt) -> CellEnded | NotRun:
    """Run the cell and write its receipt. Raises LeaseLost, Suspended or Draining without writing anything."""
    started_at = time.time()
    ending = await _end(attempt, started_at)
    if isinstance(ending, NotRun):
        return ending
    return await _written(attempt, ending)


async def give_up_poison(attempt: Attempt) -> CellEnded:
    """End a cell that keeps killing its process as failed, with the calls it made. Raises LeaseLost."""
    message = f"its process died {POISON_DEATHS} times while it ran alone (memory, or a crash in native code); see workers.log"
    return await _give_up(attempt, "poison", message)


async def give_up_unwritten(attempt: Attempt, error: Exception) -> CellEnded:
    """End a cell whose receipt cannot be written as failed, with as much of its calls as can be. Raises LeaseLost."""
    message = f"its results could not be written in {MOST_UNWRITTEN} attempts: {type(error).__name__}: {_sentence(error)}"
    return await _give_up(attempt, "receipt", message.encode(errors="replace").decode())


async def give_up_suspended(attempt: Attempt, reason: Exception) -> CellEnded:
    """End a cell that is suspended again and again without a new answer as failed. Raises LeaseLost."""
    message = f"it was suspended {MOST_SUSPENSIONS} times in a row without a new answer: {_sentence(reason)}"
    return await _give_up(attempt, "suspended", message)


async def give_up_unstarted(cell: Cell, store: Store, error: Exception, worker: str, run_id: str) -> Row:
    """End a cell that fails before its attempt begins as failed, without a lease; its recorded calls stay for a retry."""
    now, number = time.time(), await asyncio.to_thread(store.next_attempt, cell.cell_id)
    message = f"it could not be started in {MOST_UNWRITTEN} attempts: {type(error).__name__}: {_sentence(error)}"
    ending = Ending("failed", number, now, now, 0.0, worker, error_type="start", error=message)
    receipt = rows.cell_row(cell, ending, [], run_id=run_id, hosted=())
    await asyncio.to_thread(store.put, files_of(cell.cell_id, number, [], [], receipt))
    return receipt


async def _give_up(attempt: Attempt, error_type: str, message: str) -> CellEnded:
    now = time.time()
    ending = Ending("failed", attempt.number, now, now, 0.0, attempt.worker, error_type=error_type, error=message)
    try:
        return await _written(attempt, ending)
    except PASSING:
        raise
    except Exception:  # noqa: BLE001 - whatever the tables cannot hold, the receipt must be written
        return await _written(attempt, ending, with_texts=False)


async def _end(attempt: Attempt, started_at: float) -> Ending | NotRun:
    ending = Ending("ok", attempt.number, started_at, 0.0, 0.0, attempt.worker)
    try:
        result = await _decide(attempt)
        ending = _of_result(ending, result, attempt.gate.calls)
    except TimeoutError:
        message = f"more than {attempt.soft_s:g} s of service; raise {attempt.soft_limit_key}, or use a faster model"
        ending = replace(ending, status="timeout", error_type="soft_limit", error=message)
    except OverBudget as error:
        if error.scope in _WHOLE_RUN and not attempt.gate.calls:
            return NotRun(error.scope, str(error))
        ending = replace(ending, status="over_budget", error_type=f"cap_{error.scope}", error=str(error))
    except (agents.Halt, RedisError):
        raise
    except Exception as error:  # noqa: BLE001 - every ended cell leaves a receipt
        ending = replace(ending, status="failed", error_type=type(error).__name__, error=_sentence(error))
    return replace(ending, finished_at=time.time(), service_s=attempt.clock.service_s)


async def _decide(attempt: Attempt) -> Result:
    cell = attempt.cell
    async with attempt.clock.limited():
        gate = ClockedAdmission(attempt.gate, attempt.clock, attempt.is_draining)
        ctx = partial(Context, cell.lineup, cell.pipeline, gate, attempt.clients, sharing=cell.sharing)
        if cell.kind == JUDGE:
            contests, hidden = await asyncio.to_thread(recorded.answer_pairs, attempt.store, cell), recorded.hidden_names(cell)
            return await agents.judge(contests, hidden, ctx())
        if cell.kind == REPLAY:
            prompts = await asyncio.to_thread(recorded.recorded_prompts, attempt.store, cell)
            return await agents.replay(prompts, ctx())
        if attempt.attached and attempt.programs:
            return await _decide_by_program(attempt, attempt.attached(), attempt.programs, gate)
        snapshot = await attempt.load(cell)
        if "cascade" in cell.extra:
            return await cascade.decide(
                cell,
                gate,
                lambda lineup, part: agents.decide(Context(lineup, cell.pipeline, part, attempt.clients, snapshot)),
            )
        return await agents.decide(ctx(snapshot, answered=_answered(attempt.gate.calls)))


def _answered(calls: Sequence[Row]) -> frozenset[tuple[str, int]]:
    """(role, round) of the turns that were answered in earlier attempts."""
    return frozenset((call["role"], call["round"]) for call in calls if call["outcome"] == "answered")


async def _decide_by_program(
    attempt: Attempt, attached: Attached, programs: AttachedPrograms, gate: ClockedAdmission
) -> Result:
    """Start the attached program; for a cascade once for each part."""
    cell, calls = attempt.cell, attempt.gate.calls

    async def decide_part(lineup: Mapping[str, Model], part: PartAdmission) -> Result:
        keep = partial(_keep_files, attempt, str(part.offset))
        mine = replace(cell, lineup=lineup)
        return await programs.decide(attached, mine, part, attempt.clients, part.recorded(calls), keep)

    if "cascade" in cell.extra:
        return await cascade.decide(cell, gate, decide_part)
    return await programs.decide(attached, cell, gate, attempt.clients, calls, partial(_keep_files, attempt, ""))


def _keep_files(attempt: Attempt, part: str, files: Mapping[str, bytes]) -> str:
    """Write files of an attached program to the run folder; returns `part`, their folder. Raises StoreError."""
    folder = attempt.store.kept_files(attempt.cell.cell_id)
    for name, data in files.items():
        folder.write(f"{part}/{name}" if part else name, data)
    return part


def _of_result(ending: Ending, result: Result, calls: Sequence[Row]) -> Ending:
    error = result.error
    if error is None:
        return replace(ending, result=result)
    if isinstance(error, RedisError):
        # Redis was away, which is not the cell's failure.
        raise error
    cause = error.cause if isinstance(error, ModelCallError) else type(error).__name__
    role = next((call["role"] for call in reversed(calls) if call["error_type"] == cause), None)
    sentence = _sentence(error)
    named = sentence if role is None or role in sentence else f"{role}: {sentence}"
    return replace(ending, result=result, status="failed", error_type=cause, error=named)


def _sentence(error: BaseException) -> str:
    return (str(error) or type(error).__name__)[:2000]


async def _written(attempt: Attempt, ending: Ending, *, with_texts: bool = True) -> CellEnded:
    """Write the cell's files; without texts, its calls keep tokens, time and cost.

    Tables are built on the event loop: a thread would only compete for the interpreter."""
    cell, store = attempt.cell, attempt.store
    if not await attempt.is_still_held():
        raise LeaseLost(f"cell {cell.cell_id[:12]} was taken over by another worker while it ended")
    calls = rows.with_parsed(attempt.gate.calls, ending.result.parsed if ending.result else {})
    # Attempts that left no files, as those of a suspended cell, take no number: readers count from 1 on without a gap.
    number = await asyncio.to_thread(store.next_attempt, cell.cell_id) if attempt.number > 1 else 1
    earlier = await asyncio.to_thread(store.earlier_calls, cell.cell_id, number) if number > 1 else []
    all_calls = {call["call_id"]: call for call in [*earlier, *calls]}
    receipt = rows.cell_row(cell, ending, list(all_calls.values()), run_id=attempt.run_id, hosted=attempt.hosted)
    messages = attempt.gate.messages if with_texts else []
    calls = calls if with_texts else [call | dict.fromkeys(_TEXTS) | {"message_ids": []} for call in calls]
    files = files_of(cell.cell_id, number, calls, messages, receipt)
    await asyncio.to_thread(store.put, files)
    return CellEnded(receipt)
