"""One session of a run: a broker, worker processes, a feed, and a follower until the cells have ended."""

from __future__ import annotations

import contextlib
import datetime as dt
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from domain.freed_memory import return_freed_memory
from harness.experiment import spec
from harness.experiment.matrix import pool_of
from harness.queue import control, in_flight, registry
from harness.queue.private_redis import private_redis
from harness.queue.registry import RunInfo
from harness.runs import answered_later, reuse
from harness.runs.progress import Progress
from harness.runs.time_left import TimeLeft
from harness.workers.local_workers import LocalWorkers

if TYPE_CHECKING:
    from redis import Redis

    from harness.cells import Cell
    from harness.checking.resolved import ResolvedRun
    from harness.experiment.spec import Experiment
    from harness.planning.plan import Plan
    from harness.runs.display import Display
    from harness.runs.progress import RunOutcome
    from harness.storage.rows import Row
    from harness.storage.run_folder import RunFolder
    from harness.web.live import LivePage


@dataclass(frozen=True)
class RunOptions:
    """The options of `harness run`."""

    path: Path
    folder: Path | None = None
    """Where .env, servers.yaml and other files are that the experiment names; None: next to it."""
    only: str | None = None
    limit: int | None = None
    broker: str | None = None
    workers: int | None = None
    budget: float | None = None
    yes: bool = False
    fresh: bool = False
    accept_server_change: bool = False
    """Reuse cells that another version of a server answered."""
    archive: str | None = None
    lane: str | None = None
    against: str | None = None
    """Earlier run that the gates compare with; None: as the experiment says."""
    servers: Path | None = None
    results: str = "results"
    snapshots: Path = Path("snapshots")
    clock: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.UTC)
    """What time it is; decides whether a vendor still serves a model."""
    command: str = "python -m harness run EXPERIMENT.yaml"
    """What the user entered, shown when the run stops early."""
    page: LivePage | None = None
    """The page of --open."""

    @cached_property
    def experiment(self) -> Experiment:
        """Read once per command. Raises InvalidInput."""
        return spec.load(self.path, self.overrides, self.folder)

    @property
    def experiment_dir(self) -> Path:
        return (self.folder or self.path.parent).resolve()

    @property
    def overrides(self) -> dict[str, Any]:
        budget: dict[str, Any] = {} if self.budget is None else {"budget.run_usd": self.budget}
        if self.against is not None:
            budget["gates.against"] = self.against
        return budget | spec.of_archive(self.archive) | spec.of_lane(self.lane)


@dataclass(frozen=True)
class RunPlan:
    """What a session runs, before anything is frozen or sent."""

    options: RunOptions
    resolved: ResolvedRun
    chosen: Sequence[Cell]
    """The cells selected by --only and --limit."""
    run: RunFolder
    windows: Mapping[str, int] = field(default_factory=dict)
    """Model's name in the experiment -> context that its server was started with."""
    skipped: dict[str, str] = field(default_factory=dict)
    """Cases that cannot be frozen -> why; filled while cases are frozen."""

    @property
    def available(self) -> list[Cell]:
        """The cells of the experiment without those of skipped cases."""
        return [cell for cell in self.matrix if cell.case_id not in self.skipped]

    @property
    def experiment(self) -> Experiment:
        return self.resolved.experiment

    @property
    def matrix(self) -> tuple[Cell, ...]:
        """Every cell of the experiment."""
        return self.resolved.matrix


@contextlib.contextmanager
def open_broker(plan: RunPlan) -> Iterator[str]:
    """The URL of the broker: --broker, else a private Redis for the duration."""
    if plan.options.broker:
        yield plan.options.broker
        return
    with private_redis(reuse.redis_folder(plan.run)) as url:
        yield url


def connect(url: str) -> Redis:
    """A client of the broker; imports the Redis library, which a run with invalid input never needs."""
    from redis import Redis

    return Redis.from_url(url)


def unfinished_cells(cells: Mapping[str, Cell], ended: Mapping[str, Row]) -> dict[str, Cell]:
    """The cells without a receipt, in order."""
    return {cell_id: cell for cell_id, cell in cells.items() if cell_id not in ended}


