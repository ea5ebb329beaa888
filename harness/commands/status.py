"""`status`: how far a run is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from harness.status import Status


def status(
    run: Annotated[str, typer.Argument(metavar="RUN", help="results/EXPERIMENT/RUN_ID, or EXPERIMENT for its latest run.")],
    results: Annotated[str, typer.Option(help="Folder or s3:// address of all results.")] = "results",
    broker: Annotated[str | None, typer.Option(envvar="HARNESS_BROKER", help="Redis of the run, if it is not private.")] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Look again every two seconds until it ends.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show cells, calls, tokens, cost and time left of a run."""
    import json
    import time

    from harness import status as engine
    from harness.storage import run_folder

    found = run_folder.find(results, run)
    while True:
        seen = engine.read(found, broker)
        print(json.dumps(seen.as_json(), default=str)) if as_json else _show(seen)
        if not watch or seen.wish is None:
            return
        time.sleep(2.0)


def _show(seen: Status) -> None:
    from rich.console import Console

    from harness.display import line, table

    console = Console()
    console.print(table(seen.progress, f"{seen.run.experiment}/{seen.run.run_id}: {seen.state}"))
    console.print(line(seen.progress), markup=False, highlight=False, soft_wrap=True)
    for name, usage in seen.limits.items():
        busy = "" if usage["busy"] is None else f", busy {usage['busy']:.0%}"
        text = f"{name}: {usage['slots_held']} of {usage['window']:.0f} slots, {usage['waiting']} waiting{busy}"
        console.print(text, markup=False, highlight=False, soft_wrap=True)
    for note in seen.progress.notes:
        console.print(note, markup=False, highlight=False, soft_wrap=True)
