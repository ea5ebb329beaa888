"""Data of the arm cards and of the section on decisions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from domain.ratings import RATINGS
from reports import grid
from reports.format import known
from reports.grid import CaseRow
from reports.money import breakdown
from reports.money.breakdown import Total
from reports.page import charts
from reports.page.charts import StackedBar

if TYPE_CHECKING:
    import pandas as pd

    from reports.load import Run


@dataclass(frozen=True)
class ArmCard:
    """The card of one arm."""

    name: str
    slot: int
    """Position in the experiment, which determines its colour and shape."""
    is_baseline: bool
    rule: bool
    models: tuple[str, ...]
    place: str
    """Where its models answered: hosted, local, or hosted and local; empty without a call."""
    cells: int
    usable: int
    """Cells with a usable decision."""
    cost: Total
    """Sum of the cells' costs over all attempts."""
    why_no_cost: str
    statuses: Mapping[str, int]
    """decision status (or the cell's, if it is not ok) -> cells."""

    @property
    def no_cost_because(self) -> str:
        """Why there is no cost per usable decision."""
        return self.why_no_cost or ("no decision was usable" if not self.usable else "some cells have no cost")


def arm_cards(run: Run) -> tuple[ArmCard, ...]:
    """Every arm in the order of the experiment."""
    unpriced = run.calls.loc[run.calls["cost_usd"].isna(), ["arm", "cost_usd", "server", "provider", "outcome"]]
    return tuple(_arm_card(run, slot, name, unpriced[unpriced["arm"] == name]) for slot, name in enumerate(run.arms))


def _arm_card(run: Run, slot: int, name: str, unpriced: pd.DataFrame) -> ArmCard:
    mine = run.measured_cells[run.measured_cells["arm"] == name]
    return ArmCard(
        name=name,
        slot=slot,
        is_baseline=name == run.baseline,
        rule=name in run.settings.rule_arms,
        models=tuple(model.name for model in run.settings.models_of(name)),
        place=_place(run, name),
        cells=len(mine),
        usable=int(mine["rating"].notna().sum()),
        cost=breakdown.total(mine["cost_usd"]),
        why_no_cost=breakdown.why_no_cost(run, unpriced),
        statuses=_statuses(mine),
    )


def _place(run: Run, arm: str) -> str:
    """Whether the arm's models answered hosted, local or both."""
    servers = run.calls.loc[run.calls["arm"] == arm, ["server", "provider"]].drop_duplicates()
    is_local = breakdown.self_hosted(run, servers)
    return " and ".join(word for word, there in (("hosted", ~is_local), ("local", is_local)) if there.any())


def _statuses(cells: pd.DataFrame) -> dict[str, int]:
    words = cells["decision_status"].where(cells["status"] == "ok", cells["status"]).fillna("missing")
    return {str(word): int(n) for word, n in words.value_counts().items()}


class DecisionsView:
    """The grid of cases and arms, and what can be counted on it."""

    def __init__(self, run: Run, slots: Mapping[str, int]) -> None:
        self.run, self._slots = run, slots

    @cached_property
    def rows(self) -> list[CaseRow]:
        return grid.rows(self.run)

    @cached_property
    def tickers(self) -> list[str]:
        return sorted({row.ticker for row in self.rows})

    @cached_property
    def dates(self) -> list[str]:
        return sorted({row.date.isoformat() for row in self.rows})

    @cached_property
    def words(self) -> list[str]:
        """All words of the grid: ratings, then the others."""
        words = {mark.word for row in self.rows for marks in row.marks.values() for mark in marks}
        return [word for word in RATINGS if word in words] + sorted(words - set(RATINGS))

    @cached_property
    def horizon(self) -> int | None:
        return grid.horizon(self.run)

    @cached_property
    def repeats(self) -> int:
        return int(self.run.cells["repeat"].max()) + 1 if len(self.run.cells) else 0

    @cached_property
    def rating_bars(self) -> list[StackedBar]:
        return charts.rating_bars({arm: grid.distribution(self.rows, arm) for arm in self.run.arms}, self._slots)

    @cached_property
    def repeated_arms(self) -> list[tuple[str, tuple[int, int]]]:
        """(arm, (cases in which its repeats disagree, cases with more than one repeat)) of arms with repeats."""
        flips_by_arm = [(arm, grid.flips(self.rows, arm)) for arm in self.run.arms]
        return [(arm, flips) for arm, flips in flips_by_arm if flips[1]]

    @staticmethod
    def heat(share: float | None) -> str:
        """CSS class of a share: darker means more."""
        return "h0" if share is None or not known(share) else f"h{min(int(share * 6), 5)}"
