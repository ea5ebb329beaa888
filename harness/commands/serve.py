"""`serve`: decisions as HTTP jobs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.commands.options import Archive, Broker, HostNames, Results, ServedExperiment, Servers, Snapshots, State, Workers


def serve(
    experiment: ServedExperiment,
    host: Annotated[str, typer.Option(help="Address to listen on; other than loopback needs tokens.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0: any free one.")] = 8123,
    results: Results = "results",
    snapshots: Snapshots = Path("snapshots"),
    servers: Servers = None,
    archive: Archive = None,
    broker: Broker = None,
    workers: Workers = None,
    no_workers: Annotated[
        bool, typer.Option("--no-workers", help="Start no worker: `harness worker` serves elsewhere.")
    ] = False,
    keep: Annotated[str, typer.Option(help="Remove ended jobs and experiments, and their runs, after this time.")] = "90d",
    state: State = None,
    allow_callback: Annotated[
        list[str] | None, typer.Option(help="HOST, HOST:PORT or network that callbacks may go to. Repeat it.")
    ] = None,
    host_name: HostNames = None,
    rate: Annotated[
        float, typer.Option(min=0.1, help="Submissions a second of one token; a burst may be four times that.")
    ] = 50.0,
    most_open: Annotated[int, typer.Option(min=1, help="Open jobs of one token.")] = 5_000,
    dispatch: Annotated[bool, typer.Option("--dispatch", hidden=True)] = False,
) -> None:
    """Serve decisions as HTTP jobs: POST one, follow it, read the result."""
    from domain import units
    from harness.service import serving
    from harness.service.service import ServiceOptions

    options = ServiceOptions(
        experiment=experiment,
        host=host,
        port=port,
        results=results,
        snapshots=snapshots,
        servers=servers,
        archive=archive,
        broker=broker,
        workers=0 if no_workers else workers,
        keep_s=units.seconds(keep),
        state=state,
        callbacks=tuple(allow_callback or ()),
        host_names=tuple(host_name or ()),
        rate_per_s=rate,
        most_open=most_open,
    )
    raise typer.Exit(serving.dispatch(options) if dispatch else serving.serve(options, typer.echo))
