"""The check of an archive: its contents, and what an experiment that uses it will lack."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
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
        reports,
        (
            *_absent(tables),
            *_undated(reports),
            *_off_session(tables["prices"]),
            *_gaps(bars),
            *_short(bars),
            *_steps(archive, bars),
        ),
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
    for ticker in sorted(set(gapped) & _BENCHMARKS):
        days = gapped[ticker]
        yield (
            f"prices: the benchmark {ticker} misses {len(days)} sessions ({_days(days)}); "
            "what happened there cannot be compared with it"
        )
    if gapped:
        counts = [len(days) for days in gapped.values()]
        newest = max(day for days in gapped.values() for day in days)
        summary = f"{len(gapped)} of {len(bars)} tickers miss {min(counts)} to {max(counts)} sessions"
        yield f"prices: {summary} (newest {newest}); an indicator whose window holds such a day stays unknown"


_BENCHMARKS = frozenset({"SPY", "QQQ", "DIA", "IWM", "VOO", "^GSPC", "^DJI", "^IXIC", "^NDX", "^RUT"})
"""Series that returns are usually compared with."""
_SPLIT_RATIOS = (2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 10.0, 15.0, 20.0, 25.0, 30.0, 50.0, 100.0)
_SPLIT_TOLERANCE = 0.08
_SHOWN_STEPS, _SHOWN_DAYS = 20, 5


def _steps(archive: Archive, bars: Mapping[str, Sequence[Bar]]) -> Iterator[str]:
    """Steps of a price that look like a split which the table of splits does not name."""
    splits = _split_days(archive)
    steps = [
        (ticker, day.date, day.open / before.close)
        for ticker, sessions in bars.items()
        for before, day in pairwise(sessions)
        if (ticker, day.date) not in splits and _looks_like_split(before, day)
    ]
    for ticker, date, ratio in steps[:_SHOWN_STEPS]:
        yield (
            f"prices: {ticker} opens on {date} at {ratio:.3f} times the close before ({_fraction(ratio)}); no split is "
            "listed for that day. Fix: add it to the table splits, or correct the prices: they must be raw"
        )
    if len(steps) > _SHOWN_STEPS:
        yield f"prices: {len(steps) - _SHOWN_STEPS} more such steps without a split"


def _split_days(archive: Archive) -> set[tuple[str, dt.date]]:
    table = archive.table("splits")
    if table is None:
        return set()
    return set(zip(table["ticker"].to_pylist(), table["ex_date"].to_pylist(), strict=True))


def _looks_like_split(before: Bar, day: Bar) -> bool:
    """Whether open and close both moved by the ratio of a split; a crash rarely hits one so closely, and recovers within it."""
    step = day.open / before.close
    size = max(step, 1 / step)
    is_ratio = any(abs(size / ratio - 1) < _SPLIT_TOLERANCE for ratio in _SPLIT_RATIOS)
    return is_ratio and abs(day.close / day.open - 1) < 2 * _SPLIT_TOLERANCE


def _fraction(step: float) -> str:
    ratio = min(_SPLIT_RATIOS, key=lambda candidate: abs(max(step, 1 / step) / candidate - 1))
    return f"about 1/{ratio:g}" if step < 1 else f"about {ratio:g}/1"


def _days(days: Sequence[dt.date]) -> str:
    more = f", {len(days) - _SHOWN_DAYS} more" if len(days) > _SHOWN_DAYS else ""
    return ", ".join(map(str, days[:_SHOWN_DAYS])) + more


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
