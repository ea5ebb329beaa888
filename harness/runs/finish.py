"""Finish a run: tables from the parts, outcomes from the data source, the page, the gates, and the exit code."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import agents
from domain.freed_memory import return_freed_memory
from harness.deferred.mailbox import Mailbox
from harness.planning import settling
from harness.runs import answered_later, closing, server_warnings
from harness.runs.answer import AnswerText, keep_gates
from harness.runs.progress import RunOutcome
from harness.storage import run_folder
from harness.storage.outcomes import write_outcomes
from harness.storage.run_folder import DONE, is_stale
from reports.load import load

if TYPE_CHECKING:
    from harness.cells import Cell
    from harness.experiment.servers import ServerSpec
    from harness.experiment.spec import Experiment
    from harness.runs.display import Display
    from harness.runs.session import RunPlan
    from harness.storage.rows import Row
    from harness.storage.run_folder import RunFolder
    from reports.answer.gates import Gate
    from reports.page.page import Page


STOPPED = "stopped"
OVER_BUDGET = "over_budget"
PARTIAL = "partial"
PAGE = "report.html"


@dataclass(frozen=True)
class _Ended:
    """A session that has ended, as its last lines describe it."""

    run: RunFolder
    receipts: Sequence[Row]
    state: str
    outcome: RunOutcome
    gates: Sequence[Gate]
    command: str
    servers: Mapping[str, ServerSpec] = field(default_factory=dict)


def finish(plan: RunPlan, outcome: RunOutcome, display: Display) -> int:
    """Derive tables, outcomes and page; check the gates; returns the exit code of `run`."""
    run = plan.run
    return_freed_memory()
    run.store.sweep()
    Mailbox(run.store.folder).sweep()
    run.store.compact()
    return_freed_memory()
    receipts = list(run.store.receipts().values())
    state, has_receipts = _state(receipts, plan.available, outcome), bool(receipts)
    # The page needs most of the memory of a big run.
    del receipts
    _write_state(run, plan.experiment, state)
    settling.settle(run.store.folder, run.run_id)
    gates: list[Gate] = []
    if has_receipts:
        _outcomes(plan, display)
        _keep_results_of_user_code(run, plan.experiment)
        _keep_changes(plan, display)
        gates = _publish(run)
    for warning in server_warnings.of_run(run.store, run.run_id):
        display.say(warning)
    receipts, cells_by_arm = list(run.store.receipts().values()), run.store.manifest().get("cells_by_arm")
    display.summary(receipts, run.run_id, cells_by_arm, answered_later.progress_now(run.store))
    _report(_Ended(run, receipts, state, outcome, gates, plan.options.command, plan.resolved.servers), display)
    return _exit_code(state, gates)


def finish_again(plan: RunPlan, ended: Mapping[str, Row], display: Display) -> int:
    """Report a run in which nothing is left to do; tables, outcomes and page are made again only if they are outdated."""
    run = plan.run
    if not _is_current(run, plan.experiment):
        return finish(plan, RunOutcome.nothing(), display)
    receipts = list(ended.values())
    gates = _page(run).gates if _has_gates(plan.experiment) else []
    display.summary(receipts, run.run_id, run.store.manifest().get("cells_by_arm"))
    _report(_Ended(run, receipts, DONE, RunOutcome.nothing(), gates, plan.options.command, plan.resolved.servers), display)
    return _exit_code(DONE, gates)


def _has_gates(experiment: Experiment) -> bool:
    """Whether a page, which takes a second to import and compute, would have gates to check."""
    return any(limit is not None for limit in experiment.gates.model_dump().values())


def _is_current(run: RunFolder, experiment: Experiment) -> bool:
    """Whether the run is done and everything derived from it is newer than what it is made from."""
    folder, written_at = run.store.folder, run.store.folder.files()
    outcomes = run.store.columns_of("outcomes", ("horizon", "status"))
    return (
        run.store.manifest().get("state") == DONE
        and folder.read_if_there("experiment.yaml") == experiment.to_yaml().encode()
        and {row["horizon"] for row in outcomes} == set(experiment.outcomes.horizons)
        and all(row["status"] != "pending" for row in outcomes)
        and written_at.get(PAGE, 0.0) >= written_at.get("cells.parquet", float("inf"))
        and not is_stale(run.store)
        and _results_of_user_code_are_current(run, experiment)
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
    state, receipts = str(manifest["state"]), list(run.store.receipts().values())
    outcome = RunOutcome(state == STOPPED, max(0, int(manifest.get("cells") or 0) - len(receipts)))
    display.summary(receipts, run.run_id, manifest.get("cells_by_arm"), answered_later.progress_now(run.store))
    _report(_Ended(run, receipts, state, outcome, [], command), display)
    return _exit_code(state, [])


def _state(receipts: Sequence[Row], matrix: Sequence[Cell], outcome: RunOutcome) -> str:
    if outcome.stopped or outcome.unserved:
        return STOPPED
    if outcome.not_run or _cut_short(receipts):
        return OVER_BUDGET
    return DONE if len(_of_matrix(receipts)) >= len(matrix) else PARTIAL


def _cut_short(receipts: Sequence[Row]) -> int:
    """Cells cut short by the budget of the run, of a model or of the month."""
    return sum(row["error_type"] in ("cap_run", "cap_model", "cap_month") for row in _of_matrix(receipts))


def _of_matrix(receipts: Sequence[Row]) -> list[Row]:
    """Receipts of the matrix, without replays and judgements."""
    return [receipt for receipt in receipts if (receipt.get("kind") or "pipeline") == "pipeline"]


def _write_state(run: RunFolder, experiment: Experiment, state: str) -> None:
    """The experiment may have changed since the run began: its report uses the newest version."""
    run.store.folder.write("experiment.yaml", experiment.to_yaml().encode())
    manifest = run.store.manifest() | {"state": state, "budget": experiment.resolved().get("budget")}
    run.store.write_manifest(manifest | {"finished_at": dt.datetime.now(dt.UTC).isoformat()})


def _outcomes(plan: RunPlan, display: Display) -> None:
    terms, folder = plan.experiment.outcomes, plan.run.store.folder
    try:
        write_outcomes(plan.available, folder, terms.horizons, terms.benchmark, plan.options.snapshots, plan.resolved.archive)
    except agents.SnapshotError as error:
        display.say(f"no outcomes yet: {error}; run the same command again to ask for them")


def _keep_results_of_user_code(run: RunFolder, experiment: Experiment) -> None:
    """Compute the user's own metrics and sections; whatever they raise is shown in their place."""
    for module, references in _user_code(experiment):
        if references:
            text = module.computed(load(run.store.folder.url), references, experiment.folder)
            run.store.folder.write(module.FILE, text.encode())
        else:
            run.store.folder.delete(module.FILE)


