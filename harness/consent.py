"""Consent: a run that can cost money asks first, or needs a budget where nobody can be asked."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

from harness.errors import InvalidInput, Problem, Stopped
from harness.experiment import matrix

if TYPE_CHECKING:
    from rich.console import Console

    from harness.cells import Cell
    from harness.session import Plan


def ask_before_spending(plan: Plan, cells: Iterable[Cell], console: Console) -> None:
    """Raises Stopped when a person says no, InvalidInput when nobody can be asked and nothing caps the bill."""
    paid = [cell for cell in cells if matrix.asks_hosted(cell, plan.checked.hosted)]
    if not paid or plan.options.yes:
        return
    cap = plan.experiment.budget.run_usd
    if sys.stdin.isatty() and console.is_terminal:
        _ask(len(paid), cap, console)
    elif cap is None:
        what = f"{len(paid)} cells ask hosted models, and nothing caps the bill"
        raise InvalidInput([Problem("budget", what, "say budget: {run_usd: N} in the file, --budget N, or --yes")])


def _ask(cells: int, cap: float | None, console: Console) -> None:
    bound = "no cap" if cap is None else f"cap ${cap:,.2f}"
    console.print(f"{cells} cells ask hosted models ({bound}). Go on? [y/N] ", end="", markup=False)
    if input().strip().lower() not in ("y", "yes"):
        raise Stopped("nothing was run")
