"""python -m benchmarks.sequential (also as python benchmarks/sequential.py)

Simulates the rule by which `find` stops, on arms whose truth is known, as JSON: wrong claims, wrong recommendations, and the
share of the dates that is used. The looks, the boundary and the tests are the product's own code (reports.stats). Seeded.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from scipy import special

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from reports.roles import screening
from reports.stats import exact, means, sequential
from reports.stats.estimate import Sample
from reports.stats.sequential import Gate

RUNS = 4_000
FIELDS = 400
FLOOR = 0.65
"""How often the baseline agrees with itself."""
SLIPS = 0.04
"""Draws that are any rating at all."""
SHARES = (0.15, 0.2, 0.3, 0.2, 0.15)
"""How often each of the five ratings is given."""
STANCES, STANCE_FLOOR = 12, 0.75
"""Prompts with a stance in a case of the screen (three repeats of four roles), and how often the own model repeats it."""
UNUSABLE = 0.01
GROUNDING_SD = 0.1
"""Of the difference of one case."""
STANDARD = Gate(("same_rating", "usable", "grounding"), (0.10, 0.10, 0.05), (0.025, 0.04, 0.04))
QUICK = Gate(("same_rating", "usable", "grounding"), (0.15, 0.15, 0.10), (0.025, 0.04, 0.04))


@dataclass(frozen=True)
class Truth:
    """An arm: how much less often it gives the baseline's rating than the baseline itself does."""

    same: float
    is_twin: bool = False
    """Whether it draws from the baseline's own distribution; else it has its own view."""
    noise: float = 0.75
    """Its noise as a share of the baseline's."""
    grounding: float = 0.0
    """Its grounding against the baseline's: an arm that is far worse on one metric is rarely fine on the others."""


EQUAL, OWN, FIVE, MARGIN, FAR = (
    Truth(0.0, True),
    Truth(0.0),
    Truth(-0.05),
    Truth(-0.10),
    Truth(-0.25, noise=2.0, grounding=-0.1),
)


@dataclass(frozen=True)
class Design:
    """A fixed design that is cut into blocks."""

    dates: int
    tickers: int
    looks: int
    gate: Gate
    icc: float
    baseline_repeats: int = 3
    arm_repeats: int = 3

    @property
    def dates_of_block(self) -> int:
        return self.dates // self.looks


@dataclass(frozen=True)
class Course:
    """What happened in each simulated run (first axis) to each arm (second axis)."""

    is_good: Any
    shares: Any
    """Share of the planned blocks that an arm used."""
    baseline_share: Any
    pick: Any


# --- worlds ------------------------------------------------------------------------------------------------------------


def _normal(rng: np.random.Generator, shape: tuple[int, ...], icc: float) -> Any:
    """Unit normals (runs, dates, tickers, ...) of which a share of the variance is common to all tickers of a date."""
    common = rng.normal(size=(shape[0], shape[1], 1, *shape[3:]))
    return math.sqrt(icc) * common + math.sqrt(1 - icc) * rng.normal(size=shape)


def _ratings(rng: np.random.Generator, view: Any, noise_sd: float, repeats: int, icc: float) -> Any:
    """Ratings 0 to 4 (runs, dates, tickers, repeats)."""
    noise = _normal(rng, (*view.shape, repeats), icc)
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


# --- one field of arms -------------------------------------------------------------------------------------------------


