"""What is computed from price bars: adjustment for splits and dividends, the twelve indicators, and returns."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence

from agents.inputs.datum import Bar, Dividend, Indicator, Split


def split_adjusted(bars: Sequence[Bar], splits: Sequence[Split]) -> tuple[Bar, ...]:
    """Prices and volumes in shares as of the last bar. Later splits have no effect."""
    return tuple(_divide(bar, shares_for_one(splits, bar.date, bars[-1].date)) for bar in bars)


def total_return(start: Bar, end: Bar, splits: Sequence[Split], dividends: Sequence[Dividend]) -> float:
    """Return from the close of one bar to that of a later one, adjusted for splits and with dividends in between."""
    paid_out = [paid for paid in dividends if start.date < paid.ex_date <= end.date]
    cash = sum(paid.amount / shares_for_one(splits, paid.ex_date, end.date) for paid in paid_out)
    return (end.close + cash) * shares_for_one(splits, start.date, end.date) / start.close - 1


def held(entry: Bar, exit_: Bar, splits: Sequence[Split], dividends: Sequence[Dividend]) -> float:
    """Value at the open of `exit_` of one share bought at the open of `entry`, including splits and dividends."""
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


WINDOWS: Mapping[str, int] = {
    "close_50_sma": 50,
    "close_200_sma": 200,
    "close_10_ema": 10,
    "macd": 26,
    "macds": 34,
    "macdh": 34,
    "rsi": 15,
    "boll": 20,
    "boll_ub": 20,
    "boll_lb": 20,
    "atr": 15,
    "vwma": 14,
}
"""Indicator -> sessions in its window (macds: 26 of the slow average and 9 of the signal; rsi, atr: 14 changes)."""

RETURN_SESSIONS = (1, 5, 20, 60, 250)


def readings(bars: Sequence[Bar], sessions: Sequence[dt.date]) -> tuple[Indicator, ...]:
    """All twelve as of the last of `sessions`, from adjusted bars; a reason instead of a value if the window is not full."""
    reasons = {name: _why_not(name, bars, sessions) for name in WINDOWS}
    columns = _columns(bars, [name for name, reason in reasons.items() if reason is None])
    moment = bars[-1].available_at
    return tuple(
        Indicator(name, *columns[name], None, moment) if name in columns else Indicator(name, None, None, reason, moment)
        for name, reason in reasons.items()
    )


def returns(
    bars: Sequence[Bar], splits: Sequence[Split], dividends: Sequence[Dividend], sessions: Sequence[dt.date]
) -> tuple[Indicator, ...]:
    """Returns to the last bar over 1 to 250 sessions with dividends; a reason instead if the earlier session is missing."""
    by_date = {bar.date: bar for bar in bars}
    end = bars[-1]
    days = [day for day in sessions if day <= end.date]
    return tuple(_return(count, by_date, end, splits, dividends, days) for count in RETURN_SESSIONS)


def _return(
    count: int,
    by_date: Mapping[dt.date, Bar],
    end: Bar,
    splits: Sequence[Split],
    dividends: Sequence[Dividend],
    days: Sequence[dt.date],
) -> Indicator:
    name = f"return_{count}"
    if len(days) <= count:
        return Indicator(name, None, None, f"needs {count + 1} sessions, has {len(days)}", end.available_at)
    start = by_date.get(days[-1 - count])
    if start is None:
        return Indicator(name, None, None, f"this source misses the session {days[-1 - count]}", end.available_at)
    return Indicator(name, _number(total_return(start, end, splits, dividends)), None, None, end.available_at)


def _why_not(name: str, bars: Sequence[Bar], sessions: Sequence[dt.date]) -> str | None:
    need = WINDOWS[name]
    if len(bars) < need:
        return f"needs {need} sessions, has {len(bars)}"
    have = {bar.date for bar in bars}
    missing = [day for day in sessions[-need:] if day not in have]
    return f"needs {need} sessions in a row, {len(missing)} missing in this source ({missing[-1]})" if missing else None


def _columns(bars: Sequence[Bar], names: Sequence[str]) -> dict[str, tuple[float, float | None]]:
    """name -> (value at the last bar, value one bar earlier)."""
    if not names:
        return {}
    import pandas as pd
    import stockstats

    frame = pd.DataFrame([bar[1:6] for bar in bars], columns=["open", "high", "low", "close", "volume"])
    stock = stockstats.wrap(frame)
    columns = {name: stock[name] for name in names}
    return {
        name: (_number(column.iloc[-1]), _number(column.iloc[-2]) if len(bars) > WINDOWS[name] else None)
        for name, column in columns.items()
    }


def _number(value: float) -> float:
    """Eight significant digits, so that differences in the last bits between machines change no hash."""
    return float(f"{float(value):.8g}")
