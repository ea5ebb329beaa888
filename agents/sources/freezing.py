"""Freezing: collect what was known about a case from the sources and make its snapshot."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

from agents.errors import NoSuchCase
from agents.inputs.datum import Bar
from agents.inputs.masking import mask
from agents.inputs.prices import readings, returns, split_adjusted
from agents.inputs.sessions import close_of, is_session, open_of, sessions_between
from agents.inputs.snapshot import Snapshot
from agents.sources import DataSources, PriceHistory, SourceRows
from domain.data_kinds import DATA_KINDS

HISTORY_DAYS = 420
"""Calendar days of prices that are kept: a little over 252 sessions."""
NEWS_DAYS = 7
KEPT_NEWS = 80
INSIDER_DAYS = 90
MACRO_DAYS = 400
STALE_SESSIONS = 5
"""A case whose last bar is more sessions old is refused."""
SNAPSHOT_VERSION = 1
"""Raise it when the same rows of a source become another snapshot: adjusted, computed, cut or masked differently. All cases
are frozen again. A source that reads its vendor differently raises its own `version`."""


def decision_time(date: dt.date, rule: str = "close") -> dt.datetime:
    """Time of the decision (UTC): the close or the open of the session. Raises NoSuchCase if the date is not one."""
    if not is_session(date):
        raise NoSuchCase(f"{date} ({date:%A}) is not a session; fix: another date, or non_session: previous | next")
    return close_of(date) if rule == "close" else open_of(date)


def freeze_case(ticker: str, date: dt.date, sources: DataSources, data: Mapping[str, Any] | None = None) -> Snapshot:
    """The snapshot of a case. Raises NoSuchCase, LookAhead, BadArchive or SourceFailed."""
    settings = data or {}
    moment = decision_time(date, settings.get("decision_time", "close"))
    history = sources["prices"].prices(ticker, date - dt.timedelta(days=HISTORY_DAYS), moment)
    sessions = _sessions(ticker, date, moment, history)
    rows = _query(ticker, moment, sources)
    frozen = Snapshot(
        ticker=ticker,
        date=date,
        decision_time=moment,
        name=_company(ticker, sources),
        prices=history.bars,
        splits=history.splits,
        dividends=history.dividends,
        indicators=readings(split_adjusted(history.bars, history.splits), sessions),
        returns=returns(history.bars, history.splits, history.dividends, sessions),
        news=(*rows["news"].rows[:KEPT_NEWS], *rows["social"].rows[:KEPT_NEWS]),
        filings=rows["filings"].rows,
        insiders=rows["insiders"].rows,
        macro=rows["macro"].rows,
        sources={part: sources[part].name or "none" for part in DATA_KINDS},
        absent={part: answer.absent for part, answer in rows.items() if answer.absent} | _gaps(history.bars, sessions),
        left_out={part: answer.undated for part, answer in rows.items() if answer.undated},
        cut={part: len(rows[part].rows) - KEPT_NEWS for part in ("news", "social") if len(rows[part].rows) > KEPT_NEWS},
    )
    return mask(frozen) if settings.get("mask") else frozen


def recipe(sources: DataSources) -> dict[str, Any]:
    """How snapshots are made from these sources: another recipe makes other snapshots. Never the text of our code."""
    return {
        "snapshot": SNAPSHOT_VERSION,
        "sources": {part: [source.name, source.version] for part, source in sources.by_part.items()},
    }


def _query(ticker: str, moment: dt.datetime, sources: DataSources) -> dict[str, SourceRows[Any]]:
    def since(days: int) -> dt.datetime:
        return moment - dt.timedelta(days=days)

    return {
        "filings": sources["filings"].filings(ticker, moment),
        "news": sources["news"].news(ticker, since(NEWS_DAYS), moment),
        "social": sources["social"].social(ticker, since(NEWS_DAYS), moment),
        "insiders": sources["insiders"].insiders(ticker, since(INSIDER_DAYS), moment),
        "macro": sources["macro"].macro(since(MACRO_DAYS), moment),
    }


def _sessions(ticker: str, date: dt.date, moment: dt.datetime, history: PriceHistory) -> tuple[dt.date, ...]:
    """The sessions that closed by the decision, from the first bar on."""
    if not history.bars:
        raise NoSuchCase(
            f"{ticker}@{date}: the source has no prices in the {HISTORY_DAYS} days before it; fix: another date or source"
        )
    days = [day for day in sessions_between(history.bars[0].date, date) if close_of(day) <= moment]
    age = sum(day > history.bars[-1].date for day in days)
    if age > STALE_SESSIONS:
        raise NoSuchCase(
            f"{ticker}@{date}: the source's last bar is {history.bars[-1].date}, {age} sessions earlier; fix: another date"
        )
    return tuple(days)


def _gaps(bars: Sequence[Bar], sessions: Sequence[dt.date]) -> dict[str, str]:
    have = {bar.date for bar in bars}
    missing = [day for day in sessions if day not in have]
    if not missing:
        return {}
    return {"sessions": f"this source misses {len(missing)} of {len(sessions)} sessions, the newest on {missing[-1]}"}


def _company(ticker: str, sources: DataSources) -> str | None:
    names = (sources[part].company(ticker) for part in DATA_KINDS)
    return next((name for name in names if name), None)
