"""`plan`: forecast cells, calls, tokens, cost and time, and what the matrix can prove."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.json_output import Json, emit

if TYPE_CHECKING:
    from harness.finding.chances import Chances
    from harness.planning.plan import Plan

_Budget = Annotated[
    float | None, typer.Option(min=0, help="Print the design with the smallest margins that this many USD settle.")
]
_Folder = Annotated[
    Path | None, typer.Option(help="Folder of .env, servers.yaml and other files that the experiment names; default: its own.")
]
_Margin = Annotated[
    list[str] | None,
    typer.Option(help="Print the cheapest design that settles this margin, such as same_rating=10pp (repeatable)."),
]


def plan(
    experiment: Annotated[Path, typer.Argument(help="Experiment file.")],
    only: Annotated[str | None, typer.Option(help="Part of the matrix: arm=A,ticker=T,date=D.")] = None,
    limit: Annotated[int | None, typer.Option(help="Only the first cells.", min=1)] = None,
    folder: _Folder = None,
    servers: Annotated[Path | None, typer.Option(help="servers.yaml to use; default: the one next to the experiment.")] = None,
    results: Annotated[str, typer.Option(help="Folder or s3:// address of the results.")] = "results",
    archive: Annotated[str | None, typer.Option(help="Folder or s3:// of the archive source.")] = None,
    lane: Annotated[str | None, typer.Option(help="Forecast this lane for all hosted models.")] = None,
    snapshots: Annotated[Path, typer.Option(help="Folder of frozen inputs, shared by all runs.")] = Path("snapshots"),
    what_if: Annotated[str | None, typer.Option(help="Apply this model's prices to the tokens of the latest run.")] = None,
    by: Annotated[str | None, typer.Option(help="Name the cheapest lane that ends by then: 08:00, or a date and time.")] = None,
    within: Annotated[str | None, typer.Option(help="Name the cheapest lane that ends within this time: 12h.")] = None,
    budget: _Budget = None,
    margin: _Margin = None,
    as_json: Json = False,
) -> None:
    """Forecast what a run would do, cost, take and prove; needs no key and makes no call."""
    from rich.console import Console

    from harness.checking import preflight
    from harness.checking.checks import warn
    from harness.experiment import matrix, spec
    from harness.experiment.shared_prompts import with_sharing
    from harness.finding import chances
    from harness.money import repricing
    from harness.planning import answers, designs, experience, lanes
    from harness.planning import plan as planning
    from harness.runs import reuse
    from harness.storage import run_folder
    from harness.storage.folder import open_folder

    within_s = lanes.seconds_left(by, within, dt.datetime.now().astimezone())
    wanted = spec.load(experiment, spec.of_archive(archive) | spec.of_lane(lane))
    if what_if:
        repriced = repricing.what_if(results, wanted.name, what_if)
        emit("repriced/1", repriced.to_plain()) if as_json else repricing.show(repriced, Console())
        return
    margins = designs.read_margins(margin or ())
    every_cell = matrix.expand(wanted)
    chosen = matrix.select(every_cell, only)
    looked = preflight.look(
        wanted, experiment_dir=folder or experiment.parent, servers_file=servers, results=results, snapshots=snapshots
    )
    resolved = looked.readable()
    cells = with_sharing(matrix.in_order(chosen, resolved.hosted))[:limit]
    where = planning.Where(results, snapshots)
    run = run_folder.resolve(open_folder(results), wanted.name, every_cell, resolved.digests)
    failed = experience.failed_results(run)
    known = answers.of_earlier_run(results, wanted.name)
    if budget is not None or margins:
        every_key = frozenset(cell.cell_key for cell in cells)
        forecast = planning.make(resolved, cells, where, looked.checks, every_key, looked.windows, assumptions=known)
        designed = designs.find(wanted, forecast, budget, margins, known)
        emit("plan-designs/1", designed.to_plain()) if as_json else designs.show(designed, wanted, Console())
        return
    left_out: frozenset[str] = frozenset()
    if run.is_new:
        earlier_runs = reuse.earlier_runs(results, run)
        left_out = frozenset().union(*(reuse.of_other_versions(earlier, resolved.versions) for earlier in earlier_runs))
    plan_checks = looked.checks
    if left_out:
        sentence = reuse.not_reused(left_out, resolved.versions)
        plan_checks = (*plan_checks, warn("server version", sentence, "`run --accept-server-change` reuses them"))
    forecast = planning.make(
        resolved, cells, where, plan_checks, windows=looked.windows, failed=failed, assumptions=known, left_out=left_out
    )
    _show(forecast, chances.of_experiment(wanted, forecast, known), within_s, as_json=as_json)


def _show(forecast: Plan, search: Chances | None, within_s: float | None, *, as_json: bool) -> None:
    """Print the forecast of the run, then the chances of its search if it declares one."""
    from rich.console import Console

    from harness.planning import lanes, plan_text

    if as_json:
        picked = lanes.cheapest(forecast.lanes, within_s) if within_s is not None else None
        more = {"lane": picked.lane if picked else None, "find": search.to_plain() if search else None}
        emit("plan/1", forecast.to_plain() | more)
        return
    plan_text.show(forecast, Console(), within_s)
    for line in search.lines() if search else ():
        print(line)
