"""Agreement of the ratings of two arms: kappa, AC1 and shift, compared with the baseline's agreement with itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from domain.ratings import RATINGS
from reports.metrics.facts import Facts
from reports.stats import agreement, means
from reports.stats.estimate import Estimate, of_mean, unknown


@dataclass(frozen=True)
class Similarity:
    """One arm's ratings against the baseline's; the baseline against itself over repeats is the noise floor."""

    arm: str
    kappa: Estimate
    """Quadratic-weighted: 1 the same, 0 as by chance."""
    kappa_ratio: Estimate
    """kappa divided by the baseline's own test-retest kappa: 1 is as alike as the baseline is to itself."""
    ac1: Estimate
    """Gwet's AC1, which does not collapse when Hold dominates."""
    table: tuple[tuple[float, ...], ...]
    """Expected pairs, baseline's rating by arm's rating, both from Sell to Buy; sums to the cases."""
    ratings: tuple[str, ...]
    shift_p: float
    """Stuart-Maxwell: whether both use the ratings equally often; cases count as independent here."""


def similarities(facts: Facts) -> dict[str, Similarity]:
    """arm -> similarity to the baseline, for every arm with usable decisions; empty without a baseline."""
    if facts.baseline is None:
        return {}
    floor = _by_date(facts, facts.pair_tables(facts.baseline, facts.baseline))
    tables_by_arm = {
        arm: _by_date(facts, facts.pair_tables(facts.baseline, arm)) for arm in facts.arms if arm != facts.baseline
    }
    return {arm: _similarity(arm, tables, floor) for arm, tables in {facts.baseline: floor, **tables_by_arm}.items()}


def _by_date(facts: Facts, tables: Any) -> Any:
    """Tables summed per date (dates x 5 x 5), over cases that have one."""
    is_known = ~np.isnan(tables).any(axis=(1, 2))
    days, codes = np.unique(facts.dates.to_numpy()[is_known], return_inverse=True)
    sums = np.zeros((len(days), len(RATINGS), len(RATINGS)))
    np.add.at(sums, codes, tables[is_known])
    return sums


def _similarity(arm: str, tables: Any, floor: Any) -> Similarity:
    total = tables.sum(axis=0)
    return Similarity(
        arm=arm,
        kappa=_estimate(tables, agreement.weighted_kappa),
        kappa_ratio=_ratio(tables, floor) if tables is not floor else unknown(method="the floor itself"),
        ac1=_estimate(tables, agreement.ac1),
        table=tuple(tuple(float(value) for value in row) for row in total),
        ratings=RATINGS,
        shift_p=agreement.stuart_maxwell(total)[2],
    )


def _estimate(tables: Any, statistic: Any) -> Estimate:
    sample = _jackknifed(tables, statistic)
    cases, method = round(float(tables.sum())), "delete-one-date jackknife"
    return of_mean(sample, cases, len(tables), method=method, within=(-1.0, 1.0))


def _jackknifed(tables: Any, statistic: Any) -> means.Mean:
    if not len(tables):
        return means.Mean(np.nan, np.nan, np.nan)
    total = tables.sum(axis=0)
    return means.jackknife(float(statistic(total)), statistic(total - tables))


def _ratio(tables: Any, floor: Any) -> Estimate:
    """Ratio of two kappas; their errors are combined as if independent, which is conservative for arms of the same cases."""
    arm_kappa, floor_kappa = _jackknifed(tables, agreement.weighted_kappa), _jackknifed(floor, agreement.weighted_kappa)
    method = "jackknife of both kappas, joined"
    if not floor_kappa.value > 0 or not np.isfinite(arm_kappa.value):
        return Estimate(np.nan, np.nan, np.nan, 0, 0, method=method)
    value = arm_kappa.value / floor_kappa.value
    se = np.hypot(arm_kappa.se, value * floor_kappa.se) / floor_kappa.value
    sample, most = means.Mean(value, se, min(arm_kappa.df, floor_kappa.df)), 1 / floor_kappa.value
    return of_mean(sample, round(float(floor.sum())), len(floor), method=method, within=(-most, most))
