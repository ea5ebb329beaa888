"""Values of a case by when they became known: those of its snapshot, and those that came later."""

from __future__ import annotations

import bisect
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from typing import Any, NamedTuple

# Each starts with a digit, so that the search skips words quickly; look-behinds come after the digit.
_DATE = re.compile(r"\d(?:\d{3}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d)?Z?)?|(?<!\w\d)\d?:\d\d(?::\d\d)?\b)")
_NUMBER = re.compile(r"(\d(?<![\w.,]\d)(?:\d{0,2}(?:,\d{3})+|\d*))(\.\d+)?(?:\s?(%)|([kMBT])\b)?(?![\w])")
_WRITTEN = re.compile(r"\d(?<![\w.,]\d)(?:\d{0,2}(?:,\d{3})+|\d*)(?:\.\d+)?(?:\s?%|[kMBT]\b)?(?![\w])")
"""The same without groups."""
_SIZES = {"": 1.0, "k": 1e3, "M": 1e6, "B": 1e9, "T": 1e12}
DIGITS = 4
"""Figures with fewer significant digits are too common to be evidence."""
OHLC = ("open", "high", "low", "close")
NEXT = 20
"""Sessions after the decision of which all prices are checked; with more, half of all figures would match one by chance."""
YEAR = 260
"""Sessions after the decision of which new lows and highs are checked."""


class WrittenNumber(NamedTuple):
    """A number as written in a text."""

    text: str
    value: float
    half: float
    """Half a unit of its last digit: values this close round to it."""


class LaterValue(NamedTuple):
    """A value with its description and the time when it became known."""

    value: float
    what: str
    known_at: str


@dataclass(frozen=True)
class SortedValues:
    """Sorted values that are searched for one near a figure."""

    sorted: Sequence[LaterValue]

    def near(self, figure: WrittenNumber) -> LaterValue | None:
        place = bisect.bisect_left(self._numbers, figure.value - figure.half * 1.0001)
        if place < len(self._numbers) and self._numbers[place] <= figure.value + figure.half * 1.0001:
            return self.sorted[place]
        return None

    @cached_property
    def _numbers(self) -> list[float]:
        return [later.value for later in self.sorted]

    def chance(self, figure: WrittenNumber) -> float:
        """Share of the numbers within 10 % of this one, with the same precision, that would match one of these values."""
        low = bisect.bisect_left(self._numbers, figure.value * 0.9)
        high = bisect.bisect_right(self._numbers, figure.value * 1.1)
        cells = {round(value / (2 * figure.half)) for value in self._numbers[low:high]}
        return min(1.0, len(cells) / max(1.0, 0.2 * figure.value / (2 * figure.half)))


def numbers_in(text: str) -> Iterator[WrittenNumber]:
    """Numbers with four or more significant digits, without dates, times and plain years; percentages as shares."""
    return (number for written_number in written_numbers(text) if (number := read_number(written_number)) is not None)


def written_numbers(text: str) -> list[str]:
    """Everything in a text that is written like a number, without dates and times."""
    return _WRITTEN.findall(_DATE.sub(" ", text))


def read_number(written_number: str) -> WrittenNumber | None:
    """The parsed number; None if it has too few digits or is a plain year."""
    match = _NUMBER.fullmatch(written_number)
    if match is None:
        return None
    integer, decimals, percent, size = (group or "" for group in match.groups())
    digits = integer.replace(",", "") + decimals[1:]
    significant = digits.lstrip("0") if decimals else digits.strip("0")
    if len(significant) < DIGITS or (not decimals and not size and "," not in integer and 1900 <= int(integer) <= 2100):
        return None
    unit = 0.01 if percent else _SIZES[size]
    value = float(integer.replace(",", "") + decimals) * unit
    return WrittenNumber(written_number, value, 0.5 * 10.0 ** -max(0, len(decimals) - 1) * unit)


def known_values(snapshot: Mapping[str, Any], *, texts: bool = True) -> SortedValues:
    """Every number of a snapshot, by default including those in its texts."""
    values: list[LaterValue] = []
    for name, part in snapshot["parts"].items():
        for row in part["rows"]:
            for cell in row:
                if isinstance(cell, int | float) and not isinstance(cell, bool):
                    values.append(LaterValue(abs(float(cell)), name, ""))
                elif texts and name == "news" and isinstance(cell, str):
                    values += [LaterValue(figure.value, name, "") for figure in numbers_in(cell)]
    return SortedValues(sorted(values))


class _Fact(NamedTuple):
    item: str
    period_end: str
    value: float
    available_at: str


@dataclass(frozen=True)
class TickerHistory:
    """What a run holds of one ticker over all its dates, each value once."""

    days: Sequence[Mapping[str, Any]] = ()
    """Its rows of the table `daily`, oldest first."""
    facts: dict[_Fact, str] = field(default_factory=dict)
    """Fact of a filing -> date of the last snapshot with it."""
    volumes: dict[str, list[tuple[str, float]]] = field(default_factory=dict)
    """Session -> (date of the last snapshot with it, volume), later dates first; the last one after a decision counts."""

    def add(self, snapshot: Mapping[str, Any]) -> None:
        """Take in the facts and volumes of a snapshot; where volumes differ, the snapshot that was added last counts."""
        snapshot_date = str(snapshot["date"])
        for row in _rows(snapshot, "filings"):
            fact = _Fact(row["item"], row["period_end"], row["value"], row["available_at"])
            self.facts[fact] = max(snapshot_date, self.facts.get(fact, ""))
        for row in _rows(snapshot, "prices"):
            if _is_number(row["volume"]):
                _add_volume(self.volumes.setdefault(str(row["date"]), []), snapshot_date, float(row["volume"]))

    @cached_property
    def actions(self) -> Sequence[Mapping[str, Any]]:
        """Days with a split or a dividend."""
        return [day for day in self.days if _is_split(day) or _is_paid(day)]


