"""The dispatcher: turns stored jobs into cells, and what became of the cells into stored jobs.

One process at a time, held by a file lock; the others wait for it. It holds no state that the job file and the run folders do
not have: killed at any moment, the next one goes on.
"""

from __future__ import annotations

import contextlib
import json
import logging
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from redis import Redis, RedisError

import agents
from harness.admission import slots
from harness.cells import Cell
from harness.errors import BrokenFile, HarnessError, StoreError
from harness.queue import control, in_flight, registry
from harness.queue.broker import make_broker
from harness.queue.control import NOT_RUN, SUSPENDED, UNFINISHED, UNSERVED, CellEvent
from harness.queue.feed import Feed
from harness.runs import answered_later
from harness.service import months, results
from harness.service.errors import FIX_STORAGE
from harness.service.experiment_runner import ExperimentRunner
from harness.service.jobs import OPEN, RUNNING, Job, JobStore, StorageBusy, StorageFull
from harness.service.service import ServiceOptions, doorbell_key, service_folder, trouble_key
from harness.service.submissions import SubmittedExperiments, UnstoredStates
from harness.service.upkeep import Upkeep
from harness.storage.folder import open_folder
from harness.storage.snapshots import CaseInputs, SnapshotLibrary, freeze_into

if TYPE_CHECKING:
    from harness.checking.resolved import ResolvedRun
    from harness.queue.registry import RunInfo
    from harness.storage.store import Store
    from harness.workers.local_workers import LocalWorkers

_log = logging.getLogger(__name__)
_WAIT_S = 1.0
_STOP_LOOK_S = 0.2
_ALIVE_S = 5.0
_LOST_S = 10.0
_REDIS_GONE_S = 10.0
"""After so long a private Redis has died: the dispatcher ends, and its successor starts it again."""
_LONGEST_PAUSE_S = 30.0
"""Between two looks at a disk that takes nothing; the pauses before it double."""
_FIRST_RETRY_S = 15.0
MOST_TRIES = 6
"""Attempts at a job whose server, source or snapshot folder refuses; the pauses between them double, 8 minutes in all."""


class RedisGone(HarnessError):
    """The private Redis has ended."""


@dataclass
class MonthRun:
    """One month's run while jobs of it are open."""

    info: RunInfo
    store: Store
    feed: Feed
    snapshots: set[str]
    """Files in its snapshot folder."""
    quiet_since: float = field(default_factory=time.monotonic)