def run_cells(
    plan: RunPlan,
    cells: Mapping[str, Cell],
    ended: Mapping[str, Row],
    url: str,
    client: Redis,
    display: Display,
    workers: LocalWorkers | None,
    forecast: Plan | None = None,
) -> RunOutcome:
    """Run the cells that have no receipt among `ended`; returns when all have ended or the run is stopped.

    `forecast`: the plan of these cells, from which the time left is estimated."""
    from redis import RedisError

    from harness.queue.broker import make_broker
    from harness.queue.feed import Feed
    from harness.runs.follow import Follower

    # A plan simulates with large arrays.
    return_freed_memory()
    info = _info(plan)
    wanted = Counter(cell.arm for cell in cells.values())
    progress = Progress.of(wanted, [receipt for cell_id, receipt in ended.items() if cell_id in cells], info.run_id)
    planned = {arm: forecast.planned_calls.get(arm, ()) if forecast else () for arm in wanted}
    if forecast:
        progress.time_left = TimeLeft(planned, plan.resolved.servers)
    left = unfinished_cells(cells, ended)
    deferring = answered_later.coordinator(plan.run.store, plan.resolved.servers, info.run_id, left, planned)
    waiting = deferring.start() if deferring else set()
    for sentence in answered_later.of_other_lanes(deferring, plan.experiment, info.results) if deferring else ():
        display.say(sentence)
    answered_later.restore_ledger(client, info.run_id, plan.run.store, left, plan.resolved.hosted)
    feed = Feed(make_broker(url), info, {cell_id: cell for cell_id, cell in left.items() if cell_id not in waiting})
    feed.clear_queues()
    control.clear_events(client, info.run_id)
    in_flight.reset(client, info.run_id, no_worker_lives=plan.options.broker is None)
    control.request(client, info.run_id, control.RUN)
    from harness.admission import slots

    slots.reopen(client, plan.resolved.servers.values())
    registry.announce(client, info)
    try:
        return Follower(client, info, plan.run.store, feed, progress, display, workers, cells, deferring).follow()
    finally:
        if deferring:
            deferring.close()
        with contextlib.suppress(RedisError):
            registry.withdraw(client, info.run_id)
            feed.clear_queues()


def start_workers(plan: RunPlan, url: str, stack: contextlib.ExitStack) -> LocalWorkers | None:
    """Start workers on this machine, unless a shared broker has workers elsewhere."""
    if plan.options.broker and not plan.options.workers:
        return None
    if plan.options.broker is None:
        with connect(url) as client:
            # A runner that was killed a moment ago has left its own announcement: its folder and budget.
            registry.withdraw(client, plan.run.run_id)
    workers = LocalWorkers(_worker_arguments(plan, url), reuse.redis_folder(plan.run).parent / "workers.log")
    stack.callback(workers.close)
    return workers


def _worker_arguments(plan: RunPlan, url: str) -> list[str]:
    arguments = {
        "--broker": url,
        "--results": plan.options.results,
        "--queues": ",".join(sorted({pool_of(cell, plan.resolved.hosted) for cell in plan.chosen})),
        "--local-concurrency": str(_local_cells(plan)),
        "--processes": str(plan.options.workers or 1),
        "--run": plan.run.run_id,
    }
    if plan.options.servers:
        arguments["--servers"] = str(plan.options.servers)
    return [word for pair in arguments.items() for word in pair]


def _local_cells(plan: RunPlan) -> int:
    """One cell more than the self-hosted servers answer at a time: no slot waits for a cell, and few prompts push each other
    out of a server's cache."""
    return 1 + sum(spec.slots for spec in plan.resolved.servers.values() if not spec.is_hosted)


def _info(plan: RunPlan) -> RunInfo:
    pipelines = registry.pipelines_of(plan.matrix)
    return RunInfo(
        run_id=plan.run.run_id,
        experiment=plan.run.experiment,
        terms=plan.experiment.resolved(),
        pipelines=pipelines,
        prices=plan.resolved.prices.to_plain(),
        code=registry.code_of(pipelines),
        experiment_dir=str(plan.options.experiment_dir),
        hosted=tuple(sorted(plan.resolved.hosted)),
        pools=tuple(sorted({pool_of(cell, plan.resolved.hosted) for cell in plan.matrix})),
        month="" if plan.experiment.budget.month_usd is None else f"{plan.options.clock():%Y-%m}",
    )
