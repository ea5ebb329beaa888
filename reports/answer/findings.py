"""The findings of a run: every metric per arm with its interval, each arm compared with the baseline, and the verdicts."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from reports import verdict
from reports.metrics import catalog, similarity
from reports.metrics.facts import Facts
from reports.metrics.measure import MetricData, PairedTest
from reports.metrics.registry import Metric
from reports.metrics.similarity import Similarity
from reports.returns import placebos
from reports.returns.eligible_cases import EligibleCases
from reports.returns.placebos import Placebo
from reports.stats.estimate import Estimate, unknown
from reports.trust import cutoffs
from reports.trust.cutoffs import ArmCutoff
from reports.verdict import Verdict

if TYPE_CHECKING:
    from reports.load import Run


@dataclass(frozen=True)
class Comparison:
    """One arm against the baseline on one metric, paired by case."""

    arm: str
    baseline: str
    scale: str
    """difference: arm minus baseline; ratio: arm divided by baseline (1 is no difference)."""
    estimate: Estimate
    verdict: Verdict | None
    """None if the experiment does not declare the metric or the run is unfinished."""
    note: str = ""
    """Remarks for the reader: windows, strata, cases left out."""

    @property
    def has_interval(self) -> bool:
        """Whether there is an interval from more than one date."""
        return self.estimate.dates > 1 and math.isfinite(self.estimate.low) and math.isfinite(self.estimate.high)

    @property
    def is_apart(self) -> bool:
        """Whether the 95 % interval excludes "no difference"."""
        nothing = 1.0 if self.scale == "ratio" else 0.0
        return not self.estimate.low <= nothing <= self.estimate.high


@dataclass(frozen=True)
class MetricRow:
    """One metric over all arms."""

    metric: Metric
    is_declared: bool
    margin: float | None
    values: Mapping[str, Estimate]
    """arm -> figure; for similarity the baseline's figure is the noise floor."""
    comparisons: Mapping[str, Comparison]
    """arm -> comparison; the baseline has none."""
    by_stratum: Mapping[str, Mapping[str, Estimate]]
    """arm -> before | grey | after | unknown -> figure, for outcomes; empty otherwise."""


@dataclass(frozen=True)
class Findings:
    """All numbers of a run."""

    run_id: str
    baseline: str | None
    arms: tuple[str, ...]
    rules: frozenset[str]
    """Arms that decide without a model."""
    is_interim: bool
    cases: int
    dates: int
    rows: tuple[MetricRow, ...]
    similarities: Mapping[str, Similarity]
    """arm -> agreement of its ratings with the baseline's; the baseline with itself is the noise floor."""
    cutoffs: Mapping[str, ArmCutoff]
    strata: Mapping[str, Mapping[str, int]]
    """arm -> before | grey | after | unknown -> cases."""
    placebos: tuple[Placebo, ...] = ()

    def row(self, name: str) -> MetricRow:
        """The row of a metric. Raises KeyError if there is none."""
        return self._by_name[name]

    def verdict(self, name: str, arm: str) -> Verdict | None:
        """The verdict on a declared metric; None if there is none."""
        comparison = self._by_name[name].comparisons.get(arm) if name in self._by_name else None
        return comparison.verdict if comparison else None

    @property
    def declared(self) -> tuple[MetricRow, ...]:
        return tuple(row for row in self.rows if row.is_declared)

    @cached_property
    def _by_name(self) -> dict[str, MetricRow]:
        return {row.metric.name: row for row in self.rows}


def find(run: Run, facts: Facts | None = None) -> Findings:
    """All numbers of a run; verdicts only when it is finished. Raises ValueError on an unknown metric."""
    return _Finder(run, facts or Facts(run)).findings()


