"""Replay a finished run: the recorded prompts of one arm, asked again of other models, into the same run folder."""

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
from harness.consent import ask_before_spending
from harness.display import Display
from harness.errors import InvalidInput, Problem
from harness.experiment import again, matrix, models_file, servers, spec, terms
from harness.experiment.again import Wish
from harness.experiment.lineups import Arm
from harness.experiment.spec import Experiment
from harness.session import Options, Plan, broker, connected, start_workers, waiting, work_off
from harness.storage import run_folder
from harness.workers import recorded

if TYPE_CHECKING:
    from rich.console import Console

    from harness.cells import Cell
    from harness.experiment.lineups import ModelPart
    from harness.experiment.servers import ServerPart
    from harness.storage.run_folder import RunFolder


@dataclass(frozen=True)
class Found:
    """A run and the experiment that it was made by."""

    run: RunFolder
    experiment: Experiment
    """With the models of a file of further models."""
    added: Mapping[str, ModelPart] = field(default_factory=dict)
    """The models of that file."""
    servers: Mapping[str, ServerPart] = field(default_factory=dict)
    """The servers of that file."""


@dataclass(frozen=True)
class Said:
    """What the command line says; None where it leaves a thing to the experiment."""

    source: str | None = None
    targets: Sequence[str] = ()
    roles: str | None = None
    limit: int | None = None
    floor: int | None = None
    judges: Sequence[str] = ()


def find(results: str, name: str, models: Path | None = None) -> Found:
    """A run by its folder or its experiment's name, with the models of a file. Raises InvalidInput for what is wrong."""
    run = run_folder.find(results, name)
    experiment = Experiment.model_validate(yaml.safe_load(run.store.folder.read("experiment.yaml")))
    if models is None:
        return Found(run, experiment)
    file = models_file.load(models)
    return Found(run, models_file.added(experiment, file, models), file.models, file.servers)


def wish(found: Found, said: Said) -> Wish:
    """What the command line says, else what the experiment declares. Raises InvalidInput when neither says what to replay."""
    declared = Wish.declared(found.experiment)
    source, targets = said.source or (declared.source if declared else ""), tuple(said.targets)
    targets = targets or (declared.targets if declared else ())
    if not source or not targets:
        what = "neither the command nor the experiment says what to replay"
        fix = "name --from ARM and --to MODEL, or declare replay: {from: ARM, to: [MODEL]}"
        raise InvalidInput([Problem("replay", what, fix)])
    plain = declared or _undeclared(found.experiment, source, targets)
    named = tuple(name.strip() for name in (said.roles or "").split(",") if name.strip())
    return replace(
        plain,
        source=source,
        targets=targets,
        roles=named or plain.roles,
        limit=said.limit or plain.limit,
        floor=plain.floor if said.floor is None else said.floor,
        judges=tuple(said.judges) or plain.judges,
    )


def _undeclared(experiment: Experiment, source: str, targets: tuple[str, ...]) -> Wish:
    """The types' own defaults, with judges where the experiment declares them without a replay."""
    floor, judge = int(terms.Replay.model_fields["noise_floor"].default), experiment.judge
    return Wish(source, targets, floor=floor, judges=judge.models if judge else (), judged=judge.limit if judge else None)


def play_declared(options: Options, console: Console) -> int:
    """Play the replay that the experiment declares, once its run is done; returns the exit code."""
    experiment = spec.load(options.path, options.overrides)
    if experiment.replay is None:
        return 0
    found = find(options.results, experiment.name)
    if found.run.store.manifest().get("state") != run_folder.DONE:
        return 0
    return play(found, wish(found, Said()), options, console)


def play(found: Found, wish: Wish, options: Options, console: Console) -> int:
    """Replay what is not replayed yet, then judge it; returns the exit code. Raises InvalidInput for all problems at once."""
    with _servers(found, options) as reachable:
        return _play(found, wish, reachable, console)


def _play(found: Found, wish: Wish, options: Options, console: Console) -> int:
    display = Display(console, f"{found.run.experiment}/{found.run.run_id} replay")
    plan, stages = _plan(found, wish, options, display)
    if found.added:
        found.run.store.folder.write("experiment.yaml", found.experiment.to_yaml().encode())
    _reopen(plan)
    left = waiting(plan, {cell.cell_id: cell for cell in plan.matrix})
    arms = ", ".join(f"{arm}: {count} cells" for arm, count in again.per_arm(plan.matrix).items())
    display.say(f"replay {arms or 'of nothing new'}; {len(left)} to do")
    if left:
        ask_before_spending(plan, left.values(), console)
        if not _work(plan, stages, options, display):
            _close(plan, display)
            return 3
    _close(plan, display)
    return 0


@contextlib.contextmanager
def _servers(found: Found, options: Options) -> Iterator[Options]:
    """Options with a servers.yaml that has the servers of the file of models, too; workers of this machine read it."""
    if not found.servers:
        yield options
        return
    parts = servers.declared(options.servers, options.experiment_dir) | dict(found.servers)
    with tempfile.TemporaryDirectory() as folder:
        merged = Path(folder) / "servers.yaml"
        plain = {name: part.model_dump(mode="json", exclude_none=True) for name, part in parts.items()}
        merged.write_text(yaml.safe_dump(plain), encoding="utf-8")
        yield replace(options, servers=merged)


