"""The inputs of a role: every figure of its frozen inputs, searchable by value and by quantity."""

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
"""Maximum candidates for one figure: the closest ones, if more are within its rounding."""


class BySize(Generic[T]):
    """Items sorted by the magnitude of a number."""

    def __init__(self, things: Iterable[tuple[float, T]]) -> None:
        ordered = sorted(((abs(value), thing) for value, thing in things), key=lambda pair: pair[0])
        self._sizes = [size for size, _ in ordered]
        self._things = [thing for _, thing in ordered]

    def near(self, value: float, slack: float) -> list[T]:
        """Items within `slack` of a value's magnitude, smallest first."""
        low, high = bisect_left(self._sizes, abs(value) - slack), bisect_right(self._sizes, abs(value) + slack)
        if high - low > MOST_NEAR:
            middle = bisect_left(self._sizes, abs(value), low, high)
            low = min(max(low, middle - MOST_NEAR // 2), high - MOST_NEAR)
            high = low + MOST_NEAR
        return self._things[low:high]


MOST_SOURCES = 16
"""Maximum lines kept for one value of one quantity; a figure needs one."""
MOST_IN_ROW = 8
"""Periods of one row that are tried."""
MOST_SHOWN = 300
"""Maximum length of a line shown as a source."""
_LONG_LINE = 2000
"""Maximum length of a piece of a line, so that the work stays linear."""
_COLUMNS = re.compile(r"\(date ((?:\w+ ?)+?)[;)]")


@dataclass(frozen=True)
class InputFigure:
    """One figure of the inputs."""

    value: float
    unit: str
    label: str | None
    line: str
    """Its line, shown to the reader as the source."""
    column: int = 0
    """Its position in the line; equal positions in the rows of a statement are the same period."""
    is_quoted: bool = False
    """Whether it is in quoted text, such as a headline."""


class Inputs:
    """The figures of some texts, searchable by magnitude and by quantity."""

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
        """Figures whose magnitude is within `half` of a value's, at most MOST_NEAR."""
        return self._by_size.near(value, half * 1.0001 + 1e-12)

    def by_period(self, label: str) -> Mapping[int, InputFigure]:
        """Return column -> the first amount of a quantity in it; a column is a period."""
        if label not in self._by_period:
            self._by_period[label] = {fact.column: fact for fact in reversed(self.named(label)) if fact.unit != "%"}
        return self._by_period[label]

    def row(self, fact: InputFigure) -> list[InputFigure]:
        """The same quantity in other periods: the other figures in its row of a statement."""
        return [other for other in self._by_line.get(fact.line, [])[:MOST_IN_ROW] if other.column != fact.column]

    def named(self, label: str | None) -> list[InputFigure]:
        """Figures of one quantity in input order (newest first in our snapshots), quoted texts last."""
        return self._by_label.get(label, []) if label else []


def _distinct(facts: Iterable[InputFigure]) -> Iterator[InputFigure]:
    """The figures with at most MOST_SOURCES repetitions of the same value and quantity."""
    seen: Counter[tuple[float, str, str | None]] = Counter()
    for fact in facts:
        key = (fact.value, fact.unit, fact.label)
        seen[key] += 1
        if seen[key] <= MOST_SOURCES:
            yield fact


@lru_cache(maxsize=512)
def input_figures(text: str) -> tuple[InputFigure, ...]:
    """The figures of one text, cached, since many cells share texts."""
    return tuple(_figures_of_text(text))


def _figures_of_text(text: str) -> list[InputFigure]:
    facts: list[InputFigure] = []
    columns: tuple[str, ...] = ()
    heading_label: str | None = None
    for line in text.splitlines():
        if line.rstrip().endswith(":") and not line.startswith(" "):
            heading = line[-_LONG_LINE:]
            columns, heading_label = _columns(heading), label_before(heading)
        for start, end in pieces(line, 0, len(line), _LONG_LINE):
            facts += _figures_of_line(line[start:end], heading_label, columns)
    return facts


def _columns(line: str) -> tuple[str, ...]:
    match = _COLUMNS.search(line)
    return tuple(match[1].split()) if match else ()


@lru_cache(maxsize=4096)
def _figures_of_line(line: str, heading_label: str | None, columns: tuple[str, ...]) -> tuple[InputFigure, ...]:
    """The figures of one line, cached, since the inputs of the next date repeat most lines."""
    line_quantities = figures_of_source(line)
    is_row = bool(columns) and len(line_quantities) == len(columns)
    spoken = line if "_sma" in line or "_ema" in line or "boll_" in line else line.replace("_", " ")
    figures: list[InputFigure] = []
    for place, quantity in enumerate(line_quantities):
        label = label_before(columns[place]) if is_row else label_before(spoken, quantity.start) or heading_label
        shown = _shown(line, quantity)
        figures.append(InputFigure(_signed(quantity), quantity.unit, label, shown, place, line.startswith(">")))
    return tuple(figures)


def _shown(line: str, quantity: Quantity) -> str:
    """The line to show, or the part around the figure if it is long."""
    around = slice(max(0, quantity.start - 150), quantity.end + 150) if len(line) > MOST_SHOWN else slice(None)
    return line[around].strip()


def _signed(quantity: Quantity) -> float:
    """Signed value: prose marks a loss by a verb ("fell 3.1 %"), tables by a sign."""
    is_told = quantity.direction < 0 < quantity.value
    return -quantity.value if is_told else quantity.value
