"""Adjustment of raw prices for the splits and dividends between two bars, and for none after."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

from agents.inputs.datum import Bar, Dividend, Split


def split_adjusted(bars: Sequence[Bar], splits: Sequence[Split]) -> tuple[Bar, ...]:
    """Bars in the shares of the last one; volumes too. Splits that go ex after the last bar change nothing."""
    return tuple(_divide(bar, shares_for_one(splits, bar.date, bars[-1].date)) for bar in bars)


def total_return(start: Bar, end: Bar, splits: Sequence[Split], dividends: Sequence[Dividend]) -> float:
    """Return from the close of one bar to that of a later one, splits undone and dividends gone ex between added."""
    paid_out = [paid for paid in dividends if start.date < paid.ex_date <= end.date]
    cash = sum(paid.amount / shares_for_one(splits, paid.ex_date, end.date) for paid in paid_out)
    return (end.close + cash) * shares_for_one(splits, start.date, end.date) / start.close - 1


def held(entry: Bar, exit_: Bar, splits: Sequence[Split], dividends: Sequence[Dividend]) -> float:
    """What one share bought at the open of `entry` is worth at the open of `exit_`, splits and dividends since included."""
    paid_out = [paid for paid in dividends if entry.date < paid.ex_date <= exit_.date]
    cash = sum(paid.amount * shares_for_one(splits, entry.date, paid.ex_date) for paid in paid_out)
    return exit_.open * shares_for_one(splits, entry.date, exit_.date) + cash


def shares_for_one(splits: Sequence[Split], after: dt.date, until: dt.date) -> float:
    """Shares at the close of `until` for one share held at the close of `after`."""
    ratio = 1.0
    for split in splits:
        if after < split.ex_date <= until:
            ratio *= split.ratio
    return ratio


def _divide(bar: Bar, ratio: float) -> Bar:
    if ratio == 1.0:
        return bar
    open_, high, low, close = (round(price / ratio, 6) for price in bar[1:5])
    return Bar(bar.date, open_, high, low, close, bar.volume * ratio, bar.available_at)
