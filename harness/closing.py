"""Closing a run: tables from the parts, outcomes from the data source, the page, the gates, and the exit code."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import agents
from harness.planning import settling
from harness.storage.folder import open_folder
from harness.storage.outcomes import write_outcomes
from harness.storage.run_folder import DONE
from reports.load import load

if TYPE_CHECKING:
    from harness.cells import Cell
    from harness.display import Display
    from harness.ending import Outcome
    from harness.experiment.spec import Experiment
    from harness.storage.rows import Row
    from harness.storage.run_folder import RunFolder
    from reports.answer.gates import Gate

STOPPED = "stopped"
OVER_BUDGET = "over_budget"
PARTIAL = "partial"


@dataclass(frozen=True)
class Options:
    """Where outcome prices come from."""

    shared: Path
    archive: str | None = None
    results: str | None = None
    """Where the calibration of forecasts is kept."""


def close(
    run: RunFolder, experiment: Experiment, matrix: Sequence[Cell], outcome: Outcome, display: Display, options: Options
) -> int:
    """Make of the parts what a person wants to see; returns the exit code of `run`."""
    run.store.sweep()
    run.store.compact()
    state = _state(run, matrix, outcome)
    _write_state(run, experiment, state)
    if options.results is not None:
        settling.settle(open_folder(options.results), run.store.folder, run.run_id)
    if matrix_has_receipts := bool(run.store.receipts()):
        _outcomes(run, experiment, matrix, display, options)
    gates = _gates(run) if state == DONE else []
    page = _page(run) if matrix_has_receipts else None
    _say(run, state, outcome, gates, page, display)
    return _exit_code(state, gates)


def _state(run: RunFolder, matrix: Sequence[Cell], outcome: Outcome) -> str:
    if outcome.stopped:
        return STOPPED
    if outcome.not_run or _cut(run):
        return OVER_BUDGET
    return DONE if len(_own(run)) >= len(matrix) else PARTIAL


def _cut(run: RunFolder) -> int:
    """Cells that a cap of the whole run, or of a model in it, ended early."""
    return sum(row["error_type"] in ("cap_run", "cap_model") for row in _own(run))


def _own(run: RunFolder) -> list[Row]:
    """Receipts of the matrix itself, without replays and judgements."""
    return [receipt for receipt in run.store.receipts().values() if (receipt.get("kind") or "pipeline") == "pipeline"]


def _write_state(run: RunFolder, experiment: Experiment, state: str) -> None:
    """The terms may have changed since the run began: the newest count for its report."""
    run.store.folder.write("experiment.yaml", experiment.to_yaml().encode())
    manifest = run.store.manifest() | {"state": state, "budget": experiment.resolved().get("budget")}
    run.store.write_manifest(manifest | {"finished_at": dt.datetime.now(dt.UTC).isoformat()})


def _outcomes(run: RunFolder, experiment: Experiment, matrix: Sequence[Cell], display: Display, options: Options) -> None:
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


def _say(run: RunFolder, state: str, outcome: Outcome, gates: Sequence[Gate], page: str | None, display: Display) -> None:
    display.summary(list(run.store.receipts().values()))
    for gate in gates:
        display.say(str(gate))
    if failed := [gate for gate in gates if not gate.is_passed]:
        display.say(f"{len(failed)} of {len(gates)} gates failed, so the exit code is 4; the run itself is complete")
    if state == STOPPED:
        display.say("stopped early: the same command continues, and pays for no answered call again")
    elif state == OVER_BUDGET:
        counts = f"{outcome.not_run} cells were not run and {_cut(run)} were cut short"
        display.say(f"{counts} because a cap was met: raise it (--budget USD) and run again")
    elif state == PARTIAL:
        display.say("a part of the matrix has run; a run of the whole continues it")
    if page:
        display.say(f"report: {page}")


def _exit_code(state: str, gates: Sequence[Gate]) -> int:
    if state in (STOPPED, OVER_BUDGET):
        return 3
    return 4 if any(not gate.is_passed for gate in gates) else 0
