"""Data of the section on what happened after the decisions: equity curves, returns over the benchmark, placebos."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from markupsafe import Markup

from reports import grid
from reports.format import count, known
from reports.page import days
from reports.page.days import ValueLine
from reports.returns import strategy

if TYPE_CHECKING:
    from reports.answer.findings import Findings, MetricRow
    from reports.load import Run
    from reports.returns.placebos import Placebo
    from reports.returns.strategy import Strategy
    from reports.stats.estimate import Estimate


class ReturnsView:
    """What happened after the decisions."""

    def __init__(self, run: Run, findings: Findings | None, slots: Mapping[str, int]) -> None:
        self.run, self.findings, self._slots = run, findings, slots

    @cached_property
    def is_there(self) -> bool:
        """Whether any outcome is known."""
        return self.findings is not None and bool((self.run.outcomes["status"] == "known").any())

    @cached_property
    def benchmark(self) -> str:
        """What returns are compared with."""
        names = self.run.outcomes["benchmark"].dropna().unique()
        return str(names[0]) if len(names) == 1 else "the benchmark"

    @cached_property
    def horizon(self) -> int | None:
        """The horizon of the table: the grid's, or the first that has rows."""
        known = [horizon for horizon, _ in self.rows]
        wanted = grid.horizon(self.run)
        return wanted if wanted in known else next(iter(known), None)

    @cached_property
    def lead(self) -> str:
        """Whether the return of any arm can be distinguished from the baseline's."""
        row = self.row("excess_return")
        measured = [c for c in row.comparisons.values() if c.has_interval] if row else []
        if not measured:
            if row and any(known(c.estimate.value) for c in row.comparisons.values()):
                return "Returns are not compared: an interval needs more than one date."
            reasons = dict.fromkeys(c.note for c in row.comparisons.values() if c.note) if row else {}
            more = f", and so for {count(len(reasons) - 1, 'other arm')}" if len(reasons) > 1 else ""
            return f"Returns are not compared: {next(iter(reasons))}{more}." if reasons else ""
        apart = [comparison.arm for comparison in measured if comparison.is_apart]
        windows = max(comparison.estimate.dates for comparison in measured)
        if not apart:
            base = measured[0].baseline
            return f"No arm's return differs measurably from that of {base}: {windows} windows that do not overlap are too few."
        return f"By its 95 % interval, the return of {' and '.join(apart)} differs from that of {measured[0].baseline}."

    def row(self, name: str) -> MetricRow | None:
        """The row of a metric at the horizon of the table."""
        rows = dict(self.rows).get(self.horizon or 0, [])
        return next((row for row in rows if row.metric.name == f"{name}_{self.horizon}"), None)

    @cached_property
    def rows(self) -> list[tuple[int, list[MetricRow]]]:
        """(horizon, rows of its metrics)."""
        outcome_rows = [row for row in (self.findings.rows if self.findings else ()) if row.metric.horizon is not None]
        horizons = sorted({int(row.metric.horizon or 0) for row in outcome_rows})
        return [(horizon, [row for row in outcome_rows if row.metric.horizon == horizon]) for horizon in horizons]

    @staticmethod
    def own(arm: str, row: MetricRow | None) -> Estimate | None:
        """An arm's figure over the cases of its difference from the baseline, so that both fit; else over all its cases."""
        if row is None:
            return None
        pair = row.comparisons.get(arm)
        return pair.own if pair and known(pair.estimate.value) else row.values.get(arm)

    def placebos(self, horizon: int) -> list[tuple[str, dict[str, Placebo]]]:
        """(placebo, arm -> its result over the cases that all arms have)."""
        return _by_name(self.findings.common_placebos if self.findings else (), horizon)

    def notes(self, horizon: int) -> list[str]:
        """On which cases the figures of a horizon rest, and remarks on the placebos, each once."""
        return [*self._notes_on_cases(horizon), *self._notes_on_placebos(horizon)]

    def _notes_on_cases(self, horizon: int) -> list[str]:
        rows = [row.common for row in dict(self.rows)[horizon] if row.common.values]
        if not rows:
            return []
        most = max(rows, key=lambda row: row.cases)
        few = [f"{arm} ({count(cases, 'case')})" for arm, cases in most.left_out.items() if cases]
        none = [arm for arm, cases in most.left_out.items() if not cases]
        words = "The arms of a row share its cases, which lie after the knowledge cutoffs of all of them."
        words += f" Without such a case: {', '.join(none)}." if none else ""
        return [words + (f" Left out, with less than half of the baseline's cases: {', '.join(few)}." if few else "")]

    def _notes_on_placebos(self, horizon: int) -> list[str]:
        return [
            f"What {name} earned is {note}."
            for name, by_arm in self.placebos(horizon)
            for note in dict.fromkeys(placebo.note for placebo in by_arm.values() if placebo.note)
        ]

    @cached_property
    def random_trades(self) -> dict[str, Placebo]:
        """arm -> its own decisions dealt at random to the cases of its difference, at the horizon of the table."""
        return dict(_by_name(self.findings.placebos if self.findings else (), self.horizon or 0)).get("coin", {})

    @staticmethod
    def has_stratum(row: MetricRow, stratum: str) -> bool:
        return stratum in row.by_stratum and bool(row.by_stratum[stratum].values)

    @cached_property
    def strategies(self) -> tuple[Strategy, ...]:
        """Those of the arms, always-buy and the benchmark; empty without a decision to follow."""
        followed = strategy.strategies(self.run)
        return followed if any(one.name in self._slots for one in followed) else ()

    @cached_property
    def chart(self) -> Markup:
        """Equity curves of the arms, always-buy and the benchmark, with the band of random trades."""
        sessions = [day.date() for day in self.strategies[0].value.index]
        lines = [ValueLine(s.name, self._kind(s.name), s.value.tolist(), s.name == self.run.baseline) for s in self.strategies]
        return days.value_chart(sessions, lines, strategy.luck(self.run, self.run.baseline or ""))

    def _kind(self, name: str) -> str:
        if name in self._slots:
            return f"a{self._slots[name] % 8}{' rule' if name in self.run.settings.rule_arms else ''}"
        return "always" if name == strategy.ALWAYS_BUY else "market"

    @property
    def conventions(self) -> Mapping[str, str]:
        return strategy.CONVENTIONS


def _by_name(placebos: Sequence[Placebo], horizon: int) -> list[tuple[str, dict[str, Placebo]]]:
    """(placebo, arm -> its result) at one horizon."""
    at_horizon = [placebo for placebo in placebos if placebo.horizon == horizon]
    return [
        (name, {placebo.arm: placebo for placebo in at_horizon if placebo.name == name})
        for name in dict.fromkeys(placebo.name for placebo in at_horizon)
    ]
