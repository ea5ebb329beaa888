"""`decide`: one decision, without a server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from harness.commands.options import Archive, Broker, Results, ServedExperiment, Servers, Snapshots, State, Workers
from harness.json_output import Json, emit


def decide(
    ticker: Annotated[str, typer.Argument(help="Ticker as Yahoo writes it.")],
    date: Annotated[str, typer.Argument(help="Decision date, YYYY-MM-DD.")],
    experiment: ServedExperiment,
    arm: Annotated[str | None, typer.Option(help="Arm that decides; default: the first one.")] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Decide again even if this question is answered.")] = False,
    results: Results = "results",
    snapshots: Snapshots = Path("snapshots"),
    servers: Servers = None,
    archive: Archive = None,
    broker: Broker = None,
    workers: Workers = None,
    state: State = None,
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
