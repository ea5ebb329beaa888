"""Swap designs: the effect of each role's model, from arms that exchange one model for another in some roles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from reports.metrics import catalog
from reports.metrics.facts import Facts
from reports.stats import estimate, means
from reports.stats.estimate import Estimate

if TYPE_CHECKING:
    from reports.load import Run

METRICS = ("same_rating", "usable", "grounding", "cost")


@dataclass(frozen=True)
class Effect:
    """The effect of moving one role to the other model, averaged over the other roles as in the design."""

    role: str
    by_metric: Mapping[str, Estimate]
    """Metric -> difference; same_rating is measured against the unchanged lineup."""


@dataclass(frozen=True)
class SwapDesign:
    """One swap design of a run."""

    source: str
    """Model of every role in the unchanged arm."""
    target: str
    """Model that replaces it."""
    kind: str
    """one_at_a_time | fractional."""
    arms: int
    cases: int
    unchanged: str
    """Arm without a swap."""
    level: Mapping[str, Estimate]
    """Metric -> figure of the unchanged arm; its same_rating is over its own repeats."""
    effects: tuple[Effect, ...]
    weights: Mapping[str, Any]
    """role -> weight of each arm (in the order of `names`) in the role's effect."""
    names: tuple[str, ...]
    values: Mapping[str, pd.DataFrame]
    """Metric -> cases x arms."""
    dates: Any
    """case_id -> date."""

    def together(self, roles: Sequence[str], metric: str) -> Estimate:
        """The sum of the effects of several roles; the design ignores interactions."""
        if not roles:
            return estimate.unknown()
        return _contrast(self.values[metric], np.sum([self.weights[role] for role in roles], axis=0), self.dates)


def swap_design(run: Run) -> SwapDesign | None:
    """The run's swap design; None without one, or if no role can be estimated."""
    lineups = _lineups(run)
    swap = _exchange(lineups)
    if swap is None:
        return None
    source, target = swap
    swapped = _swapped(lineups, source, target)
    unchanged = next((arm for arm, roles in swapped.items() if not roles), None)
    roles = run.roles.in_order({role for chosen in swapped.values() for role in chosen})
    if unchanged is None or not roles:
        return None
    names = tuple(swapped)
    weights = _weights([swapped[arm] for arm in names], roles)
    facts = Facts(run)
    values = {metric: _values(facts, metric, unchanged)[list(names)] for metric in METRICS}
    return SwapDesign(
        source=source,
        target=target,
        kind="one_at_a_time" if max(map(len, swapped.values())) == 1 else "fractional",
        arms=len(names),
        cases=len(facts.dates),
        unchanged=unchanged,
        level={metric: _of_arm(frame[unchanged], facts.dates) for metric, frame in values.items()},
        effects=tuple(_effect(role, weights, values, facts.dates) for role in roles),
        weights=weights,
        names=names,
        values=values,
        dates=facts.dates,
    )


def _lineups(run: Run) -> dict[str, Mapping[str, str]]:
    """Arm -> role -> model (`all` for the rest), of arms that name models by role."""
    arms = (arm for arm in run.settings.arms.values() if not arm.is_rule and not arm.has_own_pipeline)
    return {arm.name: arm.lineup for arm in arms if "all" in arm.lineup and "deep" not in arm.lineup}


def _exchange(lineups: Mapping[str, Mapping[str, str]]) -> tuple[str, str] | None:
    """(source, target) of the most frequent exchange; None if fewer than two arms make it."""
    pairs: dict[tuple[str, str], int] = {}
    for lineup in lineups.values():
        other_models = set(lineup.values()) - {lineup["all"]}
        if len(other_models) == 1:
            pair = (lineup["all"], other_models.pop())
            pairs[pair] = pairs.get(pair, 0) + 1
    best = max(pairs, key=lambda pair: pairs[pair], default=None)
    return best if best and pairs[best] >= 2 else None


def _swapped(lineups: Mapping[str, Mapping[str, str]], source: str, target: str) -> dict[str, frozenset[str]]:
    """Return arm -> roles of the target, for the arms of this design."""
    return {
        arm: frozenset(role for role, model in lineup.items() if role != "all" and model == target)
        for arm, lineup in lineups.items()
        if lineup["all"] == source and set(lineup.values()) <= {source, target}
    }


def _weights(swapped: Sequence[frozenset[str]], roles: Sequence[str]) -> dict[str, Any]:
    """Weight of each arm in each role's effect (least squares of main effects); NaN for roles that cannot be separated."""
    matrix = np.array([[1.0, *(float(role in chosen) for role in roles)] for chosen in swapped])
    inverse = np.linalg.pinv(matrix)
    is_known = np.isclose(inverse @ matrix, np.eye(len(roles) + 1), atol=1e-8).all(axis=1)
    nothing = np.full(len(swapped), np.nan)
    return {role: inverse[at] if is_known[at] else nothing for at, role in enumerate(roles, 1)}


def _values(facts: Facts, metric: str, unchanged: str) -> pd.DataFrame:
    """Metric per case and arm; same_rating is to the unchanged lineup, usable or not."""
    if metric == "cost":
        return facts.by_case(facts.cells["cost_usd"])
    if metric != "same_rating":
        return _metric(facts, metric)
    agreement_by_arm = {}
    for arm in facts.arms:
        table = facts.pair_tables(arm, unchanged, of_all=True)
        agreement_by_arm[arm] = np.trace(table, axis1=1, axis2=2)
    frame = pd.DataFrame(agreement_by_arm, index=facts.dates.index)
    # A lineup agrees with itself as its repeats do; without repeats that is not known, and nothing can be held against it.
    return frame


def _metric(facts: Facts, name: str) -> pd.DataFrame:
    declared = next((candidate for candidate in catalog.all_metrics() if candidate.name == name), None)
    empty = pd.DataFrame(np.nan, index=facts.dates.index, columns=list(facts.arms))
    frame: pd.DataFrame = empty if declared is None else declared.compute(facts).reindex(columns=list(facts.arms))
    return frame


def _effect(role: str, weights: Mapping[str, Any], values: Mapping[str, pd.DataFrame], dates: Any) -> Effect:
    return Effect(role, {metric: _contrast(frame, weights[role], dates) for metric, frame in values.items()})


def _contrast(frame: pd.DataFrame, weights: Any, dates: Any) -> Estimate:
    """A weighted sum over arms within each case, then t on date means; cases without a needed arm are left out."""
    needed = np.abs(weights) > 1e-12
    if np.isnan(weights).any() or not needed.any():
        return estimate.unknown()
    by_case = pd.Series(frame.to_numpy(dtype=float)[:, needed] @ weights[needed], index=frame.index)
    return _of_arm(by_case, dates)


def _of_arm(by_case: Any, dates: Any) -> Estimate:
    known_values = by_case.astype(float).dropna()
    missing = len(by_case) - len(known_values)
    if known_values.empty:
        return estimate.unknown(missing)
    by_date = known_values.groupby(dates.reindex(known_values.index)).mean()
    return estimate.of_mean(means.of_dates(by_date.to_numpy()), len(known_values), len(by_date), missing=missing)
