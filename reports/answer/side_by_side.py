"""Figures of all arms over the same cases, for tables that put the arms next to each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from reports.metrics.facts import Facts
from reports.metrics.measure import Mask, MetricData
from reports.stats.estimate import Estimate

LEAST = 0.5
"""Of the baseline's cases: an arm with fewer is left out, so that it does not cost the others their cases."""


@dataclass(frozen=True)
class SideBySide:
    """One metric of several arms, over the cases that all of them have."""

    values: Mapping[str, Estimate]
    left_out: Mapping[str, int]
    """Arms that are not in it -> their own cases."""
    cases: int


def side_by_side(measured: MetricData, together: Callable[..., Mask], own: Mapping[str, Estimate] | None = None) -> SideBySide:
    """The metric over common cases.

    `together`: mask of the cases that all of some arms may use; `own`: figures over each arm's own cases, taken where those
    are the common ones."""
    chosen, shared = common_cases(measured.facts, measured.known, together)
    values = {}
    for arm in chosen:
        is_own = own is not None and np.array_equal(shared, measured.known(arm, together(arm)))
        values[arm] = own[arm] if own is not None and is_own else measured.value(arm, shared)
    left_out = {arm: int(measured.known(arm, together(arm)).sum()) for arm in measured.facts.arms if arm not in values}
    return SideBySide(values, left_out, int(shared.sum()))


def common_cases(facts: Facts, known: Callable[[str, Mask], Any], together: Callable[..., Mask]) -> tuple[tuple[str, ...], Any]:
    """Arms with enough cases, and the mask of those that all of them have; no arm if they share none."""
    counts = {arm: int(known(arm, together(arm)).sum()) for arm in facts.arms}
    enough = (counts.get(facts.baseline or "") or max(counts.values(), default=0)) * LEAST
    chosen = tuple(arm for arm, cases in counts.items() if cases and cases >= enough)
    if not chosen:
        return (), np.zeros(0, dtype=bool)
    keep = together(*chosen)
    shared = np.logical_and.reduce([known(arm, keep) for arm in chosen])
    return (chosen if shared.any() else ()), shared
