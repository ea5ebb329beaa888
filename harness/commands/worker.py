"""`worker`: serve the runs of a broker, on any machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def worker(
    broker: Annotated[str, typer.Option(envvar="HARNESS_BROKER", help="redis://... or unix://... of the runs to serve.")],
    results: Annotated[
        str, typer.Option(help="Folder or s3:// address of all results, as this machine reaches it.")
    ] = "results",
    queues: Annotated[str, typer.Option(help="hosted, local or both: which models this machine serves.")] = "hosted,local",
    concurrency: Annotated[
        int | None, typer.Option(min=1, help="Cells at a time in each process; 32 for hosted models, 4 for local ones.")
    ] = None,
    local_concurrency: Annotated[int | None, typer.Option(min=1, help="The same for local models only.")] = None,
    processes: Annotated[int, typer.Option(min=1, help="Processes for hosted models; local ones have one.")] = 1,
    servers: Annotated[Path | None, typer.Option(help="servers.yaml of this machine.")] = None,
    soft_limit: Annotated[float | None, typer.Option(help="Soft limit of a cell in seconds of service.")] = None,
    hard_limit: Annotated[float | None, typer.Option(help="Hard limit of a cell: its process is killed.")] = None,
    restart_after: Annotated[int, typer.Option(min=1, help="Cells after which a process is replaced.")] = 200,
    run: Annotated[list[str] | None, typer.Option(help="Serve only this run; may be repeated.")] = None,
    log_json: Annotated[bool, typer.Option("--log-json", help="Log one JSON object per line.")] = False,
    metrics_port: Annotated[int | None, typer.Option(help="First port for Prometheus; one for each process.")] = None,
) -> None:
    """Serve the runs of a broker; needs only Redis, the results folder and the models."""
    from harness.storage.folder import require_writable
    from harness.workers import supervisor
    from harness.workers.config import WorkerConfig, parse_pools

    config = WorkerConfig(
        broker=broker,
        results=results,
        pools=parse_pools(queues),
        concurrency=concurrency or 32,
        local_concurrency=local_concurrency or concurrency or 4,
        processes=processes,
        servers=servers,
        restart_after=restart_after,
        soft_s=soft_limit,
        hard_s=hard_limit,
        runs=frozenset(run) if run else None,
        metrics_port=metrics_port,
        log_json=log_json,
    )
    require_writable(results)
    supervisor.serve(config)
