"""What a role was given: every figure of the frozen inputs, found by value and by the quantity it belongs to."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from reports.tracing.labels import label_before
from reports.tracing.quantities import Quantity, figures_of_source

_COLUMNS = re.compile(r"\(date ((?:\w+ ?)+?)[;)]")


@dataclass(frozen=True)
class Fact:
    """One figure of the inputs."""

    value: float
    unit: str
    label: str | None
    line: str
    """The line it stands in: the source that a reader is shown."""


class Given:
    """The figures of some texts, sorted by magnitude."""

    def __init__(self, facts: Sequence[Fact]) -> None:
        self.facts = sorted(facts, key=lambda fact: abs(fact.value))
        self._sizes = [abs(fact.value) for fact in self.facts]
        self._by_label: dict[str, list[Fact]] = {}
        for fact in facts:
            if fact.label:
                self._by_label.setdefault(fact.label, []).append(fact)

    @classmethod
    def of(cls, texts: Sequence[str]) -> Given:
        return cls([fact for text in texts for fact in facts_of(text)])

    def near(self, value: float, half: float) -> list[Fact]:
        """Facts whose magnitude lies within `half` of a value's."""
        slack = half * 1.0001 + 1e-12
        low, high = bisect_left(self._sizes, abs(value) - slack), bisect_right(self._sizes, abs(value) + slack)
        return self.facts[low:high]

    def named(self, label: str | None) -> list[Fact]:
        """Facts of one quantity, in the order they were shown (newest first in our snapshots)."""
        return self._by_label.get(label, []) if label else []


@lru_cache(maxsize=512)
def facts_of(text: str) -> tuple[Fact, ...]:
    """The figures of one text; many cells are given the same ones."""
    return tuple(_facts(text))


def _facts(text: str) -> list[Fact]:
    facts: list[Fact] = []
    columns: tuple[str, ...] = ()
    heading = ""
    for line in text.splitlines():
        if line.rstrip().endswith(":") and not line.startswith(" "):
            heading = line
            columns = _columns(line)
        facts += _line_facts(line, heading, columns)
    return facts


def _columns(line: str) -> tuple[str, ...]:
    found = _COLUMNS.search(line)
    return tuple(found[1].split()) if found else ()


def _line_facts(line: str, heading: str, columns: tuple[str, ...]) -> list[Fact]:
    found = figures_of_source(line)
    is_row = bool(columns) and len(found) == len(columns)
    facts = []
    for place, quantity in enumerate(found):
        label = label_before(columns[place]) if is_row else _label(line, quantity, heading)
        facts.append(Fact(quantity.value, quantity.unit, label, line.strip()))
    return facts


def _label(line: str, quantity: Quantity, heading: str) -> str | None:
    line = line if "_sma" in line or "_ema" in line or "boll_" in line else line.replace("_", " ")
    return label_before(line, quantity.start) or label_before(heading)
