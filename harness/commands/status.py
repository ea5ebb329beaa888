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
    from harness.runs.display import page

    return page(_title(seen), seen.progress, _usages(seen), is_followed=seen.wish is not None)


def _show(seen: RunStatus, console: Console) -> None:
    from harness.runs.display import table
    from harness.terminal import print_sentence

    console.print(table(seen.progress, _title(seen)))
    for text in _lines(seen):
        print_sentence(console, text)


def _title(seen: RunStatus) -> str:
    return f"{seen.run.experiment}/{seen.run.run_id}: {seen.state}"


def _lines(seen: RunStatus) -> list[str]:
    from harness.runs import answered_later
    from harness.runs.display import line

    progress = seen.progress
    later = answered_later.lines(progress.deferred, is_followed=seen.wish is not None)
    return [line(progress), *_usages(seen), *later, *progress.notes]


def _usages(seen: RunStatus) -> list[str]:
    """How busy each server is while the run is executed."""
    return [_usage(name.partition("@")[0], usage) for name, usage in seen.limits.items()]


def _usage(name: str, usage: Mapping[str, Any]) -> str:
    requests = f"{usage['slots_held']} of at most {usage['window']:.0f} requests at a time, {usage['waiting']} waiting"
    busy = "" if usage["busy"] is None else f"; {usage['busy']:.0%} in use while some waited"
    trouble = f"; it does not answer now ({usage['trouble']})" if usage["trouble"] else ""
    return f"server {name}: {requests}{busy}{trouble}"
