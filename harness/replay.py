"""Replay a finished run: the recorded prompts of one arm, asked again of other models, into the same run folder."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import yaml

from harness.checking import preflight
from harness.consent import ask_before_spending
from harness.display import Display
from harness.errors import InvalidInput, Problem
from harness.experiment import again, matrix, spec, terms
from harness.experiment.again import Wish
from harness.experiment.lineups import Arm
from harness.experiment.spec import Experiment
from harness.session import Options, Plan, broker, connected, start_workers, waiting, work_off
from harness.storage import run_folder
from harness.workers import replaying

if TYPE_CHECKING:
    from rich.console import Console

    from harness.cells import Cell
    from harness.storage.run_folder import RunFolder


@dataclass(frozen=True)
class Found:
    """A run and the experiment that it was made by."""

    run: RunFolder
    experiment: Experiment


@dataclass(frozen=True)
class Said:
    """What the command line says; None where it leaves a thing to the experiment."""

    source: str | None = None
    targets: Sequence[str] = ()
    roles: str | None = None
    limit: int | None = None
    floor: int | None = None
    judges: Sequence[str] = ()


def find(results: str, name: str) -> Found:
    """A run by its folder or its experiment's name. Raises InvalidInput for one that does not exist."""
    run = run_folder.find(results, name)
    raw = yaml.safe_load(run.store.folder.read("experiment.yaml"))
    return Found(run, Experiment.model_validate(raw))


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
    plan, stages = _plan(found, wish, options)
    display = Display(console, f"{found.run.experiment}/{found.run.run_id} replay")
    left = waiting(plan, {cell.cell_id: cell for cell in plan.matrix})
    arms = ", ".join(f"{arm}: {count} cells" for arm, count in again.per_arm(plan.matrix).items())
    display.say(f"replay {arms}; {len(left)} to do")
    if left:
        ask_before_spending(plan.experiment, left.values(), options, console)
        if not _work(plan, stages, options, display):
            _close(plan, display)
            return 3
    _close(plan, display)
    return 0


def _work(plan: Plan, stages: Sequence[Sequence[Cell]], options: Options, display: Display) -> bool:
    """One stage after the other, so that judges find the answers; returns whether all of it was done."""
    with broker(plan) as url, connected(url) as client, contextlib.ExitStack() as stack:
        workers = start_workers(plan, url, stack)
        for stage in stages:
            cells = {cell.cell_id: cell for cell in stage if _is_possible(plan, cell)}
            left = waiting(plan, cells)
            outcome = work_off(plan, cells, left, url, client, display, workers) if left else None
            if outcome and (outcome.stopped or outcome.not_run):
                return False
    return True


def _is_possible(plan: Plan, cell: Cell) -> bool:
    """A replay whose requests all failed leaves nothing to judge."""
    if cell.kind != again.JUDGE:
        return True
    replayed = plan.run.store.receipt(str(cell.extra["replay_cell"]))
    return replayed is not None and (replayed["status"] == "ok" or bool(replayed["output_tokens"]))


def _plan(found: Found, wish: Wish, options: Options) -> tuple[Plan, tuple[list[Cell], list[Cell]]]:
    again.check(found.experiment, wish)
    sources = replaying.sources(found.run.store, wish.source)
    checked = preflight.look(
        found.experiment.model_copy(update={"arms": _asked(found.experiment, wish)}),
        beside=options.beside,
        servers_file=options.servers,
        results=options.results,
        broker=options.broker,
    )
    checked.require()
    replays = again.replays_of(found.experiment, wish, sources, checked.digests)
    judgements = again.judgements_of(found.experiment, wish, replays, checked.digests)
    cells = [*replays, *judgements]
    return Plan(options, found.experiment, cells, cells, checked, found.run), (replays, judgements)


def _asked(experiment: Experiment, wish: Wish) -> Mapping[str, Arm]:
    """Only models that are asked something are looked at: without a floor neither the source's key nor its server is needed."""
    arms = {name: Arm(all=name) for name in (*wish.targets, *wish.judges)}
    return arms | ({wish.source: matrix.arms(experiment)[wish.source]} if wish.floor else {})


def _close(plan: Plan, display: Display) -> None:
    from reports.page import render

    store = plan.run.store
    store.sweep()
    store.compact()
    display.summary([row for row in store.receipts().values() if row.get("kind") in (again.REPLAY, again.JUDGE)])
    display.say(f"report: {render.render(store.folder.url)}")
