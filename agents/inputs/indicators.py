"""What is computed from a window of bars as of its last one: the twelve indicators (by stockstats) and returns."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence

from agents.inputs.adjust import total_return
from agents.inputs.datum import Bar, Dividend, Reading, Split

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
"""indicator -> sessions that its window needs (macds: 26 of the slow average and 9 of the signal; rsi, atr: 14 changes)."""

RETURN_SESSIONS = (1, 5, 20, 60, 250)


def readings(bars: Sequence[Bar], sessions: Sequence[dt.date]) -> tuple[Reading, ...]:
    """All twelve as of the last of `sessions`, from bars adjusted as known then; a reason where the window is not full."""
    reasons = {name: _why_not(name, bars, sessions) for name in WINDOWS}
    columns = _columns(bars, [name for name, reason in reasons.items() if reason is None])
    moment = bars[-1].available_at
    return tuple(
        Reading(name, *columns[name], None, moment) if name in columns else Reading(name, None, None, reason, moment)
        for name, reason in reasons.items()
    )


def returns(
    bars: Sequence[Bar], splits: Sequence[Split], dividends: Sequence[Dividend], sessions: Sequence[dt.date]
) -> tuple[Reading, ...]:
    """Returns to the last bar over 1 to 250 sessions, dividends included; a reason where the earlier session is missing."""
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
) -> Reading:
    name = f"return_{count}"
    if len(days) <= count:
        return Reading(name, None, None, f"needs {count + 1} sessions, has {len(days)}", end.available_at)
    start = by_date.get(days[-1 - count])
    if start is None:
        return Reading(name, None, None, f"this source misses the session {days[-1 - count]}", end.available_at)
    return Reading(name, _number(total_return(start, end, splits, dividends)), None, None, end.available_at)


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
    return {name: (_number(stock[name].iloc[-1]), _earlier(stock[name], len(bars) > WINDOWS[name])) for name in names}


def _earlier(column: object, exists: bool) -> float | None:
    return _number(column.iloc[-2]) if exists else None  # type: ignore[attr-defined]


def _number(value: float) -> float:
    """Eight significant digits, so that the last bits of a machine change no hash."""
    return float(f"{float(value):.8g}")
