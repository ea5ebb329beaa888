"""python -m benchmarks.verdicts (after `make demo`)

Proof by simulation that verdicts and intervals of the reports hold, as JSON (also as python benchmarks/statistics.py).

Every design runs the product's own code (reports.stats, reports.verdict, reports.design) on data whose truth is known. Seeded.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import special

from reports import design, verdict
from reports.metrics import outcomes
from reports.stats import exact, means
from reports.stats.estimate import Sample
from reports.verdict import BETTER, EQUIVALENT, NOT_WORSE, WORDS, WORSE

RUNS = 20_000
LEVEL = 0.04
"""One-sided level of "not worse"."""
SHAPES = ((10, 20), (20, 20), (30, 12), (3, 9))
"""tickers x dates."""
BY_DATE = 0.3
"""Share of the variance that all cases of a date have in common."""
HORIZON = 20
SCHEDULES = ((3, 9, 10), (20, 20, 5), (20, 120, 1))
"""tickers, dates, sessions between dates: windows of 20 sessions overlap in all of them."""
PERSISTENCE = (0.0, 0.5, 0.9)

Sampled = Callable[[float], Sample]
"""True difference -> that many simulated runs, as the product measures them."""


@dataclass(frozen=True)
class Rates:
    """How a design did."""

    name: str
    interval: str
    wrong_verdict_rate: float
    """Share of runs with a false claim, at the worst of the truths tried."""
    coverage_95: float
    """Share of 95 % intervals that hold the truth, at the worst of the truths tried."""
    decided_at_planned_power: float
    """Share of runs that call the difference which the planner says is detectable at 80 % power."""
    planned_difference: float
    more: dict[str, float]

    def as_json(self) -> dict[str, Any]:
        numbers = {name: round(value, 4) for name, value in vars(self).items() if isinstance(value, float)}
        return {"name": self.name, "interval": self.interval, **numbers, **{k: round(v, 4) for k, v in self.more.items()}}


def judged(name: str, interval: str, sampled: Sampled, planned: float, margin: float, **more: float) -> Rates:
    """All rates of a design. False claims: a direction where there is none, or the wrong one; `equivalent` or `not worse`
    at a truth that lies on the margin."""
    nothing, ahead, behind = sampled(0.0), sampled(margin), sampled(-margin)
    found = sampled(planned)
    wrong = (
        _share(nothing, None, {BETTER, WORSE}),
        _share(ahead, margin, {WORSE, EQUIVALENT}),
        _share(behind, margin, {BETTER, EQUIVALENT, NOT_WORSE}),
        _share(found, None, {WORSE}),
    )
    covered = [_covered(sample, truth) for sample, truth in ((nothing, 0.0), (ahead, margin), (found, planned))]
    return Rates(
        name=name,
        interval=interval,
        wrong_verdict_rate=max(wrong),
        coverage_95=min(covered, key=lambda rate: rate - 0.95 if interval == "exact" else -abs(rate - 0.95)),
        decided_at_planned_power=_share(found, None, {BETTER}),
        planned_difference=planned,
        more=more,
    )


def _margin(cases: float, dates: int, assumed: design.Prior) -> float:
    """Smallest margin that an equal arm is shown to keep in 80 of 100 runs, by t."""
    reach = special.stdtrit(dates - 1, 1 - LEVEL) + special.stdtrit(dates - 1, verdict.POWER)
    return float(reach * design.standard_error(assumed, design.Design(dates, cases / dates, 1, 1)))


def _share(sample: Sample, margin: float | None, words: set[str]) -> float:
    codes = [WORDS.index(word) for word in words]
    return float(np.isin(verdict.word_index(sample, margin, LEVEL), codes).mean())


def _covered(sample: Sample, truth: float) -> float:
    low, high = sample.bounds(0.05)
    return float(((low <= truth) & (truth <= high)).mean())


# --- plain designs ---------------------------------------------------------------------------------------------------


def continuous(rng: np.random.Generator, tickers: int, dates: int) -> Rates:
    """Differences of a measured quantity (cost, time, score, return), t on date means."""
    drawn = _correlated(rng, tickers, dates).mean(axis=2)
    given = design.Prior(1.0, BY_DATE)
    terms: dict[str, Any] = {"cases": tickers * dates, "dates": dates, "assumed": given}
    planned, margin = design.detectable("excess_return_1", **terms), _margin(**terms)
    naive = _naive_rate(_correlated(rng, tickers, dates, RUNS // 4))
    name = f"measured, {tickers} tickers x {dates} dates"
    assert planned is not None
    return judged(name, "t", lambda truth: means.of_dates(drawn + truth), planned, margin, naive_false_positives=naive)


def shares(rng: np.random.Generator, tickers: int, dates: int, rate: float) -> Rates:
    """Differences of two shares (usable, similar, hits), exact at the effective number of cases."""
    model = _Shares(rng, tickers, dates, rate)
    planned = model.planned(design.detectable)
    margin = model.planned(lambda _, **terms: _margin(**terms))
    name = f"shares around {rate:.0%}, {tickers} tickers x {dates} dates"
    return judged(name, "exact", model.sample, planned, margin)


class _Shares:
    """Two arms that succeed on the same cases with some probability; hard cases are hard for both, and dates have bad days."""

    def __init__(self, rng: np.random.Generator, tickers: int, dates: int, rate: float) -> None:
        self.tickers, self.dates, self.rate = tickers, dates, rate
        self.most = min(rate, 1 - rate) * 0.98
        hard = _correlated(rng, tickers, dates)
        self.latent = [(hard + _correlated(rng, tickers, dates)) / math.sqrt(2) for _ in range(2)]

    def differences(self, truth: float) -> Any:
        """Success of the arm minus that of the baseline, runs x dates x tickers."""
        arm, baseline = self.rate + truth / 2, self.rate - truth / 2
        if arm > 1 or baseline < 0:
            arm, baseline = self.rate + truth, self.rate
        first, second = (latent < special.ndtri(rate) for latent, rate in zip(self.latent, (arm, baseline), strict=True))
        return first.astype(np.int8) - second.astype(np.int8)

    def sample(self, truth: float) -> exact.Paired:
        apart = self.differences(truth)
        gains, losses = (apart > 0).sum(axis=2), (apart < 0).sum(axis=2)
        return exact.paired(gains, losses, np.full(gains.shape, self.tickers))

    def planned(self, ask: Callable[..., float | None]) -> float:
        """What the planner says once it knows discordance and clustering at that difference (found by going round)."""
        truth = 0.2
        for _ in range(6):
            apart = self.differences(truth)[: RUNS // 4].astype(float)
            given = design.Prior(math.sqrt(float((apart**2).mean())), _icc(apart))
            told = ask("usable", cases=self.tickers * self.dates, dates=self.dates, assumed=given)
            truth = min(told or self.most, 2 * self.most)
        return truth


# --- failures that depend on the case --------------------------------------------------------------------------------


def failures(rng: np.random.Generator, tickers: int, dates: int) -> Rates:
    """Hard cases score lower in both arms and fail more often, in the arm twice as often: completed pairs, t on date means."""
    hard = _correlated(rng, tickers, dates)
    apart = _correlated(rng, tickers, dates)
    fails = [hard + rng.normal(size=hard.shape) > special.ndtri(1 - rate) * math.sqrt(2) for rate in (0.2, 0.1)]
    is_lost = fails[0] | fails[1]
    with np.errstate(invalid="ignore"):
        kept = np.where(is_lost, np.nan, apart)
        counts = (~is_lost).sum(axis=2)
        drawn = np.where(counts > 0, np.nansum(kept, axis=2) / np.maximum(counts, 1), np.nan)
    given = design.Prior(1.0, BY_DATE)
    met = math.floor(float((counts > 0).sum(axis=1).mean()))
    completed = math.floor(float(counts.sum(axis=1).mean()))
    terms: dict[str, Any] = {"cases": max(completed, met), "dates": met, "assumed": given}
    planned, margin = design.detectable("excess_return_1", **terms), _margin(**terms)
    unpaired = _unpaired_bias(hard, fails)
    name = f"failures depend on the case, {tickers} tickers x {dates} dates"
    assert planned is not None
    return judged(name, "t", lambda truth: means.of_dates(drawn + truth), planned, margin, bias_if_not_paired=unpaired)


def _unpaired_bias(hard: Any, fails: list[Any]) -> float:
    """By how much the arm that fails on hard cases would look better, were arms compared without pairing."""
    quality = -hard
    return float(np.mean(quality[~fails[0]]) - np.mean(quality[~fails[1]]))


# --- overlapping outcome windows -------------------------------------------------------------------------------------


def overlapping(rng: np.random.Generator, tickers: int, dates: int, every: int, persistence: float) -> Rates:
    """Returns over 20 sessions from closer dates, ratings that persist: only windows that do not overlap are tested."""
    runs = RUNS if tickers * dates < 1000 else RUNS // 4
    by_date = np.concatenate([_case_returns(rng, tickers, dates, every, persistence, runs // 10) for _ in range(10)])
    spans = [(index, index * every, index * every + HORIZON) for index in range(dates)]
    chosen = outcomes.non_overlapping(spans)
    drawn = by_date[:, chosen]
    sd = float(drawn.std())
    given = design.Prior(sd * math.sqrt(tickers), 0.0)
    terms: dict[str, Any] = {"cases": len(chosen) * tickers, "dates": len(chosen), "assumed": given}
    planned, margin = design.detectable("excess_return_20", **terms), _margin(**terms)
    all_dates = _share(means.of_dates(by_date), None, {BETTER, WORSE})
    hac = _hac_rate(by_date, -(-HORIZON // every) - 1)
    name = f"20-session windows every {every}, {tickers} tickers x {dates} dates, persistence {persistence:g}"
    assert planned is not None
    more = {"windows": float(len(chosen)), "false_positives_all_dates": all_dates, "false_positives_hac": hac}
    return judged(name, "t", lambda truth: means.of_dates(drawn + truth), planned, margin, **more)


def _case_returns(rng: np.random.Generator, tickers: int, dates: int, every: int, persistence: float, runs: int) -> Any:
    """Mean over tickers of (difference of positions) x (excess return over 20 sessions), runs x dates."""
    sessions = (dates - 1) * every + HORIZON
    shared = math.sqrt(0.03) * rng.normal(size=(runs, sessions, 1))
    daily = 0.016 * (shared + math.sqrt(0.97) * rng.normal(size=(runs, sessions, tickers)))
    sums = np.concatenate([np.zeros((runs, 1, tickers)), np.cumsum(daily, axis=1)], axis=1)
    starts = np.arange(dates) * every
    forward = sums[:, starts + HORIZON] - sums[:, starts]
    return (_positions(rng, (runs, dates, tickers), persistence) * forward).mean(axis=2)


def _positions(rng: np.random.Generator, shape: tuple[int, ...], persistence: float) -> Any:
    """Difference of two arms' positions (-2 to 2), from latent views that persist from date to date."""
    views = np.empty((2, *shape))
    views[:, :, 0] = rng.normal(size=(2, shape[0], shape[2]))
    for date in range(1, shape[1]):
        news = rng.normal(size=(2, shape[0], shape[2]))
        views[:, :, date] = persistence * views[:, :, date - 1] + math.sqrt(1 - persistence**2) * news
    return np.diff(np.digitize(views, (-0.5, 0.5)), axis=0)[0]


