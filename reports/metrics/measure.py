"""From a metric's case values to published figures: each arm's estimate, and the paired test of two arms."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from reports.metrics.facts import Facts
from reports.metrics.registry import Metric, Scale
from reports.stats import estimate, exact, means
from reports.stats.estimate import Estimate, Sample

Mask = Any
"""A boolean per case of facts.dates, or None for all."""
NO_SPREAD = 1e-9
T_FROM = {"agreement": (12, 36), "rare": (27, 80)}
"""Kind -> dates and cases from which t on date means is honest for shares of pairs; below them the exact test is."""
RARE_LEVEL = 0.01
"""One-sided level of that t for what seldom happens."""


@dataclass(frozen=True)
class PairedTest:
    """A paired comparison before its verdict."""

    scale: Scale
    sample: Sample
    """Arm against baseline; logarithms on the ratio scale."""
    estimate: Estimate
    own: Estimate
    """The arm's figure over the cases of the comparison: own - base is the difference, or own / base the ratio."""
    base: Estimate
    """The baseline's figure over the same cases."""
    level: float
    """One-sided level at which this test is honest."""


def is_by_means(kind: str, dates: int, cases: int) -> bool:
    """Whether t on date means is honest for a metric of this kind with so many dates and cases; else the test is exact."""
    least_dates, least_cases = T_FROM.get(kind, (0, 0))
    return kind != "share" and dates >= least_dates and cases >= least_cases


