"""`plan`: forecast cells, calls, tokens, cost and time, and what the matrix can prove."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.commands.options import Archive, By, ExperimentFile, Folder, Lane, Limit, Only, Results, Servers, Snapshots, Within
from harness.json_output import Json, emit

if TYPE_CHECKING:
    from harness.cells import Cell
    from harness.checking.preflight import Preflight
    from harness.checking.resolved import ResolvedRun
    from harness.experiment.spec import Experiment
    from harness.finding.chances import Chances
    from harness.planning.plan import Plan, Where
    from harness.storage.run_folder import RunFolder
    from reports.design import Assumptions

_Budget = Annotated[
    float | None, typer.Option(min=0, help="Print the design with the smallest margins that this many USD settle.")
]
_Margin = Annotated[
    list[str] | None,
    typer.Option(help="Print the cheapest design that settles this margin, such as same_rating=10pp (repeatable)."),
]


def plan(
    experiment: ExperimentFile,
    only: Only = None,
    limit: Limit = None,
    folder: Folder = None,
    servers: Servers = None,
    results: Results = "results",
    archive: Archive = None,
    lane: Lane = None,
    snapshots: Snapshots = Path("snapshots"),
    what_if: Annotated[str | None, typer.Option(help="Apply this model's prices to the tokens of the latest run.")] = None,
    within: Within = None,
    by: By = None,
    budget: _Budget = None,
    margin: _Margin = None,
    as_json: Json = False,
) -> None:
    """Forecast what a run would do, cost, take and prove; needs no key and makes no call."""
    from harness.experiment import spec
    from harness.finding import chances
    from harness.planning import designs, lanes

    within_s = lanes.seconds_left(by, within, dt.datetime.now().astimezone())
    declared = spec.load(experiment, spec.of_archive(archive) | spec.of_lane(lane), folder)
    if what_if:
        _show_what_if(results, declared.name, what_if, as_json=as_json)
        return
    margins = designs.read_margins(margin or ())
    planned = _read(declared, only, limit, folder or experiment.parent, servers, results, snapshots)
    if budget is not None or margins:
        _show_designs(planned, budget, margins, as_json=as_json)
        return
    forecast = _forecast(planned)
    search = chances.of_experiment(declared, forecast, planned.assumptions)
    in_time = _in_time(planned, forecast, search, within_s, lane) if search and within_s is not None else None
    _show(forecast, search, in_time, within_s, as_json=as_json)


@dataclass(frozen=True)
class _Planned:
    """What a forecast starts from: the chosen cells, the machine and its servers, and earlier runs."""

    experiment: Experiment
    cells: Sequence[Cell]
    where: Where
    look: Preflight
    resolved: ResolvedRun
    run: RunFolder
    assumptions: Assumptions
    """Spreads that an earlier run measured."""


def _read(
    experiment: Experiment,
    only: str | None,
    limit: int | None,
    folder: Path,
    servers: Path | None,
    results: str,
    snapshots: Path,
) -> _Planned:
    """Look at servers and earlier runs, and choose the cells. Raises InvalidInput."""
    from harness.checking import preflight
    from harness.checking.resolved import read
    from harness.experiment import matrix
    from harness.experiment.shared_prompts import with_sharing
    from harness.planning import answers
    from harness.planning.plan import Where
    from harness.storage import run_folder
    from harness.storage.folder import open_folder

    readable = read(experiment, folder, servers)
    every_cell = matrix.expand(experiment, arms=readable.arms)
    chosen = matrix.select(every_cell, only)
    look = preflight.check(readable, results=results, snapshots=snapshots)
    resolved = look.readable()
    return _Planned(
        experiment,
        cells=with_sharing(matrix.in_order(chosen, resolved.hosted))[:limit],
        where=Where(results, snapshots),
        look=look,
        resolved=resolved,
        run=run_folder.resolve(open_folder(results), experiment.name, every_cell, resolved.digests),
        assumptions=answers.of_earlier_run(results, experiment.name),
    )


def _forecast(planned: _Planned) -> Plan:
    """What is left to run, with a warning about cells that another version of their server answered."""
    from harness.checking.checks import warn
    from harness.planning import experience
    from harness.planning import plan as planning
    from harness.runs import reuse

    checks, versions = planned.look.checks, planned.resolved.versions
    left_out = _of_other_versions(planned)
    if left_out:
        fix = "`run --accept-server-change` reuses them"
        checks = (*checks, warn("server version", reuse.not_reused(left_out, versions), fix))
    return planning.make(
        planned.resolved,
        planned.cells,
        planned.where,
        checks,
        windows=planned.look.windows,
        failed=experience.failed_results(planned.run),
        assumptions=planned.assumptions,
        left_out=left_out,
    )


def _of_other_versions(planned: _Planned) -> frozenset[str]:
    """Cells of earlier runs that a new run would not reuse, because another version of their server answered."""
    from harness.runs import reuse

    if not planned.run.is_new:
        return frozenset()
    earlier_runs = reuse.earlier_runs(planned.where.results, planned.run)
    return frozenset().union(*(reuse.of_other_versions(run, planned.resolved.versions) for run in earlier_runs))


def _show_what_if(results: str, experiment: str, model: str, *, as_json: bool) -> None:
    """Print the latest run at another model's prices."""
    from rich.console import Console

    from harness.money import repricing

    repriced = repricing.what_if(results, experiment, model)
    emit("repriced/1", repriced.to_plain()) if as_json else repricing.show(repriced, Console())


