"""Values of a case by when they became known: those of its snapshot, and those that came later."""

from __future__ import annotations

import bisect
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
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


def later_values(
    snapshot: Mapping[str, Any],
    days: Sequence[Mapping[str, Any]],
    later_snapshots: Sequence[Mapping[str, Any]],
    *,
    volumes: bool = False,
) -> SortedValues:
    """What became known after a snapshot's decision: later prices, earlier prices as adjusted later, later filings.

    `days`: rows of the table `daily` of its ticker, oldest first; `others`: later snapshots of the ticker."""
    decided = str(snapshot["date"])
    after = [day for day in days if _day(day) > decided]
    scale = float(snapshot.get("scale") or 1.0)
    prices = [*_next_prices(after[:NEXT]), *_extremes(after[:YEAR])]
    values = [price._replace(value=price.value * scale) for price in prices]
    values += _next_volumes(decided, later_snapshots) if volumes else ()
    values += _readjusted(snapshot, days, after)
    if not snapshot.get("masked"):
        values += [fact for other in later_snapshots for fact in _later_facts(snapshot, other)]
    return SortedValues(sorted(values))


def _next_prices(after: Sequence[Mapping[str, Any]]) -> Iterator[LaterValue]:
    for day in after:
        for name in OHLC:
            if _is_number(day.get(name)):
                yield LaterValue(float(day[name]), f"{name} of {_day(day)}", _day(day))


def _next_volumes(decided: str, later_snapshots: Sequence[Mapping[str, Any]]) -> Iterator[LaterValue]:
    """Volumes of the next sessions, as far as later cases of the run hold them: the table `daily` has none."""
    volumes = {
        str(row["date"]): float(row["volume"])
        for snapshot in later_snapshots
        for row in _rows(snapshot, "prices")
        if str(row["date"]) > decided and _is_number(row["volume"])
    }
    for date_text in sorted(volumes)[:NEXT]:
        yield LaterValue(volumes[date_text], f"volume of {date_text}", date_text)


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


def _readjusted(
    snapshot: Mapping[str, Any], days: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]]
) -> Iterator[LaterValue]:
    """The snapshot's last prices, adjusted by later splits and dividends, as a vendor's adjusted history shows them today."""
    rows = _rows(snapshot, "prices")[-NEXT:]
    for label, factor, known_at in _factors(snapshot, days, after):
        for row in rows:
            for name in OHLC if row is rows[-1] else ("close",):
                yield LaterValue(row[name] * factor, f"{name} of {row['date']}, adjusted by {label}", known_at)


def _factors(
    snapshot: Mapping[str, Any], days: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]]
) -> Iterator[tuple[str, float, str]]:
    splits = [day for day in after if (day.get("split") or 1.0) != 1.0]
    paid = [day for day in after if (day.get("dividend") or 0.0) > 0.0 and _is_number(day.get("close"))]
    ratio, cash = 1.0, 1.0
    for day in splits:
        ratio /= float(day["split"])
        yield "later splits", ratio, _day(day)
    for day in paid:
        cash *= float(day["close"]) / (float(day["close"]) + float(day["dividend"]))
    if paid:
        yield "later dividends and splits", ratio * cash, _day(paid[-1])
    today = next((day for day in days if _day(day) == str(snapshot["date"])), None)
    if today and _is_number(today.get("adjusted")) and abs(today["adjusted"] / today["close"] - 1) > 1e-6:
        yield "all actions until the vendor was asked", float(today["adjusted"] / today["close"]), "the vendor's last update"


def _later_facts(snapshot: Mapping[str, Any], other: Mapping[str, Any]) -> Iterator[LaterValue]:
    for row in _rows(other, "filings"):
        if row["available_at"] > snapshot["decision_time"]:
            yield LaterValue(abs(row["value"]), f"{row['item']} of the period to {row['period_end']}", row["available_at"])


def _rows(snapshot: Mapping[str, Any], part: str) -> list[dict[str, Any]]:
    """Rows of a part as dicts, cached in the snapshot."""
    table = snapshot["parts"].get(part, {"columns": [], "rows": []})
    if "dicts" not in table:
        table["dicts"] = [dict(zip(table["columns"], row, strict=True)) for row in table["rows"]]
    rows: list[dict[str, Any]] = table["dicts"]
    return rows


def _day(day: Mapping[str, Any]) -> str:
    return str(day["date"])[:10]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and value == value and not isinstance(value, date)
