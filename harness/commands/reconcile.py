"""`reconcile`: compare recorded usage with the provider's usage export."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.commands.options import Results, RunName
from harness.json_output import Json, emit

if TYPE_CHECKING:
    from rich.console import Console

    from harness.money.invoice import InvoiceRow, Reconciled


def reconcile(
    run: RunName,
    usage: Annotated[Path, typer.Argument(metavar="USAGE.csv", help="Usage export of the provider.")],
    tolerance: Annotated[float, typer.Option(min=0, help="Largest relative difference that counts as equal.")] = 0.005,
    results: Results = "results",
    as_json: Json = False,
) -> None:
    """Compare recorded usage with the provider's, per day and model; exit code 4 if they differ."""
    from rich.console import Console

    from harness.money import invoice

    reconciled = invoice.reconcile(results, run, usage, tolerance)
    if as_json:
        emit("reconcile/1", reconciled.to_plain())
    else:
        _show(reconciled, Console())
    if not reconciled.agrees:
        raise typer.Exit(4)


def _show(reconciled: Reconciled, console: Console) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(title="recorded here / provider", title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("day", no_wrap=True)
    table.add_column("model", overflow="fold")
    for heading in ("requests", "in", "out", "USD"):
        table.add_column(heading, justify="right")
    table.add_column("")
    for row in reconciled.rows:
        names = ("requests", "input_tokens", "output_tokens", "cost_usd")
        pairs = [f"{_number(row.ours.get(name))} / {_number(row.theirs.get(name))}" for name in names]
        table.add_row(row.day, Text(row.model or "all models"), *pairs, row.verdict)
    console.print(table)
    lines = [*(_said(row) for row in reconciled.rows if row.differs or row.killed), _whole(reconciled)]
    if usage := reconciled.monthly_usage:
        lines.append(
            f"outside the days of the run, the models of {usage.baseline} cost ${usage.usd_a_month:,.2f} a month "
            f"({usage.days} days); the bill of the next `report` starts with it"
        )
    for text in lines:
        console.print(text, markup=False, highlight=False)


def _said(row: InvoiceRow) -> str:
    """What differs, ours relative to theirs."""
    by_size = sorted(row.differs.items(), key=lambda pair: -abs(pair[1]))
    differs = [f"{name.replace('_', ' ').replace('cost usd', 'USD')} {gap:+.1%}" for name, gap in by_size]
    killed = [f"{row.killed} killed here may be billed there"] if row.killed else []
    return f"{row.day} {row.model or 'all models'}, here against there: {', '.join(differs + killed)}"


def _whole(reconciled: Reconciled) -> str:
    verdict = "they agree" if reconciled.agrees else "they differ"
    left = f"; {reconciled.other_days} lines outside the days of the run are ignored" if reconciled.other_days else ""
    ours_text, provider_text = (
        "unknown" if usd is None else f"${_number(usd)}" for usd in (reconciled.ours_usd, reconciled.theirs_usd)
    )
    reused = "" if reconciled.reused_usd == 0 else f"; {_reused(reconciled.reused_usd)} is not compared"
    return f"{ours_text} paid in this run, {provider_text} by the provider: {verdict}{left}{reused}"


def _reused(usd: float | None) -> str:
    return f"{'an unknown amount' if usd is None else f'${_number(usd)}'} that earlier runs paid and this run reused"


def _number(value: float | None) -> str:
    """The number, or a dash if unknown."""
    return "–" if value is None else f"{value:,.4f}".rstrip("0").rstrip(".")
