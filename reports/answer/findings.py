"""The findings of a run: every metric per arm with its interval, each arm compared with the baseline, and the verdicts."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from reports import finding, verdict
from reports.answer import search_verdicts
from reports.answer.side_by_side import SideBySide, common_cases, side_by_side
from reports.format import count
from reports.metrics import catalog, own, similarity
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
from reports.verdict import GoodEnough, Pick, Verdict

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
    """With a verdict, the interval is the one that the verdict rests on (`estimate.confidence`), else 95 %."""
    own: Estimate
    """The arm's figure over the cases of the comparison: own - base is the estimate, or own / base for a ratio."""
    base: Estimate
    """The baseline's figure over the same cases."""
    verdict: Verdict | None = None
    """None if the run is unfinished, or if the metric is neither declared nor part of "good enough"."""
    note: str = ""
    """Remarks for the reader: windows, strata, cases left out."""

    @property
    def has_interval(self) -> bool:
        """Whether there is an interval from more than one date."""
        return self.estimate.dates > 1 and math.isfinite(self.estimate.low) and math.isfinite(self.estimate.high)

    def judged(self, given: Verdict | None) -> Comparison:
        """With this verdict and the interval that it rests on; unchanged without one."""
        if given is None:
            return self
        if not math.isfinite(given.confidence):
            return replace(self, verdict=given)
        ends = replace(self.estimate, low=given.low, high=given.high, confidence=given.confidence)
        return replace(self, estimate=ends, verdict=given)

    @property
    def is_apart(self) -> bool:
        """Whether a difference is shown: the interval excludes "no difference", and so does the test of better and worse."""
        if self.verdict is not None and self.verdict.p_difference > verdict.DIFFERENCE_LEVEL:
            return False
        nothing = 1.0 if self.scale == "ratio" else 0.0
        return not self.estimate.low <= nothing <= self.estimate.high


@dataclass(frozen=True)
class MetricRow:
    """One metric over all arms."""

    metric: Metric
    is_declared: bool
    margin: float | None
    """As declared; the default of "good enough" where none is."""
    values: Mapping[str, Estimate]
    """arm -> figure over all its cases; for same_rating the baseline's figure is the noise floor."""
    comparisons: Mapping[str, Comparison]
    """arm -> comparison; the baseline has none."""
    common: SideBySide
    """The figures over the cases that all arms have: for tables that put the arms next to each other."""
    by_stratum: Mapping[str, SideBySide]
    """before | grey | unknown -> the same over cases of that stratum, for outcomes; empty otherwise."""

    def judged(self, good: Mapping[str, GoodEnough]) -> MetricRow:
        """The row with the verdicts of a search, their margin, and the intervals that they rest on."""
        given = {arm: one.verdicts[self.metric.name] for arm, one in good.items() if self.metric.name in one.verdicts}
        margin = next((one.margin for one in given.values()), self.margin)
        compared = {arm: one.judged(given.get(arm)) for arm, one in self.comparisons.items()}
        return replace(self, comparisons=compared, margin=margin)


@dataclass(frozen=True)
class ArmCounts:
    """Cells of one arm."""

    ended: int
    usable: int

    @property
    def unusable(self) -> int:
        return self.ended - self.usable


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
    counts: Mapping[str, ArmCounts]
    """arm -> its cells that ended."""
    good_enough: Mapping[str, GoodEnough]
    """Arm with models, the baseline aside -> whether it can replace the baseline; empty for an unfinished run."""
    pick: Pick | None
    """The cheapest arm that is good enough, corrected over the arms; None for an unfinished run and without such arms."""
    placebos: tuple[Placebo, ...] = ()
    """Of each arm, over the cases of its difference from the baseline."""
    common_placebos: tuple[Placebo, ...] = ()
    """Over the cases that all arms have."""
    screened_out: frozenset[str] = frozenset()
    """Candidates of a search that were dropped before they decided a case."""

    def row(self, name: str) -> MetricRow:
        """The row of a metric. Raises KeyError if there is none."""
        return self._by_name[name]

    def verdict(self, name: str, arm: str) -> Verdict | None:
        """The verdict on a metric that is declared or part of "good enough"; None if there is none."""
        comparison = self._by_name[name].comparisons.get(arm) if name in self._by_name else None
        return comparison.verdict if comparison else None

    @property
    def declared(self) -> tuple[MetricRow, ...]:
        return tuple(row for row in self.rows if row.is_declared)

    @property
    def judged(self) -> tuple[MetricRow, ...]:
        """Rows with verdicts: declared ones and those of "good enough"."""
        return tuple(row for row in self.rows if row.is_declared or row.metric.name in verdict.MARGINS)

    @cached_property
    def _by_name(self) -> dict[str, MetricRow]:
        return {row.metric.name: row for row in self.rows}


