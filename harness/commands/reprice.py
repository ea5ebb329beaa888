"""`reprice`: the recorded calls of a run at other prices, old and new side by side."""

from __future__ import annotations

from typing import Annotated

import typer

from harness.commands.options import Prices, Results, RunName
from harness.json_output import Json, emit


def reprice(
    run: RunName,
    as_of: Annotated[str | None, typer.Option(help="Prices of this day (YYYY-MM-DD) instead of each call's own.")] = None,
    prices: Prices = None,
    results: Results = "results",
    as_json: Json = False,
) -> None:
    """Reprice a run: at another date, or with another price file."""
    import datetime as dt

    from rich.console import Console

    from harness.errors import InvalidInput, Problem
    from harness.money import price_file, repricing
    from harness.money.pricing import PriceTable

    try:
        moment = dt.datetime.fromisoformat(as_of).replace(tzinfo=dt.UTC) if as_of else None
    except ValueError as error:
        raise InvalidInput([Problem("--as-of", f"{as_of!r} is not a date", "write YYYY-MM-DD")]) from error
    table = PriceTable(price_file.load(prices) if prices else None, moment)
    repriced = repricing.reprice(results, run, table)
    if as_json:
        emit("repriced/1", repriced.to_plain())
    else:
        repricing.show(repriced, Console())
