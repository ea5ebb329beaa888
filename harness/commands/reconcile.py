"""`reconcile`: a run's ledger against the provider's own usage export."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def reconcile(
    run: Annotated[str, typer.Argument(metavar="RUN", help="EXPERIMENT/RUN_ID, its folder, or EXPERIMENT for the latest.")],
    usage: Annotated[Path, typer.Argument(metavar="USAGE.csv", help="Usage export of the provider.")],
    tolerance: Annotated[float, typer.Option(min=0, help="Difference that is none, as a share of the larger.")] = 0.005,
    results: Annotated[str, typer.Option(help="Folder or s3:// address of the results.")] = "results",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Compare what was recorded with what the provider says, per day and model; exit code 4 where they differ."""
    import json

    from rich.console import Console

    from harness.money import invoice

    found = invoice.reconcile(results, run, usage, tolerance)
    if as_json:
        print(json.dumps(found.to_plain(), indent=2))
    else:
        _show(found, Console())
    if not found.agrees:
        raise typer.Exit(4)


def _show(found: object, console: object) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from harness.money.invoice import Reconciled

    assert isinstance(found, Reconciled)
    assert isinstance(console, Console)
    table = Table(
        "day", "model", "requests", "tokens in", "tokens out", "USD", "", title="recorded / provider", title_justify="left"
    )
    for row in found.rows:
        names = ("requests", "input_tokens", "output_tokens", "cost_usd")
        pairs = [f"{_number(row.ours.get(name))} / {_number(row.theirs.get(name))}" for name in names]
        table.add_row(row.day, escape(row.model), *pairs, row.verdict)
    console.print(table)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:,.4f}".rstrip("0").rstrip(".")
