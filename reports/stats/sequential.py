"""Tests at several looks: Lan and DeMets' O'Brien-Fleming spending over blocks of dates, and when a comparison may stop.

A comparison is looked at when a block of dates is complete. Each metric keeps its level over all looks (Lan and DeMets 1983);
dropping an arm is non-binding, so it costs no level. Every function works over leading axes, so that simulations run this code.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from itertools import pairwise
from typing import Any

import numpy as np
from scipy import special

from reports.stats.estimate import Numbers

LEVELS: Mapping[tuple[float, int], tuple[float, ...]] = {
    (0.025, 2): (1.52532e-03, 2.44998e-02),
    (0.025, 3): (1.03506e-04, 6.01220e-03, 2.31281e-02),
    (0.025, 4): (7.36681e-06, 1.52263e-03, 9.16103e-03, 2.20000e-02),
    (0.025, 5): (5.38871e-07, 3.93949e-04, 3.67803e-03, 1.10160e-02, 2.11259e-02),
    (0.025, 6): (4.01268e-08, 1.03490e-04, 1.49027e-03, 5.56362e-03, 1.21551e-02, 2.04378e-02),
    (0.025, 7): (3.02577e-09, 2.74937e-05, 6.07997e-04, 2.82705e-03, 7.03688e-03, 1.28930e-02, 1.98827e-02),
    (0.04, 2): (3.67911e-03, 3.88257e-02),
    (0.04, 3): (3.74832e-04, 1.17650e-02, 3.63811e-02),
    (0.04, 4): (3.99969e-05, 3.66488e-03, 1.65648e-02, 3.45172e-02),
    (0.04, 5): (4.38341e-06, 1.16360e-03, 7.64104e-03, 1.91700e-02, 3.31169e-02),
    (0.04, 6): (4.88853e-07, 3.74648e-04, 3.55532e-03, 1.07367e-02, 2.06908e-02, 3.20325e-02),
    (0.04, 7): (5.51946e-08, 1.21909e-04, 1.66480e-03, 6.04921e-03, 1.30057e-02, 2.16382e-02, 3.11664e-02),
}
"""(level over all looks, blocks) -> nominal level of look 1, 2, ...; one-sided, blocks of equal size."""
FUTILE = ((1 / 3, 1.5), (2 / 3, 1.25), (math.inf, 1.0))
"""Below a share of the planned blocks, the multiple of the margin by which an estimate must lie below zero to drop its arm."""
NODES = 160
"""Nodes of the quadrature: six digits of every level."""


def spent(level: float, share: float) -> float:
    """The part of a level that may be spent once this share of the blocks is complete."""
    return float(2 * special.ndtr(special.ndtri(level / 2) / math.sqrt(share)))


@cache
def look_levels(level: float, looks: int) -> tuple[float, ...]:
    """Nominal level of each look, so that all looks together keep `level`."""
    return LEVELS.get((level, looks)) or recursion(level, looks)


def recursion(level: float, looks: int) -> tuple[float, ...]:
    """Nominal levels of equally spaced looks, by the recursion of Armitage, McPherson and Rowe (1969).

    The density of the sum that has not crossed before is integrated from look to look; each bound spends its increment."""
    spending = [0.0, *(spent(level, look / looks) for look in range(1, looks + 1))]
    nodes, weights = _quadrature()
    sums, density = np.zeros(1), np.ones(1)
    nominal = []
    for look, (before, after) in enumerate(pairwise(spending), start=1):
        bound = _bound(sums, density, after - before)
        nominal.append(float(special.ndtr(-bound / math.sqrt(look))))
        low = -9.0 * math.sqrt(look)
        half = (bound - low) / 2
        next_sums = low + half * (nodes + 1)
        kernel = np.exp(-((next_sums[:, None] - sums[None, :]) ** 2) / 2) / math.sqrt(2 * math.pi)
        sums, density = next_sums, (kernel @ density) * weights * half
    return tuple(nominal)


@cache
def _quadrature() -> Any:
    return np.polynomial.legendre.leggauss(NODES)


def _bound(sums: Any, density: Any, spend: float) -> float:
    """The bound that the next sum crosses with this probability, if no earlier one did."""
    low, high = -40.0, 40.0
    for _ in range(80):
        middle = (low + high) / 2
        crosses = float(density @ special.ndtr(sums - middle))
        low, high = (middle, high) if crosses > spend else (low, middle)
    return high


def sequential_p(p: Numbers, look: int, looks: int) -> Numbers:
    """The smallest level over all looks at which a nominal p at this look would be a rejection.

    The smallest one of all looks so far is a valid p-value whenever a comparison stops, so Holm's correction applies to it."""
    levels, nominal = _levels_of_looks(looks)
    with np.errstate(divide="ignore"):
        logs = np.log(np.maximum(np.asarray(p, dtype=float), 1e-300))
    return np.exp(np.interp(logs, np.log(nominal[:, look - 1]), np.log(levels), right=0.0))


@cache
def _levels_of_looks(looks: int) -> tuple[Any, Any]:
    levels = np.geomspace(1e-5, 0.5, 90)
    nominal = np.array([recursion(float(level), looks) for level in levels])
    return levels, np.maximum(nominal, 1e-290)


