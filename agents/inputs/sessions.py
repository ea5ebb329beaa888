"""The exchange's calendar (XNYS): which days are sessions, when they open and close."""

from __future__ import annotations

import datetime as dt
from functools import lru_cache
from typing import Any

FIRST_DAY = dt.date(1980, 1, 1)


def is_session(day: dt.date) -> bool:
    """Whether the exchange trades on this day; days beyond the known calendar are not sessions."""
    return day in _closes()


def next_session(day: dt.date) -> dt.date:
    """The first session after this day. Raises ValueError beyond the known calendar."""
    return _neighbour(day, 1)


def previous_session(day: dt.date) -> dt.date:
    """The last session before this day. Raises ValueError beyond the known calendar."""
    return _neighbour(day, -1)


def sessions_between(first: dt.date, last: dt.date) -> tuple[dt.date, ...]:
    """All sessions from first to last, both included."""
    days = _days()
    return days[_index(first) : _index(last + dt.timedelta(days=1))]


def close_of(session: dt.date) -> dt.datetime:
    """The moment (UTC) at which this session closes; half days close early."""
    return _closes()[session]


def open_of(session: dt.date) -> dt.datetime:
    """The moment (UTC) at which this session opens."""
    moment: dt.datetime = _calendar().session_open(session.isoformat()).to_pydatetime()
    return moment


def _neighbour(day: dt.date, step: int) -> dt.date:
    days = _days()
    index = _index(day) + (int(is_session(day)) if step > 0 else -1)
    if not 0 <= index < len(days):
        raise ValueError(f"{day} has no neighbouring session between {days[0]} and {days[-1]}, the calendar's ends")
    return days[index]


def _index(day: dt.date) -> int:
    from bisect import bisect_left

    return bisect_left(_days(), day)


@lru_cache(maxsize=1)
def _calendar() -> Any:
    import exchange_calendars

    return exchange_calendars.get_calendar("XNYS", start=FIRST_DAY.isoformat())


@lru_cache(maxsize=1)
def _closes() -> dict[dt.date, dt.datetime]:
    return {stamp.date(): moment.to_pydatetime() for stamp, moment in _calendar().closes.items()}


@lru_cache(maxsize=1)
def _days() -> tuple[dt.date, ...]:
    return tuple(_closes())
