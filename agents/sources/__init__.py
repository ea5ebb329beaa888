"""Data sources: the protocol, the table of sources, and one file for each.

An empty result means that there is no data; a failed look-up raises SourceFailed (try again) or BadArchive (fix the files).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Generic, TypeVar

from agents.errors import SnapshotError
from agents.inputs.datum import Bar, Dividend, Fact, Insider, Macro, News, Split
from domain.data_kinds import ABSENT_AS, DATA_KINDS


@dataclass(frozen=True)
class SourceRecord:
    """One data source: what is known of it before its module is imported."""

    source: str
    """module:class; any callable that takes SourceSettings and returns the source."""
    kinds: frozenset[str]
    """Kinds of data that it has for past dates."""
    host: str | None = None
    """Host that it asks over the network; None if it reads files. A source with a host also has the data of today."""
    package: str = ""
    """Distribution that it needs; empty for one that is always installed."""
    extra: str = ""
    """Extra of this project that installs the package."""


SOURCES: Mapping[str, SourceRecord] = {
    "archive": SourceRecord("agents.sources.archive:Archive", frozenset(DATA_KINDS)),
    "demo": SourceRecord("agents.sources.demo:Demo", frozenset({"prices"}), package="bokeh-sampledata", extra="tiny"),
    "edgar": SourceRecord("agents.sources.edgar:Edgar", frozenset({"filings"}), "data.sec.gov"),
    "yfinance": SourceRecord(
        "agents.sources.yfinance:Yahoo", frozenset({"prices"}), "query1.finance.yahoo.com", "yfinance", "yahoo"
    ),
}
"""Name in an experiment's `data` -> source."""

OWN_SOURCES: dict[str, SourceRecord] = {}
"""Sources of users that experiments of this process name; see `agents.sources.own`."""

STATEMENT_DAYS = 800
"""Reporting periods that ended more days before the decision are dropped: a little over eight quarters are kept."""

Row = TypeVar("Row")


@dataclass(frozen=True)
class PriceHistory:
    """Prices of one ticker, oldest first, with splits and dividends."""

    bars: tuple[Bar, ...]
    splits: tuple[Split, ...] = ()
    dividends: tuple[Dividend, ...] = ()


@dataclass(frozen=True)
class SourceRows(Generic[Row]):
    """A source's rows for one query."""

    rows: tuple[Row, ...] = ()
    undated: int = 0
    """Number of rows without a date; they are never shown."""
    absent: str | None = None
    """Why there are no rows, as a sentence for the analysts."""


@dataclass(frozen=True)
class CurrentData:
    """What a source knows about a company now; all of it counts as known from this moment."""

    name: str | None = None
    news: tuple[News, ...] = ()
    facts: tuple[Fact, ...] = ()
    insiders: tuple[Insider, ...] = ()


@dataclass(frozen=True)
class SourceSettings:
    """What a source may need from the experiment and the environment."""

    archive: str | None = None
    """Folder or s3:// of the archive."""
    cache: Path | None = None
    """Folder in which a network source caches responses."""
    contact: str | None = None
    """Contact address that the SEC requires in requests."""


class Source:
    """Base class of sources. A source overrides what it has; the other methods return a sentence on what it lacks."""

    name = ""
    version = 1
    """A source raises it when it reads the same content differently: its cases are frozen again."""
    host: str | None = None
    """Host that a source of a user asks over the network; None if it asks none."""

    def __init__(self, settings: SourceSettings) -> None:
        self.settings = settings

    def fingerprint(self) -> str:
        """Changes when the source's content changes; empty if only the vendor knows."""
        return ""

    def tickers(self) -> tuple[str, ...]:
        """All tickers with prices, if the source can list them."""
        return ()

    def company(self, ticker: str) -> str | None:
        """The company's name."""
        return None

    def prices(self, ticker: str, first: dt.date, until: dt.datetime) -> PriceHistory:
        """Raw sessions from `first` that closed by `until`. Raises NoSuchCase for an unknown ticker."""
        raise SnapshotError(f"the source {self.name!r} has no prices; known: {', '.join(source_names('prices'))}")

    def adjusted(self, ticker: str) -> Mapping[dt.date, float]:
        """The vendor's adjusted closes, which contain later actions: for the look-ahead check, never for a prompt."""
        return {}

    def filings(self, ticker: str, until: dt.datetime) -> SourceRows[Fact]:
        """Statement lines as filed by `until`; for a restated line the last filing."""
        return SourceRows(absent=self.lacks("filings"))

    def news(self, ticker: str, since: dt.datetime, until: dt.datetime) -> SourceRows[News]:
        """Company and market-wide news of the window, newest first."""
        return SourceRows(absent=self.lacks("news"))

    def social(self, ticker: str, since: dt.datetime, until: dt.datetime) -> SourceRows[News]:
        """Social texts of the window, newest first."""
        return SourceRows(absent=self.lacks("social"))

    def insiders(self, ticker: str, since: dt.datetime, until: dt.datetime) -> SourceRows[Insider]:
        """Insider transactions filed in the window, newest first."""
        return SourceRows(absent=self.lacks("insiders"))

    def macro(self, since: dt.datetime, until: dt.datetime) -> SourceRows[Macro]:
        """Economic series published in the window, newest first."""
        return SourceRows(absent=self.lacks("macro"))

    def today(self, ticker: str, now: dt.datetime) -> CurrentData:
        """What is known now, for an archive that is extended day by day."""
        return CurrentData()

    def lacks(self, part: str) -> str:
        return f"the data source {self.name!r} has no {ABSENT_AS[part]}"


