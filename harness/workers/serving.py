"""One run as one worker process serves it: from a cell's message to its receipt."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Self

from redis import RedisError

from agents import Clients, Suspended
from domain.lanes import LANES
from harness.admission.cell_session import open_session
from harness.admission.context import AdmissionContext
from harness.admission.ledger import Caps
from harness.cells import Cell
from harness.deferred.mailbox import Mailbox, Outcome, SuspendedCell
from harness.errors import AnsweredLater, BrokerGone, Deferred, Draining, LeaseLost, OverBudget, StoreError, Unserved
from harness.experiment import matrix, servers
from harness.experiment.attached import Attached
from harness.experiment.servers import ServerSpec
from harness.experiment.spec import Experiment
from harness.gateway.attached import AttachedPrograms
from harness.money.pricing import PriceTable
from harness.queue import control, in_flight
from harness.queue.broker import Requeue, queue_name
from harness.queue.control import CellEvent
from harness.queue.registry import RunInfo
from harness.storage import rows
from harness.storage.folder import open_folder
from harness.storage.snapshots import SnapshotCache
from harness.storage.store import Store
from harness.workers import worker_log
from harness.workers.config import WorkerConfig
from harness.workers.execute import (
    PASSING,
    Attempt,
    CellEnded,
    NotRun,
    execute,
    give_up_poison,
    give_up_suspended,
    give_up_unstarted,
    give_up_unwritten,
)
from harness.workers.model_loading import ModelLoader
from harness.workers.service_clock import ServiceClock

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from harness.admission.cell_session import CellSession
    from harness.workers.traces import Traces


STARTS_AT_ONCE = 2
"""The second cell prepares while the first waits for Redis or the disk."""
LONGEST_START_S = 0.25
"""A start that takes longer is waiting for a slow store, a slot or a model that loads, not for the interpreter."""


class StartSlot:
    """One cell's start."""

    def __init__(self, semaphore: asyncio.Semaphore) -> None:
        self._semaphore: asyncio.Semaphore | None = semaphore
        self._timer = asyncio.get_running_loop().call_later(LONGEST_START_S, self.leave)

    def leave(self) -> None:
        """Let the next cell start: the first request is sent, or there will be none. Idempotent."""
        semaphore, self._semaphore = self._semaphore, None
        self._timer.cancel()
        if semaphore:
            semaphore.release()


class StartThrottle:
    """Lets two cells of a process start at a time.

    Cells that start together compete for the interpreter before each request, and the measured latency of a model would
    include that wait."""

    def __init__(self) -> None:
        self._semaphore = asyncio.Semaphore(STARTS_AT_ONCE)

    async def enter(self) -> StartSlot:
        await self._semaphore.acquire()
        return StartSlot(self._semaphore)


_log = logging.getLogger(__name__)
TROUBLE_RETRY_S = 5.0
UNWRITTEN_RETRY_S = 1.0
_STANDBY_MS = 1_000
_LOGGED = ("cell_id", "arm", "case_id", "repeat", "status", "decision_status", "llm_calls", "service_s", "cost_usd", "error")


