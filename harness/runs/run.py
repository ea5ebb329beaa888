"""Run an experiment, from its file to the page: the order of the steps."""

from __future__ import annotations

import contextlib
import datetime as dt
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import agents
from harness.cells import IDENTITY, Cell
from harness.checking import preflight
from harness.checking.resolved import read
from harness.experiment import matrix
from harness.experiment.shared_prompts import with_sharing
from harness.runs import approval, finish, reuse
from harness.runs.approval import ask_before_spending
from harness.runs.display import Display
from harness.runs.progress import RunOutcome
from harness.runs.session import RunOptions, RunPlan, connect, open_broker, run_cells, start_workers, unfinished_cells
from harness.storage import manifest, run_folder, snapshots, version_0_1_0
from harness.storage.folder import Folder, open_folder
from harness.terminal import number_of

if TYPE_CHECKING:
    from redis import Redis
    from rich.console import Console

    from harness.storage.rows import Row
    from harness.storage.run_folder import RunFolder

_NOTHING: Mapping[str, Any] = MappingProxyType({})


def run(options: RunOptions, console: Console, followed_since: dt.datetime | None = None) -> int:
    """Run or continue an experiment; returns the exit code. Raises InvalidInput with all problems at once.

    `followed_since`: another command executed the experiment from then until now; if that was stopped early, so is this.
    """
    plan = _plan(options)
    display = Display(console, f"{plan.run.experiment}/{plan.run.run_id}", options.page)
    if followed_since and finish.has_stopped_early(plan.run, followed_since):
        return finish.report_followed(plan.run, display, options.command)
    finish.compared_run(plan)  # a run that is missing is reported before anything is paid
    display.say(_headline(plan))
    for sentence in _changed_servers(plan):
        display.say(sentence)
    for warning in plan.resolved.model_warnings:
        display.say(f"{warning.name}: {warning.found} ({warning.fix})")
    ended = plan.run.store.receipts()
    if _is_finished(plan, ended):
        display.say("nothing left to do: every cell has ended")
        return finish.finish_again(plan, ended, display)
    outcome = _execute(plan, ended, console, display)
    return finish.finish(plan, outcome, display)


def _execute(plan: RunPlan, ended: Mapping[str, Row], console: Console, display: Display) -> RunOutcome:
    """Freeze the cases and run the cells without a receipt; returns when all have ended or the run is stopped."""
    with open_broker(plan) as url, connect(url) as client, contextlib.ExitStack() as stack:
        workers = None if _is_done(plan) else start_workers(plan, url, stack)
        cells = freeze(plan, display)
        ended = take_over(plan, cells, ended, client, display)
        left = unfinished_cells(cells, ended)
        if left:
            forecast = approval.show_plan(
                plan.resolved, list(cells.values()), plan.options, console, left=left.values(), windows=plan.windows
            )
            approval.keep_plan(plan.run, forecast)
            ask_before_spending(plan, left.values(), console)
            workers = workers or start_workers(plan, url, stack)
            write_start(plan, client, cells.values())
            return run_cells(plan, cells, ended, url, client, display, workers, forecast)
        if plan.run.is_new:
            write_start(plan, client, cells.values())
        display.say("nothing left to do: every cell has ended")
        return RunOutcome.nothing()


def _plan(options: RunOptions) -> RunPlan:
    experiment = options.experiment
    resolved = read(experiment, options.experiment_dir, options.servers)
    cells = matrix.expand(experiment, arms=resolved.arms)
    chosen = matrix.select(cells, options.only)
    looked = preflight.check(
        resolved, results=options.results, broker=options.broker, snapshots=options.snapshots, now=options.clock()
    )
    resolved = looked.require()
    cells = with_sharing(matrix.in_order(cells, resolved.hosted))
    chosen = with_sharing(matrix.in_order(chosen, resolved.hosted)) if options.only else cells
    run = run_folder.resolve(_results(options), experiment.name, cells, resolved.digests, fresh=options.fresh)
    if run.made_by_0_1_0:
        cells, chosen = version_0_1_0.renamed(cells), version_0_1_0.renamed(chosen)
    skipped = dict(run.store.manifest().get("skipped_cases") or {}) if experiment.cases.skip_unavailable else {}
    return RunPlan(options, replace(resolved, matrix=tuple(cells)), chosen[: options.limit], run, looked.windows, skipped)


def _results(options: RunOptions) -> Folder:
    return open_folder(options.results)


