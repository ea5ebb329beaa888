"""`status`: the progress of a run, or a list of runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.commands.options import BrokerOfRun, Results
from harness.json_output import Json, emit

_WATCH_S = 2.0

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from harness.runs.status import RunStatus


def status(
    run: Annotated[
        str | None,
        typer.Argument(
            metavar="[RUN]", help="results/EXPERIMENT/RUN_ID, or EXPERIMENT for its latest run; default: list all runs."
        ),
    ] = None,
    results: Results = "results",
    broker: BrokerOfRun = None,
    watch: Annotated[bool, typer.Option("--watch", help="Refresh every two seconds until the run ends.")] = False,
    as_json: Json = False,
) -> None:
    """Show cells, calls, tokens, cost and time left of a run; without RUN, list all runs, newest first."""
    import time

    from rich.console import Console
    from rich.live import Live

    from harness.runs import status as engine
    from harness.storage import run_folder

    if run is None:
        seen = engine.newest_runs(results, broker)
        emit("status-list/1", {"runs": [status_now.as_json() for status_now in seen]}) if as_json else _list(seen, results)
        return
    recorded_run = run_folder.find(results, run)
    status_now = engine.read_status(recorded_run, broker)
    console = Console()
    if as_json or not watch or not console.is_terminal:
        while True:
            emit("status/1", status_now.as_json(), on_one_line=watch) if as_json else _show(status_now, console)
            if not watch or status_now.wish is None:
                return
            time.sleep(_WATCH_S)
            status_now = engine.read_status(recorded_run, broker)
    with Live(_view(status_now), console=console, auto_refresh=False) as live:
        while status_now.wish is not None:
            time.sleep(_WATCH_S)
            status_now = engine.read_status(recorded_run, broker)
            live.update(_view(status_now), refresh=True)


def _list(seen: Sequence[RunStatus], results: str) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from harness.runs.display import money

    if not seen:
        print(f"no runs in {results} yet: python -m harness run EXPERIMENT.yaml")
        return
    runs_table = Table(box=box.SIMPLE_HEAD)
    for heading in ("run", "state", "cells", "API cost", "reused"):
        runs_table.add_column(heading, justify="left" if heading in ("run", "state") else "right", overflow="fold")
    for run_status in seen:
        progress = run_status.progress
        runs_table.add_row(
            f"{run_status.run.experiment}/{run_status.run.run_id}",
            run_status.state,
            f"{progress.ended}/{progress.wanted}",
            money(progress.spent_usd),
            "" if progress.reused_api_usd == 0 else money(progress.reused_api_usd),
        )
    Console().print(runs_table)


def _view(seen: RunStatus) -> RenderableType:
    from rich.console import Group
    from rich.text import Text

    return Group(_table(seen), *map(Text, _lines(seen)))


def _show(seen: RunStatus, console: Console) -> None:
    console.print(_table(seen))
    for text in _lines(seen):
        console.print(text, markup=False, highlight=False, soft_wrap=True)


def _table(seen: RunStatus) -> RenderableType:
    from harness.runs.display import table

    return table(seen.progress, f"{seen.run.experiment}/{seen.run.run_id}: {seen.state}")


def _lines(seen: RunStatus) -> list[str]:
    from harness.runs import answered_later
    from harness.runs.display import line

    progress = seen.progress
    usages = map(_usage, seen.limits, seen.limits.values())
    return [line(progress), *usages, *answered_later.lines(progress.deferred), *progress.notes]


def _usage(name: str, usage: Mapping[str, Any]) -> str:
    busy = "" if usage["busy"] is None else f", busy {usage['busy']:.0%}"
    trouble = f"; it does not answer now ({usage['trouble']})" if usage["trouble"] else ""
    return f"{name}: {usage['slots_held']} of {usage['window']:.0f} slots, {usage['waiting']} waiting{busy}{trouble}"
