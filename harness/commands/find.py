"""`find`: search for the cheapest arm that is good enough, and stop paying when it is known."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.json_output import Json, emit


def find(
    experiment: Annotated[Path, typer.Argument(metavar="EXPERIMENT.yaml", help="Baseline, candidates, tickers and dates.")],
    margin: Annotated[
        str | None, typer.Option(help="same_rating=10pp,usable=10pp,grounding=5pp; default: compare.metrics, else these.")
    ] = None,
    within: Annotated[str | None, typer.Option(help="Start no block that would end later: 12h, 90m.")] = None,
    by: Annotated[str | None, typer.Option(help="The same as a time of day of this machine: 08:00.")] = None,
    budget: Annotated[float | None, typer.Option(min=0, help="Budget of the search in USD; default: the file.")] = None,
    broker: Annotated[
        str | None, typer.Option(envvar="HARNESS_BROKER", help="redis://... to use; default: a private Redis.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Worker processes for hosted models here; with --broker, default: none.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before spending.")] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Start a new search that reuses nothing.")] = False,
    lane: Annotated[str | None, typer.Option(help="Lane of every hosted model that offers it: now, flex, batch ...")] = None,
    archive: Annotated[str | None, typer.Option(help="Folder or s3:// address of the archive source.")] = None,
    servers: Annotated[Path | None, typer.Option(help="servers.yaml to use; default: the one next to the experiment.")] = None,
    results: Annotated[str, typer.Option(help="Folder or s3:// address for all results.")] = "results",
    snapshots: Annotated[Path, typer.Option(help="Folder of frozen inputs, shared by all runs.")] = Path("snapshots"),
    as_json: Json = False,
) -> None:
    """Search for the cheapest arm that is not worse than the baseline; the same command continues it."""
    import datetime as dt
    import shlex
    import sys

    from rich.console import Console

    from harness.experiment import spec
    from harness.finding import engine
    from harness.planning.lanes import seconds_left
    from harness.runs import status
    from harness.runs.exclusive import exclusively
    from harness.runs.session import RunOptions
    from harness.storage import run_folder

    options = RunOptions(
        path=experiment,
        broker=broker,
        workers=workers,
        budget=budget,
        yes=yes,
        fresh=fresh,
        lane=lane,
        archive=archive,
        servers=servers,
        results=results,
        snapshots=snapshots,
        command=shlex.join(["python", "-m", "harness", *(word for word in sys.argv[1:] if word != "--fresh")]),
    )
    wanted = engine.FindOptions(options, margin, seconds_left(by, within, dt.datetime.now().astimezone()))
    console = Console(stderr=as_json)
    with exclusively(options, console):
        code = engine.find(wanted, console)
    if as_json:
        emit("run/1", status.ended_as_json(run_folder.find(results, spec.load(experiment).name), code))
    raise typer.Exit(code)