def play(
    rng: np.random.Generator, design: Design, truths: Sequence[Truth], runs: int, *, to_the_pick: bool, is_in: Any = None
) -> Course:
    """Simulate the rule; `truths` in ascending order of cost.

    `to_the_pick`: an arm goes on as in `find`, else until it is settled; `is_in`: arms that passed the screen."""
    same, gains, losses, grounding = _differences(rng, design, truths, runs)
    gate, looks = design.gate, design.looks
    standing = sequential.before_any_look((runs, len(truths)), gate)
    is_started = np.ones((runs, len(truths)), bool) if is_in is None else is_in
    is_open = is_started
    shares, baseline_share = np.zeros(is_open.shape), np.zeros(runs)
    for look in range(1, looks + 1):
        shares += is_open / looks
        baseline_share += is_open.any(axis=1) / looks
        until = look * design.dates_of_block
        cases = np.full((*is_open.shape, until), float(design.tickers))
        samples: tuple[Sample, ...] = (
            means.of_dates(same[..., :until]),
            exact.paired(gains[..., :until], losses[..., :until], cases),
            means.of_dates(grounding[..., :until]),
        )
        p = np.stack([sample.p_above(-margin) for sample, margin in zip(samples, gate.margins, strict=True)], axis=-1)
        estimates = np.stack([sample.value for sample in samples], axis=-1)
        standing = sequential.after_look(standing, gate, p, estimates, is_open, look, looks)
        going_on = (
            sequential.still_open(standing, gate, is_started, look, looks)
            if to_the_pick
            else ~standing.is_good & ~standing.is_dropped
        )
        is_open = is_open & going_on
    return Course(standing.is_good, shares, baseline_share, sequential.recommended(standing, gate, is_started))


def _differences(rng: np.random.Generator, design: Design, truths: Sequence[Truth], runs: int) -> tuple[Any, Any, Any, Any]:
    """(runs, arms, dates): mean difference to the floor, cases gained and lost on usable, mean difference of grounding."""
    shape = (runs, design.dates, design.tickers)
    view = _normal(rng, shape, design.icc)
    counts = _counts(_ratings(rng, view, noise_of_baseline(), design.baseline_repeats, design.icc))
    repeats = design.baseline_repeats
    floor = (counts * (counts - 1)).sum(axis=-1) / (repeats * (repeats - 1))
    usable = _usable(rng, shape)
    same, gains, losses, grounding = [], [], [], []
    for truth in truths:
        correlation, noise = view_of(truth)
        own_view = correlation * view + math.sqrt(1 - correlation**2) * _normal(rng, shape, design.icc)
        of_arm = _counts(_ratings(rng, own_view, noise, design.arm_repeats, design.icc))
        agreement = (of_arm * counts).sum(axis=-1) / (repeats * design.arm_repeats)
        same.append((agreement - floor).mean(axis=2))
        apart = _usable(rng, shape) - usable
        gains.append(np.maximum(apart, 0.0).sum(axis=2))
        losses.append(np.maximum(-apart, 0.0).sum(axis=2))
        grounding.append((truth.grounding + GROUNDING_SD * _normal(rng, shape, design.icc)).mean(axis=2))
    return tuple(np.stack(values, axis=1) for values in (same, gains, losses, grounding))  # type: ignore[return-value]


def _counts(ratings: Any) -> Any:
    return (ratings[..., None] == np.arange(5)).sum(axis=-2)


def _usable(rng: np.random.Generator, shape: tuple[int, ...]) -> Any:
    return (rng.random((*shape, 3)) >= UNUSABLE).mean(axis=-1)


def is_screened_out(rng: np.random.Generator, truths: Sequence[Truth], runs: int) -> Any:
    """(runs, arms): dropped by replay, where stances of the own model are the recorded ones in STANCE_FLOOR of its answers."""
    shape = (runs, len(truths), screening.CASES)
    own = rng.binomial(STANCES, STANCE_FLOOR, (runs, 1, screening.CASES)) / STANCES
    alike = rng.binomial(STANCES, np.array([STANCE_FLOOR + truth.same for truth in truths])[None, :, None], shape) / STANCES
    return screening.is_too_far(alike - own)


# --- the tables --------------------------------------------------------------------------------------------------------


def one_arm(seed: int, name: str, dates: int, looks: int, gate: Gate, runs: int) -> dict[str, Any]:
    """Dates used and chance of "good enough" for one arm alone, at five truths."""
    row: dict[str, Any] = {"design": name}
    truths = {"equal": EQUAL, "own_view": OWN, "minus_5": FIVE, "on_margin": Truth(-gate.margins[0]), "minus_25": FAR}
    for label, truth in truths.items():
        courses = [
            play(
                np.random.default_rng([seed, round(100 * icc)]),
                Design(dates, 3, looks, gate, icc),
                [truth],
                runs,
                to_the_pick=False,
            )
            for icc in (0.1, 0.3)
        ]
        row[f"dates_used_{label}"] = round(float(courses[0].shares.mean()), 3)
        good = [float(course.is_good.mean()) for course in courses]
        row[f"good_{label}"] = round(max(good) if label == "on_margin" else good[0], 4)
    return row


