"""What happened after each decision: the tables `outcomes` and `daily`, never seen by a prompt."""

from __future__ import annotations

import datetime as dt
import io
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import agents
from agents import PriceHistory, Source
from domain.case import case_id
from harness.cells import Cell
from harness.storage.folder import Folder

if TYPE_CHECKING:
    import pyarrow as pa

Row = dict[str, Any]
Span = tuple[dt.date, dt.date]


def write_outcomes(
    cells: Iterable[Cell],
    folder: Folder,
    horizons: Sequence[int],
    benchmark: str,
    shared: Path,
    archive: str | None = None,
    now: dt.datetime | None = None,
) -> None:
    """Write outcomes.parquet and daily.parquet into the run folder. Raises SnapshotError if the source fails."""
    cells = list(cells)
    cases = sorted({(cell.ticker, cell.date) for cell in cells})
    if not cases:
        return
    source = agents.open_sources(cells[0].data, archive, shared / "cache")["prices"]
    market = PriceHistories(source, min(date for _, date in cases), now or dt.datetime.now(dt.UTC))
    rows = [_outcome(market, ticker, date, horizon) for ticker, date in cases for horizon in sorted(set(horizons))]
    measure = Benchmark.of(market, rows, benchmark, {ticker for ticker, _ in cases})
    _write(folder, "outcomes", [row | measure.excess(row) for row in rows])
    _write(folder, "daily", [day for ticker in sorted(measure.shown) for day in market.daily(ticker)])


class PriceHistories:
    """Prices of any ticker from a first day until now, each fetched once."""

    def __init__(self, source: Source, first: dt.date, now: dt.datetime) -> None:
        self.source = source
        self.first = first
        self.now = now
        self._histories: dict[str, PriceHistory] = {}
        self._bars: dict[str, dict[dt.date, Any]] = {}

    def history(self, ticker: str) -> PriceHistory:
        """Empty for a ticker unknown to the source."""
        if ticker not in self._histories:
            try:
                self._histories[ticker] = self.source.prices(ticker, self.first, self.now)
            except agents.NoSuchCase:
                self._histories[ticker] = PriceHistory(())
            self._bars[ticker] = {bar.date: bar for bar in self._histories[ticker].bars}
        return self._histories[ticker]

    def fill(self, ticker: str, span: Span) -> tuple[float, float] | None:
        """Price at the first open, and value of that share at the last open; None if a bar is missing."""
        history = self.history(ticker)
        entry, exit_ = (self._bars[ticker].get(day) for day in span)
        if entry is None or exit_ is None:
            return None
        return entry.open, agents.held(entry, exit_, history.splits, history.dividends)

    def daily(self, ticker: str) -> Iterator[Row]:
        """Rows of the table `daily`."""
        adjusted = self.source.adjusted(ticker) if self.history(ticker).bars else {}
        for day in _daily(self.history(ticker)):
            yield {"ticker": ticker, **day, "adjusted": adjusted.get(day["date"])}

    def gain(self, ticker: str, span: Span) -> float | None:
        filled = self.fill(ticker, span)
        return None if filled is None else filled[1] / filled[0] - 1


@dataclass(frozen=True)
class Benchmark:
    """What excess return is measured against: the benchmark if it has every needed session, else the equal-weight universe."""

    market: PriceHistories
    name: str | None
    members: tuple[str, ...]
    tickers: Collection[str]

    @classmethod
    def of(cls, market: PriceHistories, rows: Sequence[Row], benchmark: str, tickers: Collection[str]) -> Benchmark:
        spans = {(row["entry_at"], row["exit_at"]) for row in rows if row["status"] == "known"}
        if spans and all(market.gain(benchmark, span) is not None for span in spans):
            return cls(market, benchmark, (benchmark,), tickers)
        universe = [ticker for ticker in market.source.tickers() or sorted(tickers) if ticker != benchmark]
        if len(universe) < 2:
            return cls(market, None, (), tickers)
        return cls(market, f"equal weight of {len(universe)} tickers", tuple(universe), tickers)

    @property
    def shown(self) -> set[str]:
        """Tickers of the table `daily`."""
        return {*self.tickers, *self.members}

    def excess(self, row: Row) -> Row:
        if row["status"] != "known" or self.name is None:
            return {"benchmark": self.name, "excess": None}
        mean = self._means.get((row["entry_at"], row["exit_at"]))
        if mean is None:
            mean = self._means[row["entry_at"], row["exit_at"]] = self._mean((row["entry_at"], row["exit_at"]))
        return {"benchmark": self.name, "excess": row["return"] - mean}

    @cached_property
    def _means(self) -> dict[Span, float]:
        return {}

    def _mean(self, span: Span) -> float:
        gains = [gain for member in self.members if (gain := self.market.gain(member, span)) is not None]
        return sum(gains) / len(gains)


def _outcome(market: PriceHistories, ticker: str, date: dt.date, horizon: int) -> Row:
    span = _span(date, horizon)
    row: Row = {"case_id": case_id(ticker, date), "horizon": horizon, "entry_at": span[0], "exit_at": span[1]}
    filled = market.fill(ticker, span)
    if filled is None:
        pending = agents.close_of(span[1]) > market.now
        return row | {"entry": None, "exit": None, "return": None, "status": "pending" if pending else "missing"}
    return row | {"entry": filled[0], "exit": filled[1], "return": filled[1] / filled[0] - 1, "status": "known"}


def _span(date: dt.date, horizon: int) -> Span:
    """From the open after the decision to the open `horizon` sessions later."""
    entry = exit_ = agents.next_session(date)
    for _ in range(horizon):
        exit_ = agents.next_session(exit_)
    return entry, exit_


def _daily(history: PriceHistory) -> Iterator[Row]:
    splits = {split.ex_date: split.ratio for split in history.splits}
    paid: dict[dt.date, float] = {}
    for dividend in history.dividends:
        paid[dividend.ex_date] = paid.get(dividend.ex_date, 0.0) + dividend.amount
    for bar in history.bars:
        prices = {"open": bar.open, "high": bar.high, "low": bar.low, "close": bar.close}
        yield {"date": bar.date, **prices, "split": splits.get(bar.date, 1.0), "dividend": paid.get(bar.date, 0.0)}


def _write(folder: Folder, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
    import pyarrow.parquet as pq

    buffer = io.BytesIO()
    pq.write_table(_table(name, rows), buffer, compression="zstd")
    folder.write(f"{name}.parquet", buffer.getvalue())


def _table(name: str, rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    import pyarrow as pa

    from reports import tables

    schema = tables.TABLES[name]
    return pa.Table.from_pylist([{key: row.get(key) for key in schema.names} for row in rows], schema=schema)
