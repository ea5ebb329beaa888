"""`reprice`: the recorded calls of a run at other prices, old and new side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.json_output import Json, emit


def reprice(
    run: Annotated[str, typer.Argument(metavar="RUN", help="EXPERIMENT/RUN_ID, its folder, or EXPERIMENT for the latest.")],
    as_of: Annotated[str | None, typer.Option(help="Prices of this day (YYYY-MM-DD) instead of each call's own.")] = None,
    prices: Annotated[Path | None, typer.Option(help="Your own price file, on top of the public table.")] = None,
    results: Annotated[str, typer.Option(help="Folder or s3:// address of the results.")] = "results",
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
