"""Finish a run: tables from the parts, outcomes from the data source, the page, the gates, and the exit code."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import agents
from harness.planning import settling
from harness.runs import server_warnings
from harness.runs.progress import RunOutcome
from harness.storage.folder import open_folder
from harness.storage.outcomes import write_outcomes
from harness.storage.run_folder import DONE, is_stale
from reports.load import load

if TYPE_CHECKING:
    from harness.cells import Cell
    from harness.experiment.spec import Experiment
    from harness.runs.display import Display
    from harness.storage.rows import Row
    from harness.storage.run_folder import RunFolder
    from reports.answer.gates import Gate


STOPPED = "stopped"
OVER_BUDGET = "over_budget"
PARTIAL = "partial"
PAGE = "report.html"


@dataclass(frozen=True)
class FinishOptions:
    """Where outcome prices and forecasts are kept."""

    shared: Path
    command: str
    """What the user entered, shown when the run stops early."""
    archive: str | None = None
    results: str | None = None
    """Folder with the calibration of forecasts."""


def finish(
    run: RunFolder,
    experiment: Experiment,
    matrix: Sequence[Cell],
    outcome: RunOutcome,
    display: Display,
    options: FinishOptions,
) -> int:
    """Derive tables, outcomes and page; check the gates; returns the exit code of `run`."""
    run.store.sweep()
    run.store.compact()
    state = _state(run, matrix, outcome)
    _write_state(run, experiment, state)
    if options.results is not None:
        settling.settle(open_folder(options.results), run.store.folder, run.run_id)
    if matrix_has_receipts := bool(run.store.receipts()):
        _outcomes(run, experiment, matrix, display, options)
    for warning in server_warnings.of_run(run.store.folder, run.run_id):
        display.say(warning)
    gates = _gates(run) if state == DONE else []
    page = _page(run) if matrix_has_receipts else None
    _report(run, state, outcome, gates, page, display, options.command)
    return _exit_code(state, gates)


def finish_again(
    run: RunFolder, experiment: Experiment, matrix: Sequence[Cell], display: Display, options: FinishOptions
) -> int:
    """Report a run in which nothing is left to do; tables, outcomes and page are made again only if they are outdated."""
    if not _is_current(run, experiment):
        return finish(run, experiment, matrix, RunOutcome.nothing(), display, options)
    gates = _gates(run)
    _report(run, DONE, RunOutcome.nothing(), gates, f"{run.store.folder.url}/{PAGE}", display, options.command)
    return _exit_code(DONE, gates)


def _is_current(run: RunFolder, experiment: Experiment) -> bool:
    """Whether the run is done and everything derived from it is newer than what it is made from."""
    folder, written_at = run.store.folder, run.store.folder.files()
    outcomes = run.store.rows_of("outcomes")
    return (
        run.store.manifest().get("state") == DONE
        and folder.read_if_there("experiment.yaml") == experiment.to_yaml().encode()
        and {row["horizon"] for row in outcomes} == set(experiment.outcomes.horizons)
        and all(row["status"] != "pending" for row in outcomes)
        and written_at.get(PAGE, 0.0) >= written_at.get("cells.parquet", float("inf"))
        and not is_stale(run.store)
    )


def has_stopped_early(run: RunFolder, since: dt.datetime) -> bool:
    """Whether a session of this run was stopped, or ran out of budget, after this moment."""
    manifest = run.store.manifest()
    finished_at = manifest.get("finished_at")
    is_early = manifest.get("state") in (STOPPED, OVER_BUDGET)
    return is_early and bool(finished_at) and dt.datetime.fromisoformat(str(finished_at)) > since


def report_followed(run: RunFolder, display: Display, command: str) -> int:
    """Report a run that another command has just ended early, as that command did; returns its exit code."""
    manifest = run.store.manifest()
    state, receipts = str(manifest["state"]), run.store.receipts()
    outcome = RunOutcome(state == STOPPED, max(0, int(manifest.get("cells") or 0) - len(receipts)))
    page = f"{run.store.folder.url}/{PAGE}" if receipts else None
    _report(run, state, outcome, [], page, display, command)
    return _exit_code(state, [])


def _state(run: RunFolder, matrix: Sequence[Cell], outcome: RunOutcome) -> str:
    if outcome.stopped:
        return STOPPED
    if outcome.not_run or _cut_short(run):
        return OVER_BUDGET
    return DONE if len(_matrix_receipts(run)) >= len(matrix) else PARTIAL


def _cut_short(run: RunFolder) -> int:
    """Cells cut short by the budget of the run or of a model."""
    return sum(row["error_type"] in ("cap_run", "cap_model") for row in _matrix_receipts(run))


def _matrix_receipts(run: RunFolder) -> list[Row]:
    """Receipts of the matrix, without replays and judgements."""
    return [receipt for receipt in run.store.receipts().values() if (receipt.get("kind") or "pipeline") == "pipeline"]


def _write_state(run: RunFolder, experiment: Experiment, state: str) -> None:
    """The experiment may have changed since the run began: its report uses the newest version."""
    run.store.folder.write("experiment.yaml", experiment.to_yaml().encode())
    manifest = run.store.manifest() | {"state": state, "budget": experiment.resolved().get("budget")}
    run.store.write_manifest(manifest | {"finished_at": dt.datetime.now(dt.UTC).isoformat()})


def _outcomes(run: RunFolder, experiment: Experiment, matrix: Sequence[Cell], display: Display, options: FinishOptions) -> None:
    terms = experiment.outcomes
    try:
        write_outcomes(matrix, run.store.folder, terms.horizons, terms.benchmark, options.shared, options.archive)
    except agents.SnapshotError as error:
        display.say(f"no outcomes yet: {error}; run the same command again to ask for them")


def _gates(run: RunFolder) -> list[Gate]:
    from reports.answer import findings, gates

    loaded = load(run.store.folder.url)
    return gates.check(loaded, findings.find(loaded)) if loaded.experiment.get("gates") else []


def _page(run: RunFolder) -> str:
    from reports.page import render

    return render.render(run.store.folder.url)


def _report(
    run: RunFolder,
    state: str,
    outcome: RunOutcome,
    gates: Sequence[Gate],
    page: str | None,
    display: Display,
    command: str,
) -> None:
    display.summary(list(run.store.receipts().values()), run.run_id)
    for gate in gates:
        display.say(str(gate))
    if failed := [gate for gate in gates if not gate.is_passed]:
        display.say(f"{len(failed)} of {len(gates)} gates failed, so the exit code is 4; the run itself is complete")
    if state == STOPPED:
        display.say(f"stopped early: the same command continues, without paying for an answered call again:\n    {command}")
    elif state == OVER_BUDGET:
        counts = f"{outcome.not_run} cells were not run and {_cut_short(run)} were cut short"
        display.say(f"{counts} because the budget is used up: raise it (--budget USD) and run again")
    elif state == PARTIAL:
        display.say("part of the matrix has run; a run without --only and --limit continues it")
    if page:
        display.say(f"report: {page}")


def _exit_code(state: str, gates: Sequence[Gate]) -> int:
    if state in (STOPPED, OVER_BUDGET):
        return 3
    return 4 if any(not gate.is_passed for gate in gates) else 0