class NoSource(Source):
    """The source of a kind of data for which the experiment names none."""

    def lacks(self, part: str) -> str:
        return f"this experiment names no source for {ABSENT_AS[part]}"


@dataclass(frozen=True)
class DataSources:
    """The source of each kind of data."""

    by_part: Mapping[str, Source]

    def __getitem__(self, part: str) -> Source:
        return self.by_part[part]

    def fingerprint(self) -> dict[str, str]:
        return {part: f"{source.name} {source.fingerprint()}" for part, source in self.by_part.items()}


def source_names(part: str) -> tuple[str, ...]:
    """Sources that an experiment may name for this kind of data."""
    return tuple(name for name, record in SOURCES.items() if part in record.kinds)


def source_host(name: str) -> str | None:
    """Host that a source asks over the network; None if it reads files."""
    return _record(name).host


def missing_package(name: str) -> str:
    """The distribution that a source needs and that is not installed; empty if nothing is missing."""
    package = _record(name).package
    return package if package and find_spec(package.replace("-", "_")) is None else ""


def install_line(name: str) -> str:
    """The command that installs what a source needs."""
    record = _record(name)
    return f"pip install 'tradingagents-harness[{record.extra}]', or pip install {record.package}"


def source_kinds(name: str) -> frozenset[str]:
    """Kinds of data that a source has for past dates."""
    return _record(name).kinds


def open_sources(
    data: Mapping[str, Any], archive: str | None = None, cache: Path | None = None, contact: str | None = None
) -> DataSources:
    """Open the sources that `data` names; a kind of data without a source yields a sentence that says so."""
    settings = SourceSettings(archive=archive or data.get("archive"), cache=cache, contact=contact)
    opened: dict[str, Source] = {}
    for name in {data[part] for part in DATA_KINDS if data.get(part)}:
        opened[name] = _open(name, settings)
    main = opened[data["prices"]]
    return DataSources({part: _chosen(part, data, opened, main, settings) for part in DATA_KINDS})


def _chosen(part: str, data: Mapping[str, Any], opened: Mapping[str, Source], main: Source, settings: SourceSettings) -> Source:
    """Insider transactions come with filings; the demo source states itself what it lacks."""
    if part == "insiders" and data.get("filings"):
        return opened[data["filings"]]
    if data.get(part):
        return opened[data[part]]
    return main if main.name == "demo" else NoSource(settings)


def _open(name: str, settings: SourceSettings) -> Source:
    module, attribute = _record(name).source.split(":", 1)
    source: Source = getattr(import_module(module), attribute)(settings)
    return source


def _record(name: str) -> SourceRecord:
    """Raises SnapshotError for an unknown name."""
    record = SOURCES.get(name) or OWN_SOURCES.get(name)
    if record is None:
        raise SnapshotError(f"unknown data source {name!r}; known: {', '.join(sorted(SOURCES))}")
    return record


def within(rows: Sequence[Row], since: dt.datetime, until: dt.datetime) -> tuple[Row, ...]:
    """Rows that became available in (since, until], newest first."""
    inside = [row for row in rows if since < row.available_at <= until]  # type: ignore[attr-defined]
    return tuple(sorted(inside, key=lambda row: row.available_at, reverse=True))  # type: ignore[attr-defined]


def latest(facts: Sequence[Fact]) -> tuple[Fact, ...]:
    """The value filed last for each statement line, with the time from which it was known; repeated filings are ignored."""
    newest: dict[tuple[Any, ...], Fact] = {}
    for fact in sorted(facts, key=lambda fact: fact.available_at):
        key = (fact.statement, fact.item, fact.period_start, fact.period_end)
        if key not in newest or newest[key].value != fact.value:
            newest[key] = fact
    return in_order(tuple(newest.values()))


def in_order(facts: Sequence[Fact]) -> tuple[Fact, ...]:
    """Sorted by period, statement and item."""
    return tuple(sorted(facts, key=lambda fact: (fact.period_end, fact.statement, fact.item, str(fact.period_start))))