class ServedRun:
    """A run, its folder and its models, in one process and on one event loop."""

    def __init__(
        self,
        info: RunInfo,
        config: WorkerConfig,
        redis: Redis,
        worker: str,
        *,
        alone: bool,
        on_ended: Callable[[str, rows.Row], None] | None = None,
        traces: Traces | None = None,
    ) -> None:
        """`alone`: this process runs one suspect cell at a time; `on_ended` gets experiment and receipt of each ended cell."""
        experiment_dir = Path(info.experiment_dir) if info.experiment_dir and Path(info.experiment_dir).is_dir() else None
        experiment = Experiment.model_validate(dict(info.terms)).at(Path(info.experiment_dir))
        self.info = info
        self.store = Store(open_folder(config.results).at(info.results))
        self.wish = control.RUN
        self.is_draining = False
        self.cancelled: frozenset[str] = frozenset()
        """Cells that a user cancelled while the run goes on."""
        self.active: dict[str, ServiceClock] = {}
        self.beat: Callable[[], None] = lambda: None
        """Extends the deadline that the supervisor watches; called before a cell can block the loop."""
        self._servers = _billed_alike(servers.load(config.servers, experiment, experiment_dir), info.hosted)
        self._soft_s, self._hard_s = config.limits(info.limits_s)
        self._redis = redis
        self._worker = worker
        self._alone = alone
        self._on_ended = on_ended
        self._traces = traces
        self._experiment = experiment
        self._attached_arms: dict[str, Attached] = {}
        self._programs = AttachedPrograms()
        self._clients = Clients({name: spec.as_agents_server() for name, spec in self._servers.items()}, worker)
        for spec in self._servers.values():
            worker_log.hide(spec.api_key_env or spec.name, spec.api_key)
        self._model_loader = ModelLoader(self._clients)
        self._start_throttle = StartThrottle()
        self._snapshots = SnapshotCache(self.store.snapshots)
        self._mailbox = Mailbox(self.store.folder) if _defers(experiment, self.store) else None
        self._hosted = servers.hosted_names(self._servers)
        prices, caps = PriceTable.from_plain(info.prices), Caps.of(info.terms.get("budget"))
        self._context = AdmissionContext(config.broker, info.run_id, self._servers, prices, caps, month=info.month)

    async def start(self) -> Self:
        await self._context.start()
        return self

    async def aclose(self) -> None:
        await self._programs.aclose()
        await self._model_loader.aclose()
        await self._clients.aclose()
        await self._context.aclose()

    def queue(self, pool: str, *, alone: bool = False) -> str:
        return queue_name(self.info.run_id, self.info.code, pool, alone=alone)

    def time_left_s(self) -> float:
        """Seconds until the first running cell passes its hard limit."""
        return min((self._hard_s - clock.service_s for clock in self.active.values()), default=float("inf"))

    async def take(self, queue: str, text: str) -> Requeue | None:
        """Handle the cell of this message; returns where its message goes next, or None."""
        cell = Cell.from_json(text)
        if cell.cell_id in self.cancelled:
            await self._publish(cell, control.UNFINISHED)
            return None
        start_slot = await self._start_throttle.enter()
        try:
            return await self._take(queue, cell, start_slot)
        except AnsweredLater:
            await self._publish(cell, control.SUSPENDED)
            return None
        except Suspended as suspended:
            return Requeue(queue, suspended.delay_s)
        except Draining:
            return await self._hand_back(queue, cell)
        except LeaseLost as lost:
            _log.warning("%s", lost)
            return None
        except OverBudget as error:
            await self._not_run(cell, error.scope)
            return None
        except Unserved as unserved:
            await self._publish(cell, control.UNSERVED, json.dumps(unserved.as_plain()))
            return None
        except (StoreError, BrokerGone, RedisError, OSError) as error:
            _log.warning("cell %s of %s waits %.0f s: %s", cell.cell_id[:12], cell.arm, TROUBLE_RETRY_S, error)
            return Requeue(queue, TROUBLE_RETRY_S)
        except Exception as error:  # noqa: BLE001 - the cell would be delivered again for ever
            return await self._could_not_start(queue, cell, error)
        finally:
            start_slot.leave()

    async def _could_not_start(self, queue: str, cell: Cell, error: Exception) -> Requeue | None:
        """Run the cell again after an unexpected error around its attempt; end it as failed if that happens too often."""
        _log.error("cell %s of %s cannot be started: %s", cell.cell_id[:12], cell.arm, error, exc_info=error)
        if await in_flight.count_unwritten(self._redis, self.info.run_id, cell.cell_id) < in_flight.MOST_UNWRITTEN:
            return Requeue(queue, UNWRITTEN_RETRY_S)
        receipt = await give_up_unstarted(cell, self.store, error, self._worker, self.info.run_id)
        await self._publish(cell, receipt["status"])
        self._log_receipt(receipt)
        return None

    async def _take(self, queue: str, cell: Cell, start_slot: StartSlot) -> Requeue | None:
        receipt, attempts, recorded, suspended, outcomes = await asyncio.to_thread(self._look_up, cell.cell_id)
        if receipt is not None:
            await self._publish(cell, receipt["status"])
            return None
        if unserved := await self._context.unserved({model.alias: model for model in cell.lineup.values()}.values()):
            raise unserved
        try:
            gate = await open_session(self._context, cell, attempts, recorded, suspended, outcomes)
        except Deferred as held:
            return await self._wait_behind_holder(queue, cell, held.delay_s)
        return await self._run(queue, cell, gate, start_slot)

    def _look_up(self, cell_id: str) -> tuple[rows.Row | None, int, list[rows.Row], SuspendedCell | None, list[Outcome]]:
        """Its receipt; without one, the number of its earlier attempts with calls, those calls, and its deferred calls."""
        receipt = self.store.receipt(cell_id)
        attempts = 0 if receipt else self.store.next_attempt(cell_id) - 1
        suspended = self._mailbox.read_cell(cell_id) if self._mailbox and not receipt else None
        outcomes = self._mailbox.outcomes(cell_id) if self._mailbox and suspended else []
        return receipt, attempts, self.store.earlier_calls(cell_id, attempts + 1), suspended, outcomes

    async def _run(self, queue: str, cell: Cell, gate: CellSession, start_slot: StartSlot) -> Requeue | None:
        """Run the cell while holding its lease and its in-flight entry; both are given back in any case."""
        ended, entry = False, self._new_entry(cell)
        try:
            if self._mailbox:
                await gate.deferred.take_answers()
            past, has_ended = await self._enter(cell, entry)
            if has_ended:
                ended = True
                return Requeue(queue)
            async with self._model_loader.loaded(cell):
                attempt = self._attempt(cell, gate, start_slot)
                result = await (give_up_poison(attempt) if past.is_poison else self._execute(attempt))
            if isinstance(result, NotRun):
                await self._not_run(cell, result.scope)
                return None
            # A cell that was cut short by a budget continues when the budget is raised: its journal stays.
            ended = result.receipt["status"] != "over_budget"
        finally:
            # The entry first: a worker that takes a free cell with an entry must conclude that its holder died.
            try:
                await in_flight.leave(self._redis, self.info.run_id, cell.cell_id, entry)
            finally:
                await self._leave(cell, gate, ended=ended)
        await self._publish(cell, result.receipt["status"])
        self._log_receipt(result.receipt)
        if self._traces:
            self._traces.ended(self.info.experiment, result.receipt, gate.calls, gate.messages)
        return None

    async def _leave(self, cell: Cell, gate: CellSession, *, ended: bool) -> None:
        """Give the lease back; what a suspended cell waits for is kept in a file first."""
        mailbox = self._mailbox
        is_suspended = not ended and mailbox is not None and gate.deferred.is_waiting
        # A holder that lost the cell must not replace what the next one wrote.
        if is_suspended and mailbox is not None and await gate.is_still_held():
            try:
                await asyncio.to_thread(mailbox.suspend, gate.deferred.suspension(), gate.deferred.recorded)
            except StoreError:
                await gate.close(ended=False)
                raise
        await gate.close(ended=ended, suspended=is_suspended)
        if ended and mailbox is not None:
            await asyncio.to_thread(mailbox.remove, cell.cell_id)

    def _new_entry(self, cell: Cell) -> str:
        return in_flight.new_entry(self._worker, self._context.holder, cell.arm, alone=self._alone)

    async def _enter(self, cell: Cell, entry: str) -> tuple[in_flight.PastAttempts, bool]:
        """Past attempts, and whether the cell ended before we got the lease: a duplicate would pay for everything again.

        Its snapshot is read meanwhile; errors of that are raised where it is used."""
        past, has_ended, _ = await asyncio.gather(
            in_flight.enter(self._redis, self.info.run_id, cell.cell_id, entry),
            asyncio.to_thread(self.store.has_receipt, cell.cell_id),
            self._snapshots.read_ahead(cell),
        )
        return past, has_ended

    async def _execute(self, attempt: Attempt) -> CellEnded | NotRun:
        self.active[attempt.cell.cell_id] = attempt.clock
        self.beat()
        try:
            return await execute(attempt)
        except Suspended as suspended:
            return await self._suspended(attempt, suspended)
        except PASSING:
            raise
        except Exception as error:  # noqa: BLE001 - the cell would be delivered again for ever
            return await self._unwritten(attempt, error)
        finally:
            del self.active[attempt.cell.cell_id]

    async def _suspended(self, attempt: Attempt, suspended: Suspended) -> CellEnded:
        """Raises the suspension, unless a pipeline suspended its cell too often without a new answer."""
        if isinstance(suspended, Deferred) or attempt.gate.is_waiting:
            raise (AnsweredLater(str(suspended)) if attempt.gate.is_waiting else suspended)
        cell_id, calls = attempt.cell.cell_id, len(attempt.gate.calls)
        if await in_flight.count_suspension(self._redis, self.info.run_id, cell_id, calls) < in_flight.MOST_SUSPENSIONS:
            raise suspended
        return await give_up_suspended(attempt, suspended)

    async def _unwritten(self, attempt: Attempt, error: Exception) -> CellEnded:
        """Give up a cell whose receipt could not be written too often. Raises Deferred before that."""
        cell = attempt.cell
        attempts = await in_flight.count_unwritten(self._redis, self.info.run_id, cell.cell_id)
        _log.error("the receipt of cell %s of %s cannot be written: %s", cell.cell_id[:12], cell.arm, error, exc_info=error)
        if attempts < in_flight.MOST_UNWRITTEN:
            raise Deferred(f"cell {cell.cell_id[:12]} runs again", delay_s=UNWRITTEN_RETRY_S)
        return await give_up_unwritten(attempt, error)

    def _attempt(self, cell: Cell, gate: CellSession, start_slot: StartSlot) -> Attempt:
        time_limit_s = matrix.time_limit_s(self._experiment, cell.arm) if cell.is_attached else None
        soft_s = time_limit_s or self._soft_s
        return Attempt(
            cell=cell,
            number=gate.lease.attempt,
            run_id=self.info.run_id,
            gate=gate,
            clients=self._clients,
            store=self.store,
            load=self._snapshots.load,
            worker=self._worker,
            hosted=self._hosted,
            is_still_held=gate.is_still_held,
            clock=ServiceClock(soft_s, start_slot.leave),
            soft_s=soft_s,
            is_draining=lambda: self.is_draining or cell.cell_id in self.cancelled,
            attached=partial(self._attached, cell.arm) if cell.is_attached else None,
            soft_limit_key="pipeline.time_limit" if time_limit_s else "cell_limit.soft",
            programs=self._programs,
        )

    def _attached(self, arm: str) -> Attached:
        if arm not in self._attached_arms:
            experiment = self._experiment
            self._attached_arms[arm] = matrix.attached(experiment, matrix.arms(experiment)[arm], experiment.folder)
        return self._attached_arms[arm]

    def _log_receipt(self, receipt: rows.Row) -> None:
        fields = {name: receipt[name] for name in _LOGGED}
        _log.info("cell ended", extra={"fields": {"run_id": self.info.run_id} | fields})
        if self._on_ended:
            self._on_ended(self.info.experiment, receipt)

    async def _wait_behind_holder(self, queue: str, cell: Cell, delay_s: float) -> Requeue | None:
        """Another worker holds the cell: keep one message in case that worker dies, drop duplicates."""
        key = f"tah:{self.info.run_id}:standby:{cell.cell_id}"
        first = await self._redis.set(key, self._worker, nx=True, px=_STANDBY_MS)
        return Requeue(queue, delay_s) if first else None

    async def _hand_back(self, queue: str, cell: Cell) -> Requeue | None:
        """A worker that shuts down queues the cell again; a run that stops leaves it unfinished."""
        if self.is_draining and self.wish != control.STOP and cell.cell_id not in self.cancelled:
            return Requeue(queue)
        await self._publish(cell, control.UNFINISHED)
        return None

    async def _not_run(self, cell: Cell, scope: str) -> None:
        await self._publish(cell, control.NOT_RUN, scope)

    async def _publish(self, cell: Cell, outcome: str, detail: str = "") -> None:
        await control.publish(self._redis, self.info.run_id, CellEvent(cell.cell_id, outcome, detail))


def _defers(experiment: Experiment, store: Store) -> bool:
    """Whether some model is in a deferred lane, or was when a cell of this run was suspended."""
    lanes = {model.lane for model in experiment.models.values()}
    return any(lane and LANES[lane].is_deferred for lane in lanes) or Mailbox(store.folder).is_used()


def _billed_alike(specs: Mapping[str, ServerSpec], hosted: Collection[str]) -> dict[str, ServerSpec]:
    """This machine's servers; those that the runner treats as hosted have budgets here as well."""
    return {name: replace(spec, is_hosted=spec.is_hosted or name in hosted) for name, spec in specs.items()}
