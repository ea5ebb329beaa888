"""One execution of an experiment, from its file to the page: the order of the steps, and nothing else."""

from __future__ import annotations

import contextlib
import datetime as dt
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from redis import Redis

from harness import (
    closing,
    control,
    environment,
    freeze,
    manifest,
    matrix,
    outlook,
    preflight,
    registry,
    reuse,
    roll,
    run_folder,
    spec,
)
from harness.broker import make_broker
from harness.cells import Cell
from harness.consent import ask_before_spending
from harness.display import Display
from harness.feeding import Feed, pool_of
from harness.folder import Folder, open_folder
from harness.following import Follower, Outcome
from harness.local_workers import LocalWorkers
from harness.preflight import Preflight
from harness.private_redis import private_redis
from harness.progress import Progress
from harness.registry import RunInfo
from harness.run_folder import RunFolder
from harness.sources_check import archive_address

if TYPE_CHECKING:
    from rich.console import Console

    from harness.spec import Experiment


@dataclass(frozen=True)
class Options:
    """The options of `harness run`."""

    path: Path
    only: str | None = None
    limit: int | None = None
    broker: str | None = None
    workers: int | None = None
    budget: float | None = None
    yes: bool = False
    fresh: bool = False
    archive: str | None = None
    servers: Path | None = None
    results: str = "results"
    snapshots: Path = Path("snapshots")

    @property
    def beside(self) -> Path:
        return self.path.resolve().parent

    @property
    def overrides(self) -> dict[str, Any]:
        budget = {} if self.budget is None else {"budget.run_usd": self.budget}
        return budget | spec.of_archive(self.archive)


@dataclass(frozen=True)
class Plan:
    """What is to be run, before anything was frozen or sent."""

    options: Options
    experiment: Experiment
    matrix: Sequence[Cell]
    """Every cell of the experiment."""
    chosen: Sequence[Cell]
    """Those that --only and --limit leave."""
    checked: Preflight
    run: RunFolder

    @property
    def archive(self) -> str | None:
        said = self.experiment.data.archive
        return archive_address(said, self.options.beside) if said else None


def run(options: Options, console: Console) -> int:
    """Run, continue or confirm an experiment; returns the exit code. Raises HarnessError for everything to be mended."""
    plan = _plan(options)
    display = Display(console, f"{plan.run.experiment}/{plan.run.run_id}")
    display.say(_headline(plan))
    with _broker(plan) as url, Redis.from_url(url) as client, contextlib.ExitStack() as stack:
        workers = None if _is_done(plan) else _start_workers(plan, url, stack)
        cells = _freeze(plan, display)
        _take_over(plan, cells, client, display)
        waiting = _waiting(plan, cells)
        if not waiting:
            display.say("nothing left to do: every cell has its receipt")
            return closing.close(plan.run, plan.experiment, plan.matrix, Outcome.nothing(), display, _closing_options(plan))
        outlook.keep(plan.run, outlook.show(plan.experiment, plan.chosen, options, console))
        ask_before_spending(plan.experiment, waiting.values(), options, console)
        workers = workers or _start_workers(plan, url, stack)
        outcome = _execute(plan, cells, waiting, url, client, display, workers)
    return closing.close(plan.run, plan.experiment, plan.matrix, outcome, display, _closing_options(plan))


def _plan(options: Options) -> Plan:
    experiment = spec.load(options.path, options.overrides)
    cells = matrix.expand(experiment)
    chosen = matrix.select(cells, options.only, options.limit)
    checked = preflight.look(
        experiment,
        beside=options.beside,
        servers_file=options.servers,
        results=options.results,
        broker=options.broker,
    )
    checked.require()
    asked = run_folder.asked_of(cells, checked.digests)
    found = run_folder.resolve(_results(options), experiment.name, asked, fresh=options.fresh)
    return Plan(options, experiment, cells, chosen, checked, found)


def _results(options: Options) -> Folder:
    return open_folder(options.results)


@contextlib.contextmanager
def _broker(plan: Plan) -> Iterator[str]:
    if plan.options.broker:
        yield plan.options.broker
        return
    with private_redis(reuse.redis_folder(plan.run)) as url:
        yield url


def _freeze(plan: Plan, display: Display) -> dict[str, Cell]:
    """Cells of this session with their snapshots, by cell id, in order."""
    cases = len({cell.case_id for cell in plan.chosen})
    display.say(f"freezing {cases} cases")
    contact = environment.read(plan.options.path).get("SEC_CONTACT")
    names = freeze.freeze_cells(plan.chosen, plan.run.store.folder, plan.options.snapshots, plan.archive, contact=contact)
    frozen = [cell.frozen(names[cell.case_id], plan.checked.digests) for cell in plan.chosen]
    return {cell.cell_id: cell for cell in frozen}


def _take_over(plan: Plan, cells: Mapping[str, Cell], client: Redis, display: Display) -> None:
    """A new run starts with what earlier ones paid for; one that goes on with a higher cap reopens what the old one cut."""
    store = plan.run.store
    if plan.run.is_new:
        others = [one for one in run_folder.runs(_results(plan.options), plan.run.experiment) if one.run_id != plan.run.run_id]
        others = [] if plan.options.fresh else others
        receipts = reuse.take_receipts(store, others, cells)
        shared = plan.options.broker is not None
        calls = reuse.take_journals(client, plan.run.run_id, others, cells.keys() - store.receipts().keys(), shared=shared)
        if receipts or calls:
            display.say(f"taken over from earlier runs: {receipts} ended cells, {calls} calls of unfinished ones")
    elif _is_raised(store.manifest().get("budget") or {}, plan.experiment.resolved().get("budget") or {}):
        for cell_id, receipt in store.receipts().items():
            if cell_id in cells and receipt["status"] == "over_budget":
                store.reopen(cell_id)