def _results_of_user_code_are_current(run: RunFolder, experiment: Experiment) -> bool:
    """Whether the kept metrics and sections come from the files as they are now."""
    is_kept = any(name.startswith("own_") for name in run.store.folder.files())
    if not (is_kept or experiment.metrics or experiment.sections):
        return True
    for module, references in _user_code(experiment):
        kept = run.store.folder.read_if_there(module.FILE)
        digests = module.declared(references, experiment.folder).digests if references else {}
        if module.digests_of(kept.decode() if kept else None) != digests:
            return False
    return True


def _user_code(experiment: Experiment) -> Iterator[tuple[Any, Sequence[str]]]:
    """What keeps the results of a user's files, with the files that the experiment names."""
    from reports.metrics import own
    from reports.page import own_sections

    yield own, experiment.metrics or ()
    yield own_sections, experiment.sections or ()


def compared_run(plan: RunPlan) -> RunFolder | None:
    """The run that the gates compare with; None if they compare with none. Raises InvalidInput if it is not there."""
    against = plan.experiment.gates.against
    return run_folder.earlier(plan.options.results, against, plan.run.run_id) if against else None


def _keep_changes(plan: RunPlan, display: Display) -> None:
    """Measure what changed since the run that the gates compare with."""
    from reports.answer import gates

    terms = plan.experiment.gates
    limits = {name: limit for name in (*gates.LOSSES, *gates.RISES) if (limit := getattr(terms, name)) is not None}
    before = compared_run(plan)
    if limits and before is None:
        display.say(f"not checked: the gates {', '.join(limits)} compare with an earlier run; pass --against RUN")
    if limits and before is not None:
        if is_stale(before.store):
            before.store.compact()
        text = gates.changes_since(load(before.store.folder.url), load(plan.run.store.folder.url), limits)
        plan.run.store.folder.write(gates.FILE, text.encode())
    else:
        plan.run.store.folder.delete(gates.FILE)


def _publish(run: RunFolder) -> list[Gate]:
    """Write the page; returns the gates (none for an unfinished run), from the same findings."""
    from reports.page import render

    page = _page(run)
    render.write_page(page)
    if answer := AnswerText.of(page):
        answer.write(run.store.folder)
    keep_gates(run.store.folder, page.gates)
    return page.gates


def _page(run: RunFolder) -> Page:
    from reports.page.page import Page

    return Page(load(run.store.folder.url))


def _report(ended: _Ended, display: Display) -> None:
    if ended.receipts and (answer := AnswerText.read(ended.run.store.folder)):
        display.answer(answer)
    for gate in ended.gates:
        display.say(str(gate))
    if failed := [gate for gate in ended.gates if not gate.is_passed]:
        display.say(f"{len(failed)} of {len(ended.gates)} gates failed, so the exit code is 4; the run itself is complete")
    if ended.receipts:
        display.say(f"report: {ended.run.store.folder.url}/{PAGE}")
        display.has_report(ended.run.store.folder)
    for line in _what_is_left(ended):
        display.say(line)


def _what_is_left(ended: _Ended) -> Iterator[str]:
    """What failed, what was not run, and the command that goes on."""
    yield from closing.skipped_lines(ended.run)
    yield from closing.failure_lines(ended.run, ended.receipts, ended.command)
    yield from closing.unserved_lines(ended.outcome.unserved, ended.servers)
    if ended.state == STOPPED:
        yield f"stopped early: the same command continues, without paying for an answered call again:\n    {ended.command}"
    elif ended.state == OVER_BUDGET:
        counts = f"{ended.outcome.not_run} cells were not run and {_cut_short(ended.receipts)} were cut short"
        yield f"{counts} because the budget is used up: raise it (--budget USD) and run again"
    elif ended.state == PARTIAL:
        yield "part of the matrix has run; a run without --only and --limit continues it"


def _exit_code(state: str, gates: Sequence[Gate]) -> int:
    if state in (STOPPED, OVER_BUDGET):
        return 3
    return 4 if any(not gate.is_passed for gate in gates) else 0
