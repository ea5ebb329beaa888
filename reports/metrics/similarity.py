"""How two arms' ratings meet: kappa, AC1 and the shift of the margins, beside the baseline's own test and retest."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import combinations_with_replacement
from typing import Any

import numpy as np

from domain.ratings import RATINGS
from reports.metrics import facts as case_values
from reports.metrics import registry
from reports.metrics.facts import Facts
from reports.metrics.measure import MetricData
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
    shift_chi2: float
    """Stuart-Maxwell: whether both use the ratings equally often; cases count as independent here."""
    shift_df: int
    shift_p: float


def similarities(facts: Facts) -> dict[str, Similarity]:
    """arm -> similarity to the baseline, for every arm with usable decisions; empty without a baseline."""
    if facts.baseline is None:
        return {}
    floor = _by_date(facts, facts.pair_tables(facts.baseline, facts.baseline))
    found = {arm: _by_date(facts, facts.pair_tables(facts.baseline, arm)) for arm in facts.arms if arm != facts.baseline}
    return {arm: _similarity(arm, tables, floor) for arm, tables in {facts.baseline: floor, **found}.items()}


def matrix(facts: Facts) -> dict[str, dict[str, Estimate]]:
    """arm -> arm -> how often both gave the same rating, where both gave one; against itself it is the noise floor.

    The baseline's row is the endpoint `similarity`.
    """
    found: dict[str, dict[str, Estimate]] = {arm: {} for arm in facts.arms}
    for one, other in combinations_with_replacement(facts.arms, 2):
        found[one][other] = found[other][one] = _agreed(facts, one, other)
    return {one: {other: found[one][other] for other in facts.arms} for one in facts.arms}


def _agreed(facts: Facts, one: str, other: str) -> Estimate:
    def shares(facts: Facts) -> Any:
        return case_values.agreements(facts, {other: facts.pair_tables(other, one)})

    return MetricData(facts, replace(registry.METRICS["similarity"], compute=shares)).value(other)


def _by_date(facts: Facts, tables: Any) -> Any:
    """Tables summed per date (dates x 5 x 5), over cases that have one."""
    known = ~np.isnan(tables).any(axis=(1, 2))
    days, codes = np.unique(facts.dates.to_numpy()[known], return_inverse=True)
    sums = np.zeros((len(days), len(RATINGS), len(RATINGS)))
    np.add.at(sums, codes, tables[known])
    return sums


def _similarity(arm: str, tables: Any, floor: Any) -> Similarity:
    whole = tables.sum(axis=0)
    chi2, df, p = agreement.stuart_maxwell(whole)
    return Similarity(
        arm=arm,
        kappa=_estimate(tables, agreement.weighted_kappa),
        kappa_ratio=_ratio(tables, floor) if tables is not floor else unknown(method="the floor itself"),
        ac1=_estimate(tables, agreement.ac1),
        table=tuple(tuple(float(value) for value in row) for row in whole),
        ratings=RATINGS,
        shift_chi2=chi2,
        shift_df=df,
        shift_p=p,
    )


def _estimate(tables: Any, statistic: Any) -> Estimate:
    sample = _jackknifed(tables, statistic)
    return of_mean(sample, cases=round(float(tables.sum())), dates=len(tables), method="delete-one-date jackknife")


def _jackknifed(tables: Any, statistic: Any) -> means.Mean:
    if not len(tables):
        return means.Mean(np.nan, np.nan, np.nan)
    whole = tables.sum(axis=0)
    return means.jackknife(float(statistic(whole)), statistic(whole - tables))


def _ratio(tables: Any, floor: Any) -> Estimate:
    """Both kappas vary; their errors are joined as if independent, which is on the safe side for arms of the same cases."""
    mine, own = _jackknifed(tables, agreement.weighted_kappa), _jackknifed(floor, agreement.weighted_kappa)
    method = "jackknife of both kappas, joined"
    if not own.value > 0 or not np.isfinite(mine.value):
        return Estimate(np.nan, np.nan, np.nan, 0, 0, method=method)
    value = mine.value / own.value
    se = np.hypot(mine.se, value * own.se) / own.value
    return of_mean(means.Mean(value, se, min(mine.df, own.df)), round(float(floor.sum())), len(floor), method=method)
