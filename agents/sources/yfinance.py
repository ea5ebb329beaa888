"""The Yahoo source: prices as they traded, reconstructed from what Yahoo shows today, cached as Parquet."""

from __future__ import annotations

import datetime as dt
import logging
import re
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from agents.errors import NoSuchCase, SourceFailed
from agents.inputs.datum import UTC, Bar, Dividend, Fact, News, Split
from agents.inputs.sessions import close_of, is_session
from agents.inputs.text import SUMMARY, TITLE, clean
from agents.sources import CurrentData, PriceHistory, Source, SourceSettings, install_line
from domain.text import without_surrogates

WAITS_S = (5.0, 20.0, 60.0)
"""Seconds to wait after each rate limit before the next attempt."""
T = TypeVar("T")
_ITEMS: Mapping[str, tuple[str, str]] = {
    "TotalRevenue": ("income_statement", "revenues"),
    "GrossProfit": ("income_statement", "gross_profit"),
    "OperatingIncome": ("income_statement", "operating_income_loss"),
    "NetIncome": ("income_statement", "net_income_loss"),
    "DilutedEPS": ("income_statement", "diluted_earnings_per_share"),
    "TotalAssets": ("balance_sheet", "assets"),
    "CurrentAssets": ("balance_sheet", "current_assets"),
    "CurrentLiabilities": ("balance_sheet", "current_liabilities"),
    "LongTermDebt": ("balance_sheet", "long_term_debt"),
    "StockholdersEquity": ("balance_sheet", "equity"),
    "OperatingCashFlow": ("cash_flow_statement", "net_cash_flow_from_operating_activities"),
    "CapitalExpenditure": ("cash_flow_statement", "capital_expenditure"),
}


