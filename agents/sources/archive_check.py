"""The check of an archive: its contents, and what an experiment that uses it will lack."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agents.inputs.datum import Bar
from agents.inputs.prices import WINDOWS
from agents.inputs.sessions import is_session, sessions_between
from agents.sources import SourceSettings
from agents.sources.archive import Archive
from agents.sources.archive_format import TABLES


@dataclass(frozen=True)
class TableReport:
    name: str
    rows: int
    tickers: int
    first: str
    last: str
    undated: int
    """Number of rows without the time of their publication; they are never shown."""


@dataclass(frozen=True)
class ArchiveReport:
    tables: tuple[TableReport, ...]
    notes: tuple[str, ...]
    """Gaps that are allowed but leave an analyst without data."""


def check_archive(folder: str) -> ArchiveReport:
    """Read and check every table. Raises BadArchive with table, column and row, SourceFailed if it cannot be reached."""
    archive = Archive(SourceSettings(archive=folder))
    tables = {name: archive.table(name) for name in TABLES if archive.table(name) is not None}
    bars = {ticker: archive.bars(ticker) for ticker in archive.tickers()}
    reports = tuple(_table(name, table) for name, table in tables.items())
    return ArchiveReport(
        reports, (*_absent(tables), *_undated(reports), *_off_session(tables["prices"]), *_gaps(bars), *_short(bars))
    )


def _table(name: str, table: Any) -> TableReport:
    import pyarrow.compute as pc

    first = table[TABLES[name].first]
    owner = table["ticker" if "ticker" in table.column_names else "series"]
    span = pc.min_max(first).as_py() if len(first) and name != "companies" else {"min": "", "max": ""}
    undated = sum(table[column.name].null_count for column in TABLES[name].columns if column.kind == "moment")
    ends = (_short_time(span["min"]), _short_time(span["max"]))
    return TableReport(name, table.num_rows, pc.count_distinct(owner).as_py(), *ends, undated)


def _short_time(value: Any) -> str:
    return f"{value:%Y-%m-%d %H:%M}" if isinstance(value, dt.datetime) else str(value or "")


def _absent(tables: Mapping[str, Any]) -> Iterator[str]:
    missing = [name for name in TABLES if name not in tables and name not in ("companies", "splits")]
    if missing:
        yield f"no table of: {', '.join(missing)}; prompts state this"
    if "splits" not in tables:
        yield "no table splits: fine if none of these tickers split in these years, else prices before a split look too high"


def _undated(reports: Sequence[TableReport]) -> Iterator[str]:
    for report in reports:
        if report.undated:
            share = 100 * report.undated / report.rows
            yield f"{report.name}: {report.undated:,} rows ({share:.0f} %) have no known time; they are left out and counted"


def _off_session(prices: Any) -> Iterator[str]:
    off = sorted({day for day in prices["date"].to_pylist() if not is_session(day)})
    if off:
        yield f"prices: {len(off)} days are no sessions of the exchange and are ignored (first {off[0]})"


def _gaps(bars: Mapping[str, Sequence[Bar]]) -> Iterator[str]:
    missing = {ticker: _missing(sessions) for ticker, sessions in bars.items() if sessions}
    gapped = {ticker: days for ticker, days in missing.items() if days}
    if gapped:
        counts = [len(days) for days in gapped.values()]
        newest = max(day for days in gapped.values() for day in days)
        summary = f"{len(gapped)} of {len(bars)} tickers miss {min(counts)} to {max(counts)} sessions"
        yield f"prices: {summary} (newest {newest}); an indicator whose window holds such a day stays unknown"


def _missing(bars: Sequence[Bar]) -> list[dt.date]:
    have = {bar.date for bar in bars}
    return [day for day in sessions_between(bars[0].date, bars[-1].date) if day not in have]


def _short(bars: Mapping[str, Sequence[Bar]]) -> Iterator[str]:
    longest = max((len(sessions) for sessions in bars.values()), default=0)
    never = [name for name, need in WINDOWS.items() if need > longest]
    if never:
        yield f"prices: the longest history has {longest} sessions, too few for {', '.join(never)}: always unknown"
    end = max((sessions[-1].date for sessions in bars.values() if sessions), default=None)
    for ticker, sessions in bars.items():
        if sessions and end and (end - sessions[-1].date).days > 30:
            yield f"prices: {ticker} has {len(sessions)} sessions and ends {sessions[-1].date}, long before the others ({end})"
