"""Two runs compared case by case: each arm of both runs, over the cases that both decided."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from reports.answer import wording
from reports.format import known, percent_text
from reports.metrics import catalog, registry
from reports.metrics.facts import Facts
from reports.metrics.measure import MetricData

if TYPE_CHECKING:
    from reports.load import Run
    from reports.metrics.measure import PairedTest
    from reports.metrics.registry import Metric

BEFORE, AFTER = "before", "after"
METRICS = ("usable", "cost", "service_p50", "same_rating", "grounding")
"""Compared in this order, where both runs measured them."""
OF_CELLS = frozenset({"usable", "cost", "service_p50"})
"""Metrics that read nothing but the cells, which can be put side by side."""
SAME_ANSWERS = "same answers"
HEAD = ("arm", "what", "before", "after", "difference", "p", "cases")
NOTES = (
    "the column p is a two-sided test of no difference, with cases paired and dates as clusters; "
    "it is not corrected for the number of lines.",
    f"{SAME_ANSWERS}: how often both runs gave the same rating, compared with how often the earlier run repeats its own.",
)


@dataclass(frozen=True)
class PairedDifference:
    """One metric of one arm in both runs."""

    arm: str
    title: str
    before: str
    after: str
    difference: str
    p: float
    """Two-sided p of no difference; NaN without a test."""
    cases: int

    @property
    def words(self) -> tuple[str, ...]:
        """The line of a table, in the order of HEAD."""
        p = "no test" if not known(self.p) else "< 0.001" if self.p < 0.001 else f"{self.p:.2g}"
        return self.arm, self.title, self.before, self.after, self.difference, p, f"{self.cases:,}"


class TwoRuns(Facts):
    """One arm of two runs over their common cases, as if they were two arms of one run."""

    def __init__(self, before: Facts, after: Facts, arm: str) -> None:
        parts = [facts.cells[facts.cells["arm"] == arm] for facts in (before, after)]
        common = set(parts[0]["case_id"]) & set(parts[1]["case_id"])
        named = [part.assign(arm=name) for part, name in zip(parts, (BEFORE, AFTER), strict=True)]
        self.run = after.run
        self.cells = pd.concat([part[part["case_id"].isin(common)] for part in named], ignore_index=True)
        self.arms, self.baseline, self.rules = (BEFORE, AFTER), BEFORE, frozenset()


def differences(before: Run, after: Run) -> tuple[PairedDifference, ...]:
    """Every metric of every arm of both runs; empty without a common case."""
    facts = Facts(before), Facts(after)
    arms = [arm for arm in after.arms if arm in before.arms]
    return tuple(line for arm in arms for line in _of_arm(*facts, arm))


def tests(before: Run, after: Run, names: Sequence[str]) -> dict[tuple[str, str], PairedTest | None]:
    """(arm, metric) -> paired test of the later run against the earlier one; None without a common case.

    The baseline has no same_rating: its agreement with itself is the noise floor."""
    facts = Facts(before), Facts(after)
    catalog.all_metrics(after.settings.horizons)
    return {
        (arm, name): _test(registry.METRICS[name], *facts, arm)
        for arm in after.arms
        for name in names
        if arm in before.arms and not (name == "same_rating" and arm == after.baseline)
    }


def _test(metric: Metric, before: Facts, after: Facts, arm: str) -> PairedTest | None:
    both = TwoRuns(before, after, arm)
    if not len(both.cells):
        return None
    data = MetricData(both, metric if metric.name in OF_CELLS else _measured_apart(metric, before, after, arm, both))
    return data.test(AFTER, BEFORE)


def _of_arm(before: Facts, after: Facts, arm: str) -> Iterator[PairedDifference]:
    both = TwoRuns(before, after, arm)
    if not len(both.cells):
        return
    for metric in _metrics(after):
        data = MetricData(both, metric if metric.name in OF_CELLS else _measured_apart(metric, before, after, arm, both))
        test = data.test(AFTER, BEFORE)
        if test is not None and not (metric.name == "same_rating" and arm == after.baseline):
            yield _line(arm, metric, test, both)
    yield from _same_answers(both, arm)


def _metrics(after: Facts) -> list[Metric]:
    catalog.all_metrics(after.run.settings.horizons)
    return [registry.METRICS[name] for name in METRICS if name in registry.METRICS]


def _measured_apart(metric: Metric, before: Facts, after: Facts, arm: str, both: Facts) -> Metric:
    """The metric with the values that it has in each run."""
    columns = {name: metric.compute(facts)[arm] for name, facts in ((BEFORE, before), (AFTER, after))}
    frame = pd.DataFrame(columns).reindex(both.dates.index)
    return replace(metric, compute=lambda facts: frame)


def _line(arm: str, metric: Metric, test: PairedTest, both: Facts) -> PairedDifference:
    before, after = (wording.figure(metric.unit, measured.value) for measured in (test.base, test.own))
    words = wording.interval(metric, test.scale, test.estimate)
    cases = len(both.dates) if metric.kind == "quantile" else test.estimate.cases
    return PairedDifference(arm, metric.title, before, after, words, _p(test), cases)


def _p(test: PairedTest) -> float:
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(min(1.0, 2 * min(test.sample.p_above(0.0), test.sample.p_below(0.0))))


def _same_answers(both: Facts, arm: str) -> Iterator[PairedDifference]:
    """How often both runs gave the same rating, and how often the earlier one repeats its own."""
    data = MetricData(both, replace(registry.METRICS["stability"], compute=_agreements))
    test, across = data.test(AFTER, BEFORE), data.value(AFTER)
    if test is not None:
        yield replace(_line(arm, data.metric, test, both), title=SAME_ANSWERS)
    elif across.cases:
        words = "the earlier run has no repeats"
        share = percent_text(across.value)
        yield PairedDifference(arm, SAME_ANSWERS, "not repeated", share, words, float("nan"), across.cases)


def _agreements(both: Facts) -> pd.DataFrame:
    tables = {BEFORE: both.pair_tables(BEFORE, BEFORE), AFTER: both.pair_tables(BEFORE, AFTER)}
    agreed = {name: np.trace(table, axis1=1, axis2=2) for name, table in tables.items()}
    return pd.DataFrame(agreed, index=both.dates.index).astype(float)