def _hac_rate(by_date: Any, lags: int) -> float:
    """How often Newey-West with lags over the horizon would reject a true null: why it is not used here."""
    centred = by_date - by_date.mean(axis=1, keepdims=True)
    count = by_date.shape[1]
    variance = (centred**2).mean(axis=1)
    for lag in range(1, min(lags, count - 1) + 1):
        variance += 2 * (1 - lag / (lags + 1)) * (centred[:, lag:] * centred[:, :-lag]).sum(axis=1) / count
    t = by_date.mean(axis=1) / np.sqrt(np.maximum(variance, 1e-18) / count)
    return float((np.abs(t) > special.stdtrit(count - 1, 0.975)).mean())


# --- data ------------------------------------------------------------------------------------------------------------


def _correlated(rng: np.random.Generator, tickers: int, dates: int, runs: int = RUNS) -> Any:
    """Standard normal values, runs x dates x tickers, with 30 % of the variance by date."""
    common = rng.normal(size=(runs, dates, 1)) * math.sqrt(BY_DATE)
    return common + rng.normal(size=(runs, dates, tickers)) * math.sqrt(1 - BY_DATE)


def _icc(values: Any) -> float:
    """Share of variance that a date's cases have in common (analysis of variance over runs and dates)."""
    tickers = values.shape[2]
    within = values.var(axis=2, ddof=1).mean()
    between = values.mean(axis=2).var() - within / tickers
    return float(max(between, 0.0) / (max(between, 0.0) + within))


def _naive_rate(values: Any) -> float:
    """How often a t-test over cells, blind to dates, rejects a true null."""
    cells = values.reshape(len(values), -1)
    t = cells.mean(axis=1) / (cells.std(axis=1, ddof=1) / math.sqrt(cells.shape[1]))
    return float((np.abs(t) > special.stdtrit(cells.shape[1] - 1, 0.975)).mean())


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    started = time.perf_counter()
    rng = np.random.default_rng(20_260_701)
    designs = [continuous(rng, *shape) for shape in SHAPES]
    designs += [shares(rng, *shape, rate) for shape in SHAPES for rate in (0.5, 0.7)]
    designs += [failures(rng, *shape) for shape in SHAPES]
    designs += [overlapping(rng, *schedule, persistence) for schedule in SCHEDULES for persistence in PERSISTENCE]
    rows = [rates.as_json() for rates in designs]
    print(
        json.dumps(
            {"level": LEVEL, "runs": RUNS, "designs": rows, "seconds": round(time.perf_counter() - started, 1)}, indent=1
        )
    )


if __name__ == "__main__":
    main()