class MetricData:
    """The data of one metric, from which any arm or pair is measured; `keep` is a mask of the cases used (default: all)."""

    def __init__(self, facts: Facts, metric: Metric) -> None:
        self.facts, self.metric = facts, metric
        arguments = () if metric.horizon is None else (metric.horizon,)
        data = metric.compute(facts, *arguments)
        if metric.kind == "quantile":
            self._cells = np.asarray(data, dtype=float)
        elif metric.kind == "per_unit":
            self._top, self._bottom = (_columns(facts, frame) for frame in data)
        else:
            self._values = _columns(facts, data)

    def value(self, arm: str, keep: Mask = None) -> Estimate:
        """The arm's own figure."""
        if self.metric.kind == "quantile":
            return self._quantile(arm, keep)
        if self.metric.kind == "per_unit":
            top, bottom, missing = self._units(arm, keep)
            return self._per_unit(top, bottom, missing) if top.cases else estimate.unknown(missing)
        values = self._values[arm]
        is_known = _masked(~np.isnan(values), keep)
        by_date, missing = ByDate(values[is_known], self.facts.date_codes[is_known]), self._missing(arm, is_known, keep)
        return self._figure(by_date, missing) if by_date.cases else estimate.unknown(missing)

    def known(self, arm: str, keep: Mask = None) -> Any:
        """Mask of the cases in which the arm has a value."""
        if self.metric.kind == "quantile":
            return _masked(self._has_cells(arm), keep)
        values = self._top[arm] + self._bottom[arm] if self.metric.kind == "per_unit" else self._values[arm]
        return _masked(~np.isnan(values), keep)

    def test(self, arm: str, baseline: str, keep: Mask = None) -> PairedTest | None:
        """The arm against the baseline over the cases that both have; None where they share none."""
        measure = {"quantile": self._pair_quantiles, "per_unit": self._pair_units}
        return measure.get(self.metric.kind, self._pair)(arm, baseline, keep)

    def differences(self, arm: str, baseline: str) -> ByDate:
        """Differences of the cases that both arms have, for metrics of case values."""
        apart = self._values[arm] - self._values[baseline]
        is_known = ~np.isnan(apart)
        return ByDate(apart[is_known], self.facts.date_codes[is_known])

    # one arm

    def _figure(self, by_date: ByDate, missing: int = 0, *, by_means: bool | None = None) -> Estimate:
        """A mean of date means, or a share of all cases with its exact interval."""
        by_means = self._is_by_means(by_date) if by_means is None else by_means
        sample: Any = means.of_dates(by_date.means)
        if not by_means or self._lacks_spread(sample):
            sample = exact.share(by_date.sums, by_date.counts)
        return estimate.of_mean(sample, by_date.cases, by_date.dates, missing=missing, within=self.metric.range)

    def _quantile(self, arm: str, keep: Mask) -> Estimate:
        mine = self.facts.cells_of(arm) if keep is None else self.facts.cells_of(arm) & keep[self.facts.case_codes]
        is_known = mine & ~np.isnan(self._cells)
        codes = self.facts.date_codes[self.facts.case_codes[is_known]]
        bounds = means.quantile(self._cells[is_known], codes, self.metric.q)
        missing = int((mine & ~is_known).sum())
        return Estimate(*bounds, int(is_known.sum()), len(np.unique(codes)), missing, "Woodruff, dates as clusters")

    def _per_unit(self, top: ByDate, bottom: ByDate, missing: int = 0) -> Estimate:
        method = "ratio, dates as clusters"
        sample = means.ratio(top.sums, bottom.sums)
        return estimate.of_mean(sample, top.cases, top.dates, missing=missing, method=method, within=self.metric.range)

    # a pair

    def _pair(self, arm: str, baseline: str, keep: Mask) -> PairedTest | None:
        arm_values, baseline_values = self._values[arm], self._values[baseline]
        both = _masked(~np.isnan(arm_values) & ~np.isnan(baseline_values), keep)
        if not both.any():
            return None
        codes = self.facts.date_codes[both]
        own, base = ByDate(arm_values[both], codes), ByDate(baseline_values[both], codes)
        apart = ByDate(arm_values[both] - baseline_values[both], codes)
        if self.metric.scale == "ratio" and min(own.sums.sum(), base.sums.sum()) > 0:
            sample = means.log_ratio(own.means, base.means)
            published = estimate.of_mean(sample, own.cases, own.dates, scale=np.exp)
            return PairedTest("ratio", sample, published, self._figure(own), self._figure(base), self.metric.level)
        by_means = self._is_by_means(apart)
        level = RARE_LEVEL if by_means and self.metric.kind == "rare" else self.metric.level
        difference = self._mean_difference(apart) if by_means else apart.paired()
        within = self.metric.range_of_differences
        published = estimate.of_mean(difference, apart.cases, apart.dates, within=within)
        own_figure, base_figure = (self._figure(figure, by_means=by_means) for figure in (own, base))
        return PairedTest("difference", difference, published, own_figure, base_figure, level)

    def _mean_difference(self, apart: ByDate) -> Sample:
        """t on date means; exact where no date differs from another, since no spread seen is not no spread."""
        sample = means.of_dates(apart.means)
        return apart.paired() if self._lacks_spread(sample) else sample

    def _is_by_means(self, by_date: ByDate) -> bool:
        return is_by_means(self.metric.kind, by_date.dates, by_date.cases)

    def _lacks_spread(self, sample: means.Mean) -> bool:
        return self.metric.unit == "share" and float(sample.se) < NO_SPREAD

    def _pair_quantiles(self, arm: str, baseline: str, keep: Mask) -> PairedTest | None:
        shared = self._has_cells(arm) & self._has_cells(baseline)
        shared = _masked(shared, keep)
        own, base = self._quantile(arm, shared), self._quantile(baseline, shared)
        if not (own.low > 0 and base.low > 0):
            return None
        dates = min(own.dates, base.dates)
        reach = np.hypot(math.log(own.high / own.low), math.log(base.high / base.low)) / 2 / 1.959964
        sample = means.Mean(math.log(own.value / base.value), reach, max(dates - 1.0, 1.0))
        published = estimate.of_mean(sample, min(own.cases, base.cases), dates, method="Woodruff, joined", scale=np.exp)
        return PairedTest("ratio", sample, published, own, base, self.metric.level)

    def _has_cells(self, arm: str) -> Any:
        """Which cases have a known cell of an arm."""
        mine = self.facts.cells_of(arm) & ~np.isnan(self._cells)
        return np.bincount(self.facts.case_codes[mine], minlength=len(self.facts.dates)) > 0

    def _pair_units(self, arm: str, baseline: str, keep: Mask) -> PairedTest | None:
        """Ratio of two ratios of sums over the cases of both arms, linearised, so that effects shared by a date cancel.

        Where an arm's sum is zero, as the cost of a rule, the difference of the two."""
        is_known = ~np.isnan(self._top[arm] + self._bottom[arm] + self._top[baseline] + self._bottom[baseline])
        both = _masked(is_known, keep)
        if not both.any():
            return None
        arm_sums, baseline_sums = (self._sums(name, both) for name in (arm, baseline))
        if not min(bottom.sums.sum() for _, bottom in (arm_sums, baseline_sums)) > 0:
            return None
        own, base = self._per_unit(*arm_sums), self._per_unit(*baseline_sums)
        is_ratio = min(top.sums.sum() for top, _ in (arm_sums, baseline_sums)) > 0
        influence = _influence(*arm_sums, is_ratio) - _influence(*baseline_sums, is_ratio)
        count = arm_sums[0].dates
        se = float(np.sqrt(count / (count - 1) * np.sum(influence**2))) if count > 1 else math.nan
        value = math.log(own.value / base.value) if is_ratio else own.value - base.value
        sample = means.Mean(value, se, count - 1.0 if count > 1 else math.nan)
        scale: Scale = "ratio" if is_ratio else "difference"
        published = estimate.of_mean(
            sample, own.cases, count, method="ratio, dates as clusters", scale=np.exp if is_ratio else lambda number: number
        )
        return PairedTest(scale, sample, published, own, base, self.metric.level)

    # data

    def _missing(self, arm: str, is_known: Any, keep: Mask) -> int:
        """Number of cases that the arm ended without a known value."""
        return int((_masked(self.facts.ended[arm].to_numpy() > 0, keep) & ~is_known).sum())

    def _units(self, arm: str, keep: Mask) -> tuple[ByDate, ByDate, int]:
        is_known = _masked(~np.isnan(self._top[arm] + self._bottom[arm]), keep)
        return (*self._sums(arm, is_known), self._missing(arm, is_known, keep))

    def _sums(self, arm: str, is_known: Any) -> tuple[ByDate, ByDate]:
        codes = self.facts.date_codes[is_known]
        return ByDate(self._top[arm][is_known], codes), ByDate(self._bottom[arm][is_known], codes)


