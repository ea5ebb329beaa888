"""The arms as their cards show them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from types import ModuleType
from typing import TYPE_CHECKING

from markupsafe import Markup

from domain.ratings import RATINGS
from reports import grid
from reports.format import known
from reports.grid import CaseRow
from reports.load import models_of, rule_arms
from reports.money import breakdown
from reports.money.breakdown import Total
from reports.page import charts
from reports.page.charts import StackedBar
from reports.returns import strategy
from reports.trust import provenance

if TYPE_CHECKING:
    import pandas as pd

    from reports.answer.findings import Findings, MetricRow
    from reports.load import Run
    from reports.returns.placebos import Placebo
    from reports.returns.strategy import Strategy
    from reports.trust.look_ahead import LookAheadCheck


@dataclass(frozen=True)
class ArmCard:
    """One arm as its card shows it."""

    name: str
    slot: int
    """Position in the experiment: its colour and its shape everywhere."""
    is_baseline: bool
    rule: bool
    models: tuple[str, ...]
    place: str
    """Where its models answered: hosted, local, or hosted and local; empty where nothing was asked."""
    cells: int
    usable: int
    """Cells with a usable decision."""
    cost: Total
    """Sum of the cells' costs over all attempts."""
    why_no_cost: str
    statuses: Mapping[str, int]
    """decision status (or the cell's, when it did not end ok) -> cells."""

    @property
    def no_cost_because(self) -> str:
        """Why there is no cost per usable decision."""
        return self.why_no_cost or ("no decision was usable" if not self.usable else "some cells have no cost")


def arm_cards(run: Run) -> tuple[ArmCard, ...]:
    """Every arm in the order of the experiment."""
    unpriced = run.calls.loc[run.calls["cost_usd"].isna(), ["arm", "cost_usd", "server", "provider", "outcome"]]
    return tuple(_arm_card(run, slot, name, unpriced[unpriced["arm"] == name]) for slot, name in enumerate(run.arms))


def _arm_card(run: Run, slot: int, name: str, unpriced: pd.DataFrame) -> ArmCard:
    mine = run.judged[run.judged["arm"] == name]
    is_rule = name in rule_arms(run.experiment)
    return ArmCard(
        name=name,
        slot=slot,
        is_baseline=name == run.declared.baseline,
        rule=is_rule,
        models=() if is_rule else models_of(run.experiment, name),
        place=_place(run, name),
        cells=len(mine),
        usable=int(mine["rating"].notna().sum()),
        cost=breakdown.total(mine["cost_usd"]),
        why_no_cost=breakdown.why_no_cost(run, unpriced),
        statuses=_statuses(mine),
    )


def _place(run: Run, arm: str) -> str:
    """Whether the arm's models answered hosted, local or both."""
    asked = run.calls.loc[run.calls["arm"] == arm, ["server", "provider"]].drop_duplicates()
    is_local = breakdown.self_hosted(run, asked)
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
    def rating_bars(self) -> list[StackedBar]:
        return charts.rating_bars({arm: grid.distribution(self.rows, arm) for arm in self.run.arms}, self._slots)

    @cached_property
    def repeated_arms(self) -> list[tuple[str, tuple[int, int]]]:
        """(arm, (cases in which its repeats disagree, cases with more than one repeat)) of arms that repeated any."""
        found = [(arm, grid.flips(self.rows, arm)) for arm in self.run.arms]
        return [(arm, flips) for arm, flips in found if flips[1]]

    @staticmethod
    def heat(share: float | None) -> str:
        """CSS class of a share: darker means more."""
        return "h0" if share is None or not known(share) else f"h{min(int(share * 6), 5)}"


class OutcomesView:
    """What happened after the decisions."""

    def __init__(self, run: Run, findings: Findings | None, slots: Mapping[str, int]) -> None:
        self.run, self.findings, self._slots = run, findings, slots

    @cached_property
    def is_there(self) -> bool:
        """Whether anything is known about what came after."""
        return self.findings is not None and bool((self.run.outcomes["status"] == "known").any())

    @cached_property
    def rows(self) -> list[tuple[int, list[MetricRow]]]:
        """Horizon -> endpoints about what came after it."""
        found = [row for row in (self.findings.rows if self.findings else ()) if row.metric.horizon is not None]
        horizons = sorted({int(row.metric.horizon or 0) for row in found})
        return [(horizon, [row for row in found if row.metric.horizon == horizon]) for horizon in horizons]

    def placebos(self, horizon: int) -> list[tuple[str, dict[str, Placebo]]]:
        """Placebo -> arm -> what it earned on that arm's cases."""
        found = [one for one in (self.findings.placebos if self.findings else ()) if one.horizon == horizon]
        return [(name, {one.arm: one for one in found if one.name == name}) for name in dict.fromkeys(o.name for o in found)]

    @staticmethod
    def has_stratum(row: MetricRow, stratum: str) -> bool:
        return any(stratum in of_arm for of_arm in row.by_stratum.values())

    @cached_property
    def strategies(self) -> tuple[Strategy, ...]:
        return strategy.strategies(self.run)

    @cached_property
    def strategy_chart(self) -> Markup:
        days = [str(day)[:10] for day in self.strategies[0].value.index]
        series = [(one.name, self._slots.get(one.name, len(self._slots)), one.value.tolist()) for one in self.strategies]
        said = "Value of one dollar that follows each arm: " + ", ".join(f"{n} {v[-1]:.3f}" for n, _, v in series)
        return charts.value_lines(series, (days[0], days[-1]), said)

    @property
    def conventions(self) -> Mapping[str, str]:
        return strategy.CONVENTIONS


MOST_CALLS_CHECKED = 20_000
"""Runs with more calls are not searched for values of the future while a page is made; it would take minutes."""


class TrustView:
    """What made the run, and whether anything from the future reached a prompt."""

    def __init__(self, run: Run) -> None:
        self.run = run

    @property
    def provenance(self) -> ModuleType:
        """What made the run, as functions of it."""
        return provenance

    @cached_property
    def sentinel(self) -> LookAheadCheck:
        """Whether any prompt held a value from after its date."""
        from reports.trust import look_ahead

        if len(self.run.calls) > MOST_CALLS_CHECKED:
            return look_ahead.LookAheadCheck(
                "not_checked", f"Not checked for this page: more than {MOST_CALLS_CHECKED:,} requests."
            )
        try:
            return look_ahead.check(self.run)
        except (ValueError, KeyError, TypeError) as error:
            return look_ahead.LookAheadCheck("not_checked", f"Not checked: a snapshot cannot be read ({type(error).__name__}).")
