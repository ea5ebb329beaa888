"""Freezing: ask the sources what was knowable about a case and make its snapshot."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any
from zoneinfo import ZoneInfo

from agents.errors import NoSuchCase
from agents.inputs.adjust import split_adjusted
from agents.inputs.datum import UTC, Bar
from agents.inputs.indicators import readings, returns
from agents.inputs.masking import mask
from agents.inputs.sessions import close_of, is_session, open_of, sessions_between
from agents.inputs.snapshot import Snapshot
from agents.sources import Desk, Found, History
from domain.data_kinds import DATA_KINDS

HISTORY_DAYS = 420
"""Calendar days of prices that are kept: 252 sessions and some."""
NEWS_DAYS = 7
KEPT_NEWS = 80
INSIDER_DAYS = 90
MACRO_DAYS = 400
STALE_SESSIONS = 5
"""A case whose last bar is older than this is none."""
SNAPSHOT_VERSION = 1
"""Raise it when the same rows of a source become another snapshot: adjusted, computed, cut or masked differently. All cases
are frozen again. A source that reads its vendor differently raises its own `version`."""


def decision_time(date: dt.date, rule: str = "close") -> dt.datetime:
    """The moment (UTC) of the decision: close, open, or HH:MM in New York. Raises NoSuchCase when the date is no session."""
    if not is_session(date):
        raise NoSuchCase(f"{date} ({date:%A}) is no session; mend: another date, or non_session: previous | next")
    if rule in ("close", "open"):
        return close_of(date) if rule == "close" else open_of(date)
    return dt.datetime.combine(date, dt.time.fromisoformat(rule), ZoneInfo("America/New_York")).astimezone(UTC)


def freeze_case(ticker: str, date: dt.date, desk: Desk, data: Mapping[str, Any] | None = None) -> Snapshot:
    """The snapshot of a case. Raises NoSuchCase, LookAhead, BadArchive or SourceFailed."""
    settings = data or {}
    moment = decision_time(date, settings.get("decision_time", "close"))
    history = desk["prices"].prices(ticker, date - dt.timedelta(days=HISTORY_DAYS), moment)
    sessions = _sessions(ticker, date, moment, history)
    found = _ask(ticker, moment, desk)
    frozen = Snapshot(
        ticker=ticker,
        date=date,
        decision_time=moment,
        name=_company(ticker, desk),
        prices=history.bars,
        splits=history.splits,
        dividends=history.dividends,
        indicators=readings(split_adjusted(history.bars, history.splits), sessions),
        returns=returns(history.bars, history.splits, history.dividends, sessions),
        news=(*found["news"].rows[:KEPT_NEWS], *found["social"].rows[:KEPT_NEWS]),
        filings=found["filings"].rows,
        insiders=found["insiders"].rows,
        macro=found["macro"].rows,
        sources={part: desk[part].name or "none" for part in DATA_KINDS},
        absent={part: what.absent for part, what in found.items() if what.absent} | _gaps(history.bars, sessions),
        left_out={part: what.undated for part, what in found.items() if what.undated},
        cut={part: len(found[part].rows) - KEPT_NEWS for part in ("news", "social") if len(found[part].rows) > KEPT_NEWS},
    )
    return mask(frozen) if settings.get("mask") else frozen


def recipe(desk: Desk) -> dict[str, Any]:
    """How snapshots are made of these sources: another recipe makes other snapshots. Never the text of our code."""
    return {"snapshot": SNAPSHOT_VERSION, "sources": {part: [made.name, made.version] for part, made in desk.by_part.items()}}


def _ask(ticker: str, moment: dt.datetime, desk: Desk) -> dict[str, Found[Any]]:
    def since(days: int) -> dt.datetime:
        return moment - dt.timedelta(days=days)

    return {
        "filings": desk["filings"].filings(ticker, moment),
        "news": desk["news"].news(ticker, since(NEWS_DAYS), moment),
        "social": desk["social"].social(ticker, since(NEWS_DAYS), moment),
        "insiders": desk["insiders"].insiders(ticker, since(INSIDER_DAYS), moment),
        "macro": desk["macro"].macro(since(MACRO_DAYS), moment),
    }


def _sessions(ticker: str, date: dt.date, moment: dt.datetime, history: History) -> tuple[dt.date, ...]:
    """The sessions that closed by the decision, from the first bar on."""
    if not history.bars:
        raise NoSuchCase(
            f"{ticker}@{date}: the source has no prices in the {HISTORY_DAYS} days before it; mend: another date or source"
        )
    days = [day for day in sessions_between(history.bars[0].date, date) if close_of(day) <= moment]
    age = sum(day > history.bars[-1].date for day in days)
    if age > STALE_SESSIONS:
        raise NoSuchCase(
            f"{ticker}@{date}: the source's last bar is {history.bars[-1].date}, {age} sessions earlier; mend: another date"
        )
    return tuple(days)


def _gaps(bars: Sequence[Bar], sessions: Sequence[dt.date]) -> dict[str, str]:
    have = {bar.date for bar in bars}
    missing = [day for day in sessions if day not in have]
    if not missing:
        return {}
    return {"sessions": f"this source misses {len(missing)} of {len(sessions)} sessions, the newest on {missing[-1]}"}


def _company(ticker: str, desk: Desk) -> str | None:
    names = (desk[part].company(ticker) for part in DATA_KINDS)
    return next((name for name in names if name), None)