class ByDate:
    """Case values summed per date, without empty dates."""

    def __init__(self, values: Any, codes: Any) -> None:
        counts, sums = np.bincount(codes), np.bincount(codes, values)
        ahead, behind = np.bincount(codes, np.maximum(values, 0.0)), np.bincount(codes, np.maximum(-values, 0.0))
        self.counts, self.sums = counts[counts > 0], sums[counts > 0]
        self._ahead, self._behind = ahead[counts > 0], behind[counts > 0]
        self.cases, self.dates = len(values), len(self.counts)
        self.means = self.sums / self.counts

    def paired(self) -> exact.Paired:
        """The values as differences of two shares."""
        return exact.paired(self._ahead, self._behind, self.counts)


def _columns(facts: Facts, frame: pd.DataFrame) -> dict[str, Any]:
    aligned = frame.reindex(index=facts.dates.index, columns=list(facts.arms))
    return {arm: aligned[arm].to_numpy(dtype=float) for arm in facts.arms}


def _masked(is_known: Any, keep: Mask) -> Any:
    return is_known if keep is None else is_known & keep


def _influence(top: ByDate, bottom: ByDate, is_ratio: bool) -> Any:
    """Influence of each date on a ratio of sums, or on its logarithm."""
    unit = top.sums.sum() / bottom.sums.sum()
    if is_ratio:
        return top.sums / top.sums.sum() - bottom.sums / bottom.sums.sum()
    return (top.sums - unit * bottom.sums) / bottom.sums.sum()
