"""`find`: search for the cheapest arm that is good enough, and stop paying when it is known."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.commands.options import (
    Archive,
    Broker,
    Budget,
    By,
    ExperimentFile,
    Folder,
    Fresh,
    Lane,
    Results,
    Servers,
    Snapshots,
    Within,
    Workers,
    Yes,
)
from harness.json_output import Json, emit


def find(
    experiment: ExperimentFile,
    margin: Annotated[
        str | None,
        typer.Option(
            help="Margins, such as same_rating=10pp,usable=5pp; default: compare.metrics, else 10, 10, grounding=5pp."
        ),
    ] = None,
    within: Within = None,
    by: By = None,
    budget: Budget = None,
    broker: Broker = None,
    workers: Workers = None,
    yes: Yes = False,
    fresh: Fresh = False,
    lane: Lane = None,
    archive: Archive = None,
    folder: Folder = None,
    servers: Servers = None,
    results: Results = "results",
    snapshots: Snapshots = Path("snapshots"),
    as_json: Json = False,
) -> None:
    """Search for the cheapest arm that is not worse than the baseline; the same command continues it."""
    import datetime as dt
    import shlex
    import sys

    from rich.console import Console

    from harness.finding import engine
    from harness.planning.lanes import seconds_left
    from harness.runs import status
    from harness.runs.exclusive import exclusively
    from harness.runs.session import RunOptions
    from harness.storage import run_folder

    options = RunOptions(
        path=experiment,
        folder=folder,
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
        emit("run/1", status.ended_as_json(run_folder.find(results, options.experiment.name), code))
    raise typer.Exit(code)
