"""`worker`: serve the runs that a broker announces, on any machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def worker(
    broker: Annotated[str, typer.Option(envvar="HARNESS_BROKER", help="redis://... or unix://... of the runs to serve.")],
    results: Annotated[
        str, typer.Option(help="Folder or s3:// address of all results, as this machine reaches it.")
    ] = "results",
    queues: Annotated[str, typer.Option(help="hosted, local or both: which models this machine may ask.")] = "hosted,local",
    concurrency: Annotated[
        int | None, typer.Option(min=1, help="Cells at a time in each process; 32 for hosted models, 4 for local ones.")
    ] = None,
    local_concurrency: Annotated[int | None, typer.Option(min=1, help="The same for local models only.")] = None,
    processes: Annotated[int, typer.Option(min=1, help="Processes for hosted models; local ones have one.")] = 1,
    servers: Annotated[Path | None, typer.Option(help="servers.yaml of this machine.")] = None,
    soft_limit: Annotated[float | None, typer.Option(help="Seconds of service of a cell, instead of the experiment's.")] = None,
    hard_limit: Annotated[float | None, typer.Option(help="Seconds after which its process is killed.")] = None,
    restart_after: Annotated[int, typer.Option(min=1, help="Cells after which a process makes room for a fresh one.")] = 200,
    run: Annotated[list[str] | None, typer.Option(help="Serve this run only; may be said several times.")] = None,
    log_json: Annotated[bool, typer.Option("--log-json", help="Log one JSON object per line.")] = False,
    metrics_port: Annotated[int | None, typer.Option(help="Answer Prometheus here; each process takes the next port.")] = None,
) -> None:
    """Serve the runs that a broker announces; needs only Redis, the results folder and its models."""
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
    supervisor.serve(config)
