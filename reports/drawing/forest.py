"""The forest plot of one endpoint: a common axis, the margin as a band, one line per arm."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from markupsafe import Markup

from reports.answer import wording
from reports.drawing import charts
from reports.figures import known

if TYPE_CHECKING:
    from reports.answer.found import Comparison, Row

FAR = 4.0
"""An interval that reaches further than this many times the largest estimate or margin runs off the axis, with an arrow."""


@dataclass(frozen=True)
class Forest:
    """One endpoint's plot; ratios are placed by their logarithm."""

    row: Row
    reach: float
    """Largest absolute place shown."""

    @property
    def ends(self) -> tuple[str, str]:
        """What stands at the two ends of the axis."""
        unit, scale = self.row.metric.unit, self.row.metric.scale
        values = (math.exp(-self.reach), math.exp(self.reach)) if scale == "ratio" else (-self.reach, self.reach)
        return wording.difference(unit, scale, values[0]), wording.difference(unit, scale, values[1])

    def line(self, comparison: Comparison, slot: int) -> Markup:
        """One arm's estimate and interval; nothing when there is no estimate."""
        metric, scale = self.row.metric, comparison.scale
        if scale != metric.scale:  # a cost of nothing has no ratio: it is written, and has no place on this axis
            return Markup("")
        value, low, high = (_place(v, scale) for v in _three(comparison))
        if value is None or math.isinf(value):
            return Markup("")
        said = f"{comparison.arm} against {comparison.baseline}: {wording.interval(metric, scale, comparison.estimate)}"
        return charts.forest(value, low, high, _margin(self.row), self.reach, slot, said)


def of(row: Row, rules: Collection[str] = ()) -> Forest:
    """The plot of an endpoint, wide enough for the intervals of arms with models, and for its margin."""
    drawn = [one for one in row.comparisons.values() if one.arm not in rules] or list(row.comparisons.values())
    places = [[_place(v, one.scale) for v in _three(one)] for one in drawn if one.scale == row.metric.scale]
    ends = [abs(v) for three in places for v in three if v is not None and math.isfinite(v)]
    centres = [abs(v) for v, _, _ in places if v is not None and math.isfinite(v)]
    margin = _margin(row) or 0.0
    limit = FAR * max([*centres, margin], default=0.0) or math.inf
    reach = min(max([*ends, margin], default=0.0), limit) * 1.12 or 1.0
    return Forest(row, min(reach, 1.0) if row.metric.unit == "share" else reach)


def _three(comparison: Comparison) -> Iterator[float]:
    yield from (comparison.estimate.value, comparison.estimate.low, comparison.estimate.high)


def _place(value: float, scale: str) -> float | None:
    """Where a value stands; None when it is not known, minus infinity for a ratio of zero."""
    if not known(value):
        return None
    if scale != "ratio":
        return value
    return math.log(value) if value > 0 else -math.inf


def _margin(row: Row) -> float | None:
    if row.margin is None:
        return None
    return math.log1p(row.margin) if row.metric.scale == "ratio" else row.margin