class Yahoo(Source):
    """Prices and actions. Statements, news and company data are only current ones: for `snapshot freeze --today`."""

    name = "yfinance"

    def __init__(self, settings: SourceSettings, session: Any = None, waits_s: Sequence[float] = WAITS_S) -> None:
        super().__init__(settings)
        self._session = session
        self._waits_s = waits_s
        self._histories: dict[str, tuple[dt.datetime, list[dict[str, Any]]]] = {}

    def lacks(self, part: str) -> str:
        reasons = {
            "filings": "Yahoo's statements carry no filing dates, so what was known at the date cannot be decided",
            "news": "Yahoo serves only current news, without a history",
        }
        return reasons.get(part) or super().lacks(part)

    def prices(self, ticker: str, first: dt.date, until: dt.datetime) -> PriceHistory:
        rows = self._rows(ticker, until)
        shown = [row for row in rows if row["date"] >= first and is_session(row["date"]) and close_of(row["date"]) <= until]
        return PriceHistory(
            tuple(_bar(row) for row in shown),
            tuple(Split(row["date"], row["split"], _morning(row["date"])) for row in shown if row["split"] != 1.0),
            tuple(_dividend(row) for row in shown if row["dividend"] > 0),
        )

    def adjusted(self, ticker: str) -> Mapping[dt.date, float]:
        rows = self._histories[ticker][1] if ticker in self._histories else []
        return {row["date"]: row["adjusted"] for row in rows}

    def today(self, ticker: str, now: dt.datetime) -> CurrentData:
        """News, name, share count and statements as Yahoo shows them now; they count as known from now on."""
        return self._with_retries(ticker, lambda: _today(self._ticker(ticker), now))

    def _rows(self, ticker: str, until: dt.datetime) -> list[dict[str, Any]]:
        """Raw rows fetched at or after `until`: from memory, from the cache, else from Yahoo."""
        history = self._histories.get(ticker) or self._cached(ticker)
        if history is None or history[0] < until:
            history = self._fetch(ticker)
        self._histories[ticker] = history
        return history[1]

    def _fetch(self, ticker: str) -> tuple[dt.datetime, list[dict[str, Any]]]:
        now = dt.datetime.now(UTC)
        frame = self._with_retries(ticker, lambda: self._ticker(ticker).history(period="max", auto_adjust=False, actions=True))
        if frame is None or frame.empty:
            raise SourceFailed(f"Yahoo returned nothing for {ticker} and no reason; try again later")
        rows = [row for row in _as_traded(frame) if not is_session(row["date"]) or close_of(row["date"]) <= now]
        self._keep(ticker, now, rows)
        return now, rows

    def _ticker(self, ticker: str) -> Any:
        import yfinance

        yfinance.config.debug.hide_exceptions = False
        if self.settings.cache:
            yfinance.set_tz_cache_location(str(self.settings.cache / "yfinance"))
        handle = yfinance.Ticker(yahoo_symbol(ticker), session=self._session)
        # Our sessions are New York's. By default the library requests the time zone first, and guesses if that fails.
        handle._tz = "America/New_York"
        return handle

    def _with_retries(self, ticker: str, ask: Callable[[], T]) -> T:
        """Call `ask`, wait after each rate limit, and convert every other error to one of ours."""
        try:
            from yfinance.exceptions import YFPricesMissingError, YFRateLimitError
        except ModuleNotFoundError as error:
            raise SourceFailed(f"the package yfinance is not installed; fix: {install_line('yfinance')}") from error

        for wait_s in (*self._waits_s, None):
            try:
                return _quietly(ask)
            except YFRateLimitError as limit:
                if wait_s is None:
                    raise SourceFailed(
                        f"Yahoo limits our requests (at {ticker}); what was fetched is kept, run again in an hour"
                    ) from limit
                time.sleep(wait_s)
            except YFPricesMissingError as missing:
                if "possibly delisted" in str(missing):  # the library's own guess when Yahoo gave no reason
                    raise SourceFailed(f"Yahoo returned nothing for {ticker} and no reason; try again later") from missing
                raise NoSuchCase(f"Yahoo has no prices of {ticker!r}: {missing}") from missing
            except Exception as problem:
                raise SourceFailed(f"asking Yahoo for {ticker} failed: {type(problem).__name__}: {problem}") from problem
        raise AssertionError("unreachable")

    def _cached(self, ticker: str) -> tuple[dt.datetime, list[dict[str, Any]]] | None:
        import pyarrow.parquet as pq

        files = sorted(self._folder.glob(f"{ticker}.history.*.parquet")) if self.settings.cache else []
        if not files:
            return None
        moment = dt.datetime.strptime(files[-1].name.split(".")[-2], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        return moment, pq.read_table(files[-1]).to_pylist()

    def _keep(self, ticker: str, now: dt.datetime, rows: list[dict[str, Any]]) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        if self.settings.cache and rows:
            self._folder.mkdir(parents=True, exist_ok=True)
            final = self._folder / f"{ticker}.history.{now:%Y%m%dT%H%M%SZ}.parquet"
            draft = final.with_suffix(".tmp")
            pq.write_table(pa.Table.from_pylist(rows), draft)
            draft.replace(final)

    @property
    def _folder(self) -> Path:
        assert self.settings.cache is not None
        return self.settings.cache / "yfinance"


def yahoo_symbol(ticker: str) -> str:
    """The ticker as Yahoo spells it: share classes have a hyphen, and a dot separates an exchange (BRK.B, but VOD.L)."""
    return re.sub(r"\.(?=[AB]$)", "-", ticker)


def _quietly(ask: Callable[[], T]) -> T:
    """Without the library's warnings and log lines; problems arrive as exceptions."""
    logger = logging.getLogger("yfinance")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ask()
    finally:
        logger.setLevel(level)


def _as_traded(frame: Any) -> list[dict[str, Any]]:
    """Undo Yahoo's adjustment: prices, volumes and dividends are in today's shares even with auto_adjust off."""
    rows: list[dict[str, Any]] = []
    later = 1.0
    for stamp, row in zip(reversed(frame.index), reversed(frame.to_dict("records")), strict=True):
        if row["Close"] == row["Close"] and row["Close"] > 0:
            prices = {name.lower(): round(float(row[name]) * later, 4) for name in ("Open", "High", "Low", "Close")}
            actions = {"split": float(row["Stock Splits"]) or 1.0, "dividend": round(float(row["Dividends"]) * later, 6)}
            volume = float(row["Volume"]) / later
            rows.append({"date": stamp.date(), **prices, "volume": volume, **actions, "adjusted": float(row["Adj Close"])})
        later *= float(row["Stock Splits"]) or 1.0
    return rows[::-1]


def _bar(row: Mapping[str, Any]) -> Bar:
    day = row["date"]
    return Bar(day, row["open"], row["high"], row["low"], row["close"], row["volume"], close_of(day))


def _dividend(row: Mapping[str, Any]) -> Dividend:
    return Dividend(row["date"], row["dividend"], None, None, _morning(row["date"]))


def _morning(day: dt.date) -> dt.datetime:
    return dt.datetime.combine(day, dt.time(), UTC)


def _today(ticker: Any, now: dt.datetime) -> CurrentData:
    info = ticker.get_info()
    facts = [fact for frame in _frames(ticker) for fact in _facts(frame, now)]
    if shares := info.get("sharesOutstanding"):
        facts.append(Fact("company", "shares_outstanding", "", "", None, now.date(), float(shares), "shares", now))
    news = (_news(item, now) for item in ticker.get_news(count=50))
    return CurrentData(without_surrogates(info.get("longName")), tuple(item for item in news if item), tuple(facts))


def _frames(ticker: Any) -> list[Any]:
    ask = (ticker.get_income_stmt, ticker.get_balance_sheet, ticker.get_cash_flow)
    return [statement(freq="quarterly") for statement in ask]


def _facts(frame: Any, now: dt.datetime) -> list[Fact]:
    facts = []
    for name, (statement, item) in _ITEMS.items():
        for stamp, value in frame.loc[name].items() if name in frame.index else ():
            if value == value:
                start = (stamp - dt.timedelta(days=90)).date() if statement != "balance_sheet" else None
                unit = "USD / shares" if item.endswith("per_share") else "USD"
                facts.append(Fact(statement, item, str(stamp.year), "", start, stamp.date(), float(value), unit, now))
    return facts


def _news(item: Mapping[str, Any], now: dt.datetime) -> News | None:
    content = item.get("content") or item
    title = clean(content.get("title"), TITLE)
    source = clean((content.get("provider") or {}).get("displayName"), 60) or "Yahoo"
    return News("company", title, clean(content.get("summary"), SUMMARY), source, now) if title else None
