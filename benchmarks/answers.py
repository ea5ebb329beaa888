"""python -m benchmarks.answers (after `make demo`)

Proof by simulation that "good enough" and the pick keep their promise, as JSON (also as python benchmarks/statistics.py).

The worlds of benchmarks/worlds.py are judged by the product's own code (reports.stats, reports.verdict): wrong claims at a
truth on the margin, power for arms that are equal, and the pick among five arms, beside the scheme of earlier versions. Seeded.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks import worlds
from benchmarks.worlds import EQUAL, FAR, FIVE, MARGIN, OWN, Measured, Truth
from reports import verdict
from reports.metrics.catalog import all_metrics
from reports.stats import exact, means
from reports.stats.estimate import Sample
from reports.verdict import GATE, GoodEnough

RUNS = 4_000
LEVELS = {metric.name: metric.level for metric in all_metrics() if metric.name in verdict.MARGINS}
"""Metric of the gate -> its one-sided level."""


@dataclass(frozen=True)
class Design:
    """A fixed design: how many cases, how often, and the margins of the gate."""

    name: str
    dates: int
    tickers: int
    baseline_repeats: int
    arm_repeats: int
    margins: tuple[float, float, float]
    """Of same_rating, usable and grounding."""


STANDARD = Design("standard", 28, 3, 3, 3, (0.10, 0.10, 0.05))
QUICK = Design("quick", 17, 3, 3, 3, (0.15, 0.10, 0.10))
FORTY = Design("40 x 2", 40, 2, 3, 3, (0.10, 0.10, 0.05))
PICKS: dict[str, Sequence[Truth]] = {
    "all equal": [EQUAL] * 5,
    "0, 0, -5, -10, -25": [EQUAL, OWN, FIVE, MARGIN, FAR],
    "-10, -10, 0, 0, 0": [MARGIN, MARGIN, EQUAL, EQUAL, EQUAL],
    "only the third good": [FAR, MARGIN, EQUAL, MARGIN, FAR],
    "all on the margin": [MARGIN] * 5,
}
"""Five arms, the dearest first."""


def p_values(rng: np.random.Generator, design: Design, truths: Sequence[Truth], icc: float, runs: int) -> Any:
    """(runs, arms, metrics of the gate): p of a loss of the margin or more."""
    measured = worlds.measure(
        rng,
        (runs, design.dates, design.tickers),
        list(truths),
        icc,
        baseline_repeats=design.baseline_repeats,
        arm_repeats=design.arm_repeats,
    )
    samples = samples_of(measured, design.tickers)
    return np.stack([sample.p_above(-margin) for sample, margin in zip(samples, design.margins, strict=True)], axis=-1)


def samples_of(measured: Measured, tickers: int) -> tuple[Sample, Sample, Sample]:
    """The tests of same_rating, usable and grounding, as the product makes them."""
    cases = np.full(measured.gains.shape, float(tickers))
    usable = exact.paired(measured.gains, measured.losses, cases)
    return means.of_dates(measured.same), usable, means.of_dates(measured.grounding)


def is_not_worse(p: Any) -> Any:
    """Which metrics are shown not worse, each at its own level."""
    return p <= np.array([LEVELS[term.metric] for term in GATE])


def one_arm(seed: int, design: Design, runs: int) -> dict[str, Any]:
    """One arm against the baseline: power where it is equal, wrong claims where one metric lies on its margin."""
    row: dict[str, Any] = {"design": design.name, "cases": design.dates * design.tickers}
    for label, truth in (("equal", EQUAL), ("own_view", OWN), ("minus_5", FIVE), ("minus_25", FAR)):
        p = p_values(np.random.default_rng([seed, 1]), design, [truth], 0.1, runs)[:, 0]
        passed = is_not_worse(p)
        row[f"good_{label}"] = float(passed.all(axis=-1).mean())
        if truth is EQUAL:
            row |= {f"power_{term.metric}": float(passed[:, place].mean()) for place, term in enumerate(GATE)}
    same, usable, grounding = design.margins
    on_margin = {"same_rating": Truth(-same), "usable": Truth(usable=-usable), "grounding": Truth(grounding=-grounding)}
    for place, (metric, truth) in enumerate(on_margin.items()):
        p_by_icc = [p_values(np.random.default_rng([seed, 2 + place]), design, [truth], icc, runs)[:, 0] for icc in (0.1, 0.3)]
        row[f"error_{metric}"] = max(float(is_not_worse(p)[:, place].mean()) for p in p_by_icc)
        row[f"wrongly_good_{metric}"] = max(float(is_not_worse(p).all(axis=-1).mean()) for p in p_by_icc)
    return _rounded(row)


def pick_of_five(seed: int, name: str, design: Design, runs: int) -> dict[str, Any]:
    """The pick among five arms: wrong (worse than the margin), good, and the cheapest good one."""
    truths = PICKS[name]
    p = p_values(np.random.default_rng(seed), design, truths, 0.1, runs)
    is_good = [truth.same > -design.margins[0] for truth in truths]
    cheapest_good = max((place for place, good in enumerate(is_good) if good), default=None)
    picked = [_picked(of_run) for of_run in p]
    return _rounded(
        {
            "arms": name,
            "wrong": np.mean([place is not None and not is_good[place] for place in picked]),
            "good": np.mean([place is not None and is_good[place] for place in picked]),
            "cheapest_good": np.mean([place is not None and place == cheapest_good for place in picked]),
        }
    )


def _picked(p_by_arm: Any) -> int | None:
    """The pick of one run: position of the arm; prices fall from arm to arm."""
    arms = []
    for place, p in enumerate(p_by_arm):
        by_metric = {term.metric: float(one) for term, one in zip(GATE, p, strict=True)}
        arms.append(GoodEnough(str(place), "", {}, (), (), verdict.gate_p(by_metric)))
    chosen = verdict.pick(arms, {arm.arm: 1.0 / (1 + place) for place, arm in enumerate(arms)}).arm
    return None if chosen is None else int(chosen)


def former_scheme(seed: int, dates: int, runs: int) -> dict[str, Any]:
    """Earlier versions: the floor on ten cases, margins of 5 and 2 points and 50 bp, all of which had to be settled.

    Without its corrections for several metrics, which made it harder still."""
    rng = np.random.default_rng(seed)
    tickers = 3
    measured = worlds.measure(rng, (runs, dates, tickers), [EQUAL], 0.1, arm_repeats=1)
    repeated = worlds.measure(rng, (runs, 10, 1), [EQUAL], 0.1, arm_repeats=1).same[:, 0]
    floor = exact.paired(np.maximum(repeated, 0.0), np.maximum(-repeated, 0.0), np.ones(repeated.shape))
    usable = samples_of(measured, tickers)[1]
    windows = means.of_dates(0.07 * worlds.normal(rng, (runs, dates, tickers), 0.1).mean(axis=2))
    settled = {
        "same_rating, -5": floor.p_above(-0.05) <= 0.02,
        "usable, -2": usable.p_above(-0.02)[:, 0] <= 0.02,
        "returns, -50 bp": windows.p_above(-0.005) <= 0.02,
    }
    every = np.all(list(settled.values()), axis=0)
    return _rounded(
        {"cases": dates * tickers, **{name: float(one.mean()) for name, one in settled.items()}, "all settled": every.mean()}
    )


def report(runs: int, seed: int) -> dict[str, Any]:
    """Every table."""
    return {
        "runs": runs,
        "simulation_error": round(1.96 * math.sqrt(0.05 * 0.95 / runs), 4),
        "one_arm": [one_arm(seed + place, design, runs) for place, design in enumerate((STANDARD, QUICK, FORTY))],
        "pick_of_five": [pick_of_five(seed + 10 + place, name, FORTY, runs) for place, name in enumerate(PICKS)],
        "former_scheme": [former_scheme(seed + 20, 19, runs), former_scheme(seed + 21, 100, runs)],
    }


def _rounded(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value if isinstance(value, str | int) else round(float(value), 4) for name, value in row.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=RUNS, help="Simulated runs of each world; fewer are faster.")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    started = time.perf_counter()
    tables = report(options.runs, options.seed)
    print(json.dumps(tables | {"seconds": round(time.perf_counter() - started, 1)}, indent=1))


if __name__ == "__main__":
    main()
