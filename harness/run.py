"""One execution of an experiment, from its file to the page: the order of the steps, and nothing else."""

from __future__ import annotations

import contextlib
import datetime as dt
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from harness import closing, outlook, reuse, version_0_1_0
from harness.cells import IDENTITY, Cell
from harness.checking import preflight
from harness.consent import ask_before_spending
from harness.display import Display
from harness.ending import Outcome
from harness.experiment import environment, matrix, spec
from harness.session import Options, Plan, broker, connected, start_workers, waiting, work_off
from harness.storage import manifest, run_folder, snapshots
from harness.storage.folder import Folder, open_folder

if TYPE_CHECKING:
    from redis import Redis
    from rich.console import Console


def run(options: Options, console: Console) -> int:
    """Run, continue or confirm an experiment; returns the exit code. Raises InvalidInput for all problems at once."""
    plan = _plan(options)
    display = Display(console, f"{plan.run.experiment}/{plan.run.run_id}")
    display.say(_headline(plan))
    for warning in plan.checked.shutdown_warnings:
        display.say(f"{warning.found} ({warning.fix})")
    with broker(plan) as url, connected(url) as client, contextlib.ExitStack() as stack:
        workers = None if _is_done(plan) else start_workers(plan, url, stack)
        cells = _freeze(plan, display)
        _take_over(plan, cells, client, display)
        left = waiting(plan, cells)
        if not left:
            if plan.run.is_new:
                _write_start(plan, client, cells.values())
            display.say("nothing left to do: every cell has its receipt")
            return closing.close(plan.run, plan.experiment, plan.matrix, Outcome.nothing(), display, _closing_options(plan))
        shown = outlook.show(plan.experiment, plan.chosen, options, console, plan.checked.servers, left=left.values())
        outlook.keep(plan.run, shown)
        ask_before_spending(plan, left.values(), console)
        workers = workers or start_workers(plan, url, stack)
        _write_start(plan, client, cells.values())
        outcome = work_off(plan, cells, left, url, client, display, workers)
    return closing.close(plan.run, plan.experiment, plan.matrix, outcome, display, _closing_options(plan))


def _plan(options: Options) -> Plan:
    experiment = spec.load(options.path, options.overrides)
    cells = matrix.expand(experiment)
    chosen = matrix.select(cells, options.only)
    checked = preflight.look(
        experiment,
        experiment_dir=options.experiment_dir,
        servers_file=options.servers,
        results=options.results,
        broker=options.broker,
        snapshots=options.snapshots,
        now=options.clock(),
    )
    checked.require()
    cells, chosen = (matrix.in_order(some, checked.hosted) for some in (cells, chosen))
    run = run_folder.resolve(_results(options), experiment.name, cells, checked.digests, fresh=options.fresh)
    if run.made_by_0_1_0:
        cells, chosen = version_0_1_0.renamed(cells), version_0_1_0.renamed(chosen)
    return Plan(options, experiment, cells, chosen[: options.limit], checked, run)


def _results(options: Options) -> Folder:
    return open_folder(options.results)


def _freeze(plan: Plan, display: Display) -> dict[str, Cell]:
    """Cells of this session with their snapshots, by cell id, in order; a case that this run froze before stays as it is."""
    names = _frozen_before(plan)
    new = [cell for cell in plan.chosen if cell.case_id not in names]
    if new:
        display.say(f"freezing {len({cell.case_id for cell in new})} cases")
        contact = environment.read(plan.options.path).get("SEC_CONTACT")
        store = plan.run.store.folder
        names |= snapshots.freeze_cells(new, store, plan.options.snapshots, plan.archive, contact=contact)
    frozen = [cell.frozen(names[cell.case_id], plan.checked.digests) for cell in plan.chosen]
    return {cell.cell_id: cell for cell in frozen}


def _frozen_before(plan: Plan) -> dict[str, str]:
    """case_id -> snapshot, as the manifest of a run that goes on says and its folder still holds."""
    said: dict[str, str] = plan.run.store.manifest().get("snapshots") or {}
    there = set(plan.run.store.snapshots.files()) if said else set()
    return {case_id: name for case_id, name in said.items() if f"{name}.json" in there}


def _take_over(plan: Plan, cells: Mapping[str, Cell], client: Redis, display: Display) -> None:
    """A new run starts with what earlier ones paid for; one that goes on with a higher cap reopens what the old one cut."""
    store = plan.run.store
    if plan.run.is_new:
        others = [one for one in run_folder.runs(_results(plan.options), plan.run.experiment) if one.run_id != plan.run.run_id]
        others = [] if plan.options.fresh else others
        receipts = reuse.take_receipts(store, others, cells)
        shared = plan.options.broker is not None
        ended = store.receipts().keys()
        missing = {cell_id: cell for cell_id, cell in cells.items() if cell_id not in ended}
        calls = reuse.take_journals(client, plan.run.run_id, others, missing, shared=shared)
        calls += reuse.take_answers(client, plan.run.run_id, others, missing)
        if receipts or calls:
            display.say(f"taken over from earlier runs: {receipts} ended cells, {calls} calls of others")
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


def _is_done(plan: Plan) -> bool:
    return bool(plan.run.store.manifest().get("state") == run_folder.DONE)


def _write_start(plan: Plan, client: Redis, cells: Iterable[Cell]) -> None:
    store, now = plan.run.store, dt.datetime.now(dt.UTC).isoformat()
    old = store.manifest()
    info: Any = client.info("server")
    prices = preflight.price_table(plan.experiment, plan.options.experiment_dir)
    said = {
        "run_id": plan.run.run_id,
        "experiment": plan.run.experiment,
        "identity": old.get("identity") if old else IDENTITY,
        "asked": run_folder.asked_of(plan.matrix, plan.checked.digests),
        "state": "running",
        "cells": len(plan.matrix),
        "cells_by_arm": dict(Counter(cell.arm for cell in plan.matrix)),
        "digests": plan.checked.digests,
        "snapshots": (old.get("snapshots") or {}) | {cell.case_id: cell.snapshot_sha256 for cell in cells},
        "prompt_fingerprints": sorted({cell.fingerprint for cell in plan.matrix}),
        "budget": plan.experiment.resolved().get("budget"),
        "shutdowns": plan.checked.shutdowns,
        "prices": prices.manifest(),
        "hardware": outlook.hardware(plan.checked.servers),
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
