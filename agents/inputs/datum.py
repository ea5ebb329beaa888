"""The kinds of data in a snapshot; each row has the time from which it was public."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any, NamedTuple, get_type_hints

UTC = dt.UTC


class Bar(NamedTuple):
    """One session, as traded."""

    date: dt.date
    open: float
    high: float
    low: float
    close: float
    volume: float
    available_at: dt.datetime


class Split(NamedTuple):
    ex_date: dt.date
    ratio: float
    """New shares for one old share."""
    available_at: dt.datetime


class Dividend(NamedTuple):
    ex_date: dt.date
    amount: float
    """Cash per share, as declared."""
    declared_date: dt.date | None
    pay_date: dt.date | None
    available_at: dt.datetime


class Indicator(NamedTuple):
    """An indicator or return as of the last bar; without a value it has a reason."""

    name: str
    value: float | None
    previous: float | None
    """The value one session earlier."""
    reason: str | None
    available_at: dt.datetime


class News(NamedTuple):
    """An external text; it is quoted as data and never followed as an instruction."""

    scope: str
    """company | global | social."""
    title: str
    summary: str
    source: str
    available_at: dt.datetime


class Fact(NamedTuple):
    """One line of a financial statement as filed."""

    statement: str
    item: str
    fiscal_year: str
    fiscal_period: str
    period_start: dt.date | None
    period_end: dt.date
    value: float
    unit: str
    available_at: dt.datetime


class Insider(NamedTuple):
    """One transaction of an insider, as filed."""

    person: str
    role: str
    kind: str
    """buy | sell | other."""
    shares: float | None
    price: float | None
    available_at: dt.datetime


class Macro(NamedTuple):
    """One value of an economic series."""

    series: str
    value: float
    available_at: dt.datetime


Datum = Bar | Split | Dividend | Indicator | News | Fact | Insider | Macro

PARTS: dict[str, type[Any]] = {
    "prices": Bar,
    "splits": Split,
    "dividends": Dividend,
    "indicators": Indicator,
    "returns": Indicator,
    "news": News,
    "filings": Fact,
    "insiders": Insider,
    "macro": Macro,
}
"""Part of a snapshot -> the type of its rows."""

_HINTS: dict[type[Any], tuple[Any, ...]] = {kind: tuple(get_type_hints(kind).values()) for kind in PARTS.values()}


def to_table(kind: type[Any], rows: tuple[Any, ...]) -> dict[str, Any]:
    """Rows of one kind as columns and plain values."""
    writers = [_writer(hint) for hint in _HINTS[kind]]
    return {
        "columns": list(kind._fields),
        "rows": [
            [value if value is None or write is None else write(value) for write, value in zip(writers, row, strict=True)]
            for row in rows
        ],
    }


def from_table(kind: type[Any], table: dict[str, Any]) -> tuple[Any, ...]:
    """The rows that `to_table` wrote. Raises TypeError or ValueError for others."""
    # Column by column: a cell whose calls are answered later reads its snapshot once for each stage.
    columns: list[Sequence[Any]] = list(zip(*table["rows"], strict=True))
    for number, hint in enumerate(_HINTS[kind][: len(columns)]):
        if read := _reader(hint):
            columns[number] = [None if value is None else read(value) for value in columns[number]]
    return tuple(map(kind._make, zip(*columns, strict=True)))


def moment_text(moment: dt.datetime) -> str:
    """ISO 8601 in UTC, with Z."""
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _writer(hint: Any) -> Any:
    text = str(hint)
    if "datetime.datetime" in text:
        return moment_text
    return dt.date.isoformat if "datetime.date" in text else None


def _reader(hint: Any) -> Any:
    text = str(hint)
    if "datetime.datetime" in text:
        return dt.datetime.fromisoformat
    return dt.date.fromisoformat if "datetime.date" in text else None