def find(run: Run, facts: Facts | None = None) -> Findings:
    """All numbers of a run; verdicts only when it is finished, of a `find` those of its looks.

    Raises ValueError on an unknown metric."""
    findings, found = _Finder(run, facts or Facts(run)).findings(), finding.read(run)
    if found is None:
        return findings
    findings = replace(findings, screened_out=found.screened_out)
    if not found.looks:
        return findings
    good = search_verdicts.good_enough(found, findings.verdict)
    rows = tuple(row.judged(good) for row in findings.rows)
    return replace(findings, rows=rows, good_enough=dict(findings.good_enough) | good, pick=search_verdicts.pick(found, good))


class _Finder:
    """Computes the findings of one run."""

    def __init__(self, run: Run, facts: Facts) -> None:
        self.run, self.facts = run, facts
        self.metrics = (*catalog.all_metrics(run.settings.horizons), *own.read(run))
        self.eligible = EligibleCases(self.facts)
        self._tests: dict[str, dict[str, PairedTest | None]] = {}
        self._check_declared()

    def findings(self) -> Findings:
        rows = tuple(self._row(metric) for metric in self.metrics)
        if not self.run.is_interim:
            rows = tuple(self._with_verdicts(row) for row in rows)
        good_enough = {} if self.run.is_interim else self._good_enough(rows)
        return Findings(
            run_id=self.run.run_id,
            baseline=self.facts.baseline,
            arms=self.facts.arms,
            rules=self.facts.rules,
            is_interim=self.run.is_interim,
            cases=len(self.facts.dates),
            dates=self.facts.dates.nunique(),
            rows=rows,
            counts={arm: self._counts(arm) for arm in self.facts.arms},
            good_enough=good_enough,
            pick=_pick(rows, good_enough),
            similarities=similarity.similarities(self.facts),
            cutoffs=self.eligible.cutoffs,
            strata={arm: Counter(strata) for arm, strata in self.eligible.strata.items()},
            placebos=tuple(one for horizon in self.run.settings.horizons for one in self._placebos(horizon)),
            common_placebos=tuple(one for horizon in self.run.settings.horizons for one in self._common_placebos(horizon)),
        )

    def _placebos(self, horizon: int) -> tuple[Placebo, ...]:
        """Over the cases of each arm's difference from the baseline."""
        known, base = placebos.known(self.facts, horizon), self.facts.baseline
        cases = {arm: self.eligible.cases(horizon, *dict.fromkeys((arm, base or arm))) for arm in self.facts.arms}
        if base is not None:
            cases = {arm: keep & known[base].to_numpy() for arm, keep in cases.items()}
        return placebos.placebos(self.facts, horizon, cases)

    def _common_placebos(self, horizon: int) -> tuple[Placebo, ...]:
        """Over the cases that all arms have."""
        known = placebos.known(self.facts, horizon)
        arms, shared = common_cases(
            self.facts, lambda arm, keep: known[arm].to_numpy() & keep, partial(self.eligible.cases, horizon)
        )
        return placebos.placebos(self.facts, horizon, dict.fromkeys(arms, shared))

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
        values = {arm: measured.value(arm, self._cases(metric, arm)) for arm in self.facts.arms}
        return MetricRow(
            metric=metric,
            is_declared=metric.name in self.run.settings.margins,
            margin=self._margin(metric.name),
            values=values,
            common=self._common(measured, values),
            comparisons={arm: self._comparison(metric, arm, test) for arm, test in tests.items()},
            by_stratum=self._by_stratum(measured) if metric.is_outcome else {},
        )

    def _margin(self, metric: str) -> float | None:
        """As declared, else the default of "good enough"."""
        declared = self.run.settings.margins.get(metric)
        return verdict.MARGINS.get(metric) if declared is None else declared

    def _test(self, measured: MetricData, arm: str) -> PairedTest | None:
        baseline = str(self.facts.baseline)
        return measured.test(arm, baseline, self._cases(measured.metric, arm, baseline))

    def _cases(self, metric: Metric, *arms: str) -> Any:
        """Mask of the cases that the metric may use; None for all."""
        return None if metric.horizon is None else self.eligible.cases(metric.horizon, *arms)

    def _common(self, measured: MetricData, values: Mapping[str, Estimate]) -> SideBySide:
        return side_by_side(measured, partial(self._cases, measured.metric), values)

    def _by_stratum(self, measured: MetricData) -> dict[str, SideBySide]:
        """Figures that support no claim, over cases that all arms may remember."""
        horizon, strata = measured.metric.horizon or 0, [stratum for stratum in cutoffs.STRATA if stratum != "after"]
        masks = {stratum: partial(self.eligible.of_stratum, horizon, stratum) for stratum in strata}
        return {stratum: side_by_side(measured, masks[stratum]) for stratum in strata}

    def _comparison(self, metric: Metric, arm: str, test: PairedTest | None) -> Comparison:
        baseline = str(self.facts.baseline)
        if test is None:
            nothing = unknown()
            return Comparison(arm, baseline, metric.scale, nothing, nothing, nothing, note=self._reason(metric, arm))
        note = self._windows(metric, test) if metric.is_outcome else ""
        return Comparison(arm, baseline, test.scale, test.estimate, test.own, test.base, note=note)

    def _windows(self, metric: Metric, test: PairedTest) -> str:
        windows, dates = count(test.estimate.dates, "non-overlapping window"), count(self.facts.dates.nunique(), "date")
        horizon, cases = (
            count(metric.horizon or 0, "session"),
            f"{test.estimate.cases:,} of {count(len(self.facts.dates), 'case')}",
        )
        return f"{windows} of {horizon}, from {dates}; {cases}"

    def _reason(self, metric: Metric, arm: str) -> str:
        """Why there is no comparison."""
        baseline = str(self.facts.baseline)
        if not len(self.facts.dates):
            return "no whole case has ended yet"
        if metric.is_outcome:
            return self.eligible.why_none(metric.horizon or 0, arm, baseline)
        if metric.group == "agreement" and not _has_repeats(self.facts, baseline):
            return f"{baseline} was asked once per case, so how often it agrees with itself is not known; set repeats: 3"
        if metric.name == "cost":
            return self._why_no_cost(arm)
        if metric.group == "money":
            return "the cost is unknown in one of the two"
        return "no case has a known value in both"

    def _why_no_cost(self, arm: str) -> str:
        for name in (arm, str(self.facts.baseline)):
            if not self._counts(name).usable:
                return f"{name} has no usable decision that its cost could be divided by"
        return "the cost is unknown in one of the two"

    def _counts(self, arm: str) -> ArmCounts:
        mine = self.facts.cells_of(arm)
        return ArmCounts(int(mine.sum()), int(self.facts.usable[mine].sum()))

    def _with_verdicts(self, row: MetricRow) -> MetricRow:
        if not row.is_declared and row.metric.name not in verdict.MARGINS:
            return row
        compared = {arm: one.judged(self._verdict(row, one)) for arm, one in row.comparisons.items()}
        return replace(row, comparisons=compared)

    def _verdict(self, row: MetricRow, comparison: Comparison) -> Verdict:
        test = self._tests[row.metric.name][comparison.arm]
        question = verdict.Question(row.metric, row.margin, test, comparison.note)
        return verdict.of_question(question, self._usd_per_case(comparison.arm))

    def _good_enough(self, rows: tuple[MetricRow, ...]) -> dict[str, GoodEnough]:
        gate = [row for row in rows if row.metric.name in verdict.MARGINS]
        arms = [arm for arm in self.facts.arms if arm != self.facts.baseline and arm not in self.facts.rules]
        verdicts_by_arm = {
            arm: {row.metric.name: one.verdict for row in gate if (one := row.comparisons.get(arm)) and one.verdict}
            for arm in arms
        }
        return {arm: verdict.good_enough(arm, verdicts) for arm, verdicts in verdicts_by_arm.items() if verdicts}

    def _usd_per_case(self, arm: str) -> float | None:
        """Cost of one more case for this arm and the baseline together."""
        cells = self.facts.cells[self.facts.cells["arm"].isin([arm, self.facts.baseline])]
        if cells["cost_usd"].isna().any() or not len(cells):
            return None
        return float(cells["cost_usd"].sum() / cells["case_id"].nunique())


def _pick(rows: tuple[MetricRow, ...], good_enough: Mapping[str, GoodEnough]) -> Pick | None:
    if not good_enough:
        return None
    cost = next(row for row in rows if row.metric.name == "cost")
    return verdict.pick(tuple(good_enough.values()), {arm: cost.values[arm].value for arm in good_enough})


def _has_repeats(facts: Facts, arm: str) -> bool:
    return bool((facts.counts(arm).sum(axis=1) > 1).any())
