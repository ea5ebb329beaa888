"""python -m benchmarks.cascades (after `make demo`)

Simulates the promise of a cascade, "at most 5 points less alike (holds with 90 %)", as JSON: how often it is made, and how
often the true loss at the chosen threshold is larger. Threshold, bound and choice are the product's own code. Seeded.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import worlds
from benchmarks.worlds import Truth
from domain.ratings import RATINGS
from reports import cascades
from reports.cascades import AGREEMENT, Frontier
from reports.load import Run
from reports.metrics.facts import Facts
from reports.page.cascade_view import FirstArm

RUNS = 1_000
DATES, TICKERS, REPEATS = 28, 3, 3
NEW_DATES = 100_000
"""Dates of new cases on which the true loss of a threshold is measured: a standard error of 0.1 points."""
LOCAL = Truth(-0.09, noise=1.2)
CONFIDENCES = {"informative": -0.25, "useless": 0.0, "misleading": 0.25}
"""World -> what a standard deviation between the views of both arms adds to the stated confidence."""
CONFIDENCE, CONFIDENCE_SD, STEP = 0.75, 0.1, 0.05
EXPERIMENT = {
    "name": "simulated",
    "models": {name: {"provider": "openai", "model": name} for name in ("hosted", "local")},
    "arms": {name: {"all": name} for name in ("hosted", "local")},
}


@dataclass(frozen=True)
class Drawn:
    """Answers (runs, dates, tickers, repeats)."""

    hosted: Any
    local: Any
    """Rating 0 to 4; -1 is unusable."""
    confidence: Any


def draw(rng: np.random.Generator, shape: tuple[int, int, int], told: float, icc: float) -> Drawn:
    """Both arms on the same cases; `told`: what the distance of the views adds to the confidence."""
    correlation, noise = worlds.view_of(LOCAL)
    view = worlds.normal(rng, shape, icc)
    local_view = correlation * view + np.sqrt(1 - correlation**2) * worlds.normal(rng, shape, icc)
    local = worlds.draw(rng, local_view, noise, REPEATS, icc)
    is_usable = rng.random(local.shape) >= worlds.UNUSABLE
    apart = np.abs(local_view - view)[..., None]
    stated = CONFIDENCE + told * (apart - np.sqrt(2 / np.pi) * np.sqrt(2 - 2 * correlation))
    confidence = np.clip(np.round((stated + CONFIDENCE_SD * rng.normal(size=local.shape)) / STEP) * STEP, 0, 1)
    return Drawn(
        worlds.draw(rng, view, worlds.noise_of_baseline(), REPEATS, icc), np.where(is_usable, local, -1), confidence.round(2)
    )


# --- what the product promises -----------------------------------------------------------------------------------------


class Promises:
    """Runs of one design as the product reads them."""

    def __init__(self) -> None:
        cases = [(date, ticker) for date in range(DATES) for ticker in range(TICKERS)]
        places = [(arm, *case, repeat) for arm in EXPERIMENT["arms"] for case in cases for repeat in range(REPEATS)]
        self._cells = pd.DataFrame(places, columns=["arm", "date", "ticker", "repeat"]).assign(
            case_id=lambda cells: cells["ticker"].astype(str) + "@" + cells["date"].astype(str),
            status="ok",
            cost_usd=lambda cells: cells["arm"].map({"hosted": 0.2, "local": 0.02}),
        )
        self._run = Run("", EXPERIMENT, {}, None)

    def of(self, drawn: Drawn, run: int) -> list[Frontier]:
        """One frontier per signal."""
        codes = np.concatenate([drawn.hosted[run].ravel(), drawn.local[run].ravel()])
        hosted = np.full(drawn.hosted[run].size, np.nan)
        cells = self._cells.assign(
            rating=np.array([*RATINGS, None], dtype=object)[codes],
            confidence=np.concatenate([hosted, drawn.confidence[run].ravel()]),
        )
        return cascades.frontiers(Facts(self._run.with_cells(cells)))


# --- what is true ------------------------------------------------------------------------------------------------------


class TrueLoss:
    """The loss of each threshold on new cases of the same kind."""

    def __init__(self, new: Drawn) -> None:
        floor = np.mean([new.hosted[..., one] == new.hosted[..., other] for one, other in ((0, 1), (0, 2), (1, 2))], axis=0)
        alike = (new.local[..., :, None] == new.hosted[..., None, :]).mean(axis=-1)
        lost = floor[..., None] - alike
        is_unanimous = (new.local == new.local[..., :1]).all(axis=-1) & (new.local[..., 0] >= 0)
        self.everywhere = float(lost.mean())
        self.unanimous = float((is_unanimous * lost[..., 0]).mean())
        self._lost, self._usable, self._confidence = lost.ravel(), (new.local >= 0).ravel(), new.confidence.ravel()

    def of(self, frontier: Frontier) -> float:
        """At its chosen threshold, and as its YAML decides."""
        assert frontier.chosen is not None
        if frontier.signal == AGREEMENT:
            return self.unanimous
        return float((self._lost * (self._usable & (self._confidence >= frontier.chosen.threshold))).mean())


# --- the table ---------------------------------------------------------------------------------------------------------


def rows(seed: int, runs: int, new_dates: int) -> Iterator[dict[str, Any]]:
    """One row per world, correlation within a date, and signal; `recommended`: the one that the page chooses."""
    promises = Promises()
    for world, told in CONFIDENCES.items():
        for icc in (0.1, 0.3):
            rng = np.random.default_rng([seed, round(100 * icc), *world.encode()])
            truth = TrueLoss(draw(rng, (1, new_dates, TICKERS), told, icc))
            drawn = draw(rng, (runs, DATES, TICKERS), told, icc)
            found = [_by_signal(promises.of(drawn, run)) for run in range(runs)]
            for signal in ("stated confidence", AGREEMENT, "recommended"):
                made = [by_signal[signal] for by_signal in found if signal in by_signal]
                losses = np.array([truth.of(frontier) for frontier in made])
                kept = [frontier.chosen.kept for frontier in made if frontier.chosen]
                broken = float((losses > cascades.MOST_EXCESS).sum()) / runs
                yield {
                    "confidence": world,
                    "icc": icc,
                    "signal": signal,
                    "loss_of_all": round(truth.everywhere, 4),
                    "promised": round(len(made) / runs, 3),
                    "broken": round(broken, 4),
                    "broken_se": round(float(np.sqrt(broken * (1 - broken) / runs)), 4),
                    "kept": round(float(np.sum(kept)) / runs, 3),
                }


def _by_signal(found: list[Frontier]) -> dict[str, Frontier]:
    """Those with a promise."""
    promising = [frontier for frontier in found if frontier.chosen]
    recommended = {"recommended": FirstArm("local", tuple(promising)).best} if promising else {}
    return {frontier.signal: frontier for frontier in promising} | recommended


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--new-dates", type=int, default=NEW_DATES)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    started = time.process_time()
    table = list(rows(options.seed, options.runs, options.new_dates))
    promise = {"most_excess": cascades.MOST_EXCESS, "confidence": cascades.CONFIDENCE}
    design = {"dates": DATES, "tickers": TICKERS, "repeats": REPEATS, "runs": options.runs}
    cpu_s = round(time.process_time() - started, 1)
    print(json.dumps({"promise": promise, "design": design, "worlds": table, "cpu_s": cpu_s}, indent=2))


if __name__ == "__main__":
    main()