def _show_designs(planned: _Planned, budget: float | None, margins: Mapping[str, float], *, as_json: bool) -> None:
    """Print the cheapest designs, priced by a forecast of every cell as if none had been run."""
    from rich.console import Console

    from harness.planning import designs
    from harness.planning import plan as planning

    forecast = planning.make(
        planned.resolved,
        planned.cells,
        planned.where,
        planned.look.checks,
        left=frozenset(cell.cell_key for cell in planned.cells),
        windows=planned.look.windows,
        assumptions=planned.assumptions,
    )
    designed = designs.find(planned.experiment, forecast, budget, margins, planned.assumptions)
    emit("plan-designs/1", designed.to_plain()) if as_json else designs.show(designed, planned.experiment, Console())


@dataclass(frozen=True)
class _InTime:
    """The search that ends in time, in words and as JSON."""

    lines: tuple[str, ...]
    plain: Mapping[str, Any]


def _in_time(planned: _Planned, forecast: Plan, search: Chances, within_s: float, lane: str | None) -> _InTime | None:
    """Lane and blocks that `find` would choose, and their price in power; None if no time is known."""
    from harness.experiment import matrix
    from harness.finding import chances, design
    from harness.finding.in_time import Calendar

    calendar = Calendar(planned.resolved, matrix.expand(planned.experiment), planned.where, lane)
    chosen = calendar.best(design.make(planned.experiment, None), within_s)
    if chosen is None:
        return None
    power = chances.forecast(chosen.design, forecast, planned.assumptions)
    return _InTime(tuple(chosen.lines(within_s, search, power)), chosen.to_plain(within_s, power))


def _show(forecast: Plan, search: Chances | None, in_time: _InTime | None, within_s: float | None, *, as_json: bool) -> None:
    """Print the forecast of the run, then the chances of its search if it can be searched."""
    from rich.console import Console

    from harness.planning import lanes, plan_text
    from harness.terminal import print_sentence

    if as_json:
        picked = lanes.cheapest(forecast.lanes, within_s) if within_s is not None else None
        searched = search.to_plain() | {"in_time": in_time.plain if in_time else None} if search else None
        more = {"lane": picked.lane if picked else None, "find": searched}
        emit("plan/1", forecast.to_plain() | more)
        return
    console = Console()
    plan_text.show(forecast, console, within_s)
    for line in (*(search.lines() if search else ()), *(in_time.lines if in_time else ())):
        print_sentence(console, line)
