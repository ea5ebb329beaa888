"""`pause`, `resume`, `stop` and `retry`: control a run from any shell."""

from __future__ import annotations

from typing import Annotated

import typer

from harness.commands.options import BrokerOfRun, Results, RunName
from harness.json_output import Json, emit


def pause(
    run: RunName,
    results: Results = "results",
    broker: BrokerOfRun = None,
    as_json: Json = False,
) -> None:
    """Start no further cell; running cells go on to their end."""
    _request(run, results, broker, "pause", as_json=as_json)


def resume(
    run: RunName,
    results: Results = "results",
    broker: BrokerOfRun = None,
    as_json: Json = False,
) -> None:
    """Continue after a pause."""
    _request(run, results, broker, "run", as_json=as_json)


def stop(
    run: RunName,
    results: Results = "results",
    broker: BrokerOfRun = None,
    as_json: Json = False,
) -> None:
    """Let requests in flight end, then stop the run; `run` continues it later."""
    _request(run, results, broker, "stop", as_json=as_json)


def retry(
    run: RunName,
    _failed: Annotated[bool, typer.Option("--failed", hidden=True)] = True,
    results: Results = "results",
    broker: BrokerOfRun = None,
    as_json: Json = False,
) -> None:
    """Reopen failed and timed-out cells; a run in progress runs them, else the next `run`."""
    from harness.runs import status
    from harness.storage import run_folder
    from harness.terminal import number_of

    folder = run_folder.find(results, run)
    reopened, is_running = status.reopen_failed(folder, broker)
    command = folder.store.manifest().get("command", "python -m harness run EXPERIMENT.yaml")
    later = "the run in progress runs them" if is_running else f"`{command}` runs them"
    sentence = f"{number_of(reopened, 'cell')} reopened" + (f"; {later}" if reopened else "")
    _say(f"{folder.experiment}/{folder.run_id}", "retry", sentence, as_json=as_json)


def _request(name: str, results: str, broker: str | None, request: str, *, as_json: bool) -> None:
    from harness.errors import InvalidInput, Problem
    from harness.queue import control
    from harness.runs import answered_later, status
    from harness.storage import run_folder

    run = run_folder.find(results, name)
    where = f"{run.experiment}/{run.run_id}"
    with status.connected_redis(run, broker) as client:
        is_running = client is not None and control.is_running(client, run.run_id)
        if not is_running and request == control.STOP and (sentence := answered_later.cancel_left(run)):
            _say(where, request, sentence, as_json=as_json)
            return
        if client is None or not is_running:
            raise InvalidInput([Problem("RUN", f"{where} is not running", "start it, or pass --broker if its Redis is shared")])
        control.request(client, run.run_id, request)
    _say(where, request, f"{where}: {request}", as_json=as_json)


def _say(run: str, request: str, message: str, *, as_json: bool) -> None:
    emit("control/1", {"run": run, "request": request, "message": message}) if as_json else print(message)
