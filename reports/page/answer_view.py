"""Data of the first screen and the differences: the chart, savings, short verdicts, sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from markupsafe import Markup

from reports.answer import caveats, takeaways, wording
from reports.format import known
from reports.page import html, scatter

if TYPE_CHECKING:
    from reports.answer.findings import Comparison, Findings, MetricRow
    from reports.load import Run
    from reports.metrics.registry import Metric
    from reports.stats.estimate import Estimate

COST, TIME, QUALITY = "cost", "service_p50", "same_rating"
NO_FLOOR = "not drawn, since the noise floor was not measured"


@dataclass(frozen=True)
class AnswerChart:
    """The chart of the first screen."""

    what: str
    """cost, or time if no cost is known."""
    drawing: Markup
    """Empty if no arm can be drawn."""
    left_out: tuple[tuple[str, tuple[str, ...]], ...]
    """(reason, arms) that could not be drawn."""


@dataclass(frozen=True)
class ShortVerdict:
    """One line on an arm's card."""

    metric: str
    title: str
    pill: Markup
    needs: str
    """What would settle an undecided verdict."""


class AnswerView:
    """The findings, for the templates."""

    def __init__(self, run: Run, findings: Findings, slots: Mapping[str, int]) -> None:
        self.run, self.findings, self._slots = run, findings, slots

    @cached_property
    def chart(self) -> AnswerChart:
        return _chart(self.findings, self._slots)

    @cached_property
    def briefs(self) -> list[takeaways.Brief]:
        return takeaways.briefs(self.findings)

    @cached_property
    def headline(self) -> str:
        return takeaways.headline(self.findings)

    @cached_property
    def takeaways(self) -> tuple[takeaways.Takeaway, ...]:
        return takeaways.takeaways(self.findings)

    @cached_property
    def changes(self) -> tuple[str, ...]:
        return caveats.what_would_change(self.findings)

    @cached_property
    def caveats(self) -> tuple[str, ...]:
        return caveats.caveats(self.findings, self.run)

    def figure(self, metric: str, arm: str) -> Markup:
        """An arm's figure as HTML."""
        row = self.findings.row(metric)
        return html.estimate(row.values.get(arm), row.metric)

    def cost(self, arm: str) -> float | None:
        """Dollars per usable decision; None if unknown."""
        return _value_or_none(self.findings.row(COST).values.get(arm))

    def cost_interval(self, arm: str) -> str:
        """The interval of that cost."""
        row = self.findings.row(COST)
        return html.interval(row.values.get(arm), row.metric)

    def saving(self, arm: str) -> Comparison | None:
        """The arm's cost per usable decision against the baseline's, if both are known."""
        row = _row(self.findings, COST)
        comparison = row.comparisons.get(arm) if row else None
        return comparison if comparison is not None and known(comparison.estimate.value) else None

    def verdicts(self, arm: str) -> list[ShortVerdict]:
        """The verdict on each declared metric for this arm."""
        rows = [(row, row.comparisons.get(arm)) for row in self.findings.declared]
        return [
            ShortVerdict(row.metric.name, row.metric.title, html.pill(v, row.metric, comparison.scale), wording.more_cases(v))
            for row, comparison in rows
            if comparison is not None and (v := comparison.verdict) is not None
        ]

    @staticmethod
    def notes(row: MetricRow) -> list[tuple[str, list[str]]]:
        """(note, arms with it), without notes that the verdict already contains."""
        arms_by_note: dict[str, list[str]] = {}
        for comparison in row.comparisons.values():
            if comparison.note and not (comparison.verdict and comparison.verdict.reason == comparison.note):
                arms_by_note.setdefault(comparison.note, []).append(comparison.arm)
        return list(arms_by_note.items())

    @property
    def cost_metric(self) -> Metric:
        return self.findings.row(COST).metric


def _chart(findings: Findings, slots: Mapping[str, int]) -> AnswerChart:
    """Cost against similarity, or time against similarity if no cost is known."""
    by_cost = _scatter_chart(findings, slots, COST, scatter.MONEY)
    if by_cost.drawing:
        return by_cost
    by_time = _scatter_chart(findings, slots, TIME, scatter.TIME)
    return by_time if by_time.drawing else by_cost


def _scatter_chart(findings: Findings, slots: Mapping[str, int], metric: str, axis: scatter.Axis) -> AnswerChart:
    """The chart of every arm whose figure is known and above zero and whose similarity was measured."""
    across, quality = _values(findings, metric), _values(findings, QUALITY)
    quantity = "cost" if metric == COST else "time"
    why_not = {arm: _why_not(arm, quantity, across.get(arm), quality.get(arm), findings) for arm in findings.arms}
    points = [_point(arm, slots[arm], across[arm], quality[arm]) for arm, why in why_not.items() if not why]
    if all(point.label == findings.baseline for point in points):
        return AnswerChart(quantity, Markup(""), _by_reason(why_not))
    if findings.baseline and why_not.get(findings.baseline) == NO_FLOOR:
        why_not[findings.baseline] = f"only the {quantity} is drawn, since the noise floor was not measured"
    floor = _value_or_none(quality.get(findings.baseline or ""))
    line = _baseline_line(findings, across, slots, points)
    return AnswerChart(quantity, scatter.scatter(points, axis, "same rating as the baseline", floor, line), _by_reason(why_not))


def _by_reason(why_not: Mapping[str, str]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    reasons = dict.fromkeys(why for why in why_not.values() if why)
    return tuple((why, tuple(arm for arm, its in why_not.items() if its == why)) for why in reasons)


def _values(findings: Findings, name: str) -> Mapping[str, Estimate]:
    row = _row(findings, name)
    return row.values if row else {}


def _row(findings: Findings, name: str) -> MetricRow | None:
    return next((row for row in findings.rows if row.metric.name == name), None)


def _why_not(arm: str, quantity: str, across: Estimate | None, quality: Estimate | None, findings: Findings) -> str:
    if arm in findings.rules:
        return "not drawn: a rule without a model"
    if _value_or_none(across) is None:
        return f"not drawn, since the {quantity} is unknown"
    if _value_or_none(across) == 0:
        return f"not drawn, since the {quantity} is zero and the scale is logarithmic"
    if _value_or_none(quality) is None:
        return NO_FLOOR if arm == findings.baseline else "not drawn, since the agreement was not measured"
    return ""


def _point(arm: str, slot: int, cost: Estimate, quality: Estimate) -> scatter.Point:
    bounds = [v if known(v) else None for v in (cost.low, cost.high, quality.low, quality.high)]
    return scatter.Point(arm, slot, cost.value, quality.value, *bounds)


def _baseline_line(
    findings: Findings, cost: Mapping[str, Estimate], slots: Mapping[str, int], points: Sequence[scatter.Point]
) -> scatter.CostLine | None:
    name = findings.baseline
    if name is None or any(p.label == name for p in points) or not _value_or_none(cost.get(name)):
        return None
    return scatter.CostLine(name, slots[name], cost[name].value)


def _value_or_none(estimate: Estimate | None) -> float | None:
    return estimate.value if estimate is not None and known(estimate.value) else None