def five_arms(seed: int, name: str, truths: Sequence[Truth], design: Design, runs: int) -> dict[str, Any]:
    """Five arms, dearest first in the list, each continued until it is settled."""
    course = play(np.random.default_rng(seed), design, truths[::-1], runs, to_the_pick=False)
    return {
        "arms": name,
        "baseline_dates_used": round(float(course.baseline_share.mean()), 3),
        "arm_dates_used": round(float(course.shares.mean()), 3),
    }


def field_of_candidates(seed: int, order: str, design: Design, fields: int) -> dict[str, Any]:
    """Eight candidates: two equal, one at -5, two on the margin, three far worse; what `find` recommends and pays."""
    rng = np.random.default_rng([seed, 7])
    truths = [EQUAL, OWN, FIVE, MARGIN, MARGIN, FAR, FAR, FAR]
    if order == "wrong ones cheapest":
        truths = truths[::-1]
    if order == "shuffled":
        truths = list(np.random.default_rng(seed).permutation(np.array(truths, dtype=object)))
    is_in = ~is_screened_out(rng, truths, fields)
    course = play(rng, design, truths, fields, to_the_pick=True, is_in=is_in)
    is_right = np.array([truth.same > -design.gate.margins[0] for truth in truths])
    picked = course.pick >= 0
    right = picked & is_right[course.pick]
    return {
        "candidates": order,
        "fields": fields,
        "screened_out": {
            f"{truth.same:+.2f}": round(float(1 - is_in[:, place].mean()), 3) for place, truth in enumerate(truths)
        },
        "wrong_pick": round(float((picked & ~right).mean()), 4),
        "good_pick": round(float(right.mean()), 4),
        "candidate_cells_median": round(float(np.median(course.shares.mean(axis=1))), 3),
        "baseline_dates_used": round(float(course.baseline_share.mean()), 3),
    }


def report(runs: int, fields: int, seed: int) -> dict[str, Any]:
    """Every table."""
    standard = Design(28, 3, 4, STANDARD, 0.1)
    forty = Design(40, 2, 4, STANDARD, 0.1)
    mixed = [EQUAL, OWN, FIVE, MARGIN, FAR]
    return {
        "levels": {
            f"{level}, {looks} looks": [round(one, 6) for one in sequential.look_levels(level, looks)]
            for level in (0.025, 0.04)
            for looks in (3, 4, 5)
        },
        "one_arm": [
            one_arm(seed, "quick", 15, 3, QUICK, runs),
            one_arm(seed + 1, "standard", 28, 4, STANDARD, runs),
            one_arm(seed + 2, "standard in 7 blocks", 28, 7, STANDARD, runs),
        ],
        "five_arms": [
            five_arms(
                seed + 3, "quick: 0, 0, -5, margin, -25", [*mixed[:3], Truth(-0.15), FAR], Design(15, 3, 3, QUICK, 0.1), runs
            ),
            five_arms(seed + 4, "standard: 0, 0, -5, margin, -25", mixed, standard, runs),
            five_arms(seed + 5, "40 x 2: all equal", [EQUAL] * 5, forty, runs),
            five_arms(seed + 6, "40 x 2: one good, four far worse", [FAR, FAR, EQUAL, FAR, FAR], forty, runs),
            five_arms(seed + 7, "40 x 2: all far worse", [FAR] * 5, forty, runs),
        ],
        "eight_candidates": [
            field_of_candidates(seed + 8 + place, order, forty, fields)
            for place, order in enumerate(("good ones cheapest", "wrong ones cheapest", "shuffled"))
        ],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--fields", type=int, default=FIELDS)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    started = time.monotonic()
    tables = report(options.runs, options.fields, options.seed)
    print(json.dumps(tables | {"seconds": round(time.monotonic() - started, 1)}, indent=2))


if __name__ == "__main__":
    main()
