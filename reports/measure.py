"""From an endpoint's case values to published figures: each arm's with its interval, each pair's with its test."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from reports import estimate
from reports.estimate import Estimate
from reports.facts import Facts
from reports.registry import Metric, Scale
from reports.stats import exact, means, quantiles
from reports.verdict import Sample

ENOUGH_DATES = 10
"""Dates with a difference from which t may be used for shares that repeats made fractional."""


@dataclass(frozen=True)
class Test:
    """A paired comparison before its verdict."""

    scale: Scale
    sample: Sample
    """Arm against baseline; logarithms on the ratio scale."""
    estimate: Estimate


class Measured:
    """One endpoint's data, of which any arm or pair can be measured."""

    def __init__(self, facts: Facts, metric: Metric) -> None:
        self.facts, self.metric = facts, metric
        arguments = () if metric.horizon is None else (metric.horizon,)
        self._data = metric.compute(facts, *arguments)

    def value(self, arm: str, keep: pd.Index[Any] | None = None) -> Estimate:
        """The arm's own figure, over the cases to keep (all unless said)."""
        measure = {"mean": self._mean, "share": self._share, "quantile": self._quantile, "per_unit": self._per_unit}
        return measure[self.metric.kind](arm, keep)

    def test(self, arm: str, baseline: str, keep: pd.Index[Any] | None = None) -> Test | None:
        """The arm against the baseline over the cases that both have; None where they share none."""
        measure = {"mean": self._pair, "share": self._pair, "quantile": self._pair_quantiles, "per_unit": self._pair_units}
        return measure[self.metric.kind](arm, baseline, keep)

    def paired(self, arm: str, baseline: str, keep: pd.Index[Any] | None = None) -> pd.DataFrame:
        """Cases that both arms have a value of, columns arm and baseline; for means and shares."""
        frame = self._kept(self._data, keep)[[arm, baseline]].dropna()
        frame.columns = pd.Index(["arm", "baseline"])
        return frame

    # one arm

    def _mean(self, arm: str, keep: Any) -> Estimate:
        values, missing = self._known(arm, keep)
        if not len(values):
            return estimate.unknown(missing)
        by_date = values.groupby(self._dates(values)).mean()
        return estimate.of_mean(means.of_dates(by_date.to_numpy()), len(values), len(by_date), missing=missing)

    def _share(self, arm: str, keep: Any) -> Estimate:
        values, missing = self._known(arm, keep)
        if not len(values):
            return estimate.unknown(missing)
        dates = self._dates(values)
        if _is_smooth(values, dates):
            return self._mean(arm, keep)
        grouped = values.groupby(dates)
        sample = exact.share(grouped.sum().to_numpy(), grouped.size().to_numpy())
        return estimate.of_mean(sample, len(values), grouped.ngroups, missing=missing)

    def _quantile(self, arm: str, keep: Any) -> Estimate:
        values, dates, missing = self._cells(arm, keep)
        found = quantiles.quantile(values, dates, self.metric.q)
        return Estimate(*found, len(values), len(np.unique(dates)), missing, "Woodruff, dates as clusters")

    def _per_unit(self, arm: str, keep: Any) -> Estimate:
        sums, missing = self._unit_sums(arm, keep)
        if not len(sums):
            return estimate.unknown(missing)
        sample = means.ratio(sums["top"].to_numpy(), sums["bottom"].to_numpy())
        return estimate.of_mean(sample, int(sums["cases"].sum()), len(sums), missing=missing, method="ratio, dates as clusters")

    # a pair

    def _pair(self, arm: str, baseline: str, keep: Any) -> Test | None:
        both = self.paired(arm, baseline, keep)
        if not len(both):
            return None
        if self.metric.kind == "share":
            sample = _share_sample(both["arm"] - both["baseline"], self._dates(both))
            return self._test("difference", sample, both)
        is_ratio = self.metric.scale == "ratio" and bool((both > 0).all(axis=None))
        values = np.log(both) if is_ratio else both
        differences = values["arm"] - values["baseline"]
        sample = means.of_dates(differences.groupby(self._dates(both)).mean().to_numpy())
        return self._test("ratio" if is_ratio else "difference", sample, both)

    def _pair_quantiles(self, arm: str, baseline: str, keep: Any) -> Test | None:
        own, other = self._quantile(arm, keep), self._quantile(baseline, keep)
        if not (own.low > 0 and other.low > 0):
            return None
        dates = min(own.dates, other.dates)
        reach = np.hypot(math.log(own.high / own.low), math.log(other.high / other.low)) / 2 / 1.959964
        sample = means.Mean(math.log(own.value / other.value), reach, max(dates - 1.0, 1.0))
        published = estimate.of_mean(sample, min(own.cases, other.cases), dates, method="Woodruff, joined", scale=np.exp)
        return Test("ratio", sample, published)

    def _pair_units(self, arm: str, baseline: str, keep: Any) -> Test | None:
        """Ratio of two ratios of sums over the cases of both: linearised, so that what dates share cancels."""
        sums = [self._unit_sums(name, keep)[0] for name in (arm, baseline)]
        shared = sums[0].index.intersection(sums[1].index)
        mine, theirs = (one.loc[shared] for one in sums)
        if not len(shared) or not (min(mine["top"].sum(), theirs["top"].sum()) > 0):
            return None
        if not min(mine["bottom"].sum(), theirs["bottom"].sum()):
            return None
        count = len(shared)
        influence = _log_influence(mine) - _log_influence(theirs)
        se = float(np.sqrt(count / (count - 1) * np.sum(influence**2))) if count > 1 else math.nan
        value = math.log(_unit(mine) / _unit(theirs))
        sample = means.Mean(value, se, count - 1.0 if count > 1 else math.nan)
        cases = int(np.minimum(mine["cases"], theirs["cases"]).sum())
        return Test("ratio", sample, estimate.of_mean(sample, cases, count, method="ratio, dates as clusters", scale=np.exp))

    def _test(self, scale: Scale, sample: Any, both: pd.DataFrame) -> Test:
        dates = self._dates(both).nunique()
        reading = np.exp if scale == "ratio" else lambda value: value
        return Test(scale, sample, estimate.of_mean(sample, len(both), dates, scale=reading))

    # data

    def _known(self, arm: str, keep: Any) -> tuple[pd.Series[Any], int]:
        values = self._kept(self._data, keep)[arm]
        met = self._met(arm, values.index)
        known = values.dropna()
        return known, max(met - len(known), 0)

    def _met(self, arm: str, index: pd.Index[Any]) -> int:
        """Cases that the arm ended at all."""
        return int((self.facts.ended[arm].reindex(index) > 0).sum())

    def _cells(self, arm: str, keep: Any) -> tuple[Any, Any, int]:
        mine = (self.facts.cells["arm"] == arm) & (keep is None or self.facts.cells["case_id"].isin(keep))
        values = self._data[mine].astype(float)
        known = values.notna()
        return values[known].to_numpy(), self.facts.cells["date"][mine][known].to_numpy(), int((~known).sum())

    def _unit_sums(self, arm: str, keep: Any) -> tuple[pd.DataFrame, int]:
        top, bottom = (self._kept(frame, keep)[arm] for frame in self._data)
        both = pd.DataFrame({"top": top, "bottom": bottom}).dropna()
        sums = both.assign(cases=1).groupby(self._dates(both)).sum()
        return sums, max(self._met(arm, top.index) - len(both), 0)

    def _kept(self, frame: pd.DataFrame, keep: Any) -> pd.DataFrame:
        return frame if keep is None else frame.loc[frame.index.intersection(keep)]

    def _dates(self, values: pd.Series[Any] | pd.DataFrame) -> pd.Series[Any]:
        return self.facts.dates.reindex(values.index)


def _share_sample(differences: pd.Series[Any], dates: pd.Series[Any]) -> Sample:
    """Exact for plain 0 and 1; t on date means where repeats made shares smooth and enough dates differ."""
    by_date = differences.groupby(dates)
    if _is_smooth(differences, dates):
        return means.of_dates(by_date.mean().to_numpy())
    gains, losses = differences.clip(lower=0).groupby(dates).sum(), (-differences).clip(lower=0).groupby(dates).sum()
    return exact.paired(gains.to_numpy(), losses.to_numpy(), by_date.size().to_numpy())


def _is_smooth(values: pd.Series[Any], dates: pd.Series[Any]) -> bool:
    """Whether repeats left fractions on enough dates for date means to be nearly normal."""
    is_fraction = values.abs() % 1 > 1e-9
    return int(dates[is_fraction].nunique()) >= ENOUGH_DATES


def _unit(sums: pd.DataFrame) -> float:
    return float(sums["top"].sum() / sums["bottom"].sum())


def _log_influence(sums: pd.DataFrame) -> Any:
    """What each date adds to the error of the logarithm of a ratio of sums."""
    return (sums["top"] / sums["top"].sum() - sums["bottom"] / sums["bottom"].sum()).to_numpy()
