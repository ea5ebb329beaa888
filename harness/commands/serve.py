"""`serve`: decisions as HTTP jobs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def serve(
    experiment: Annotated[Path, typer.Option(envvar="HARNESS_EXPERIMENT", help="Experiment whose arms decide jobs.")],
    host: Annotated[str, typer.Option(help="Address to listen on; other than loopback needs tokens.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0: any free one.")] = 8123,
    results: Annotated[str, typer.Option(help="Folder or s3:// address for all results.")] = "results",
    snapshots: Annotated[Path, typer.Option(help="Folder of frozen inputs, shared by all runs.")] = Path("snapshots"),
    servers: Annotated[Path | None, typer.Option(help="servers.yaml to use; default: the one next to the experiment.")] = None,
    archive: Annotated[str | None, typer.Option(help="Folder or s3:// address of the archive source.")] = None,
    broker: Annotated[str | None, typer.Option(envvar="HARNESS_BROKER", help="redis://...; default: a private Redis.")] = None,
    workers: Annotated[
        int | None, typer.Option(min=0, help="Worker processes for hosted models here; with --broker, default: none.")
    ] = None,
    no_workers: Annotated[
        bool, typer.Option("--no-workers", help="Start no worker: `harness worker` serves elsewhere.")
    ] = False,
    keep: Annotated[str, typer.Option(help="Remove ended jobs, and months without jobs, after this time.")] = "90d",
    state: Annotated[
        Path | None, typer.Option(envvar="HARNESS_STATE", help="Folder of jobs and tokens; default: RESULTS/.service.")
    ] = None,
    allow_callback: Annotated[
        list[str] | None, typer.Option(help="HOST, HOST:PORT or network that callbacks may go to. Repeat it.")
    ] = None,
    host_name: Annotated[list[str] | None, typer.Option(help="Further name under which clients reach it. Repeat it.")] = None,
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
