"""What the pages show: jobs, runs, servers and the bill at one moment, without failing because a part is away."""

from __future__ import annotations

import asyncio
import datetime as dt
import re
import statistics
import time
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from redis import Redis, RedisError

from domain.ratings import SCORES
from harness.admission import slots
from harness.admission.slots import SlotLimit, SlotUsage
from harness.errors import HarnessError
from harness.queue import registry
from harness.runs import status
from harness.service import months, results
from harness.service.auth import Caller
from harness.service.errors import ApiError
from harness.service.jobs import COMPLETED, PENDING, RUNNING, Job, JobFilter
from harness.service.submissions import FAILED as EXPERIMENT_FAILED
from harness.storage import run_folder

if TYPE_CHECKING:
    from harness.runs.status import RunStatus
    from harness.service.months import Bill
    from harness.service.service import Service
    from harness.service.submissions import SubmittedExperiment
    from harness.storage.run_folder import RunFolder

ON_A_PAGE = 25
_EXPERIMENTS_KEPT = dt.timedelta(days=7)
"""So long after its end an experiment without a run is on the first page."""
_MEASURED = 20
"""Ended jobs of an arm that say how long one takes and what it costs."""
_PACE_ANSWERS = 3
_RUNS = 8
_RUNS_S = 5.0
_RUNS_SHARE = 20.0
"""Runs are read again after so many times the time that it took."""
_KEPT_RESULTS = 2_000
_REDIS_S = 2.0


@dataclass(frozen=True)
class JobRow:
    """One job, as a list shows it."""

    job: Job
    done: int = 0
    total: int = 0
    left_s: float | None = None
    result: Mapping[str, Any] = field(default_factory=dict)

    @property
    def share(self) -> float:
        return self.done / self.total if self.total else 0.0

    @property
    def duration_s(self) -> float | None:
        """Until it ended, or until now."""
        if self.job.started_at is None:
            return None
        return (self.job.completed_at or time.time()) - self.job.started_at

    @property
    def rating(self) -> str | None:
        return self.result.get("rating")

    @property
    def rating_class(self) -> str:
        """Class of the rating's colour: r2 is Buy, r-2 is Sell."""
        return f"r{SCORES[self.rating]}" if self.rating is not None and self.rating in SCORES else "rx"


@dataclass(frozen=True)
class ServerRow:
    """One server, with the use of its slots; None: no worker has asked it since Redis started, or Redis is away."""

    name: str
    address: str
    class_name: str
    slots: int
    usage: SlotUsage | None


@dataclass(frozen=True)
class Home:
    """Everything on the first page that changes by itself."""

    jobs: Sequence[JobRow]
    total: int
    next_cursor: int | None
    counts: Mapping[str, int]
    bill: Bill | None
    runs: Sequence[RunStatus]
    servers: Sequence[ServerRow]
    trouble: str
    """Why something is missing."""
    experiments: Sequence[SubmittedExperiment] = ()
    """Submitted ones that no run in `runs` shows."""
    month_run: tuple[str, str] | None = None
    """Experiment and run of this month's jobs, once it has been opened."""

    @property
    def spent_text(self) -> str:
        """For the attribute of a gauge."""
        return f"{self.bill.spent_usd if self.bill else 0:.6f}"

    @property
    def cap_text(self) -> str:
        return f"{self.bill.cap_usd or 1 if self.bill else 1:.6f}"


