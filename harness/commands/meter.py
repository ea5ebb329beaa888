"""`meter`: measure the GPU power of this machine during a run."""

from __future__ import annotations

from typing import Annotated

import typer

from harness.commands.options import Results, RunName


def meter(
    run: RunName,
    server: Annotated[str, typer.Argument(help="Server in servers.yaml whose GPU is in this machine.")],
    period: Annotated[float, typer.Option(min=0.05, help="Seconds between two readings.")] = 0.5,
    results: Results = "results",
) -> None:
    """Record the GPU's power until Ctrl-C; start it a minute before the run, to measure the idle power."""
    import signal
    from threading import Event

    from harness.errors import InvalidInput, Problem
    from harness.money import meter as sampler
    from harness.storage import run_folder

    folder = run_folder.find(results, run).store.folder
    if folder.local is None:
        raise InvalidInput(
            [Problem("meter", f"{folder.url} is not a local folder", "write to a local folder and copy power/ there")]
        )
    stop = Event()
    signal.signal(signal.SIGINT, lambda *_: stop.set())
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    with sampler.nvml() as read:
        path = folder.local / "power" / f"{server}.jsonl"
        count = sampler.sample(read, path, stop, period)
        print(f"{count} readings in {path}")
