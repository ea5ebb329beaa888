"""A data source of your own: an invented price that grows by the same step each session. See docs/your-code.md."""

from __future__ import annotations

import datetime as dt

from agents.inputs.datum import Bar
from agents.inputs.sessions import close_of, sessions_between
from agents.sources import PriceHistory, Source


class Steady(Source):
    """Prices of any ticker; nothing else."""

    def prices(self, ticker: str, first: dt.date, until: dt.datetime) -> PriceHistory:
        """Sessions from `first` that closed by `until`; later ones would be look-ahead."""
        days = [day for day in sessions_between(first, until.date()) if close_of(day) <= until]
        return PriceHistory(tuple(self.bar(day, 100.0 + number) for number, day in enumerate(days)))

    def bar(self, day: dt.date, price: float) -> Bar:
        return Bar(day, price, price + 1, price - 1, price, 1e6, close_of(day))
