"""Replay a finished run: the recorded prompts of one arm, asked again of other models, into the same run folder."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import yaml

from harness.checking import preflight
from harness.consent import ask_before_spending
from harness.display import Display
from harness.errors import Problem, Unmended
from harness.experiment import spec
from harness.experiment.lineups import Arm
from harness.experiment.spec import Experiment
from harness.session import Options, Plan, broker, connected, start_workers, waiting, work_off
from harness.storage import run_folder
from harness.workers import replaying
from harness.workers.replaying import Wish

if TYPE_CHECKING:
    from rich.console import Console

    from harness.storage.run_folder import RunFolder


@dataclass(frozen=True)
class Found:
    """A run and the experiment that it was made by."""

    run: RunFolder
    experiment: Experiment


def find(results: str, name: str) -> Found:
    """A run by its folder or its experiment's name. Raises Unmended for one that does not exist."""
    run = run_folder.find(results, name)
    raw = yaml.safe_load(run.store.folder.read("experiment.yaml"))
    return Found(run, Experiment.model_validate(raw))


def wish(found: Found, source: str | None, targets: list[str], roles: str | None, limit: int | None) -> Wish:
    """What the command line says, else what the experiment declares. Raises Unmended when neither says it."""
    declared = found.experiment.replay
    arm = source or (declared.from_ if declared else None)
    to = tuple(targets) or (tuple(declared.to) if declared else ())
    if not arm or not to:
        what = "neither the command nor the experiment says what to replay"
        mend = "name --from ARM and --to MODEL, or declare replay: {from: ARM, to: [MODEL]}"
        raise Unmended([Problem("replay", what, mend)])
    named = tuple(name.strip() for name in roles.split(",") if name.strip()) if roles else ()
    return Wish(arm, to, named or (tuple(declared.roles) if declared else ()), limit or (declared.limit if declared else None))


def play_declared(options: Options, console: Console) -> int:
    """Play the replay that the experiment declares, once its run is done; returns the exit code."""
    experiment = spec.load(options.path, options.overrides)
    if experiment.replay is None:
        return 0
    found = find(options.results, experiment.name)
    if found.run.store.manifest().get("state") != run_folder.DONE:
        return 0
    return play(found, wish(found, None, [], None, None), options, console)


def play(found: Found, wish: Wish, options: Options, console: Console) -> int:
    """Replay what is not replayed yet; returns the exit code. Raises HarnessError for everything to be mended."""
    plan = _plan(found, wish, options)
    cells = {cell.cell_id: cell for cell in plan.matrix}
    display = Display(console, f"{found.run.experiment}/{found.run.run_id} replay")
    left = waiting(plan, cells)
    arms = ", ".join(f"{arm}: {count} cells" for arm, count in replaying.per_arm(plan.matrix).items())
    display.say(f"replay {arms}; {len(left)} to do")
    if left:
        ask_before_spending(plan.experiment, left.values(), options, console)
        with broker(plan) as url, connected(url) as client, contextlib.ExitStack() as stack:
            outcome = work_off(plan, cells, left, url, client, display, start_workers(plan, url, stack))
        if outcome.stopped or outcome.not_run:
            _close(plan, display)
            return 3
    _close(plan, display)
    return 0


def _plan(found: Found, wish: Wish, options: Options) -> Plan:
    # Only the targets are asked: neither the source's key nor its server is needed.
    arms = {name: Arm(all=name) for name in wish.targets if name in found.experiment.models}
    targets = found.experiment.model_copy(update={"arms": arms or found.experiment.arms})
    checked = preflight.look(
        targets,
        beside=options.beside,
        servers_file=options.servers,
        results=options.results,
        broker=options.broker,
    )
    checked.require()
    cells = replaying.cells(found.experiment, found.run.store, wish, checked.digests)
    return Plan(options, found.experiment, cells, cells, checked, found.run)


def _close(plan: Plan, display: Display) -> None:
    from reports import render

    store = plan.run.store
    store.sweep()
    store.compact()
    display.summary([row for row in store.receipts().values() if row.get("kind") == replaying.KIND])
    display.say(f"report: {render.render(store.folder.url)}")
