"""Swap designs analysed: what each role adds or costs when another model plays it, from arms that exchange one for another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from reports.load import flow
from reports.metrics import catalog
from reports.metrics.facts import Facts
from reports.stats import estimate, means
from reports.stats.estimate import Estimate

if TYPE_CHECKING:
    from reports.load import Run

METRICS = ("similarity", "usable", "grounding", "cost")


@dataclass(frozen=True)
class Effect:
    """What changes when one role goes to the other model; the other roles averaged as the design has them."""

    role: str
    by_endpoint: Mapping[str, Estimate]
    """Endpoint -> difference; similarity is to the lineup in which nothing is swapped."""


@dataclass(frozen=True)
class SwapDesign:
    """One swap design of a run."""

    source: str
    """Model that plays every role at first."""
    target: str
    """Model that takes roles over."""
    kind: str
    """one_at_a_time | fractional."""
    arms: int
    cases: int
    unchanged: str
    """Arm in which nothing is swapped."""
    level: Mapping[str, Estimate]
    """Endpoint -> figure of the unchanged arm; its similarity is to itself over repeats."""
    effects: tuple[Effect, ...]
    weights: Mapping[str, Any]
    """role -> weight of each arm (in the order of `names`) in the role's effect."""
    names: tuple[str, ...]
    values: Mapping[str, pd.DataFrame]
    """Endpoint -> cases x arms."""
    dates: Any
    """case_id -> date."""

    def together(self, roles: Sequence[str], endpoint: str) -> Estimate:
        """The effects of several roles added up; a design of main effects knows no interactions."""
        if not roles:
            return estimate.unknown()
        return _contrast(self.values[endpoint], np.sum([self.weights[role] for role in roles], axis=0), self.dates)


def swap_design(run: Run) -> SwapDesign | None:
    """The run's swap design; None when it has none, or not all it takes to estimate a role."""
    lineups = {arm: lineup for arm in run.arms if (lineup := _lineup(run.experiment, arm)) is not None}
    swap = _exchange(lineups)
    if swap is None:
        return None
    source, target = swap
    swapped = _swapped(lineups, source, target)
    unchanged = next((arm for arm, roles in swapped.items() if not roles), None)
    roles = flow({role for chosen in swapped.values() for role in chosen})
    if unchanged is None or not roles:
        return None
    names = tuple(swapped)
    weights = _weights([swapped[arm] for arm in names], roles)
    facts = Facts(run)
    values = {endpoint: _values(facts, endpoint, unchanged)[list(names)] for endpoint in METRICS}
    return SwapDesign(
        source=source,
        target=target,
        kind="one_at_a_time" if max(map(len, swapped.values())) == 1 else "fractional",
        arms=len(names),
        cases=len(facts.dates),
        unchanged=unchanged,
        level={endpoint: _of_arm(frame[unchanged], facts.dates) for endpoint, frame in values.items()},
        effects=tuple(_effect(role, weights, values, facts.dates) for role in roles),
        weights=weights,
        names=names,
        values=values,
        dates=facts.dates,
    )


def _lineup(experiment: Mapping[str, Any], arm: str) -> dict[str, str] | None:
    """role -> model where an arm names one role by role, `all` for the rest; None for other kinds of arms."""
    said = (experiment.get("arms") or {}).get(arm)
    if not isinstance(said, Mapping) or said.get("pipeline") or said.get("rule") or "deep" in said or not said.get("all"):
        return None
    return {key: value for key, value in said.items() if isinstance(value, str)}


def _exchange(lineups: Mapping[str, Mapping[str, str]]) -> tuple[str, str] | None:
    """(source, target) of the exchange that most arms make; one arm alone is no design."""
    pairs: dict[tuple[str, str], int] = {}
    for lineup in lineups.values():
        others = set(lineup.values()) - {lineup["all"]}
        if len(others) == 1:
            pair = (lineup["all"], others.pop())
            pairs[pair] = pairs.get(pair, 0) + 1
    best = max(pairs, key=lambda pair: pairs[pair], default=None)
    return best if best and pairs[best] >= 2 else None


def _swapped(lineups: Mapping[str, Mapping[str, str]], source: str, target: str) -> dict[str, frozenset[str]]:
    """arm -> roles that the target plays, of the arms of this design."""
    return {
        arm: frozenset(role for role, model in lineup.items() if role != "all" and model == target)
        for arm, lineup in lineups.items()
        if lineup["all"] == source and set(lineup.values()) <= {source, target}
    }


def _weights(swapped: Sequence[frozenset[str]], roles: Sequence[str]) -> dict[str, Any]:
    """Weight of each arm in each role's effect: least squares of main effects; roles that cannot be told apart have none."""
    matrix = np.array([[1.0, *(float(role in chosen) for role in roles)] for chosen in swapped])
    inverse = np.linalg.pinv(matrix)
    is_known = np.isclose(inverse @ matrix, np.eye(len(roles) + 1), atol=1e-8).all(axis=1)
    nothing = np.full(len(swapped), np.nan)
    return {role: inverse[at] if is_known[at] else nothing for at, role in enumerate(roles, 1)}


def _values(facts: Facts, endpoint: str, unchanged: str) -> pd.DataFrame:
    """Endpoint per case and arm; similarity is to the unchanged lineup, usable or not."""
    if endpoint != "similarity":
        return _metric(facts, endpoint)
    found = {}
    for arm in facts.arms:
        table = facts.pair_tables(arm, unchanged, of_all=True)
        found[arm] = np.trace(table, axis1=1, axis2=2)
    frame = pd.DataFrame(found, index=facts.dates.index)
    # Against itself a lineup is as alike as its repeats are; without repeats, as alike as can be.
    itself = frame[unchanged].mean()
    frame[unchanged] = frame[unchanged].fillna(itself if itself == itself else 1.0)
    return frame


def _metric(facts: Facts, name: str) -> pd.DataFrame:
    found = next((one for one in catalog.all_metrics() if one.name == name), None)
    empty = pd.DataFrame(np.nan, index=facts.dates.index, columns=list(facts.arms))
    frame: pd.DataFrame = empty if found is None else found.compute(facts).reindex(columns=list(facts.arms))
    return frame


def _effect(role: str, weights: Mapping[str, Any], values: Mapping[str, pd.DataFrame], dates: Any) -> Effect:
    return Effect(role, {endpoint: _contrast(frame, weights[role], dates) for endpoint, frame in values.items()})


def _contrast(frame: pd.DataFrame, weights: Any, dates: Any) -> Estimate:
    """A weighted sum over arms inside each case, then t on date means; a case that lacks an arm it needs is left out."""
    needed = np.abs(weights) > 1e-12
    if np.isnan(weights).any() or not needed.any():
        return estimate.unknown()
    by_case = pd.Series(frame.to_numpy(dtype=float)[:, needed] @ weights[needed], index=frame.index)
    return _of_arm(by_case, dates)


def _of_arm(by_case: Any, dates: Any) -> Estimate:
    known = by_case.astype(float).dropna()
    missing = len(by_case) - len(known)
    if known.empty:
        return estimate.unknown(missing)
    by_date = known.groupby(dates.reindex(known.index)).mean()
    return estimate.of_mean(means.of_dates(by_date.to_numpy()), len(known), len(by_date), missing=missing)