def freeze(plan: RunPlan, display: Display) -> dict[str, Cell]:
    """Freeze missing cases; returns the chosen cells with their snapshots, by cell id, in order."""
    names = _frozen_before(plan)
    new = [cell for cell in plan.chosen if cell.case_id not in names]
    skipped: dict[str, str] | None = {} if plan.experiment.cases.skip_unavailable else None
    if new:
        display.say(f"freezing {number_of(len({cell.case_id for cell in new}), 'case')}")
        store, shared, resolved = plan.run.store.folder, plan.options.snapshots, plan.resolved
        names |= snapshots.freeze_cells(new, store, shared, resolved.archive, contact=resolved.contact, skipped=skipped)
    if skipped:
        display.say(f"skipped {len(skipped)} cases that cannot be frozen (cases.skip_unavailable):")
        for case_id, reason in skipped.items():
            display.say(f"    {case_id}: {reason}")
    for case_id in names:
        plan.skipped.pop(case_id, None)
    plan.skipped.update(skipped or {})
    frozen = [cell.frozen(names[cell.case_id], plan.resolved.digests) for cell in plan.chosen if cell.case_id in names]
    return {cell.cell_id: cell for cell in frozen}


def _frozen_before(plan: RunPlan) -> dict[str, str]:
    """case_id -> snapshot that this run froze before and still has."""
    recorded: dict[str, str] = plan.run.store.manifest().get("snapshots") or {}
    existing = set(plan.run.store.snapshots.files()) if recorded else set()
    return {case_id: name for case_id, name in recorded.items() if f"{name}.json" in existing}


def take_over(
    plan: RunPlan, cells: Mapping[str, Cell], receipts: Mapping[str, Row], client: Redis, display: Display
) -> dict[str, Row]:
    """Reuse results of earlier runs in a new one, or reopen cells cut short by a budget that is now higher.

    `receipts`: of the run when the command began; returns those that it has now."""
    if plan.run.is_new:
        return _reuse(plan, cells, receipts, client, display)
    store, ended = plan.run.store, dict(receipts)
    if _is_raised(store.manifest().get("budget") or {}, plan.experiment.resolved().get("budget") or {}):
        for cell_id in [name for name in cells if name in ended and ended[name]["status"] == "over_budget"]:
            store.reopen(cell_id)
            del ended[cell_id]
    return ended


def _reuse(
    plan: RunPlan, cells: Mapping[str, Cell], receipts: Mapping[str, Row], client: Redis, display: Display
) -> dict[str, Row]:
    """Reuse results of earlier runs in a new one; returns the receipts that it has with them."""
    store = plan.run.store
    earlier_runs = [] if plan.options.fresh else reuse.earlier_runs(plan.options.results, plan.run)
    left_out = set() if plan.options.accept_server_change else _of_other_versions(plan, earlier_runs, display)
    taken = reuse.take_receipts(store, earlier_runs, unfinished_cells(cells, receipts), left_out)
    ended = store.receipts() if taken else dict(receipts)
    missing = unfinished_cells(cells, ended)
    shared = plan.options.broker is not None
    same_servers = [run for run in earlier_runs if not left_out or not reuse.changed_servers(run, plan.resolved.versions)]
    calls = reuse.take_journals(client, plan.run.run_id, same_servers, missing, shared=shared)
    calls += reuse.take_answers(client, plan.run.run_id, earlier_runs, missing, left_out)
    if taken or calls:
        display.say(f"reused from earlier runs: {taken} ended cells, {calls} answers to other cells")
    return ended


def _of_other_versions(plan: RunPlan, earlier_runs: Iterable[RunFolder], display: Display) -> set[str]:
    """Cells of earlier runs that must not be reused, because a server has another version now."""
    left_out = {cell_id for run in earlier_runs for cell_id in reuse.of_other_versions(run, plan.resolved.versions)}
    if left_out:
        display.say(f"{reuse.not_reused(left_out, plan.resolved.versions)}; --accept-server-change reuses them")
    return left_out