def _is_raised(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Whether some cap is higher than it was, or gone."""
    flat_old, flat_new = _flat(old), _flat(new)
    return any(name not in flat_new or flat_new[name] > cap for name, cap in flat_old.items())


def _flat(budget: Mapping[str, Any]) -> dict[str, float]:
    per_model = budget.get("model_usd") or {}
    caps = {name: cap for name, cap in budget.items() if name != "model_usd" and cap is not None}
    return caps | {f"model:{name}": cap for name, cap in per_model.items()}


def _waiting(plan: Plan, cells: Mapping[str, Cell]) -> dict[str, Cell]:
    ended = plan.run.store.receipts()
    return {cell_id: cell for cell_id, cell in cells.items() if cell_id not in ended}


def _execute(
    plan: Plan,
    cells: Mapping[str, Cell],
    waiting: Mapping[str, Cell],
    url: str,
    client: Redis,
    display: Display,
    workers: LocalWorkers | None,
) -> Outcome:
    info = _info(plan)
    _write_start(plan, client)
    ended = plan.run.store.receipts()
    wanted = Counter(cell.arm for cell in cells.values())
    progress = Progress.of(wanted, [receipt for cell_id, receipt in ended.items() if cell_id in cells])
    feed = Feed(make_broker(url), info, waiting)
    feed.clear_queues()
    roll.forget(client, info.run_id, nobody_lives=plan.options.broker is None)
    control.say(client, info.run_id, control.RUN)
    registry.announce(client, info)
    try:
        return Follower(client, info, plan.run.store, feed, progress, display, workers, cells).follow()
    finally:
        registry.withdraw(client, info.run_id)


def _is_done(plan: Plan) -> bool:
    return bool(plan.run.store.manifest().get("state") == run_folder.DONE)


def _start_workers(plan: Plan, url: str, stack: contextlib.ExitStack) -> LocalWorkers | None:
    """They import what they need while the cases are frozen; a broker may have workers of its own elsewhere."""
    if plan.options.broker and not plan.options.workers:
        return None
    workers = LocalWorkers(_worker_arguments(plan, url), reuse.redis_folder(plan.run).parent / "workers.log")
    stack.callback(workers.close)
    return workers


def _worker_arguments(plan: Plan, url: str) -> list[str]:
    said = {
        "--broker": url,
        "--results": plan.options.results,
        "--queues": ",".join(sorted({pool_of(cell) for cell in plan.chosen})),
        "--processes": str(plan.options.workers or 1),
        "--run": plan.run.run_id,
    }
    if plan.options.servers:
        said["--servers"] = str(plan.options.servers)
    return [word for pair in said.items() for word in pair]


def _info(plan: Plan) -> RunInfo:
    pipelines = registry.pipelines_of(plan.matrix)
    prices = preflight.price_table(plan.experiment, plan.options.beside)
    return RunInfo(
        run_id=plan.run.run_id,
        experiment=plan.run.experiment,
        terms=plan.experiment.resolved(),
        pipelines=pipelines,
        prices=prices.to_plain(),
        code=registry.code_of(pipelines),
        beside=str(plan.options.beside),
    )


def _write_start(plan: Plan, client: Redis) -> None:
    store, now = plan.run.store, dt.datetime.now(dt.UTC).isoformat()
    old = store.manifest()
    info: Any = client.info("server")
    prices = preflight.price_table(plan.experiment, plan.options.beside)
    said = {
        "run_id": plan.run.run_id,
        "experiment": plan.run.experiment,
        "asked": run_folder.asked_of(plan.matrix, plan.checked.digests),
        "state": "running",
        "cells": len(plan.matrix),
        "cells_by_arm": dict(Counter(cell.arm for cell in plan.matrix)),
        "digests": plan.checked.digests,
        "prompt_fingerprints": sorted({cell.fingerprint for cell in plan.matrix}),
        "budget": plan.experiment.resolved().get("budget"),
        "prices": prices.manifest(),
        "hardware": outlook.hardware(plan.experiment, plan.options),
        "broker": "private" if plan.options.broker is None else "shared",
        "redis_folder": None if plan.options.broker else str(reuse.redis_folder(plan.run)),
        "started_at": old.get("started_at") or now,
        "sessions": [*old.get("sessions", []), now],
    }
    store.folder.write("experiment.yaml", plan.experiment.to_yaml().encode())
    store.write_manifest(old | said | manifest.describe(info))


def _headline(plan: Plan) -> str:
    arms = len({cell.arm for cell in plan.matrix})
    part = "" if len(plan.chosen) == len(plan.matrix) else f", {len(plan.chosen)} of them now"
    verb = "new run" if plan.run.is_new else "continuing"
    return f"{verb} {plan.run.experiment}/{plan.run.run_id}: {len(plan.matrix)} cells, {arms} arms{part}"


def _closing_options(plan: Plan) -> closing.Options:
    return closing.Options(shared=plan.options.snapshots, archive=plan.archive, results=plan.options.results)
