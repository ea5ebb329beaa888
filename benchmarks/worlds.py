"""Worlds of known truth in which the statistics of the reports are simulated: arms that rate the same cases.

Five ratings come from a latent view. The baseline agrees with itself in 65 % of cases; views and noise have a share of their
variance (ICC) in common within a date, which is the worst case. All arrays are (runs, dates, tickers, ...).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
from scipy import special

from reports.stats import agreement

FLOOR = 0.65
"""How often the baseline agrees with itself."""
SLIPS = 0.04
"""Draws that are any rating at all."""
SHARES = (0.15, 0.2, 0.3, 0.2, 0.15)
"""How often each of the five ratings is given."""
UNUSABLE = 0.01
GROUNDING_SD = 0.1
"""Of the difference of one case."""


@dataclass(frozen=True)
class Truth:
    """An arm: by how much it differs from the baseline."""

    same: float = 0.0
    """How much less often it gives the baseline's rating than the baseline itself does (below zero: less often)."""
    is_twin: bool = False
    """Whether it draws from the baseline's own distribution; else it has its own view."""
    noise: float = 0.75
    """Its noise as a share of the baseline's."""
    usable: float = 0.0
    """Its share of usable decisions against the baseline's."""
    grounding: float = 0.0
    """Its grounding against the baseline's."""


EQUAL, OWN, FIVE, MARGIN, FAR = (
    Truth(is_twin=True),
    Truth(),
    Truth(-0.05),
    Truth(-0.10),
    Truth(-0.25, noise=2.0, grounding=-0.1),
)


@dataclass(frozen=True)
class Measured:
    """What is measured of some arms in each run: (runs, arms, dates)."""

    same: Any
    """Mean agreement with the baseline minus the baseline's own."""
    ahead: Any
    """The same, summed over the cases of the date in which it is above zero."""
    behind: Any
    gains: Any
    """Usable decisions that the arm is ahead, summed over the cases of the date."""
    losses: Any
    grounding: Any
    """Mean difference."""


def measure(
    rng: np.random.Generator,
    shape: tuple[int, int, int],
    truths: list[Truth],
    icc: float,
    *,
    baseline_repeats: int = 3,
    arm_repeats: int = 3,
) -> Measured:
    """Simulate arms on the same cases; `shape` is runs, dates, tickers."""
    view = normal(rng, shape, icc)
    counts = count(draw(rng, view, noise_of_baseline(), baseline_repeats, icc))
    own_shares = counts / baseline_repeats
    floor = np.trace(agreement.against_itself(counts, np.full(len(counts), baseline_repeats)), axis1=1, axis2=2)
    usable = draw_usable(rng, shape, UNUSABLE, baseline_repeats, icc)
    same, ahead, behind, gains, losses, grounding = [], [], [], [], [], []
    for truth in truths:
        correlation, noise = view_of(truth)
        arm_view = correlation * view + math.sqrt(1 - correlation**2) * normal(rng, shape, icc)
        arm_shares = count(draw(rng, arm_view, noise, arm_repeats, icc)) / arm_repeats
        agreed = np.trace(agreement.joint(own_shares, arm_shares), axis1=1, axis2=2)
        difference = (agreed - floor).reshape(shape)
        same.append(difference.mean(axis=2))
        ahead.append(np.maximum(difference, 0.0).sum(axis=2))
        behind.append(np.maximum(-difference, 0.0).sum(axis=2))
        apart = draw_usable(rng, shape, UNUSABLE - truth.usable, arm_repeats, icc) - usable
        gains.append(np.maximum(apart, 0.0).sum(axis=2))
        losses.append(np.maximum(-apart, 0.0).sum(axis=2))
        grounding.append((truth.grounding + GROUNDING_SD * normal(rng, shape, icc)).mean(axis=2))
    return Measured(*(np.stack(values, axis=1) for values in (same, ahead, behind, gains, losses, grounding)))


def draw_usable(rng: np.random.Generator, shape: tuple[int, ...], failing: float, repeats: int, icc: float) -> Any:
    """Share of usable repeats of each case; failures of a date come together."""
    return (normal(rng, (*shape, repeats), icc) > special.ndtri(failing)).mean(axis=-1)


def count(ratings: Any) -> Any:
    """(cases, 5): how often each rating is given."""
    return (ratings[..., None] == np.arange(5)).sum(axis=-2).reshape(-1, 5)


def normal(rng: np.random.Generator, shape: tuple[int, ...], icc: float) -> Any:
    """Unit normals (runs, dates, tickers, ...) of which a share of the variance is common to all tickers of a date."""
    common = rng.normal(size=(shape[0], shape[1], 1, *shape[3:]))
    return math.sqrt(icc) * common + math.sqrt(1 - icc) * rng.normal(size=shape)


def draw(rng: np.random.Generator, view: Any, noise_sd: float, repeats: int, icc: float) -> Any:
    """Ratings 0 to 4 (runs, dates, tickers, repeats)."""
    noise = normal(rng, (*view.shape, repeats), icc)
    latent = (view[..., None] + noise_sd * noise) / math.sqrt(1 + noise_sd**2)
    ratings = np.searchsorted(special.ndtri(np.cumsum(SHARES)[:-1]), latent)
    return np.where(rng.random(ratings.shape) < SLIPS, rng.integers(0, 5, ratings.shape), ratings)


@cache
def noise_of_baseline() -> float:
    """The noise at which the baseline agrees with itself as often as FLOOR."""
    return _root(lambda noise: _agreement(1.0, noise, noise) - FLOOR, 0.01, 2.0)


@cache
def view_of(truth: Truth) -> tuple[float, float]:
    """Correlation of an arm's view with the baseline's, and its noise."""
    noise = noise_of_baseline()
    if truth.is_twin:
        return 1.0, noise
    own_noise = noise * truth.noise
    wanted = FLOOR + truth.same
    return _root(lambda view: wanted - _agreement(view, noise, own_noise), 0.2, 1.0), own_noise


def _agreement(view: float, noise: float, own_noise: float) -> float:
    """Chance of the same rating, by quadrature over the two latent values."""
    correlation = view / math.sqrt((1 + noise**2) * (1 + own_noise**2))
    cuts = np.concatenate([[-8.0], special.ndtri(np.cumsum(SHARES)[:-1]), [8.0]])
    nodes, weights = _nodes()
    total = 0.0
    for low, high in pairwise(cuts):
        values = low + (high - low) / 2 * (nodes + 1)
        density = np.exp(-(values**2) / 2) / math.sqrt(2 * math.pi) * weights * (high - low) / 2
        spread = math.sqrt(1 - correlation**2)
        inside = special.ndtr((high - correlation * values) / spread) - special.ndtr((low - correlation * values) / spread)
        total += float(density @ inside)
    both_meant = (1 - SLIPS) ** 2
    return both_meant * total + (1 - both_meant) / 5


@cache
def _nodes() -> Any:
    return np.polynomial.legendre.leggauss(200)


def _root(rises: Any, low: float, high: float) -> float:
    """Where a function that falls crosses zero."""
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if rises(middle) > 0 else (low, middle)
    return (low + high) / 2
