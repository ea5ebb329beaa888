"""`run`: execute an experiment, or continue it."""

from __future__ import annotations

import contextlib
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.commands.options import (
    Archive,
    Broker,
    Budget,
    ExperimentFile,
    Folder,
    Fresh,
    Lane,
    Limit,
    Only,
    Results,
    Servers,
    Snapshots,
    Workers,
    Yes,
)
from harness.json_output import Json, emit

if TYPE_CHECKING:
    from rich.console import Console

    from harness.runs.session import RunOptions

_Rehearse = Annotated[
    bool,
    typer.Option(
        "--rehearse", help="Run one case per arm with an embedded tiny model in every role, to test the setup for $0."
    ),
]
_Open = Annotated[
    bool, typer.Option("--open", help="Show the progress in a browser, on this machine only; it ends as the report.")
]
_AcceptServerChange = Annotated[
    bool, typer.Option("--accept-server-change", help="Reuse cells that another version of a model server answered.")
]
_Against = Annotated[str | None, typer.Option(metavar="RUN", help="Earlier run that gates compare with; see gates.against.")]


def run(
    experiment: ExperimentFile,
    only: Only = None,
    limit: Limit = None,
    broker: Broker = None,
    workers: Workers = None,
    budget: Budget = None,
    yes: Yes = False,
    rehearse: _Rehearse = False,
    open_page: _Open = False,
    accept_server_change: _AcceptServerChange = False,
    fresh: Fresh = False,
    archive: Archive = None,
    lane: Lane = None,
    against: _Against = None,
    folder: Folder = None,
    servers: Servers = None,
    results: Results = "results",
    snapshots: Snapshots = Path("snapshots"),
    as_json: Json = False,
) -> None:
    """Run an experiment; the same command continues it."""
    from rich.console import Console

    from harness.runs.session import RunOptions

    options = RunOptions(
        path=experiment,
        folder=folder,
        only=only,
        limit=limit,
        broker=broker,
        workers=workers,
        budget=budget,
        yes=yes,
        fresh=fresh,
        accept_server_change=accept_server_change,
        archive=archive,
        lane=lane,
        against=against,
        servers=servers,
        results=results,
        snapshots=snapshots,
        command=shlex.join(["python", "-m", "harness", *(word for word in sys.argv[1:] if word != "--fresh")]),
    )
    code = _execute(options, Console(stderr=as_json), rehearse=rehearse, open_page=open_page)
    if as_json:
        _print_end(options, code, rehearse=rehearse)
    raise typer.Exit(code)


def _execute(options: RunOptions, console: Console, *, rehearse: bool, open_page: bool) -> int:
    from harness.runs import open_page as browser
    from harness.runs import rehearsal, replay
    from harness.runs import run as engine
    from harness.runs.exclusive import exclusively

    with contextlib.ExitStack() as stack:
        if open_page:
            options = replace(options, page=stack.enter_context(browser.opened(options.path.stem, console)))
        if rehearse:
            return rehearsal.play(options, console)
        followed_since = stack.enter_context(exclusively(options, console))
        return engine.run(options, console, followed_since) or replay.play_declared(options, console)


def _print_end(options: RunOptions, code: int, *, rehearse: bool) -> None:
    from harness.runs import status
    from harness.runs.rehearsal import rehearsal_name
    from harness.storage import run_folder

    name = options.experiment.name
    ended = run_folder.find(options.results, rehearsal_name(name) if rehearse else name)
    emit("run/1", status.ended_as_json(ended, code))
