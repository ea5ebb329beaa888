"""`status`: the progress of a run, or a list of runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from harness.runs.status import RunStatus


def status(
    run: Annotated[
        str | None,
        typer.Argument(
            metavar="[RUN]", help="results/EXPERIMENT/RUN_ID, or EXPERIMENT for its latest run; default: list all runs."
        ),
    ] = None,
    results: Annotated[str, typer.Option(help="Folder or s3:// address of all results.")] = "results",
    broker: Annotated[
        str | None, typer.Option(envvar="HARNESS_BROKER", help="Redis of the run, if it was started with --broker.")
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Refresh every two seconds until the run ends.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show cells, calls, tokens, cost and time left of a run; without RUN, list all runs, newest first."""
    import time

    from harness.runs import status as engine
    from harness.storage import run_folder

    if run is None:
        seen = engine.newest_runs(results, broker)
        _print([status_now.as_json() for status_now in seen]) if as_json else _list(seen, results)
        return
    recorded_run = run_folder.find(results, run)
    while True:
        status_now = engine.read_status(recorded_run, broker)
        _print(status_now.as_json()) if as_json else _show(status_now)
        if not watch or status_now.wish is None:
            return
        time.sleep(2.0)


def _print(value: object) -> None:
    import json

    print(json.dumps(value, default=str))


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


def _show(seen: RunStatus) -> None:
    from rich.console import Console

    from harness.runs import answered_later
    from harness.runs.display import line, table

    console = Console()
    console.print(table(seen.progress, f"{seen.run.experiment}/{seen.run.run_id}: {seen.state}"))
    console.print(line(seen.progress), markup=False, highlight=False, soft_wrap=True)
    for name, usage in seen.limits.items():
        busy = "" if usage["busy"] is None else f", busy {usage['busy']:.0%}"
        text = f"{name}: {usage['slots_held']} of {usage['window']:.0f} slots, {usage['waiting']} waiting{busy}"
        console.print(text, markup=False, highlight=False, soft_wrap=True)
    for sentence in (*answered_later.lines(seen.progress.deferred), *seen.progress.notes):
        console.print(sentence, markup=False, highlight=False, soft_wrap=True)