# --- the rule ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class NotWorseTest:
    """The metrics on which an arm must not be worse, with the margin and the level of each, in one order."""

    metrics: tuple[str, ...]
    margins: tuple[float, ...]
    levels: tuple[float, ...]

    @property
    def pick_level(self) -> float:
        """The level of the pick over all arms; the p of a metric with a stricter level counts for more in proportion."""
        return max(self.levels)


@dataclass(frozen=True)
class Standing:
    """State of the comparisons of some arms after a look; arrays over (..., arms) or (..., arms, metrics)."""

    flags: Any
    """arms x metrics: shown not to be worse, at this look or an earlier one."""
    smallest_p: Any
    """arms x metrics: smallest sequential p so far."""
    is_dropped: Any
    """Arms whose estimate fell so far below a margin that they are not continued."""
    settled_at: Any
    """Look at which an arm was good enough on every metric; 0 for none."""

    @property
    def is_good(self) -> Any:
        return self.settled_at > 0


def before_any_look(shape: tuple[int, ...], gate: NotWorseTest) -> Standing:
    """The standing of (..., arms) arms of which nothing is known."""
    by_metric = (*shape, len(gate.metrics))
    return Standing(np.zeros(by_metric, bool), np.ones(by_metric), np.zeros(shape, bool), np.zeros(shape, int))


def after_look(standing: Standing, gate: NotWorseTest, p: Any, estimates: Any, is_live: Any, look: int, looks: int) -> Standing:
    """The standing after a look at which `is_live` arms (..., arms) have a p and an estimate for each metric.

    `p`: of the hypothesis that the arm is worse than the margin; `estimates`: in favour of the arm. NaN decides nothing."""
    p = np.where(np.isnan(p), 1.0, p)
    is_live_metric = np.asarray(is_live)[..., None]
    levels = np.array([look_levels(level, looks)[look - 1] for level in gate.levels])
    flags = standing.flags | (is_live_metric & (p <= levels))
    smallest_p = np.where(is_live_metric, np.minimum(standing.smallest_p, sequential_p(p, look, looks)), standing.smallest_p)
    is_good = flags.all(axis=-1)
    settled_at = np.where((standing.settled_at == 0) & is_good, look, standing.settled_at)
    falls = is_futile(estimates, np.asarray(gate.margins), look, looks).any(axis=-1)
    return Standing(flags, smallest_p, standing.is_dropped | (is_live & ~is_good & falls), settled_at)


def is_futile(estimates: Any, margins: Any, look: int, looks: int) -> Any:
    """Whether an estimate lies so far below the margin that going on is a waste; never at the last look."""
    if look >= looks:
        return np.zeros(np.shape(estimates), bool)
    share = look / looks
    times = next(times for below, times in FUTILE if share < below - 1e-9)
    with np.errstate(invalid="ignore"):
        return np.asarray(estimates) < -times * margins


def holm_claims(standing: Standing, gate: NotWorseTest, is_started: Any) -> Any:
    """Arms (..., arms) that are good enough at Holm's level over all arms that started: only these may be recommended.

    An arm that replay dropped before its first block did not start; one that was dropped later did, and counts."""
    weights = gate.pick_level / np.asarray(gate.levels)
    p = np.where(is_started, np.minimum((standing.smallest_p * weights).max(axis=-1), 1.0), np.inf)
    order = np.argsort(p, axis=-1, kind="stable")
    divisors = np.maximum(np.sum(is_started, axis=-1)[..., None] - np.arange(p.shape[-1]), 1)
    is_below = np.take_along_axis(p, order, axis=-1) <= gate.pick_level / divisors
    in_order = np.logical_and.accumulate(is_below, axis=-1)
    claimed = np.zeros_like(in_order)
    np.put_along_axis(claimed, order, in_order, axis=-1)
    return claimed & standing.is_good


def still_open(standing: Standing, gate: NotWorseTest, is_started: Any, look: int, looks: int) -> Any:
    """Arms (..., arms), in ascending order of cost, that the next block should go on with.

    An arm goes on until it may be recommended, is dropped, or a cheaper arm may be recommended."""
    if look >= looks:
        return np.zeros(standing.is_dropped.shape, bool)
    claimed = holm_claims(standing, gate, is_started)
    cheaper_is_claimed = np.logical_or.accumulate(claimed, axis=-1)
    return is_started & ~standing.is_dropped & ~cheaper_is_claimed


def recommended(standing: Standing, gate: NotWorseTest, is_started: Any) -> Any:
    """Position of the cheapest arm that may be recommended (arms in ascending order of cost); -1 where there is none."""
    claimed = holm_claims(standing, gate, is_started)
    return np.where(claimed.any(axis=-1), claimed.argmax(axis=-1), -1)


# --- blocks ------------------------------------------------------------------------------------------------------------


def shuffled(dates: Iterable[str], salt: str = "") -> list[str]:
    """Dates in an order that a hash fixes before anything is asked."""
    return sorted(dates, key=lambda date: sha256(f"{salt}{date}".encode()).hexdigest())


def blocks(dates: Sequence[str], looks: int) -> list[tuple[str, ...]]:
    """Equal blocks of the first dates; what does not fill a block is left over."""
    size = len(dates) // looks
    return [tuple(dates[index * size : (index + 1) * size]) for index in range(looks)]
