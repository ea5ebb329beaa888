"""`run`: execute an experiment, or continue it."""

from __future__ import annotations

import contextlib
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.json_output import Json, emit

if TYPE_CHECKING:
    from rich.console import Console

    from harness.runs.session import RunOptions

_Broker = Annotated[str | None, typer.Option(envvar="HARNESS_BROKER", help="redis://... to use; default: a private Redis.")]
_Workers = Annotated[
    int | None, typer.Option(min=1, help="Worker processes for hosted models here; with --broker, default: none.")
]
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
_Folder = Annotated[
    Path | None, typer.Option(help="Folder of .env, servers.yaml and other files that the experiment names; default: its own.")
]
_Against = Annotated[str | None, typer.Option(metavar="RUN", help="Earlier run that gates compare with; see gates.against.")]
_Lane = Annotated[
    str | None,
    typer.Option(
        help="When and at what price hosted answers are fetched: now, fast, flex, background_2h, background_8h, batch."
    ),
]


def run(
    experiment: Annotated[Path, typer.Argument(metavar="EXPERIMENT.yaml", help="What to run.")],
    only: Annotated[str | None, typer.Option(help="Part of the matrix: arm=A,ticker=T,date=D.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most this many cells.")] = None,
    broker: _Broker = None,
    workers: _Workers = None,
    budget: Annotated[float | None, typer.Option(min=0, help="Budget of the run in USD; default: the file.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before spending.")] = False,
    rehearse: _Rehearse = False,
    open_page: _Open = False,
    accept_server_change: _AcceptServerChange = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Start a new run that reuses nothing.")] = False,
    archive: Annotated[str | None, typer.Option(help="Folder or s3:// address of the archive source.")] = None,
    lane: _Lane = None,
    against: _Against = None,
    folder: _Folder = None,
    servers: Annotated[Path | None, typer.Option(help="servers.yaml to use; default: the one next to the experiment.")] = None,
    results: Annotated[str, typer.Option(help="Folder or s3:// address for all results.")] = "results",
    snapshots: Annotated[Path, typer.Option(help="Folder of frozen inputs, shared by all runs.")] = Path("snapshots"),
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
