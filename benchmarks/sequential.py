"""python -m benchmarks.sequential (after `make demo`)

Simulates the rule by which `find` stops, on arms whose truth is known, as JSON: wrong claims, wrong recommendations, and the
share of the dates that is used. The looks, the boundary and the tests are the product's own code (reports.stats). Seeded.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import worlds
from benchmarks.worlds import EQUAL, FAR, FIVE, MARGIN, OWN, Measured, Truth
from reports.metrics.measure import is_by_means
from reports.roles import screening
from reports.stats import exact, means, sequential
from reports.stats.estimate import Sample
from reports.stats.sequential import NotWorseTest
from reports.verdict import not_worse_test

RUNS = 4_000
FIELDS = 400
STANCES, STANCE_FLOOR = 12, 0.75
"""Prompts with a stance in a case of the screen (three repeats of four roles), and how often the own model repeats it."""
STANDARD = not_worse_test()
QUICK = not_worse_test({"same_rating": 0.15, "usable": 0.15, "grounding": 0.10})


@dataclass(frozen=True)
class Design:
    """A fixed design that is cut into blocks."""

    dates: int
    tickers: int
    looks: int
    gate: NotWorseTest
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


# --- one field of arms -------------------------------------------------------------------------------------------------


def play(
    rng: np.random.Generator, design: Design, truths: Sequence[Truth], runs: int, *, to_the_pick: bool, is_in: Any = None
) -> Course:
    """Simulate the rule; `truths` in ascending order of cost.

    `to_the_pick`: an arm goes on as in `find`, else until it is settled; `is_in`: arms that passed the screen."""
    measured = worlds.measure(
        rng,
        (runs, design.dates, design.tickers),
        list(truths),
        design.icc,
        baseline_repeats=design.baseline_repeats,
        arm_repeats=design.arm_repeats,
    )
    is_started = np.ones((runs, len(truths)), bool) if is_in is None else is_in
    return by_rule(measured, design, is_started, to_the_pick=to_the_pick)


def by_rule(measured: Measured, design: Design, is_started: Any, *, to_the_pick: bool) -> Course:
    """What the rule does with these answers."""
    gate, looks = design.gate, design.looks
    standing = sequential.before_any_look(is_started.shape, gate)
    is_open = is_started
    shares, baseline_share = np.zeros(is_open.shape), np.zeros(len(is_open))
    for look in range(1, looks + 1):
        shares += is_open / looks
        baseline_share += is_open.any(axis=1) / looks
        samples = _samples(measured, design, look * design.dates_of_block)
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


def _samples(measured: Measured, design: Design, until: int) -> tuple[Sample, ...]:
    """Each metric over the first dates, by the test that the product takes for so many dates and cases."""
    cases = np.full((*measured.same.shape[:2], until), float(design.tickers))
    if is_by_means("agreement", until, until * design.tickers):
        same: Sample = means.of_dates(measured.same[..., :until])
    else:
        same = exact.paired(measured.ahead[..., :until], measured.behind[..., :until], cases)
    usable = exact.paired(measured.gains[..., :until], measured.losses[..., :until], cases)
    return same, usable, means.of_dates(measured.grounding[..., :until])


def is_screened_out(rng: np.random.Generator, truths: Sequence[Truth], runs: int) -> Any:
    """(runs, arms): dropped by replay, where stances of the own model are the recorded ones in STANCE_FLOOR of its answers."""
    shape = (runs, len(truths), screening.CASES)
    own = rng.binomial(STANCES, STANCE_FLOOR, (runs, 1, screening.CASES)) / STANCES
    alike = rng.binomial(STANCES, np.array([STANCE_FLOOR + truth.same for truth in truths])[None, :, None], shape) / STANCES
    return screening.is_too_far(alike - own)


# --- the tables --------------------------------------------------------------------------------------------------------


def one_arm(seed: int, name: str, dates: int, looks: int, gate: NotWorseTest, runs: int) -> dict[str, Any]:
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
