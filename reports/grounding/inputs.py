"""Things found by the magnitude of a number, in logarithmic time and never more than a stated many."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Generic, TypeVar

from reports.grounding.labels import label_before
from reports.grounding.quantities import Quantity, figures_of_source
from reports.grounding.sentences import pieces

T = TypeVar("T")

MOST_NEAR = 500
"""Things that one figure is held against: the closest ones, where more lie within its rounding."""


class BySize(Generic[T]):
    """Things sorted by the magnitude of the number that belongs to each."""

    def __init__(self, things: Iterable[tuple[float, T]]) -> None:
        ordered = sorted(((abs(value), thing) for value, thing in things), key=lambda pair: pair[0])
        self._sizes = [size for size, _ in ordered]
        self._things = [thing for _, thing in ordered]

    def near(self, value: float, slack: float) -> list[T]:
        """What lies within `slack` of a value's magnitude, smallest first."""
        low, high = bisect_left(self._sizes, abs(value) - slack), bisect_right(self._sizes, abs(value) + slack)
        if high - low > MOST_NEAR:
            middle = bisect_left(self._sizes, abs(value), low, high)
            low = min(max(low, middle - MOST_NEAR // 2), high - MOST_NEAR)
            high = low + MOST_NEAR
        return self._things[low:high]


MOST_SOURCES = 16
"""Lines that are kept of one value of one quantity: a figure needs one."""
MOST_IN_ROW = 8
"""Periods of one row that a figure is held against."""
MOST_SHOWN = 300
"""Characters of a line that are shown as a source."""
_LONG_LINE = 2000
"""Characters after which a line is cut in pieces, so that work stays linear."""
_COLUMNS = re.compile(r"\(date ((?:\w+ ?)+?)[;)]")


@dataclass(frozen=True)
class InputFigure:
    """One figure of the inputs."""

    value: float
    unit: str
    label: str | None
    line: str
    """The line it stands in: the source that a reader is shown."""
    column: int = 0
    """Its place in that line: figures of one place in the rows of a statement are of one period."""
    is_quoted: bool = False
    """Whether it stands in a text that was quoted from outside, such as a headline."""


class Inputs:
    """The figures of some texts, found by magnitude and by name."""

    def __init__(self, facts: Sequence[InputFigure]) -> None:
        self.facts = facts
        self._by_size = BySize((fact.value, fact) for fact in _distinct(facts))
        self._by_label: dict[str, list[InputFigure]] = {}
        self._by_period: dict[str, dict[int, InputFigure]] = {}
        self._by_line: dict[str, list[InputFigure]] = {}
        for fact in sorted(facts, key=lambda fact: fact.is_quoted):
            if fact.label:
                self._by_label.setdefault(fact.label, []).append(fact)
            if " | " in fact.line:
                self._by_line.setdefault(fact.line, []).append(fact)

    @classmethod
    def of(cls, texts: Sequence[str]) -> Inputs:
        return cls([fact for text in texts for fact in input_figures(text)])

    def near(self, value: float, half: float) -> list[InputFigure]:
        """Facts whose magnitude lies within `half` of a value's, at most MOST_NEAR of them."""
        return self._by_size.near(value, half * 1.0001 + 1e-12)

    def by_period(self, label: str) -> Mapping[int, InputFigure]:
        """Column -> the first amount of a quantity in it: figures of one column are of one period."""
        if label not in self._by_period:
            self._by_period[label] = {fact.column: fact for fact in reversed(self.named(label)) if fact.unit != "%"}
        return self._by_period[label]

    def row(self, fact: InputFigure) -> list[InputFigure]:
        """The same quantity of other periods: what stands in one row of a statement with a fact, named or not."""
        return [other for other in self._by_line.get(fact.line, [])[:MOST_IN_ROW] if other.column != fact.column]

    def named(self, label: str | None) -> list[InputFigure]:
        """Facts of one quantity, in the order they were shown (newest first in our snapshots); quoted texts come last."""
        return self._by_label.get(label, []) if label else []


def _distinct(facts: Iterable[InputFigure]) -> Iterator[InputFigure]:
    """The facts without those that say the same of the same once more, MOST_SOURCES lines of each kept."""
    seen: Counter[tuple[float, str, str | None]] = Counter()
    for fact in facts:
        key = (fact.value, fact.unit, fact.label)
        seen[key] += 1
        if seen[key] <= MOST_SOURCES:
            yield fact


@lru_cache(maxsize=512)
def input_figures(text: str) -> tuple[InputFigure, ...]:
    """The figures of one text; many cells are given the same ones."""
    return tuple(_figures_of_text(text))


def _figures_of_text(text: str) -> list[InputFigure]:
    facts: list[InputFigure] = []
    columns: tuple[str, ...] = ()
    heading = ""
    for line in text.splitlines():
        if line.rstrip().endswith(":") and not line.startswith(" "):
            heading = line[-_LONG_LINE:]
            columns = _columns(heading)
        for start, end in pieces(line, 0, len(line), _LONG_LINE):
            facts += _figures_of_line(line[start:end], heading, columns)
    return facts


def _columns(line: str) -> tuple[str, ...]:
    found = _COLUMNS.search(line)
    return tuple(found[1].split()) if found else ()


def _figures_of_line(line: str, heading: str, columns: tuple[str, ...]) -> Iterator[InputFigure]:
    found = figures_of_source(line)
    is_row = bool(columns) and len(found) == len(columns)
    spoken = line if "_sma" in line or "_ema" in line or "boll_" in line else line.replace("_", " ")
    for place, quantity in enumerate(found):
        label = label_before(columns[place]) if is_row else label_before(spoken, quantity.start) or label_before(heading)
        yield InputFigure(_signed(quantity), quantity.unit, label, _shown(line, quantity), place, line.startswith(">"))


def _shown(line: str, quantity: Quantity) -> str:
    """The line that a reader is shown; of a long one what stands around the figure."""
    around = slice(max(0, quantity.start - 150), quantity.end + 150) if len(line) > MOST_SHOWN else slice(None)
    return line[around].strip()


def _signed(quantity: Quantity) -> float:
    """Prose among the inputs tells a loss by its verb ("fell 3.1 %"), tables by a sign."""
    is_told = quantity.direction < 0 < quantity.value
    return -quantity.value if is_told else quantity.value
