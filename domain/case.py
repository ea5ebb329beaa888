"""A case: one ticker on one decision date."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass


@dataclass(frozen=True)
class Case:
    """One ticker on one decision date."""

    ticker: str
    date: dt.date

    @property
    def case_id(self) -> str:
        return case_id(self.ticker, self.date)


def case_id(ticker: str, date: dt.date | str) -> str:
    """TICKER@DATE, with an ISO date."""
    return f"{ticker}@{date}"
