"""Data sources: one file each, one protocol, one table.

Empty means that there is nothing; failing to look raises SourceFailed (try again) or BadArchive (mend the files).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Generic, TypeVar

from agents.errors import SnapshotError
from agents.inputs.datum import Bar, Dividend, Fact, Insider, Macro, News, Split

SOURCES: Mapping[str, tuple[str, frozenset[str]]] = {
    "archive": ("agents.sources.archive:Archive", frozenset({"prices", "filings", "news", "social", "insiders", "macro"})),
    "demo": ("agents.sources.demo:Demo", frozenset({"prices"})),
    "edgar": ("agents.sources.edgar:Edgar", frozenset({"filings"})),
    "yfinance": ("agents.sources.yfinance:Yahoo", frozenset({"prices"})),
}
"""name in an experiment's `data` -> its class, and what it gives for past dates."""

ASKED = ("prices", "filings", "news", "social", "insiders", "macro")
"""What an experiment can name a source for."""

Row = TypeVar("Row")


@dataclass(frozen=True)
class History:
    """Prices of one ticker, oldest first, with the actions that went with them."""

    bars: tuple[Bar, ...]
    splits: tuple[Split, ...] = ()
    dividends: tuple[Dividend, ...] = ()


@dataclass(frozen=True)
class Found(Generic[Row]):
    """What a source has for one question."""

    rows: tuple[Row, ...] = ()
    undated: int = 0
    """Rows that nobody can date; never shown."""
    absent: str | None = None
    """Why there is nothing, as a sentence for the analysts."""


@dataclass(frozen=True)
class Today:
    """What a source knows of a company right now; all of it counts as known from this moment on."""

    name: str | None = None
    news: tuple[News, ...] = ()
    facts: tuple[Fact, ...] = ()
    insiders: tuple[Insider, ...] = ()


@dataclass(frozen=True)
class Settings:
    """What a source may need from the experiment and its machine."""

    archive: str | None = None
    """Folder or s3:// of the archive."""
    cache: Path | None = None
    """Where a network source keeps what it fetched."""
    contact: str | None = None
    """Whom the SEC may write to about our requests."""


class Source:
    """The protocol. A source overrides what it gives; the rest stays a sentence on what it lacks."""

    name = ""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def fingerprint(self) -> str:
        """Changes when the source's content changes; empty when the vendor alone knows."""
        return ""

    def tickers(self) -> tuple[str, ...]:
        """All tickers with prices, where the source can list them."""
        return ()

    def company(self, ticker: str) -> str | None:
        """The company's name."""
        return None

    def prices(self, ticker: str, first: dt.date, until: dt.datetime) -> History:
        """Raw sessions from `first` on that closed by `until`. Raises NoSuchCase for an unknown ticker."""
        raise SnapshotError(f"the source {self.name!r} has no prices; known: {', '.join(source_names('prices'))}")

    def adjusted(self, ticker: str) -> Mapping[dt.date, float]:
        """The vendor's own adjusted closes, made with knowledge of later actions: for the sentinel, never for a prompt."""
        return {}

    def filings(self, ticker: str, until: dt.datetime) -> Found[Fact]:
        """Statement lines as filed by `until`; of a restated line the one filed last."""
        return Found(absent=self.lacks("filings"))

    def news(self, ticker: str, since: dt.datetime, until: dt.datetime) -> Found[News]:
        """Company and market-wide news of the window, newest first."""
        return Found(absent=self.lacks("news"))

    def social(self, ticker: str, since: dt.datetime, until: dt.datetime) -> Found[News]:
        """Social texts of the window, newest first."""
        return Found(absent=self.lacks("social"))

    def insiders(self, ticker: str, since: dt.datetime, until: dt.datetime) -> Found[Insider]:
        """Insider transactions filed in the window, newest first."""
        return Found(absent=self.lacks("insiders"))

    def macro(self, since: dt.datetime, until: dt.datetime) -> Found[Macro]:
        """Economic series published in the window, newest first."""
        return Found(absent=self.lacks("macro"))

    def today(self, ticker: str, now: dt.datetime) -> Today:
        """What is knowable now, for an archive that grows forward."""
        return Today()

    def lacks(self, part: str) -> str:
        return f"the data source {self.name!r} has no {WORDS[part]}"


WORDS: Mapping[str, str] = {
    "filings": "company filings",
    "news": "news",
    "social": "social media texts",
    "insiders": "insider transactions",
    "macro": "economic series",
}


class Nowhere(Source):
    """What an experiment names no source for."""

    def lacks(self, part: str) -> str:
        return f"this experiment names no source for {WORDS[part]}"


@dataclass(frozen=True)
class Desk:
    """part -> the source that is asked for it."""

    by_part: Mapping[str, Source]

    def __getitem__(self, part: str) -> Source:
        return self.by_part[part]

    def fingerprint(self) -> dict[str, str]:
        return {part: f"{source.name} {source.fingerprint()}" for part, source in self.by_part.items()}


def source_names(part: str) -> tuple[str, ...]:
    """Sources that an experiment may name for this part (prices, filings, news, social, macro)."""
    return tuple(name for name, (_, gives) in SOURCES.items() if part in gives)


def open_sources(
    data: Mapping[str, Any], archive: str | None = None, cache: Path | None = None, contact: str | None = None
) -> Desk:
    """The sources that `data` names; a part that it does not name gives nothing, and says so."""
    settings = Settings(archive=archive or data.get("archive"), cache=cache, contact=contact)
    opened: dict[str, Source] = {}
    for name in {data[part] for part in ASKED if data.get(part)}:
        opened[name] = _class(name)(settings)
    main = opened[data["prices"]]
    return Desk({part: _chosen(part, data, opened, main, settings) for part in ASKED})


def _chosen(part: str, data: Mapping[str, Any], opened: Mapping[str, Source], main: Source, settings: Settings) -> Source:
    """Insider transactions are filings; the demo source says for itself what it lacks."""
    if part == "insiders" and data.get("filings"):
        return opened[data["filings"]]
    if data.get(part):
        return opened[data[part]]
    return main if main.name == "demo" else Nowhere(settings)


def _class(name: str) -> type[Source]:
    if name not in SOURCES:
        raise SnapshotError(f"unknown data source {name!r}; known: {', '.join(sorted(SOURCES))}")
    module, attribute = SOURCES[name][0].split(":")
    found: type[Source] = getattr(import_module(module), attribute)
    return found


def within(rows: Sequence[Row], since: dt.datetime, until: dt.datetime) -> tuple[Row, ...]:
    """Rows that became available in (since, until], newest first."""
    kept = [row for row in rows if since < row.available_at <= until]  # type: ignore[attr-defined]
    return tuple(sorted(kept, key=lambda row: row.available_at, reverse=True))  # type: ignore[attr-defined]
