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
ENOUGH_DATES = 10
"""Dates with a difference from which t may be used for shares that repeats made fractional."""


@dataclass(frozen=True)
class PairedTest:
    """A paired comparison before its verdict."""

    scale: Scale
    sample: Sample
    """Arm against baseline; logarithms on the ratio scale."""
    estimate: Estimate


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
        measure = {"mean": self._mean, "share": self._share, "quantile": self._quantile, "per_unit": self._per_unit}
        return measure[self.metric.kind](arm, keep)

    def test(self, arm: str, baseline: str, keep: Mask = None) -> PairedTest | None:
        """The arm against the baseline over the cases that both have; None where they share none."""
        measure = {"mean": self._pair, "share": self._pair, "quantile": self._pair_quantiles, "per_unit": self._pair_units}
        return measure[self.metric.kind](arm, baseline, keep)

    # one arm

    def _mean(self, arm: str, keep: Mask) -> Estimate:
        by_date, missing = self._known(arm, keep)
        if not by_date.cases:
            return estimate.unknown(missing)
        return estimate.of_mean(means.of_dates(by_date.means), by_date.cases, by_date.dates, missing=missing)

    def _share(self, arm: str, keep: Mask) -> Estimate:
        by_date, missing = self._known(arm, keep)
        if not by_date.cases:
            return estimate.unknown(missing)
        if by_date.is_smooth:
            return estimate.of_mean(means.of_dates(by_date.means), by_date.cases, by_date.dates, missing=missing)
        sample = exact.share(by_date.sums, by_date.counts)
        return estimate.of_mean(sample, by_date.cases, by_date.dates, missing=missing)

    def _quantile(self, arm: str, keep: Mask) -> Estimate:
        mine = self.facts.cells_of(arm) if keep is None else self.facts.cells_of(arm) & keep[self.facts.case_codes]
        is_known = mine & ~np.isnan(self._cells)
        codes = self.facts.date_codes[self.facts.case_codes[is_known]]
        bounds = means.quantile(self._cells[is_known], codes, self.metric.q)
        missing = int((mine & ~is_known).sum())
        return Estimate(*bounds, int(is_known.sum()), len(np.unique(codes)), missing, "Woodruff, dates as clusters")

    def _per_unit(self, arm: str, keep: Mask) -> Estimate:
        top, bottom, missing = self._units(arm, keep)
        if not top.cases:
            return estimate.unknown(missing)
        sample = means.ratio(top.sums, bottom.sums)
        return estimate.of_mean(sample, top.cases, top.dates, missing=missing, method="ratio, dates as clusters")

    # a pair

    def _pair(self, arm: str, baseline: str, keep: Mask) -> PairedTest | None:
        arm_values, baseline_values = self._values[arm], self._values[baseline]
        both = _masked(~np.isnan(arm_values) & ~np.isnan(baseline_values), keep)
        if not both.any():
            return None
        arm_values, baseline_values, codes = arm_values[both], baseline_values[both], self.facts.date_codes[both]
        if self.metric.kind == "share":
            return _paired_test("difference", _share_sample(arm_values - baseline_values, codes), codes)
        is_ratio = self.metric.scale == "ratio" and min(arm_values.min(), baseline_values.min()) > 0
        apart = np.log(arm_values) - np.log(baseline_values) if is_ratio else arm_values - baseline_values
        return _paired_test("ratio" if is_ratio else "difference", means.of_dates(ByDate(apart, codes).means), codes)

    def _pair_quantiles(self, arm: str, baseline: str, keep: Mask) -> PairedTest | None:
        arm_estimate, baseline_estimate = self._quantile(arm, keep), self._quantile(baseline, keep)
        if not (arm_estimate.low > 0 and baseline_estimate.low > 0):
            return None
        dates = min(arm_estimate.dates, baseline_estimate.dates)
        reach = (
            np.hypot(math.log(arm_estimate.high / arm_estimate.low), math.log(baseline_estimate.high / baseline_estimate.low))
            / 2
            / 1.959964
        )
        sample = means.Mean(math.log(arm_estimate.value / baseline_estimate.value), reach, max(dates - 1.0, 1.0))
        published = estimate.of_mean(
            sample, min(arm_estimate.cases, baseline_estimate.cases), dates, method="Woodruff, joined", scale=np.exp
        )
        return PairedTest("ratio", sample, published)

    def _pair_units(self, arm: str, baseline: str, keep: Mask) -> PairedTest | None:
        """Ratio of two ratios of sums over the cases of both arms, linearised, so that effects shared by a date cancel."""
        is_known = ~np.isnan(self._top[arm] + self._bottom[arm] + self._top[baseline] + self._bottom[baseline])
        both = _masked(is_known, keep)
        arm_sums, baseline_sums = (self._sums(name, both) for name in (arm, baseline))
        if not both.any() or not min(sums.sums.sum() for sums in (*arm_sums, *baseline_sums)) > 0:
            return None
        count = arm_sums[0].dates
        influence = _log_influence(*arm_sums) - _log_influence(*baseline_sums)
        se = float(np.sqrt(count / (count - 1) * np.sum(influence**2))) if count > 1 else math.nan
        value = math.log(_unit(*arm_sums) / _unit(*baseline_sums))
        sample = means.Mean(value, se, count - 1.0 if count > 1 else math.nan)
        method = "ratio, dates as clusters"
        return PairedTest("ratio", sample, estimate.of_mean(sample, arm_sums[0].cases, count, method=method, scale=np.exp))

    # data

    def _known(self, arm: str, keep: Mask) -> tuple[ByDate, int]:
        values = self._values[arm]
        is_known = _masked(~np.isnan(values), keep)
        return ByDate(values[is_known], self.facts.date_codes[is_known]), self._missing(arm, is_known, keep)

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
        self.counts, self.sums = counts[counts > 0], sums[counts > 0]
        self.cases, self.dates = len(values), len(self.counts)
        self.means = self.sums / self.counts
        self.is_smooth = len(np.unique(codes[np.abs(values) % 1 > 1e-9])) >= ENOUGH_DATES
        """Whether averaging repeats gave fractions on enough dates for date means to be nearly normal."""


def _columns(facts: Facts, frame: pd.DataFrame) -> dict[str, Any]:
    aligned = frame.reindex(index=facts.dates.index, columns=list(facts.arms))
    return {arm: aligned[arm].to_numpy(dtype=float) for arm in facts.arms}


def _masked(is_known: Any, keep: Mask) -> Any:
    return is_known if keep is None else is_known & keep


def _paired_test(scale: Scale, sample: Any, codes: Any) -> PairedTest:
    reading = np.exp if scale == "ratio" else lambda value: value
    return PairedTest(scale, sample, estimate.of_mean(sample, len(codes), len(np.unique(codes)), scale=reading))


def _share_sample(apart: Any, codes: Any) -> Sample:
    """Exact for values of 0 and 1; t on date means if repeats are averaged on enough dates."""
    by_date = ByDate(apart, codes)
    if by_date.is_smooth:
        return means.of_dates(by_date.means)
    gains, losses = (ByDate(np.maximum(side, 0.0), codes).sums for side in (apart, -apart))
    return exact.paired(gains, losses, by_date.counts)


def _unit(top: ByDate, bottom: ByDate) -> float:
    return float(top.sums.sum() / bottom.sums.sum())


def _log_influence(top: ByDate, bottom: ByDate) -> Any:
    """Influence of each date on the logarithm of a ratio of sums."""
    return top.sums / top.sums.sum() - bottom.sums / bottom.sums.sum()