class Dispatcher:
    """The loop over jobs and events."""

    def __init__(
        self, options: ServiceOptions, resolved: ResolvedRun, jobs: JobStore, url: str, workers: LocalWorkers | None
    ) -> None:
        self._options, self._resolved, self._jobs, self._workers = options, resolved, jobs, workers
        self._url = url
        self._client = Redis.from_url(url, socket_timeout=_WAIT_S + 5)
        self._broker = make_broker(url)
        self._results = open_folder(options.results)
        self._runs: dict[str, MonthRun] = {}
        self._library = SnapshotLibrary(options.snapshots, resolved.archive, resolved.contact)
        name = resolved.experiment.name
        self._unstored = UnstoredStates(self._client, name)
        submissions = SubmittedExperiments(service_folder(options, name))
        self._upkeep = Upkeep(options, resolved, jobs, self._results, submissions)
        self._experiments = ExperimentRunner(options, submissions, url, self._unstored)
        self._bell = "0"
        self._is_stopping = False
        self._alive_at = 0.0
        self._gone_since: float | None = None
        self._storage_pauses = 0

    def run(self) -> None:
        """Run until SIGTERM. Raises RedisGone if a private Redis has ended."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        self._jobs.place_again()
        slots.reopen(self._client, self._resolved.servers.values())
        self._unstored.clear()
        while not self._is_stopping:
            try:
                self._tick()
                self._gone_since, self._storage_pauses = None, 0
            except RedisError as error:
                self._wait_for_redis(error)
            except (StorageFull, StorageBusy, StoreError, OSError) as error:
                self._wait_for_storage(error)
        with contextlib.suppress(RedisError):
            for run in self._runs.values():
                registry.withdraw(self._client, run.info.run_id)
        self._experiments.close()
        self._upkeep.close()

    def _stop(self, *_: Any) -> None:
        self._is_stopping = True

    def _wait_for_redis(self, error: RedisError) -> None:
        self._gone_since = self._gone_since or time.monotonic()
        if self._options.broker is None and time.monotonic() - self._gone_since > _REDIS_GONE_S:
            raise RedisGone(f"the private Redis has ended: {error}") from error
        _log.warning("Redis does not answer: %s", error)
        time.sleep(_WAIT_S)

    def _wait_for_storage(self, error: Exception) -> None:
        """Wait longer each time, and let /ready name the reason: jobs that were accepted go on once the disk takes them."""
        pause_s = min(_LONGEST_PAUSE_S, _WAIT_S * 2**self._storage_pauses)
        self._storage_pauses += 1
        _log.error("%s; the dispatcher looks again in %.0f s", error, pause_s)
        until = time.monotonic() + pause_s
        with contextlib.suppress(RedisError):
            self._client.set(trouble_key(self._resolved.experiment.name), str(error), px=int(1000 * (pause_s + _ALIVE_S)))
        while not self._is_stopping and time.monotonic() < until:
            time.sleep(_STOP_LOOK_S)

    def _tick(self) -> None:
        current = self._run_of(months.current_month())
        waiting = self._jobs.to_place(time.time())
        for job in waiting:
            self._place(job)
        for run in list(self._runs.values()):
            if control.requested(self._client, run.info.run_id) == control.RUN:
                run.feed.fill()
        self._wait(0.0 if waiting else _WAIT_S)
        for month, run in list(self._runs.items()):
            self._handle(month, control.read_events(self._client, run.info.run_id, wait_s=0.001))
            if run is not current and not run.feed.left:
                self._close(month)
        if time.monotonic() - self._alive_at > _ALIVE_S:
            self._keep_alive()
        self._look_at_running()
        self._experiments.step()
        self._upkeep.step(self._runs)

    def _wait(self, wait_s: float) -> None:
        """Sleep until a job is stored or stopped, or a cell has ended."""
        streams: Any = {control.events_key(run.info.run_id): "0" for run in self._runs.values()}
        streams[doorbell_key(self._resolved.experiment.name)] = self._bell
        answer: Any = self._client.xread(streams, count=200, block=max(1, int(wait_s * 1000)))
        bell = doorbell_key(self._resolved.experiment.name).encode()
        for name, entries in answer if isinstance(answer, list) else answer.items():
            if name == bell and entries:
                flat = entries[0] if isinstance(entries[0], list) else entries
                self._bell = flat[-1][0].decode()
                self._drop_cancelled([fields for _, fields in flat])

    def _run_of(self, month: str) -> MonthRun:
        """The month's run, announced to workers."""
        if month not in self._runs:
            store = months.store_of(self._results, self._resolved.experiment.name, month)
            if self._options.broker is None:
                store.sweep()  # no worker of this Redis writes before the run is announced
            months.open_run(store, self._resolved, month)
            info = months.info_of(self._resolved, month)
            feed = Feed(self._broker, info, {})
            feed.clear_queues()
            control.clear_events(self._client, info.run_id)
            in_flight.reset(self._client, info.run_id, no_worker_lives=self._options.broker is None)
            answered_later.restore_ledger(self._client, info.run_id, store, {}, info.hosted)
            self._upkeep.restore_bill(self._client, month, info.run_id)
            registry.announce(self._client, info)
            self._runs[month] = MonthRun(info, store, feed, set(store.snapshots.files()))
        return self._runs[month]

    def _close(self, month: str) -> None:
        run = self._runs.pop(month)
        registry.withdraw(self._client, run.info.run_id)
        self._upkeep.compact(run.store)

    def _place(self, job: Job) -> None:
        """Freeze a job's case and queue its cell, or end the job if its cell has ended."""
        try:
            run = self._run_of(job.month)
            cell = self._frozen(run, job)
            receipt = run.store.whole_receipt(cell.cell_id)
        except agents.NoSuchCase as error:
            return self._fail(job, "NoSuchCase", str(error), "data_error", "take a ticker and a date that the source has")
        except (agents.SnapshotError, agents.AgentsError) as error:
            return self._put_back(job, type(error).__name__, str(error), "data_error")
        except BrokenFile as error:
            return self._fail(job, "broken_file", str(error), "unknown")
        except (StoreError, OSError) as error:
            return self._put_back(job, "storage", str(error), "unknown", f"{FIX_STORAGE}, then submit it again")
        is_first_time = job.cell_id != cell.cell_id
        fields = {"cell": cell.to_json(), "cell_id": cell.cell_id, "placed": 1, "retry_at": None}
        if not self._jobs.update(job.job_id, only=OPEN, **fields):
            return None
        if receipt is not None and is_first_time and receipt["status"] != "ok":
            run.store.reopen(cell.cell_id)
            in_flight.forget_deaths(self._client, run.info.run_id, cell.cell_id)
            receipt = None
        if receipt is not None:
            return self._end(job, results.ended_fields(receipt) | {"reused": int(is_first_time)})
        self._client.srem(control.cancelled_key(run.info.run_id), cell.cell_id)
        if not run.feed.has(cell.cell_id):
            run.feed.add(cell.cell_id, cell)
        return None

    def _frozen(self, run: MonthRun, job: Job) -> Cell:
        cell = Cell.from_json(job.cell)
        if cell.snapshot_sha256 and f"{cell.snapshot_sha256}.json" in run.snapshots:
            return cell
        case = CaseInputs(cell.ticker, cell.date, cell.data)
        return replace(cell, snapshot_sha256=freeze_into(run.store.snapshots, case, self._library, run.snapshots))

    def _put_back(self, job: Job, code: str, message: str, error_type: str, fix: str = "submit it again later") -> None:
        """Try a job again later; it fails if that happens too often."""
        if job.tries + 1 >= MOST_TRIES:
            return self._fail(job, code, message, error_type, fix)
        pause_s = _FIRST_RETRY_S * 2**job.tries
        cause = {"code": code, "message": message, "fix": f"it is tried again in {pause_s:.0f} s"}
        retry_at = time.time() + pause_s
        self._jobs.update(
            job.job_id, only=OPEN, status="pending", placed=0, tries=job.tries + 1, retry_at=retry_at, cause=cause
        )
        return None

    def _fail(self, job: Job, code: str, message: str, error_type: str, fix: str = "") -> None:
        now = time.time()
        self._end(job, results.failed(code, message, error_type, fix) | {"completed_at": now, "placed": 1})

    def _end(self, job: Job, fields: Mapping[str, Any]) -> None:
        self._end_all([job], fields)

    def _end_all(self, jobs: Sequence[Job], fields: Mapping[str, Any]) -> None:
        changes = [(job.job_id, {**fields, **({"callback": "due"} if job.callback_url else {})}) for job in jobs]
        self._jobs.update_all(changes, only=OPEN)
        self._upkeep.ended(jobs)

    def _handle(self, month: str, events: Sequence[CellEvent]) -> None:
        run = self._runs[month]
        for event in events:
            run.quiet_since = time.monotonic()
            self._handle_one(run, event)

    def _handle_one(self, run: MonthRun, event: CellEvent) -> None:
        """The cell leaves the feed last: if its end cannot be stored now, the cell is sent and reported again."""
        if jobs := self._jobs.of_cell(event.cell_id):
            if event.outcome == UNSERVED:
                self._unserved(jobs, event)
            elif event.outcome == NOT_RUN:
                what = f"the budget of the {event.detail} is used up"
                for job in jobs:
                    self._fail(
                        job, "over_budget", what, "unknown", "raise the budget in the served experiment, then submit it again"
                    )
            elif event.outcome in (UNFINISHED, SUSPENDED):
                run.feed.ended(event.cell_id)
                return run.feed.add(event.cell_id, Cell.from_json(jobs[0].cell))
            else:
                self._end_all(jobs, self._ended_fields(run, event.cell_id))
        return run.feed.ended(event.cell_id)

    def _ended_fields(self, run: MonthRun, cell_id: str) -> Mapping[str, Any]:
        try:
            receipt = run.store.whole_receipt(cell_id)
        except BrokenFile as error:
            return results.failed("broken_file", str(error), "unknown") | {"completed_at": time.time()}
        if receipt is None:
            return results.failed("removed", "the receipt of its cell was removed", "unknown") | {"completed_at": time.time()}
        return results.ended_fields(receipt)

    def _unserved(self, jobs: Sequence[Job], event: CellEvent) -> None:
        """A model server does not answer or lacks a model: ask it again later."""
        text = json.loads(event.detail)["text"]
        slots.reopen(self._client, self._resolved.servers.values())
        for job in jobs:
            self._put_back(job, "server_away", text, "llm_error")

    def _drop_cancelled(self, rings: Sequence[Mapping[bytes, bytes]]) -> None:
        """Take cells that no open job wants any more from the queue, and let workers stop those that run."""
        for ring in rings:
            run, cell_id = self._runs.get(ring[b"month"].decode()), ring.get(b"cell_id", b"").decode()
            if run and cell_id and run.feed.has(cell_id) and not self._jobs.of_cell(cell_id):
                run.feed.drop(partial(_is_cell, cell_id))
                self._client.sadd(control.cancelled_key(run.info.run_id), cell_id)

    def _look_at_running(self) -> None:
        """Record which jobs have begun."""
        for run in self._runs.values():
            if not run.feed.out:
                continue
            begun = in_flight.running(self._client, run.info.run_id)
            changes = [
                (job.job_id, {"status": RUNNING, "started_at": entry["since"], "attempts": job.attempts + 1})
                for cell_id, entry in begun.items()
                for job in self._jobs.of_cell(cell_id)
                if job.status != RUNNING
            ]
            if changes:
                self._jobs.update_all(changes, only=("pending",))

    def _keep_alive(self) -> None:
        self._alive_at = time.monotonic()
        for run in self._runs.values():
            registry.keep_alive(self._client, run.info)
            if time.monotonic() - run.quiet_since > _LOST_S and run.feed.out:
                run.feed.resend_lost()
        if self._workers and not self._workers.are_running() and not self._is_stopping and not self._workers.restart():
            raise HarnessError(f"the workers ended again and again: {self._workers.died_of}")


def _is_cell(cell_id: str, cell: Cell) -> bool:
    return cell.cell_id == cell_id