def _reopen(plan: Plan) -> None:
    """A replay that a budget cut short goes on: the cap may be higher now, and answered calls stay paid."""
    receipts = plan.run.store.receipts()
    for cell in plan.matrix:
        if (receipt := receipts.get(cell.cell_id)) and receipt["status"] == "over_budget":
            plan.run.store.reopen(cell.cell_id)


def _work(plan: Plan, stages: Sequence[Sequence[Cell]], options: Options, display: Display) -> bool:
    """One stage after the other, so that judges find the answers; returns whether all of it was done."""
    with broker(plan) as url, connected(url) as client, contextlib.ExitStack() as stack:
        workers = start_workers(plan, url, stack)
        for stage in stages:
            cells = {cell.cell_id: cell for cell in stage if _is_possible(plan, cell)}
            left = waiting(plan, cells)
            outcome = work_off(plan, cells, left, url, client, display, workers) if left else None
            if outcome and outcome.not_run:
                display.say(
                    f"{outcome.not_run} cells were not run because a cap was met: raise it (--budget USD) and replay again"
                )
            if outcome and (outcome.stopped or outcome.not_run):
                return False
    return True


def _is_possible(plan: Plan, cell: Cell) -> bool:
    """A replay whose requests all failed leaves nothing to judge."""
    if cell.kind != again.JUDGE:
        return True
    replayed = plan.run.store.receipt(str(cell.extra["replay_cell"]))
    return replayed is not None and (replayed["status"] == "ok" or bool(replayed["output_tokens"]))


def _plan(found: Found, wish: Wish, options: Options, display: Display) -> tuple[Plan, tuple[list[Cell], list[Cell]]]:
    again.check(found.experiment, wish)
    sources = recorded.replayable_cells(found.run.store, wish.source)
    if recorded.is_replayed(found.run.store, *again.floor_of(found.experiment, wish, sources)):
        # The source's own models may be gone by now: what they answered is recorded, so neither key nor server is needed.
        wish = again.without_own(found.experiment, wish)
    if wish.floor and _is_gone(found.experiment, wish.source, options):
        display.say(f"no noise floor: a model of {wish.source!r} was shut down by its vendor and cannot be asked again")
        wish = replace(wish, floor=0)
    asking = _asking(found.experiment, wish, options)
    checked = _checked(asking, options) if asking.arms else preflight.Preflight(())
    checked.require()
    replays = _settled(found.run, again.replays_of(found.experiment, wish, sources, checked.digests))
    judgements = _settled(found.run, again.judgements_of(found.experiment, wish, replays, checked.digests))
    cells = [*replays, *judgements]
    return Plan(options, asking, cells, cells, checked, found.run), (replays, judgements)


def _is_gone(experiment: Experiment, arm: str, options: Options) -> bool:
    """Whether a model of this arm is no longer served, as far as that is known without asking its server."""
    own = {model.alias: model for model in matrix.lineup(experiment, matrix.arms(experiment)[arm]).values()}
    specs = servers.load(options.servers, experiment, options.experiment_dir, own)
    today = options.clock().astimezone(dt.UTC).date()
    return any(KnownModel(model, specs[model.server]).is_gone(today) for model in own.values())


def _settled(run: RunFolder, cells: Sequence[Cell]) -> list[Cell]:
    """The cells under the ids by which this run has them already, so that nothing is asked twice."""
    manifest, ended = run.store.manifest(), run.store.receipts().keys()
    return [earlier_ids.settled(cell, manifest, ended) for cell in cells]


def _checked(asking: Experiment, options: Options) -> preflight.Preflight:
    return preflight.look(
        asking,
        experiment_dir=options.experiment_dir,
        servers_file=options.servers,
        results=options.results,
        broker=options.broker,
        freezes=False,
        now=options.clock(),
    )


def _asking(experiment: Experiment, wish: Wish, options: Options) -> Experiment:
    """The experiment as a session of its own: only models that are asked something are looked at."""
    arms = {name: Arm(all=name) for name in (*wish.targets, *wish.judges)}
    if wish.floor:
        arms[wish.source] = matrix.arms(experiment)[wish.source]
    changes: dict[str, Any] = {"arms": arms, "replay": None, "judge": None}
    if options.budget is not None:
        changes["budget"] = experiment.budget.model_copy(update={"run_usd": options.budget})
    return experiment.model_copy(update=changes)


def _close(plan: Plan, display: Display) -> None:
    from reports.load import load
    from reports.page import render
    from reports.roles import likeness

    store = plan.run.store
    store.sweep()
    store.compact()
    display.summary([row for row in store.receipts().values() if row.get("kind") in (again.REPLAY, again.JUDGE)])
    for one in likeness.likenesses(load(store.folder.url)):
        display.say(one.text)
    display.say(f"report: {render.render(store.folder.url)}")
