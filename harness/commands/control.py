"""`pause`, `resume`, `stop` and `retry`: what a person wants of a run, from any shell."""

from __future__ import annotations

from typing import Annotated

import typer

_RUN = typer.Argument(metavar="RUN", help="results/EXPERIMENT/RUN_ID, or EXPERIMENT for its latest run.")
_RESULTS = typer.Option(help="Folder or s3:// address of all results.")
_BROKER = typer.Option(envvar="HARNESS_BROKER", help="Redis of the run, if it is not private.")


def pause(
    run: Annotated[str, _RUN],
    results: Annotated[str, _RESULTS] = "results",
    broker: Annotated[str | None, _BROKER] = None,
) -> None:
    """Start no further cell; those that run go on to their end."""
    _say(run, results, broker, "pause")


def resume(
    run: Annotated[str, _RUN],
    results: Annotated[str, _RESULTS] = "results",
    broker: Annotated[str | None, _BROKER] = None,
) -> None:
    """Go on after a pause."""
    _say(run, results, broker, "run")


def stop(
    run: Annotated[str, _RUN],
    results: Annotated[str, _RESULTS] = "results",
    broker: Annotated[str | None, _BROKER] = None,
) -> None:
    """Let requests that are out land, then end the run; `run` continues it later."""
    _say(run, results, broker, "stop")


def retry(
    run: Annotated[str, _RUN],
    failed: Annotated[bool, typer.Option("--failed", help="Reopen failed and timed-out cells.")] = False,
    results: Annotated[str, _RESULTS] = "results",
    broker: Annotated[str | None, _BROKER] = None,
) -> None:
    """Reopen failed and timed-out cells; a run in progress takes them up, else `run` does."""
    from harness import retrying
    from harness.errors import InvalidInput, Problem
    from harness.storage import run_folder

    if not failed:
        raise InvalidInput([Problem("retry", "it is not said what to reopen", "say --failed")])
    reopened, is_running = retrying.reopen_failed(run_folder.find(results, run), broker)
    later = "the run in progress takes them up" if is_running else "`python -m harness run EXPERIMENT.yaml` runs them"
    print(f"{reopened} cells reopened" + (f"; {later}" if reopened else ""))


def _say(name: str, results: str, broker: str | None, wish: str) -> None:
    from harness import status
    from harness.errors import InvalidInput, Problem
    from harness.queue import control
    from harness.storage import run_folder

    run = run_folder.find(results, name)
    with status.connected(run, broker) as client:
        if client is None or not control.is_running(client, run.run_id):
            where = f"{run.experiment}/{run.run_id}"
            raise InvalidInput(
                [Problem("RUN", f"nothing executes {where} now", "start it, or pass --broker if its Redis is shared")]
            )
        control.request(client, run.run_id, wish)
    print(f"{run.experiment}/{run.run_id}: {wish}")
