"""One row of an archive's table made into a datum, with the moment from which it was public."""

from __future__ import annotations

import datetime as dt
from typing import Any

from agents.inputs.datum import UTC, Bar, Dividend, Fact, Insider, News, Split
from agents.inputs.sessions import close_of, is_session
from agents.inputs.text import SUMMARY, TITLE, clean


def plain(table: Any) -> list[dict[str, Any]]:
    """The rows of a checked table as dicts, times in UTC."""
    import pyarrow as pa

    for place, field in enumerate(table.schema):
        if pa.types.is_timestamp(field.type):
            table = table.set_column(place, field.name, table[field.name].cast(pa.timestamp("us", "UTC"), safe=False))
        elif pa.types.is_null(field.type):
            table = table.set_column(place, field.name, pa.nulls(table.num_rows, pa.string()))
    found: list[dict[str, Any]] = table.to_pylist()
    return found


def bar(row: dict[str, Any]) -> Bar | None:
    """A row on a day without a session is no bar."""
    if not is_session(row["date"]):
        return None
    prices = [float(row[name]) for name in ("open", "high", "low", "close", "volume")]
    return Bar(row["date"], *prices, close_of(row["date"]))  # type: ignore[call-arg, arg-type]


def dividend(row: dict[str, Any]) -> Dividend:
    """Known from the end of the day it was declared; without that, from the day it goes ex."""
    declared, ex_date = row.get("declared_date"), row["ex_date"]
    known = midnight(declared + dt.timedelta(days=1)) if declared else midnight(ex_date)
    return Dividend(ex_date, float(row["amount"]), declared, row.get("pay_date"), known)


def text(row: dict[str, Any], scope: str) -> News | None:
    """An undated text is none."""
    if row["published_at"] is None:
        return None
    source = clean(row["source"], 60) or "unknown source"
    return News(scope, clean(row["title"], TITLE), clean(row["summary"], SUMMARY), source, row["published_at"])


def fact(row: dict[str, Any]) -> Fact | None:
    """An undated line is none."""
    if row["available_at"] is None:
        return None
    names = [str(row[key] or "") for key in ("statement", "item", "fiscal_year", "fiscal_period")]
    return Fact(*names, row["period_start"], row["period_end"], float(row["value"]), row["unit"] or "", row["available_at"])  # type: ignore[call-arg, arg-type]


def trade(row: dict[str, Any]) -> Insider | None:
    """An undated transaction is none."""
    if row["available_at"] is None:
        return None
    person, role = clean(row["person"], 80), clean(row.get("role"), 80)
    return Insider(person, role, clean(row["kind"], 20), row.get("shares"), row.get("price"), row["available_at"])


def split(row: dict[str, Any]) -> Split:
    """Known from the day it goes ex."""
    return Split(row["ex_date"], float(row["ratio"]), midnight(row["ex_date"]))


def midnight(day: dt.date) -> dt.datetime:
    return dt.datetime.combine(day, dt.time(), UTC)
