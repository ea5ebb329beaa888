"""Small archives for tests: folders of Parquet in the documented format."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from agents import sessions_between

MOMENT = pa.timestamp("us", tz="UTC")
TYPES = {
    "prices": pa.schema(
        [
            ("ticker", pa.string()),
            ("date", pa.date32()),
            *((name, pa.float64()) for name in ("open", "high", "low", "close")),
            ("volume", pa.int64()),
        ]
    ),
    "splits": pa.schema([("ticker", pa.string()), ("ex_date", pa.date32()), ("ratio", pa.float64())]),
    "dividends": pa.schema(
        [
            ("ticker", pa.string()),
            ("ex_date", pa.date32()),
            ("declared_date", pa.date32()),
            ("pay_date", pa.date32()),
            ("amount", pa.float64()),
        ]
    ),
    "news": pa.schema(
        [("ticker", pa.string()), ("published_at", MOMENT), *((n, pa.string()) for n in ("title", "summary", "source"))]
    ),
    "fundamentals": pa.schema(
        [
            *((name, pa.string()) for name in ("ticker", "fiscal_year", "fiscal_period")),
            ("period_start", pa.date32()),
            ("period_end", pa.date32()),
            ("available_at", MOMENT),
            ("statement", pa.string()),
            ("item", pa.string()),
            ("value", pa.float64()),
            ("unit", pa.string()),
        ]
    ),
    "insiders": pa.schema(
        [
            ("ticker", pa.string()),
            ("available_at", MOMENT),
            *((name, pa.string()) for name in ("person", "role", "kind")),
            ("shares", pa.float64()),
            ("price", pa.float64()),
        ]
    ),
    "macro": pa.schema([("series", pa.string()), ("available_at", MOMENT), ("value", pa.float64())]),
}
FIRST, LAST = dt.date(2024, 1, 2), dt.date(2025, 7, 3)


def bars(
    ticker: str = "ABC", first: dt.date = FIRST, last: dt.date = LAST, start: float = 100.0, step: float = 0.001
) -> list[dict[str, Any]]:
    """A steady climb: every close is the one before plus `step` of it."""
    rows = []
    for site, day in enumerate(sessions_between(first, last)):
        close = round(start * (1 + step) ** site, 4)
        prices = {"open": close, "high": round(close * 1.01, 4), "low": round(close * 0.99, 4), "close": close}
        rows.append({"ticker": ticker, "date": day, **prices, "volume": 1_000_000 + site})
    return rows


def write(folder: Path, table: str, rows: Sequence[Mapping[str, Any]], schema: pa.Schema | None = None) -> Path:
    """Write one table of an archive."""
    folder.mkdir(parents=True, exist_ok=True)
    kind = schema or TYPES[table]
    data = [{name: row.get(name) for name in kind.names} for row in rows]
    pq.write_table(pa.Table.from_pylist(data, schema=kind), folder / f"{table}.parquet")
    return folder


def utc(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC)
