"""`run`: execute an experiment, or continue it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def run(
    experiment: Annotated[Path, typer.Argument(metavar="EXPERIMENT.yaml", help="What to run.")],
    only: Annotated[str | None, typer.Option(help="A part of the matrix: arm=A,ticker=T,date=D.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most this many cells.")] = None,
    broker: Annotated[
        str | None, typer.Option(envvar="HARNESS_BROKER", help="redis://... to enqueue on; without it Redis is private.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Worker processes for hosted models on this machine; 0 is said by leaving it out.")
    ] = None,
    budget: Annotated[float | None, typer.Option(min=0, help="Cap of the run in US dollars, instead of the file's.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before spending.")] = False,
    rehearse: Annotated[
        bool,
        typer.Option(
            "--rehearse", help="Play one case per arm with the embedded tiny model in every role: proves the road for $0."
        ),
    ] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="A new run that takes nothing over.")] = False,
    archive: Annotated[str | None, typer.Option(help="Folder or s3:// address of the archive source.")] = None,
    servers: Annotated[Path | None, typer.Option(help="servers.yaml to use instead of the one beside the experiment.")] = None,
    results: Annotated[str, typer.Option(help="Folder or s3:// address for all results.")] = "results",
    snapshots: Annotated[Path, typer.Option(help="Folder of frozen inputs that all runs share.")] = Path("snapshots"),
) -> None:
    """Run an experiment; the same command continues it."""
    from rich.console import Console

    from harness import replay
    from harness import run as engine
    from harness.session import Options

    options = Options(
        path=experiment,
        only=only,
        limit=limit,
        broker=broker,
        workers=workers,
        budget=budget,
        yes=yes,
        fresh=fresh,
        archive=archive,
        servers=servers,
        results=results,
        snapshots=snapshots,
    )
    if rehearse:
        from harness import rehearsal

        raise typer.Exit(rehearsal.play(options, Console()))
    code = engine.run(options, Console())
    raise typer.Exit(code or replay.play_declared(options, Console()))
