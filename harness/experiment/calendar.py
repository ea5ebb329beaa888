"""The decision dates of an experiment, on the exchange's agents."""

from __future__ import annotations

import datetime as dt
from zoneinfo import ZoneInfo

import agents
from harness.errors import InvalidInput, Problem
from harness.experiment.cases import Dates

NEW_YORK = ZoneInfo("America/New_York")


def dates(rule: Dates, now: dt.datetime | None = None) -> tuple[dt.date, ...]:
    """Decision dates, ascending. Raises InvalidInput for closed days, days whose close is still to come, and no day at all."""
    now = now or dt.datetime.now(dt.UTC)
    last = _last_closed(now)
    found = [*_late(rule, last), *_closed(rule, last)]
    if found:
        raise InvalidInput(found)
    chosen = _listed(rule) if rule.days is not None else _ruled(rule, last)
    if not chosen:
        raise InvalidInput([Problem("dates", "the matrix is empty: no session in this range", "widen from and to")])
    return chosen


def _late(rule: Dates, last: dt.date) -> list[Problem]:
    days = [day for day in (*(rule.days or ()), *([rule.to] if rule.to else [])) if day > last]
    what = f"{', '.join(map(str, days))}: this session has not closed yet; the last closed one is {last}"
    return [Problem("dates", what, "decide on past dates only")] if days else []


def _closed(rule: Dates, last: dt.date) -> list[Problem]:
    if rule.non_session != "refuse":
        return []
    return [_no_session(day) for day in rule.days or () if day <= last and not agents.is_session(day)]


def _listed(rule: Dates) -> tuple[dt.date, ...]:
    move = agents.previous_session if rule.non_session == "previous" else agents.next_session
    return tuple(sorted({day if agents.is_session(day) else move(day) for day in rule.days or ()}))


def _no_session(day: dt.date) -> Problem:
    try:
        near = f"known: {agents.previous_session(day)}, {agents.next_session(day)}"
    except ValueError as error:
        return Problem("dates", str(error), "take a later date")
    what = f"{day} ({day:%A}) is no session of the exchange; {near}"
    return Problem("dates", what, "take one of them, or say dates: {days: [...], non_session: previous}")


def _ruled(rule: Dates, last: dt.date) -> tuple[dt.date, ...]:
    if rule.last_sessions is None:
        first, end = rule.from_ or dt.date.min, rule.to or last
        return agents.sessions_between(first, end)[:: rule.every_sessions]
    first = last - dt.timedelta(days=rule.last_sessions * 2 + 14)
    return tuple(agents.sessions_between(first, last)[-rule.last_sessions :][:: rule.every_sessions])


def _last_closed(now: dt.datetime) -> dt.date:
    today = now.astimezone(NEW_YORK).date()
    if agents.is_session(today) and agents.close_of(today) <= now:
        return today
    return agents.previous_session(today)
