"""What the section on decisions reads."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING

from domain.ratings import RATINGS
from reports import grid
from reports.drawing import bars
from reports.drawing.bars import Bar
from reports.figures import known
from reports.grid import Row

if TYPE_CHECKING:
    from reports.load import Run


class Decisions:
    """The grid of cases and arms, and what can be counted on it."""

    def __init__(self, run: Run, slots: Mapping[str, int]) -> None:
        self.run, self._slots = run, slots

    @cached_property
    def rows(self) -> list[Row]:
        return grid.rows(self.run)

    @cached_property
    def tickers(self) -> list[str]:
        return sorted({row.ticker for row in self.rows})

    @cached_property
    def dates(self) -> list[str]:
        return sorted({row.date.isoformat() for row in self.rows})

    @cached_property
    def words(self) -> list[str]:
        """Everything that stands in the grid: ratings from Buy to Sell, then the rest."""
        words = {mark.word for row in self.rows for marks in row.marks.values() for mark in marks}
        return [word for word in RATINGS if word in words] + sorted(words - set(RATINGS))

    @cached_property
    def horizon(self) -> int | None:
        return grid.horizon(self.run)

    @cached_property
    def repeats(self) -> int:
        return int(self.run.cells["repeat"].max()) + 1 if len(self.run.cells) else 0

    @cached_property
    def rating_bars(self) -> list[Bar]:
        return bars.ratings({arm: grid.distribution(self.rows, arm) for arm in self.run.arms}, self._slots)

    @cached_property
    def repeated_arms(self) -> list[tuple[str, tuple[int, int]]]:
        """(arm, (cases in which its repeats disagree, cases with more than one repeat)) of arms that repeated any."""
        found = [(arm, grid.flips(self.rows, arm)) for arm in self.run.arms]
        return [(arm, flips) for arm, flips in found if flips[1]]

    @staticmethod
    def heat(share: float | None) -> str:
        """CSS class of a share: darker means more."""
        return "h0" if share is None or not known(share) else f"h{min(int(share * 6), 5)}"
