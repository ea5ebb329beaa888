"""`decide`: one decision, without a server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from harness.json_output import Json, emit


def decide(
    ticker: Annotated[str, typer.Argument(help="Ticker as Yahoo writes it.")],
    date: Annotated[str, typer.Argument(help="Decision date, YYYY-MM-DD.")],
    experiment: Annotated[Path, typer.Option(envvar="HARNESS_EXPERIMENT", help="Experiment whose arms decide.")],
    arm: Annotated[str | None, typer.Option(help="Arm that decides; default: the first one.")] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Decide again even if this question is answered.")] = False,
    results: Annotated[str, typer.Option(help="Folder or s3:// address for all results.")] = "results",
    snapshots: Annotated[Path, typer.Option(help="Folder of frozen inputs, shared by all runs.")] = Path("snapshots"),
    servers: Annotated[Path | None, typer.Option(help="servers.yaml to use; default: the one next to the experiment.")] = None,
    archive: Annotated[str | None, typer.Option(help="Folder or s3:// address of the archive source.")] = None,
    broker: Annotated[str | None, typer.Option(envvar="HARNESS_BROKER", help="redis://...; default: a private Redis.")] = None,
    workers: Annotated[
        int | None, typer.Option(min=0, help="Worker processes for hosted models here; with --broker, default: none.")
    ] = None,
    state: Annotated[
        Path | None, typer.Option(envvar="HARNESS_STATE", help="Folder of jobs and tokens; default: RESULTS/.service.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Decide one case and print the decision; exit code 1 if there is none."""
    import sys

    from harness.service import deciding
    from harness.service.service import ServiceOptions

    options = ServiceOptions(
        experiment,
        results=results,
        snapshots=snapshots,
        servers=servers,
        archive=archive,
        broker=broker,
        workers=workers,
        state=state,
    )
    asked = {"ticker": ticker, "date": date, "fresh": fresh, **({"arm": arm} if arm else {})}
    result = deciding.decide(options, asked, lambda text: print(text, file=sys.stderr))
    emit("decision/1", result) if as_json else _show(result)
    raise typer.Exit(0 if result["decision"] else 1)


def _show(result: dict[str, Any]) -> None:
    if result["decision"] is None:
        print(f"no decision ({result['error_type']}): {result['error']}")
        return
    cost = "unknown" if result["cost_usd"] is None else f"${result['cost_usd']:.4f}"
    confidence = "not stated" if result["confidence"] is None else f"{result['confidence']:.0%}"
    print(f"{result['ticker']} {result['date']}: {result['decision']} ({result['rating']}), confidence {confidence}")
    print(f"by {result['arm']}, {result['llm_calls']} calls, {result['latency_s']:.1f} s, cost {cost}")
    print(f"recorded in {result['folder']}")
    if result["rationale"]:
        print(result["rationale"])