class _Finder:
    """Computes the findings of one run."""

    def __init__(self, run: Run, facts: Facts) -> None:
        self.run, self.facts = run, facts
        self.metrics = catalog.all_metrics(run.settings.horizons)
        self.eligible = EligibleCases(self.facts)
        self._tests: dict[str, dict[str, PairedTest | None]] = {}
        self._check_declared()

    def findings(self) -> Findings:
        rows = tuple(self._row(metric) for metric in self.metrics)
        return Findings(
            run_id=self.run.run_id,
            baseline=self.facts.baseline,
            arms=self.facts.arms,
            rules=self.facts.rules,
            is_interim=self.run.is_interim,
            cases=len(self.facts.dates),
            dates=self.facts.dates.nunique(),
            rows=rows if self.run.is_interim else self._rows_with_verdicts(rows),
            similarities=similarity.similarities(self.facts),
            cutoffs=self.eligible.cutoffs,
            strata={arm: Counter(strata) for arm, strata in self.eligible.strata.items()},
            placebos=tuple(
                placebo
                for horizon in self.run.settings.horizons
                for placebo in placebos.placebos(self.facts, self.eligible, horizon)
            ),
        )

    def _check_declared(self) -> None:
        declarable = [metric.name for metric in self.metrics if metric.better]
        for name in self.run.settings.margins:
            if name not in declarable:
                raise ValueError(f"unknown metric {name!r} in compare.metrics; known: {', '.join(declarable)}")

    def _row(self, metric: Metric) -> MetricRow:
        measured = MetricData(self.facts, metric)
        compared_arms = [arm for arm in self.facts.arms if arm != self.facts.baseline]
        tests = {arm: self._test(measured, arm) for arm in compared_arms if self.facts.baseline}
        self._tests[metric.name] = tests
        return MetricRow(
            metric=metric,
            is_declared=metric.name in self.run.settings.margins,
            margin=self.run.settings.margins.get(metric.name),
            values={arm: measured.value(arm, self._cases(metric, arm)) for arm in self.facts.arms},
            comparisons={arm: self._comparison(metric, arm, test) for arm, test in tests.items()},
            by_stratum=self._by_stratum(measured) if metric.is_outcome else {},
        )

    def _test(self, measured: MetricData, arm: str) -> PairedTest | None:
        baseline = str(self.facts.baseline)
        return measured.test(arm, baseline, self._cases(measured.metric, arm, baseline))

    def _cases(self, metric: Metric, *arms: str) -> Any:
        """Mask of the cases that the metric may use; None for all."""
        return None if metric.horizon is None else self.eligible.cases(metric.horizon, *arms)

    def _by_stratum(self, measured: MetricData) -> dict[str, dict[str, Estimate]]:
        horizon = measured.metric.horizon or 0
        return {
            arm: {
                stratum: measured.value(arm, self.eligible.of_stratum(horizon, arm, stratum))
                for stratum in cutoffs.STRATA
                if (strata == stratum).any()
            }
            for arm, strata in self.eligible.strata.items()
        }

    def _comparison(self, metric: Metric, arm: str, test: PairedTest | None) -> Comparison:
        baseline = str(self.facts.baseline)
        if test is None:
            return Comparison(arm, baseline, metric.scale, unknown(), None, note=self._reason(metric, arm))
        note = self._windows(metric, test) if metric.is_outcome else ""
        return Comparison(arm, baseline, test.scale, test.estimate, None, note=note)

    def _windows(self, metric: Metric, test: PairedTest) -> str:
        return (
            f"{test.estimate.dates} non-overlapping windows of {metric.horizon} sessions, "
            f"from {self.facts.dates.nunique()} dates; {test.estimate.cases} of {len(self.facts.dates)} cases"
        )

    def _reason(self, metric: Metric, arm: str) -> str:
        """Why there is no comparison."""
        baseline = str(self.facts.baseline)
        if not len(self.facts.dates):
            return "no whole case has ended yet"
        if metric.is_outcome:
            return self.eligible.why_none(metric.horizon or 0, arm, baseline)
        if metric.group == "similarity" and not _has_repeats(self.facts, baseline):
            return f"{baseline} has no repeats, so how often it agrees with itself is not known"
        if metric.group == "money":
            return "the cost is unknown in one of the two"
        return "no case has a known value in both"

    def _rows_with_verdicts(self, rows: tuple[MetricRow, ...]) -> tuple[MetricRow, ...]:
        """The rows with their verdicts, arm by arm."""
        verdicts_by_arm = {arm: self._verdicts(rows, arm) for arm in self.facts.arms if arm != self.facts.baseline}
        return tuple(_with_verdicts(row, verdicts_by_arm) if row.is_declared else row for row in rows)

    def _verdicts(self, rows: tuple[MetricRow, ...], arm: str) -> dict[str, Verdict]:
        declared = [row for row in rows if row.is_declared and arm in row.comparisons]
        questions = {
            row.metric.name: verdict.Question(
                row.metric, row.margin, self._tests[row.metric.name][arm], row.comparisons[arm].note
            )
            for row in declared
        }
        return verdict.verdicts(questions, self._usd_per_case(arm))

    def _usd_per_case(self, arm: str) -> float | None:
        """Cost of one more case for this arm and the baseline together."""
        cells = self.facts.cells[self.facts.cells["arm"].isin([arm, self.facts.baseline])]
        if cells["cost_usd"].isna().any() or not len(cells):
            return None
        return float(cells["cost_usd"].sum() / cells["case_id"].nunique())


def _with_verdicts(row: MetricRow, verdicts_by_arm: Mapping[str, Mapping[str, Verdict]]) -> MetricRow:
    compared = {
        arm: replace(comparison, verdict=verdicts_by_arm[arm].get(row.metric.name))
        for arm, comparison in row.comparisons.items()
    }
    return replace(row, comparisons=compared)


def _has_repeats(facts: Facts, arm: str) -> bool:
    return bool((facts.counts(arm).sum(axis=1) > 1).any())
