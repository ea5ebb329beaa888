"""The Yahoo source, offline: the real library over a session that answers as Yahoo does."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

import agents
from agents import NoSuchCase, SourceFailed
from agents.inputs.datum import UTC
from agents.inputs.sessions import close_of, open_of, sessions_between
from agents.sources import SourceSettings
from agents.sources.yfinance import Yahoo, yahoo_symbol

NOW = dt.datetime(2012, 1, 31, 22, tzinfo=UTC)
DAYS = sessions_between(dt.date(2012, 1, 3), dt.date(2012, 1, 31))
SPLIT_DAY = dt.date(2014, 6, 9)
LATER = sessions_between(dt.date(2014, 6, 5), dt.date(2014, 6, 11))


def chart(days: tuple[dt.date, ...], closes: list[float], **more: Any) -> dict[str, Any]:
    """Yahoo's answer: prices in today's shares, actions as events."""
    stamps = [int(open_of(day).timestamp()) for day in days]
    quote = dict.fromkeys(("open", "high", "low", "close"), closes) | {"volume": [28_000_000] * len(days)}
    period = {"timezone": "EST", "start": stamps[-1], "end": stamps[-1] + 23_400, "gmtoffset": -18000}
    meta = {
        "currency": "USD",
        "symbol": "AAPL",
        "exchangeName": "NMS",
        "instrumentType": "EQUITY",
        "firstTradeDate": 345479400,
        "regularMarketTime": stamps[-1] + 23_400,
        "gmtoffset": -18000,
        "timezone": "EST",
        "exchangeTimezoneName": "America/New_York",
        "priceHint": 2,
        "dataGranularity": "1d",
        "range": "max",
        "validRanges": ["1d", "5d", "1mo", "1y", "max"],
        "currentTradingPeriod": dict.fromkeys(("pre", "regular", "post"), period),
    }
    result = {"meta": meta, "timestamp": stamps, "indicators": {"quote": [quote], "adjclose": [{"adjclose": closes}]}}
    return {"chart": {"result": [result | more], "error": None}}


def event(day: dt.date, **what: Any) -> dict[str, Any]:
    stamp = int(open_of(day).timestamp())
    return {str(stamp): {"date": stamp, **what}}


class YahooSays(requests.Session):
    """Answers in turn; the last one stays."""

    def __init__(self, *answers: tuple[int, str]) -> None:
        super().__init__()
        self.answers = list(answers)
        self.asked: list[str] = []

    def request(self, method: str | bytes, url: str | bytes, **_: Any) -> requests.Response:  # type: ignore[override]
        response = requests.Response()
        response.url = str(url)
        response.status_code, text = 200, "crumb"
        if "/chart/" in str(url):
            self.asked.append(str(url))
            response.status_code, text = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        response._content = text.encode()
        return response


@pytest.fixture(autouse=True)
def fresh_library() -> Iterator[None]:
    """The library keeps one client for the whole process; every test gets its own."""
    from yfinance.data import SingletonMeta

    SingletonMeta._instances.clear()
    yield
    SingletonMeta._instances.clear()


def good(*args: Any, **more: Any) -> tuple[int, str]:
    return 200, json.dumps(chart(*args, **more))


def source(tmp_path: Path, *answers: tuple[int, str]) -> Yahoo:
    return Yahoo(SourceSettings(cache=tmp_path), session=YahooSays(*answers), waits_s=(0.0, 0.0))


def test_prices_are_rebuilt_as_they_traded(tmp_path: Path) -> None:
    events = {"splits": event(SPLIT_DAY, numerator=7, denominator=1, splitRatio="7:1")}
    answer = good(
        (*DAYS[:3], *LATER), [58.747143, 59.062859, 59.718571, 92.478569, 92.224289, 93.7, 94.25, 93.86], events=events
    )
    yahoo = source(tmp_path, answer)
    bars = yahoo.prices("AAPL", DAYS[0], NOW).bars
    assert bars[0].close == pytest.approx(411.23, abs=0.001), "what it traded at, not what a split of 2014 made of it"
    assert bars[0].volume == pytest.approx(4_000_000)
    assert yahoo.prices("AAPL", DAYS[0], NOW).splits == ()
    whole = yahoo.prices("AAPL", DAYS[0], dt.datetime(2014, 6, 12, tzinfo=UTC))
    assert [(split.ex_date, split.ratio) for split in whole.splits] == [(SPLIT_DAY, 7.0)]
    assert whole.bars[-1].close == pytest.approx(93.86)


def test_dividends_are_in_the_shares_of_their_day(tmp_path: Path) -> None:
    events = {
        "splits": event(SPLIT_DAY, numerator=7, denominator=1, splitRatio="7:1"),
        "dividends": event(DAYS[1], amount=0.378571),
    }
    yahoo = source(tmp_path, good((*DAYS[:3], *LATER), [50.0] * (3 + len(LATER)), events=events))
    dividends = yahoo.prices("AAPL", DAYS[0], NOW).dividends
    assert [(paid.ex_date, round(paid.amount, 2)) for paid in dividends] == [(DAYS[1], 2.65)]


def test_nothing_after_the_moment_is_given(tmp_path: Path) -> None:
    yahoo = source(tmp_path, good(DAYS, [60.0] * len(DAYS)))
    bars = yahoo.prices("AAPL", DAYS[0], close_of(DAYS[4])).bars
    assert [bar.date for bar in bars] == list(DAYS[:5])


def test_a_rate_limit_is_waited_for(tmp_path: Path) -> None:
    yahoo = source(tmp_path, good(DAYS, [60.0] * len(DAYS)), (429, "Too Many Requests"), good(DAYS, [60.0] * len(DAYS)))
    assert len(yahoo.prices("AAPL", DAYS[0], NOW).bars) == len(DAYS)


def test_a_lasting_rate_limit_raises_and_keeps_what_was_fetched(tmp_path: Path) -> None:
    source(tmp_path, good(DAYS, [60.0] * len(DAYS))).prices("AAPL", DAYS[0], NOW)
    blocked = source(tmp_path, (429, "Too Many Requests"))
    assert len(blocked.prices("AAPL", DAYS[0], NOW).bars) == len(DAYS), "from the cache"
    with pytest.raises(SourceFailed, match="what was fetched is kept"):
        blocked.prices("MSFT", DAYS[0], NOW)


@pytest.mark.parametrize("answer", [(500, "<html>Internal Server Error</html>"), (200, "Will be right back"), (200, "{}")])
def test_a_failure_to_look_is_never_an_empty_frame(tmp_path: Path, answer: tuple[int, str]) -> None:
    with pytest.raises(SourceFailed):
        source(tmp_path, answer).prices("AAPL", DAYS[0], NOW)


def test_an_empty_frame_without_a_reason_is_a_failure(tmp_path: Path) -> None:
    empty = chart(DAYS, [60.0] * len(DAYS))
    empty["chart"]["result"][0] |= {"timestamp": [], "indicators": {"quote": [{}], "adjclose": [{}]}}
    with pytest.raises(SourceFailed):
        source(tmp_path, (200, json.dumps(empty))).prices("AAPL", DAYS[0], NOW)


def test_a_ticker_that_yahoo_declares_unknown_is_no_case(tmp_path: Path) -> None:
    said = {"chart": {"result": None, "error": {"code": "Not Found", "description": "No data found, symbol may be delisted"}}}
    with pytest.raises(NoSuchCase, match="NOPE"):
        source(tmp_path, (404, json.dumps(said))).prices("NOPE", DAYS[0], NOW)


def test_what_was_fetched_is_not_asked_for_again(tmp_path: Path) -> None:
    yahoo = source(tmp_path, good(DAYS, [60.0] * len(DAYS)))
    yahoo.prices("AAPL", DAYS[0], NOW)
    asked = len(yahoo._session.asked)
    yahoo.prices("AAPL", DAYS[3], NOW)
    again = source(tmp_path, (500, "down"))
    assert len(again.prices("AAPL", DAYS[0], NOW).bars) == len(DAYS)
    assert len(yahoo._session.asked) == asked
    assert list((tmp_path / "yfinance").glob("AAPL.history.*.parquet"))


def test_data_that_yahoo_cannot_date_is_reported_as_absent() -> None:
    found = Yahoo(SourceSettings()).filings("AAPL", NOW)
    assert found.rows == ()
    assert "no filing dates" in str(found.absent)


class YahooToday(YahooSays):
    """Knows one quarter, one headline and a share count besides prices."""

    def request(self, method: str | bytes, url: str | bytes, **_: Any) -> requests.Response:  # type: ignore[override]
        response = super().request(method, url)
        for part, said in _TODAY.items():
            if part in str(url):
                response._content = json.dumps(said).encode()
        return response


_QUARTER = {"asOfDate": "2025-06-30", "periodType": "3M", "currencyCode": "USD", "reportedValue": {"raw": 94_036e6}}
_SERIES = {"meta": {"type": ["quarterlyTotalRevenue"]}, "timestamp": [1751241600], "quarterlyTotalRevenue": [_QUARTER]}
_NEWS = {"title": "Big\x00 news", "summary": "<b>Really</b>", "provider": {"displayName": "Wire"}}
_TODAY: dict[str, Any] = {
    "quoteSummary": {
        "quoteSummary": {"result": [{"defaultKeyStatistics": {"sharesOutstanding": 14_900_000_000}}], "error": None}
    },
    "/v7/finance/quote": {"quoteResponse": {"result": [{"symbol": "AAPL", "longName": "Apple Inc."}], "error": None}},
    "fundamentals-timeseries": {"timeseries": {"result": [_SERIES], "error": None}},
    "/xhr/ncp": {"data": {"tickerStream": {"stream": [{"id": "1", "content": _NEWS}]}}},
}


def test_what_yahoo_knows_today_grows_an_archive_that_shows_it_from_now_on_only(tmp_path: Path) -> None:
    recent = sessions_between(dt.date(2026, 6, 1), dt.date(2026, 11, 20))
    yahoo = Yahoo(SourceSettings(cache=tmp_path), session=YahooToday(good(recent, [60.0] * len(recent))), waits_s=())
    now = dt.datetime(2026, 11, 19, 12, tzinfo=UTC)
    rows = agents.today_rows(yahoo, "AAPL", now)
    folder = str(tmp_path / "archive")
    assert agents.grow(folder, rows)["news"] == 1
    assert agents.grow(folder, agents.today_rows(yahoo, "AAPL", now + dt.timedelta(hours=1)))["news"] == 0, "known already"
    agents.check_archive(folder)
    data = {"prices": "archive", "news": "archive", "filings": "archive"}
    before, after = (agents.freeze_case("AAPL", day, agents.open_sources(data, folder), data) for day in recent[-3:-1])
    assert before.news == ()
    assert before.filings == ()
    assert [item.title for item in after.news] == ["Big news"]
    assert "revenues: 94.04B" in agents.view(after, "fundamentals")
    assert "market capitalisation: 894.00B" in agents.view(after, "fundamentals")
    assert after.name == "Apple Inc."


@pytest.mark.parametrize(
    ("ticker", "symbol"), [("BRK.B", "BRK-B"), ("BF.A", "BF-A"), ("BRK-B", "BRK-B"), ("VOD.L", "VOD.L"), ("AAPL", "AAPL")]
)
def test_a_share_class_is_asked_for_as_yahoo_spells_it(ticker: str, symbol: str) -> None:
    assert yahoo_symbol(ticker) == symbol