class Watch:
    """Reads for the pages of one service, and remembers what does not change."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._redis = Redis.from_url(service.broker, socket_timeout=_REDIS_S, socket_connect_timeout=_REDIS_S)
        self._results: dict[str, Mapping[str, Any]] = {}
        self._runs: Sequence[RunStatus] = ()
        self._runs_until = 0.0
        self._runs_lock = asyncio.Lock()

    async def home(self, caller: Caller, wanted: JobFilter, cursor: int | None = None) -> Home:
        page = await asyncio.to_thread(self._service.jobs.page, wanted, ON_A_PAGE, cursor)
        counts = await self.counts(caller)
        bill, trouble = await self._bill()
        servers = await asyncio.to_thread(self._servers)
        rows = [await self.row(job) for job in page.jobs]
        runs = await self.runs() if caller.sees_only is None else ()
        experiments = await asyncio.to_thread(self._experiments, caller, {each.run.run_id for each in runs})
        month_run = await asyncio.to_thread(self._month_run)
        return Home(rows, page.total, page.next_cursor, counts, bill, runs, servers, trouble, experiments, month_run)

    def _experiments(self, caller: Caller, shown_runs: Set[str]) -> list[SubmittedExperiment]:
        """What no run shows: experiments that wait, that ended before their run began, or that failed.

        A caller that sees no runs gets all of its own."""
        since = (dt.datetime.now(dt.UTC) - _EXPERIMENTS_KEPT).isoformat(timespec="seconds")
        recent = [each for each in self._service.experiments.all() if (each.now.ended_at or since) >= since]
        if caller.sees_only is not None:
            return [each for each in recent if each.owner == caller.sees_only][:ON_A_PAGE]
        hidden = [each for each in recent if not each.is_over and each.now.run_id not in shown_runs]
        ended = [each for each in recent if each.is_over and (each.now.run_id is None or each.now.state == EXPERIMENT_FAILED)]
        return [*hidden, *ended][:ON_A_PAGE]

    async def counts(self, caller: Caller) -> Mapping[str, int]:
        """status -> number of the jobs that the caller may see."""
        return await asyncio.to_thread(self._service.jobs.counts, caller.sees_only)

    async def row(self, job: Job) -> JobRow:
        if job.status == COMPLETED or (job.cell_id and not job.is_open):
            return JobRow(job, result=await asyncio.to_thread(self.result, job))
        if job.status not in (PENDING, RUNNING):
            return JobRow(job)
        progress = await self._service.progress(job)
        done, total = sum(each["done"] for each in progress.values()), sum(each["total"] for each in progress.values())
        return JobRow(job, done, total, await asyncio.to_thread(self._left_s, job, done, total))

    def result(self, job: Job) -> Mapping[str, Any]:
        """The result of an ended job; empty if its run folder is gone."""
        kept = self._results.get(job.job_id)
        if kept is None:
            try:
                kept = results.read_result(job, self._service.store_of(job.month))
            except (HarnessError, OSError):
                return {}
            if len(self._results) >= _KEPT_RESULTS:
                self._results.clear()
            self._results[job.job_id] = kept
        return kept

    def measured(self, arm: str) -> tuple[float | None, float | None, int]:
        """Median seconds and mean cost of the latest jobs of an arm that were decided, and how many there are."""
        ended = self._service.jobs.page(JobFilter(status=COMPLETED, arm=arm), _MEASURED).jobs
        fresh = [job for job in ended if not job.reused and job.started_at and job.completed_at]
        times = [float(job.completed_at or 0) - float(job.started_at or 0) for job in fresh]
        costs = [cost for job in fresh if (cost := self.result(job).get("cost_usd")) is not None]
        return statistics.median(times) if times else None, statistics.fmean(costs) if costs else None, len(fresh)

    def _left_s(self, job: Job, done: int, total: int) -> float | None:
        """At the pace of this job once it has some answers, else as long as others of its arm took."""
        if job.status != RUNNING or job.started_at is None:
            return None
        elapsed_s = time.time() - job.started_at
        if total and done >= _PACE_ANSWERS:
            return elapsed_s / done * (total - done)
        typical_s, _, _ = self.measured(job.arm)
        return None if typical_s is None else max(0.0, typical_s - elapsed_s)

    async def _bill(self) -> tuple[Bill | None, str]:
        try:
            return await self._service.bill(), ""
        except ApiError as error:
            return None, error.message

    def _month_run(self) -> tuple[str, str] | None:
        month = months.current_month()
        has_run = self._service.store_of(month).folder.exists("manifest.json")
        return (self._service.experiment.name, self._service.run_id(month)) if has_run else None

    def _servers(self) -> list[ServerRow]:
        known, served = self._usage(), self._service.resolved.servers
        usage = {name: _usage_of(name, SlotLimit.of(spec), known) for name, spec in served.items()}
        return [
            ServerRow(name, _without_login(spec.address), spec.class_name, spec.slots, usage[name])
            for name, spec in served.items()
        ]

    def _usage(self) -> dict[str, SlotUsage]:
        usage: dict[str, SlotUsage] = {}
        try:
            for run_id in registry.active_runs(self._redis):
                usage |= slots.slot_usage(self._redis, run_id)
        except (RedisError, OSError):
            return {}
        return usage

    async def runs(self) -> Sequence[RunStatus]:
        """The newest runs besides the months of jobs."""
        async with self._runs_lock:
            began = time.monotonic()
            if began > self._runs_until:
                self._runs = await asyncio.to_thread(self._read_runs)
                ended = time.monotonic()
                self._runs_until = ended + max(_RUNS_S, _RUNS_SHARE * (ended - began))
        return self._runs

    def _read_runs(self) -> list[RunStatus]:
        folder = self._service.results
        names = [name for name in folder.folders() if not name.startswith(".")]
        runs = [run for name in names for run in run_folder.runs(folder, name)[:_RUNS] if not self.is_month(run)]
        runs.sort(key=lambda run: run.run_id, reverse=True)
        return [read for run in runs[:_RUNS] if (read := self._status(run)) is not None]

    def _status(self, run: RunFolder) -> RunStatus | None:
        """On the service's Redis, or on that of a `run` which somebody has started in the same results folder."""
        try:
            seen = status.read_status(run, self._service.broker)
            return status.read_status(run) if seen.state == "interrupted" else seen
        except (HarnessError, OSError):
            return None

    async def run(self, run: RunFolder) -> RunStatus | None:
        """The status of one run; None if it cannot be read."""
        shown = next((each for each in await self.runs() if each.run.run_id == run.run_id), None)
        return shown or await asyncio.to_thread(self._status, run)

    def is_month(self, run: RunFolder) -> bool:
        """Whether a run is a month of this service's jobs."""
        return run.experiment == self._service.experiment.name and run.run_id.startswith(f"{run.experiment}-")

    def find_run(self, experiment: str, run_id: str) -> RunFolder | None:
        """The run with these names, which are compared with those of folders and never become a path."""
        folder = self._service.results
        if experiment not in folder.folders() or experiment.startswith("."):
            return None
        return next((run for run in run_folder.runs(folder, experiment) if run.run_id == run_id), None)

    def close(self) -> None:
        self._redis.close()


def _usage_of(name: str, limit: SlotLimit, usage: Mapping[str, SlotUsage]) -> SlotUsage | None:
    """By its key; the key of a machine's own server names the machine of its worker."""
    if limit.key in usage:
        return usage[limit.key]
    return next((each for key, each in usage.items() if key.startswith(f"{name}@") and not limit.adaptive), None)


def _without_login(url: str) -> str:
    return re.sub(r"://[^/@\s]+@", "://", url)
