"""Replay a finished run: send the recorded prompts of one arm to other models; results go into the same run folder."""

from __future__ import annotations

import contextlib
import datetime as dt
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from harness import earlier_ids
from harness.checking import preflight
from harness.checking.models_check import KnownModel
from harness.checking.resolved import ResolvedRun, Surroundings, within
from harness.errors import InvalidInput, Problem
from harness.experiment import matrix, models_file, replay_cells, terms
from harness.experiment.lineups import Arm
from harness.experiment.replay_cells import ReplayRequest
from harness.experiment.spec import Experiment
from harness.runs import closing, reuse
from harness.runs.approval import ask_before_spending
from harness.runs.display import Display
from harness.runs.session import RunOptions, RunPlan, connect, open_broker, run_cells, start_workers, unfinished_cells
from harness.storage import run_folder
from harness.workers import recorded

if TYPE_CHECKING:
    from rich.console import Console

    from harness.cells import Cell
    from harness.experiment.lineups import ModelPart
    from harness.experiment.servers import ServerPart
    from harness.storage.rows import Row
    from harness.storage.run_folder import RunFolder


@dataclass(frozen=True)
class RecordedRun:
    """A run with its experiment."""

    run: RunFolder
    experiment: Experiment
    """Including the models of --models."""
    added: Mapping[str, ModelPart] = field(default_factory=dict)
    """Models of --models."""
    servers: Mapping[str, ServerPart] = field(default_factory=dict)
    """Servers of --models."""


@dataclass(frozen=True)
class ReplayOptions:
    """Options of the command line; None: as the experiment declares."""

    source: str | None = None
    targets: Sequence[str] = ()
    roles: str | None = None
    limit: int | None = None
    floor: int | None = None
    judges: Sequence[str] = ()


def find(results: str, name: str, models: Path | None = None) -> RecordedRun:
    """The named run, with further models of a file. Raises InvalidInput."""
    run = run_folder.find(results, name)
    experiment = Experiment.model_validate(yaml.safe_load(run.store.folder.read("experiment.yaml")))
    if models is None:
        return RecordedRun(run, experiment)
    file = models_file.load(models)
    return RecordedRun(run, models_file.added(experiment, file, models), file.models, file.servers)


def replay_wanted(recorded_run: RecordedRun, options_given: ReplayOptions) -> ReplayRequest:
    """What to replay: the options, else the experiment's declaration. Raises InvalidInput if neither names it."""
    declared = ReplayRequest.declared(recorded_run.experiment)
    source, targets = options_given.source or (declared.source if declared else ""), tuple(options_given.targets)
    targets = targets or (declared.targets if declared else ())
    if not source or not targets:
        fix = "pass --from ARM and --to MODEL, or declare replay: {from: ARM, to: [MODEL]} in the experiment"
        raise InvalidInput([Problem("replay", "neither the command nor the experiment names what to replay", fix)])
    plain = declared or _undeclared(recorded_run.experiment, source, targets)
    named = tuple(name.strip() for name in (options_given.roles or "").split(",") if name.strip())
    return replace(
        plain,
        source=source,
        targets=targets,
        roles=named or plain.roles,
        limit=options_given.limit or plain.limit,
        floor=plain.floor if options_given.floor is None else options_given.floor,
        judges=tuple(options_given.judges) or plain.judges,
    )


def _undeclared(experiment: Experiment, source: str, targets: tuple[str, ...]) -> ReplayRequest:
    """The default replay, with the judges that the experiment declares."""
    floor, judge = int(terms.ReplayTerms.model_fields["noise_floor"].default), experiment.judge
    return ReplayRequest(
        source, targets, floor=floor, judges=judge.models if judge else (), judged=judge.limit if judge else None
    )


def play_declared(options: RunOptions, console: Console) -> int:
    """Run the replay that the experiment declares, once its run is done; returns the exit code."""
    experiment = options.experiment
    if experiment.replay is None:
        return 0
    recorded_run = find(options.results, experiment.name)
    if recorded_run.run.store.manifest().get("state") != run_folder.DONE:
        return 0
    return play(recorded_run, replay_wanted(recorded_run, ReplayOptions()), options, console)


