"""What the first screen and the differences read: the chart, savings, verdicts in short."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from markupsafe import Markup

from reports import shown
from reports.answer import brief, wording
from reports.drawing import scatter
from reports.figures import known

if TYPE_CHECKING:
    from reports.answer.found import Comparison, Findings, Row
    from reports.estimate import Estimate
    from reports.registry import Metric

COST, TIME, QUALITY = "cost_per_usable", "service_p50", "similarity"
NO_FLOOR = "not drawn, since the noise floor was not measured"


@dataclass(frozen=True)
class Chart:
    """The chart of the first screen."""

    what: str
    """cost, or time where no cost is known."""
    drawing: Markup
    """Empty when fewer than one arm can be drawn."""
    left_out: tuple[tuple[str, tuple[str, ...]], ...]
    """(why, arms) of what could not be drawn."""


@dataclass(frozen=True)
class ShortVerdict:
    """One line on an arm's card."""

    endpoint: str
    title: str
    pill: Markup
    needs: str
    """What would settle it, where nothing can be told."""


class Answer:
    """What was found, in the order of a reader."""

    def __init__(self, findings: Findings, slots: Mapping[str, int]) -> None:
        self.findings, self._slots = findings, slots

    @cached_property
    def chart(self) -> Chart:
        return _chart(self.findings, self._slots)

    @cached_property
    def briefs(self) -> list[brief.Brief]:
        return brief.briefs(self.findings)

    @cached_property
    def headline(self) -> str:
        return brief.headline(self.findings)

    def own(self, endpoint: str, arm: str) -> Markup:
        """An arm's own figure, as every table has it."""
        row = self.findings.row(endpoint)
        return shown.estimate(row.values.get(arm), row.metric)

    def cost(self, arm: str) -> float | None:
        """Dollars of a usable decision, None where they are not known."""
        return _known(self.findings.row(COST).values.get(arm))

    def cost_interval(self, arm: str) -> str:
        """Where that cost lies."""
        row = self.findings.row(COST)
        return shown.interval(row.values.get(arm), row.metric)

    def saving(self, arm: str) -> Comparison | None:
        """The arm's cost per usable decision against the baseline's, where both are known."""
        row = _row(self.findings, COST)
        found = row.comparisons.get(arm) if row else None
        return found if found is not None and known(found.estimate.value) else None

    def verdicts(self, arm: str) -> list[ShortVerdict]:
        """What the experiment declared to ask, and what came out for this arm."""
        rows = [(row, row.comparisons.get(arm)) for row in self.findings.declared]
        return [
            ShortVerdict(row.metric.name, row.metric.title, shown.pill(v, row.metric, found.scale), wording.more_cases(v))
            for row, found in rows
            if found is not None and (v := found.verdict) is not None
        ]

    @staticmethod
    def notes(row: Row) -> list[tuple[str, list[str]]]:
        """Note -> arms whose comparison carries it, unless the verdict says it already."""
        found: dict[str, list[str]] = {}
        for one in row.comparisons.values():
            if one.note and not (one.verdict and one.verdict.reason == one.note):
                found.setdefault(one.note, []).append(one.arm)
        return list(found.items())

    @property
    def cost_metric(self) -> Metric:
        return self.findings.row(COST).metric


def _chart(findings: Findings, slots: Mapping[str, int]) -> Chart:
    """Cost against similarity; where no cost is known, time against similarity."""
    by_cost = _drawn(findings, slots, COST, scatter.MONEY)
    if by_cost.drawing:
        return by_cost
    by_time = _drawn(findings, slots, TIME, scatter.TIME)
    return by_time if by_time.drawing else by_cost


def _drawn(findings: Findings, slots: Mapping[str, int], endpoint: str, axis: scatter.Axis) -> Chart:
    """Every arm whose figure is known and above zero, and whose similarity was measured."""
    across, quality = _values(findings, endpoint), _values(findings, QUALITY)
    what = "cost" if endpoint == COST else "time"
    why_not = {arm: _why_not(arm, what, across.get(arm), quality.get(arm), findings) for arm in findings.arms}
    points = [_point(arm, slots[arm], across[arm], quality[arm]) for arm, why in why_not.items() if not why]
    if all(point.label == findings.baseline for point in points):
        return Chart(what, Markup(""), _by_reason(why_not))
    if findings.baseline and why_not.get(findings.baseline) == NO_FLOOR:
        why_not[findings.baseline] = f"only the {what} is drawn, since the noise floor was not measured"
    floor = _known(quality.get(findings.baseline or ""))
    line = _baseline_line(findings, across, slots, points)
    return Chart(what, scatter.scatter(points, axis, "same rating as the baseline", floor, line), _by_reason(why_not))


def _by_reason(why_not: Mapping[str, str]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    reasons = dict.fromkeys(why for why in why_not.values() if why)
    return tuple((why, tuple(arm for arm, its in why_not.items() if its == why)) for why in reasons)


def _values(findings: Findings, name: str) -> Mapping[str, Estimate]:
    row = _row(findings, name)
    return row.values if row else {}


def _row(findings: Findings, name: str) -> Row | None:
    return next((row for row in findings.rows if row.metric.name == name), None)


def _why_not(arm: str, what: str, across: Estimate | None, quality: Estimate | None, findings: Findings) -> str:
    if arm in findings.rules:
        return "not drawn: a rule without a model"
    if _known(across) is None:
        return f"not drawn, since the {what} is unknown"
    if _known(across) == 0:
        return f"not drawn, since the {what} is zero and the scale is logarithmic"
    if _known(quality) is None:
        return NO_FLOOR if arm == findings.baseline else "not drawn, since the similarity was not measured"
    return ""


def _point(arm: str, slot: int, cost: Estimate, quality: Estimate) -> scatter.Point:
    bounds = [v if known(v) else None for v in (cost.low, cost.high, quality.low, quality.high)]
    return scatter.Point(arm, slot, cost.value, quality.value, *bounds)


def _baseline_line(
    findings: Findings, cost: Mapping[str, Estimate], slots: Mapping[str, int], points: Sequence[scatter.Point]
) -> scatter.Line | None:
    name = findings.baseline
    if name is None or any(p.label == name for p in points) or not _known(cost.get(name)):
        return None
    return scatter.Line(name, slots[name], cost[name].value)


def _known(found: Estimate | None) -> float | None:
    return found.value if found is not None and known(found.value) else None
