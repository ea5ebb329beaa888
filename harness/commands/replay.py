"""`replay`: send the recorded prompts of one arm to other models."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.commands.options import Broker, Budget, Results, RunName, Servers, Workers, Yes
from harness.json_output import Json, emit


def replay(
    run: RunName,
    source: Annotated[str | None, typer.Option("--from", help="Arm whose recorded messages are sent again.")] = None,
    target: Annotated[
        list[str] | None, typer.Option("--to", help="Model to ask, with or without an arm; may be repeated.")
    ] = None,
    models: Annotated[
        Path | None, typer.Option(help="YAML file with further models (and servers); without --to all of them are asked.")
    ] = None,
    roles: Annotated[str | None, typer.Option(help="Only these roles, separated by commas.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most this many cases.")] = None,
    noise_floor: Annotated[
        int | None, typer.Option(min=0, help="Cases that the arm's own models answer again: what differs by chance.")
    ] = None,
    judge: Annotated[
        list[str] | None, typer.Option(help="Model that judges each pair of answers in both orders; may be repeated.")
    ] = None,
    experiment: Annotated[
        Path | None, typer.Option(help="Experiment file; .env and servers.yaml are read from its folder.")
    ] = None,
    broker: Broker = None,
    workers: Workers = None,
    budget: Budget = None,
    yes: Yes = False,
    servers: Servers = None,
    results: Results = "results",
    as_json: Json = False,
) -> None:
    """Ask other models exactly what one arm was asked, role by role; without --from and --to as the experiment declares."""
    from rich.console import Console

    from harness.runs import replay as engine
    from harness.runs import status
    from harness.runs.session import RunOptions

    recorded_run = engine.find(results, run, models)
    path = experiment or Path("experiments") / f"{recorded_run.run.experiment}.yaml"
    options = RunOptions(path=path, broker=broker, workers=workers, budget=budget, yes=yes, servers=servers, results=results)
    wanted = engine.replay_wanted(
        recorded_run, engine.ReplayOptions(source, target or tuple(recorded_run.added), roles, limit, noise_floor, judge or ())
    )
    code = engine.play(recorded_run, wanted, options, Console(stderr=as_json))
    if as_json:
        emit("run/1", status.ended_as_json(recorded_run.run, code))
    raise typer.Exit(code)