def _is_raised(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Whether a cap is higher than before, or gone."""
    flat_old, flat_new = _flat(old), _flat(new)
    return any(name not in flat_new or flat_new[name] > cap for name, cap in flat_old.items())


def _flat(budget: Mapping[str, Any]) -> dict[str, float]:
    per_model = budget.get("model_usd") or {}
    caps = {name: cap for name, cap in budget.items() if name != "model_usd" and cap is not None}
    return caps | {f"model:{name}": cap for name, cap in per_model.items()}


def _is_finished(plan: RunPlan, receipts: Mapping[str, Row]) -> bool:
    """Whether the run is done and nothing of it was cut short or removed: then it needs no broker and no worker."""
    if not _is_done(plan):
        return False
    names = _frozen_before(plan)
    ended = {cell_id for cell_id, receipt in receipts.items() if receipt["status"] != "over_budget"}
    return all(
        cell.case_id in plan.skipped
        or (cell.case_id in names and cell.frozen(names[cell.case_id], plan.resolved.digests).cell_id in ended)
        for cell in plan.chosen
    )


def _is_done(plan: RunPlan) -> bool:
    return bool(plan.run.store.manifest().get("state") == run_folder.DONE)


def write_start(plan: RunPlan, client: Redis, cells: Iterable[Cell], more: Mapping[str, Any] = _NOTHING) -> None:
    """Record in the run folder what is about to be executed; `more`: fields of the manifest that another command decides."""
    store, now = plan.run.store, dt.datetime.now(dt.UTC).isoformat()
    old = store.manifest()
    info: Any = client.info("server")
    command = re.sub(r"://[^/@\s]+@", "://...@", plan.options.command)
    fields = {
        "run_id": plan.run.run_id,
        "experiment": plan.run.experiment,
        "identity": old.get("identity") if old else IDENTITY,
        "asked": run_folder.asked_of(plan.matrix, plan.resolved.digests),
        "state": "running",
        "command": command,
        "begun_by": old.get("begun_by") if old else command,
        "experiment_dir": str(plan.options.experiment_dir),
        "fresh": old.get("fresh", False) if old else plan.options.fresh,
        "cells": len(plan.available),
        "cells_by_arm": dict(Counter(cell.arm for cell in plan.available)),
        "skipped_cases": dict(plan.skipped),
        "digests": plan.resolved.digests,
        "server_versions": _server_versions(plan, old),
        "snapshots": (old.get("snapshots") or {}) | {cell.case_id: cell.snapshot_sha256 for cell in cells},
        "roles": agents.role_records(),
        "prompt_fingerprints": sorted({cell.fingerprint for cell in plan.matrix}),
        "budget": plan.experiment.resolved().get("budget"),
        "shutdowns": plan.resolved.shutdowns,
        "prices": plan.resolved.prices.manifest(),
        "hardware": approval.local_hardware(plan.resolved.servers),
        "broker": "private" if plan.options.broker is None else "shared",
        "redis_folder": None if plan.options.broker else str(reuse.redis_folder(plan.run)),
        "started_at": old.get("started_at") or now,
        "sessions": [*old.get("sessions", []), now],
    }
    store.folder.write("experiment.yaml", plan.experiment.to_yaml().encode())
    store.write_manifest(old | fields | manifest.describe(info) | dict(more))


def _changed_servers(plan: RunPlan) -> Iterator[str]:
    """Servers whose version is another one than that of the run's earlier cells."""
    recorded = plan.run.store.manifest().get("server_versions") or {}
    for server, version in plan.resolved.versions.items():
        earlier = ", ".join(other for other in recorded.get(server, []) if other != version)
        if earlier:
            yield (
                f"server {server} is version {version} now and was {earlier} for earlier cells of this run: answers may differ "
                "for that reason alone; start a new run with --fresh to compare arms under one version"
            )


def _server_versions(plan: RunPlan, manifest: Mapping[str, Any]) -> dict[str, list[str]]:
    """server -> every version that answered for this run, the oldest first."""
    versions: dict[str, list[str]] = {name: list(seen) for name, seen in (manifest.get("server_versions") or {}).items()}
    for server, version in plan.resolved.versions.items():
        versions[server] = [*versions.get(server, []), *([version] if version not in versions.get(server, []) else [])]
    return versions


def _headline(plan: RunPlan) -> str:
    arms = len({cell.arm for cell in plan.matrix})
    part = "" if len(plan.chosen) == len(plan.matrix) else f", {len(plan.chosen)} of them now"
    verb = "new run" if plan.run.is_new else "continuing"
    counts = f"{number_of(len(plan.matrix), 'cell')}, {number_of(arms, 'arm')}{part}"
    return f"{verb} {plan.run.experiment}/{plan.run.run_id}: {counts}"
