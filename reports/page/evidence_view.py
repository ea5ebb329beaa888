"""Data of the sections on outcomes and on trust."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from types import ModuleType
from typing import TYPE_CHECKING

from markupsafe import Markup

from reports.page import charts
from reports.returns import strategy
from reports.trust import look_ahead, provenance

if TYPE_CHECKING:
    from reports.answer.findings import Findings, MetricRow
    from reports.load import Run
    from reports.returns.placebos import Placebo
    from reports.returns.strategy import Strategy
    from reports.trust.look_ahead import LookAheadCheck

MOST_CALLS_CHECKED = 20_000
"""Runs with more calls skip the look-ahead check of the page, which would take minutes."""


class OutcomesView:
    """What happened after the decisions."""

    def __init__(self, run: Run, findings: Findings | None, slots: Mapping[str, int]) -> None:
        self.run, self.findings, self._slots = run, findings, slots

    @cached_property
    def is_there(self) -> bool:
        """Whether any outcome is known."""
        return self.findings is not None and bool((self.run.outcomes["status"] == "known").any())

    @cached_property
    def rows(self) -> list[tuple[int, list[MetricRow]]]:
        """(horizon, rows of its metrics)."""
        outcome_rows = [row for row in (self.findings.rows if self.findings else ()) if row.metric.horizon is not None]
        horizons = sorted({int(row.metric.horizon or 0) for row in outcome_rows})
        return [(horizon, [row for row in outcome_rows if row.metric.horizon == horizon]) for horizon in horizons]

    def placebos(self, horizon: int) -> list[tuple[str, dict[str, Placebo]]]:
        """(placebo, arm -> its result on the cases of that arm)."""
        at_horizon = [placebo for placebo in (self.findings.placebos if self.findings else ()) if placebo.horizon == horizon]
        return [
            (name, {placebo.arm: placebo for placebo in at_horizon if placebo.name == name})
            for name in dict.fromkeys(o.name for o in at_horizon)
        ]

    @staticmethod
    def has_stratum(row: MetricRow, stratum: str) -> bool:
        return any(stratum in of_arm for of_arm in row.by_stratum.values())

    @cached_property
    def strategies(self) -> tuple[Strategy, ...]:
        return strategy.strategies(self.run)

    @cached_property
    def strategy_chart(self) -> Markup:
        days = [str(day)[:10] for day in self.strategies[0].value.index]
        series = [
            (strategy_of_arm.name, self._slots.get(strategy_of_arm.name, len(self._slots)), strategy_of_arm.value.tolist())
            for strategy_of_arm in self.strategies
        ]
        label = "Value of one dollar that follows each arm: " + ", ".join(f"{n} {v[-1]:.3f}" for n, _, v in series)
        return charts.value_lines(series, (days[0], days[-1]), label)

    @property
    def conventions(self) -> Mapping[str, str]:
        return strategy.CONVENTIONS


class TrustView:
    """How the run was made, and whether anything from the future reached a prompt."""

    def __init__(self, run: Run) -> None:
        self.run = run

    @property
    def provenance(self) -> ModuleType:
        """Functions of the run."""
        return provenance

    @cached_property
    def look_ahead_check(self) -> LookAheadCheck:
        """Whether any prompt contained a value from after its decision."""
        if len(self.run.calls) > MOST_CALLS_CHECKED:
            return look_ahead.LookAheadCheck(
                "not_checked", f"Not checked for this page: more than {MOST_CALLS_CHECKED:,} requests."
            )
        try:
            return look_ahead.check(self.run)
        except (ValueError, KeyError, TypeError) as error:
            return look_ahead.LookAheadCheck("not_checked", f"Not checked: a snapshot cannot be read ({type(error).__name__}).")
