"""The demo source: five real tickers, 2000 to 2013, from the bokeh-sampledata package; no network, no key."""

from __future__ import annotations

import csv
import datetime as dt
import gzip
import io
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property, lru_cache
from hashlib import sha256
from importlib import resources
from itertools import pairwise

from agents.errors import NoSuchCase, SourceFailed
from agents.inputs.datum import UTC, Bar, Dividend, Split
from agents.inputs.sessions import close_of, is_session
from agents.sources import PriceHistory, Source, install_line

NAMES = {
    "AAPL": "Apple Inc.",
    "FB": "Facebook, Inc.",
    "GOOG": "Google Inc.",
    "IBM": "IBM Corporation",
    "MSFT": "Microsoft Corporation",
}
_RATIOS = (1.5, 2.0, 3.0, 4.0, 5.0, 7.0, 10.0)


class Demo(Source):
    """Raw prices; splits and dividends are derived from raw and adjusted closes, dated by their ex-dates."""

    name = "demo"

    def fingerprint(self) -> str:
        return sha256(_packed()).hexdigest()

    def tickers(self) -> tuple[str, ...]:
        return tuple(sorted(NAMES))

    def company(self, ticker: str) -> str | None:
        return NAMES.get(ticker)

    def prices(self, ticker: str, first: dt.date, until: dt.datetime) -> PriceHistory:
        if ticker not in self._histories:
            raise NoSuchCase(f"the demo source has no ticker {ticker!r}; known: {', '.join(self.tickers())}")
        history = self._histories[ticker]
        return PriceHistory(
            tuple(bar for bar in history.bars if bar.date >= first and bar.available_at <= until),
            tuple(split for split in history.splits if split.ex_date >= first and split.available_at <= until),
            tuple(paid for paid in history.dividends if paid.ex_date >= first and paid.available_at <= until),
        )

    def adjusted(self, ticker: str) -> Mapping[dt.date, float]:
        return {bar.date: adjusted for bar, adjusted in self._rows.get(ticker, [])}

    @property
    def _rows(self) -> Mapping[str, Sequence[tuple[Bar, float]]]:
        return _read()

    @cached_property
    def _histories(self) -> dict[str, PriceHistory]:
        return {ticker: _history(rows) for ticker, rows in self._rows.items()}


def _packed() -> bytes:
    try:
        return resources.files("bokeh_sampledata").joinpath("_data", "stocks.csv.gz").read_bytes()
    except (ModuleNotFoundError, FileNotFoundError) as problem:
        raise SourceFailed(f"the demo data are missing; fix: {install_line('demo')}") from problem


@lru_cache(maxsize=1)
def _read() -> dict[str, list[tuple[Bar, float]]]:
    """ticker -> bars with the vendor's adjusted close, oldest first."""
    rows: dict[str, list[tuple[Bar, float]]] = {}
    for row in csv.DictReader(io.StringIO(gzip.decompress(_packed()).decode())):
        day = dt.date.fromisoformat(row["Date"])
        if is_session(day):
            rows.setdefault(row["Ticker"], []).append((_bar(day, row), float(row["Adj Close"])))
    return {ticker: sorted(bars) for ticker, bars in rows.items()}


def _bar(day: dt.date, row: dict[str, str]) -> Bar:
    open_, high, low, close = (float(row[key]) for key in ("Open", "High", "Low", "Close"))
    return Bar(day, open_, high, low, close, float(row["Volume"]), close_of(day))


def _history(rows: Sequence[tuple[Bar, float]]) -> PriceHistory:
    steps = list(_steps(rows))
    splits = tuple(Split(bar.date, ratio, _morning(bar.date)) for bar, _, ratio, _ in steps if ratio != 1.0)
    dividends = (Dividend(bar.date, _cash(before, rest), None, None, _morning(bar.date)) for bar, before, _, rest in steps)
    return PriceHistory(tuple(bar for bar, _ in rows), splits, tuple(paid for paid in dividends if paid.amount >= 0.01))


def _steps(rows: Sequence[tuple[Bar, float]]) -> Iterator[tuple[Bar, Bar, float, float]]:
    """(bar, bar before, split ratio, rest of the step): a step of adjusted / raw needs no later day to be known."""
    for (before, old), (bar, new) in pairwise(rows):
        step = (new / bar.close) / (old / before.close)
        ratio = min(_RATIOS, key=lambda ratio: abs(step / ratio - 1)) if step > 1.3 else 1.0
        yield bar, before, ratio, step / ratio


def _cash(before: Bar, rest: float) -> float:
    """Cash dividend, from the vendor's formula: factor step = 1 / (1 - cash / close before)."""
    return round(before.close * (1 - 1 / rest), 2) if rest > 1.0005 else 0.0


def _morning(day: dt.date) -> dt.datetime:
    """An action without an announcement date counts as known from its ex-date."""
    return dt.datetime.combine(day, dt.time(), UTC)