def play(recorded_run: RecordedRun, wish: ReplayRequest, options: RunOptions, console: Console) -> int:
    """Run missing replays, then their judgements; returns the exit code. Raises InvalidInput."""
    around = Surroundings.read(options.experiment_dir, options.servers)
    if recorded_run.servers:
        around = around.with_servers(recorded_run.servers)
    with _servers_file(around, options) if recorded_run.servers else contextlib.nullcontext(options) as reachable:
        return _play(recorded_run, wish, reachable, around, console)


def _play(recorded_run: RecordedRun, wish: ReplayRequest, options: RunOptions, around: Surroundings, console: Console) -> int:
    display = Display(console, f"{recorded_run.run.experiment}/{recorded_run.run.run_id} replay", options.page)
    plan, stages = _plan(recorded_run, wish, options, around, display)
    if recorded_run.added:
        recorded_run.run.store.folder.write("experiment.yaml", recorded_run.experiment.to_yaml().encode())
    ended = _reopen(plan)
    left = unfinished_cells({cell.cell_id: cell for cell in plan.matrix}, ended)
    arms = ", ".join(f"{arm}: {count} cells" for arm, count in replay_cells.per_arm(plan.matrix).items())
    display.say(f"replay {arms or 'of nothing new'}; {len(left)} to do")
    if left:
        ask_before_spending(plan, left.values(), console)
        if not _work(plan, stages, options, display):
            _close(plan, display)
            return 3
    _close(plan, display)
    return 0


@contextlib.contextmanager
def _servers_file(around: Surroundings, options: RunOptions) -> Iterator[RunOptions]:
    """Options with a servers.yaml that includes the servers of --models, for the workers."""
    with tempfile.TemporaryDirectory() as folder:
        merged = Path(folder) / "servers.yaml"
        plain = {name: part.model_dump(mode="json", exclude_none=True) for name, part in around.declared.parts.items()}
        merged.write_text(yaml.safe_dump(plain), encoding="utf-8")
        yield replace(options, servers=merged)


def _reopen(plan: RunPlan) -> dict[str, Row]:
    """Reopen replays that were cut short by the budget: it may be higher now, and answered calls stay paid.

    Returns the receipts that are left."""
    ended = plan.run.store.receipts()
    for cell in plan.matrix:
        if cell.cell_id in ended and ended[cell.cell_id]["status"] == "over_budget":
            plan.run.store.reopen(cell.cell_id)
            del ended[cell.cell_id]
    return ended


def _work(plan: RunPlan, stages: Sequence[Sequence[Cell]], options: RunOptions, display: Display) -> bool:
    """Run one stage after the other, so that judges find the answers; returns whether all cells were run."""
    with open_broker(plan) as url, connect(url) as client, contextlib.ExitStack() as stack:
        workers = start_workers(plan, url, stack)
        for stage in stages:
            cells = {cell.cell_id: cell for cell in stage if _is_possible(plan, cell)}
            ended = plan.run.store.receipts()
            left = unfinished_cells(cells, ended)
            earlier_runs = [] if plan.options.fresh or not left else reuse.earlier_runs(plan.options.results, plan.run)
            reuse.take_answers(client, plan.run.run_id, earlier_runs, left)
            if reused := reuse.take_replays(client, plan.run, earlier_runs, left):
                display.say(f"reused from earlier runs: {reused} calls")
            outcome = run_cells(plan, cells, ended, url, client, display, workers) if left else None
            if outcome and outcome.not_run:
                display.say(f"{outcome.not_run} cells were not run because the budget is used up: raise it (--budget USD)")
            for sentence in closing.unserved_lines(outcome.unserved if outcome else {}, plan.resolved.servers):
                display.say(sentence)
            if outcome and (outcome.stopped or outcome.not_run or outcome.unserved):
                return False
    return True