def _add_volume(volumes: list[tuple[str, float]], snapshot_date: str, volume: float) -> None:
    """For decisions before the snapshot's date, this volume replaces those of the snapshots added before."""
    while volumes and volumes[-1][0] <= snapshot_date:
        volumes.pop()
    if not volumes or volumes[-1][1] != volume:
        volumes.append((snapshot_date, volume))


def later_values(snapshot: Mapping[str, Any], history: TickerHistory, *, volumes: bool = False) -> SortedValues:
    """What became known after a snapshot's decision: later prices, earlier prices as adjusted later, later filings.

    Filings and volumes come from later snapshots of the ticker."""
    decided = str(snapshot["date"])
    tomorrow = bisect.bisect_right(history.days, decided, key=_day)
    scale = float(snapshot.get("scale") or 1.0)
    next_days, next_year = (history.days[tomorrow : tomorrow + count] for count in (NEXT, YEAR))
    values = [price._replace(value=price.value * scale) for price in (*_next_prices(next_days), *_extremes(next_year))]
    values += _next_volumes(decided, history) if volumes else ()
    values += _readjusted(snapshot, history)
    if not snapshot.get("masked"):
        values += _later_facts(snapshot, history)
    return SortedValues(sorted(values))


def _next_prices(after: Sequence[Mapping[str, Any]]) -> Iterator[LaterValue]:
    for day in after:
        for name in OHLC:
            if _is_number(day.get(name)):
                yield LaterValue(float(day[name]), f"{name} of {_day(day)}", _day(day))


def _next_volumes(decided: str, history: TickerHistory) -> Iterator[LaterValue]:
    """Volumes of the next sessions, as far as later cases of the run hold them: the table `daily` has none."""
    volumes = {
        session: volume
        for session, dated_volumes in history.volumes.items()
        if session > decided
        for snapshot_date, volume in dated_volumes
        if snapshot_date > decided
    }
    for session in sorted(volumes)[:NEXT]:
        yield LaterValue(volumes[session], f"volume of {session}", session)


def _extremes(after: Sequence[Mapping[str, Any]]) -> Iterator[LaterValue]:
    """Every new low and high since the decision: what a 52-week low or high can be within the next year."""
    low, high = float("inf"), 0.0
    for day in after:
        if _is_number(day.get("low")) and day["low"] < low:
            low = float(day["low"])
            yield LaterValue(low, f"low of {_day(day)}", _day(day))
        if _is_number(day.get("high")) and day["high"] > high:
            high = float(day["high"])
            yield LaterValue(high, f"high of {_day(day)}", _day(day))


def _readjusted(snapshot: Mapping[str, Any], history: TickerHistory) -> Iterator[LaterValue]:
    """The snapshot's last prices, adjusted by later splits and dividends, as a vendor's adjusted history shows them today."""
    rows = list(_rows(snapshot, "prices", newest=NEXT))
    for label, factor, known_at in _factors(str(snapshot["date"]), history):
        for row in rows:
            for name in OHLC if row is rows[-1] else ("close",):
                yield LaterValue(row[name] * factor, f"{name} of {row['date']}, adjusted by {label}", known_at)


def _factors(decided: str, history: TickerHistory) -> Iterator[tuple[str, float, str]]:
    later_actions = history.actions[bisect.bisect_right(history.actions, decided, key=_day) :]
    paid = [day for day in later_actions if _is_paid(day)]
    ratio, cash = 1.0, 1.0
    for day in filter(_is_split, later_actions):
        ratio /= float(day["split"])
        yield "later splits", ratio, _day(day)
    for day in paid:
        cash *= float(day["close"]) / (float(day["close"]) + float(day["dividend"]))
    if paid:
        yield "later dividends and splits", ratio * cash, _day(paid[-1])
    place = bisect.bisect_left(history.days, decided, key=_day)
    today = next((day for day in history.days[place : place + 1] if _day(day) == decided), None)
    if today and _is_number(today.get("adjusted")) and abs(today["adjusted"] / today["close"] - 1) > 1e-6:
        yield "all actions until the vendor was asked", float(today["adjusted"] / today["close"]), "the vendor's last update"


def _is_split(day: Mapping[str, Any]) -> bool:
    return bool((day.get("split") or 1.0) != 1.0)


def _is_paid(day: Mapping[str, Any]) -> bool:
    return (day.get("dividend") or 0.0) > 0.0 and _is_number(day.get("close"))


def _later_facts(snapshot: Mapping[str, Any], history: TickerHistory) -> Iterator[LaterValue]:
    decided, decision_time = str(snapshot["date"]), snapshot["decision_time"]
    for fact, snapshot_date in history.facts.items():
        if snapshot_date > decided and fact.available_at > decision_time:
            yield LaterValue(abs(fact.value), f"{fact.item} of the period to {fact.period_end}", fact.available_at)


def _rows(snapshot: Mapping[str, Any], part: str, newest: int | None = None) -> Iterator[dict[str, Any]]:
    """Rows of a part as dicts, default: all."""
    table = snapshot["parts"].get(part, {"columns": [], "rows": []})
    rows = table["rows"] if newest is None else table["rows"][-newest:]
    return (dict(zip(table["columns"], row, strict=True)) for row in rows)


def _day(day: Mapping[str, Any]) -> str:
    return str(day["date"])[:10]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and value == value and not isinstance(value, date)