def _is_possible(plan: RunPlan, cell: Cell) -> bool:
    """Whether the cell can run: a replay without answers leaves nothing to judge."""
    if cell.kind != replay_cells.JUDGE:
        return True
    replayed = plan.run.store.receipt(str(cell.extra["replay_cell"]))
    return replayed is not None and (replayed["status"] == "ok" or bool(replayed["output_tokens"]))


def _plan(
    recorded_run: RecordedRun, wish: ReplayRequest, options: RunOptions, around: Surroundings, display: Display
) -> tuple[RunPlan, tuple[list[Cell], list[Cell]]]:
    replay_cells.check_replay(recorded_run.experiment, wish)
    sources = recorded.replayable_cells(recorded_run.run.store, wish.source)
    if recorded.is_replayed(recorded_run.run.store, *replay_cells.floor_of(recorded_run.experiment, wish, sources)):
        # The source's own models may be gone: their answers are recorded, so neither key nor server is needed.
        wish = replay_cells.without_own(recorded_run.experiment, wish)
    if wish.floor and _is_gone(recorded_run.experiment, wish.source, around, options.clock()):
        display.say(f"no noise floor: a model of {wish.source!r} was shut down by its vendor and cannot be asked again")
        wish = replace(wish, floor=0)
    asking = _asking(recorded_run.experiment, wish, options)
    resolved = _resolve(asking, around, options) if asking.arms else ResolvedRun(asking, options.experiment_dir)
    replays = _settled(recorded_run.run, replay_cells.replays_of(recorded_run.experiment, wish, sources, resolved.digests))
    judgements = _settled(
        recorded_run.run, replay_cells.judgements_of(recorded_run.experiment, wish, replays, resolved.digests)
    )
    cells = [*replays, *judgements]
    return RunPlan(options, replace(resolved, matrix=tuple(cells)), cells, recorded_run.run), (replays, judgements)


def _is_gone(experiment: Experiment, arm: str, around: Surroundings, now: dt.datetime) -> bool:
    """Whether a model of this arm is no longer served, as far as that is known without asking its server."""
    own_models = {model.alias: model for model in matrix.lineup(experiment, matrix.arms(experiment)[arm]).values()}
    specs, today = around.specs(own_models, experiment), now.astimezone(dt.UTC).date()
    return any(KnownModel.of(model, specs[model.server]).is_gone(today) for model in own_models.values())


def _settled(run: RunFolder, cells: Sequence[Cell]) -> list[Cell]:
    """The cells under the ids by which this run has them already, so that nothing is asked twice."""
    manifest, ended = run.store.manifest(), run.store.receipts().keys()
    return [earlier_ids.settled(cell, manifest, ended) for cell in cells]


def _resolve(asking: Experiment, around: Surroundings, options: RunOptions) -> ResolvedRun:
    resolved = within(asking, around)
    return preflight.check(
        resolved, results=options.results, broker=options.broker, freezes=False, now=options.clock()
    ).require()


def _asking(experiment: Experiment, wish: ReplayRequest, options: RunOptions) -> Experiment:
    """The experiment reduced to the models that are asked, so that only these are checked."""
    arms = {name: Arm(all=name) for name in (*wish.targets, *wish.judges)}
    if wish.floor:
        arms[wish.source] = matrix.arms(experiment)[wish.source]
    changes: dict[str, Any] = {"arms": arms, "replay": None, "judge": None}
    if options.budget is not None:
        changes["budget"] = experiment.budget.model_copy(update={"run_usd": options.budget})
    return experiment.model_copy(update=changes)


def _close(plan: RunPlan, display: Display) -> None:
    from reports.load import load
    from reports.page import render
    from reports.page.page import Page

    store = plan.run.store
    store.sweep()
    store.compact()
    replayed = [row for row in store.receipts().values() if row.get("kind") in (replay_cells.REPLAY, replay_cells.JUDGE)]
    display.summary(replayed, plan.run.run_id)
    page = Page(load(store.folder.url))
    for comparison in page.roles.likenesses:
        display.say(comparison.text)
    display.say(f"report: {render.write_page(page)}")
