"""What a search is likely to cost and to settle, by simulating its own rule before anything is asked."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.errors import InvalidInput
from harness.finding.design import make
from reports.design import Assumptions, Design, Prior
from reports.finding import SearchDesign
from reports.format import seconds_text
from reports.metrics.measure import is_by_means
from reports.stats import exact, means, sequential
from reports.stats.estimate import Sample

if TYPE_CHECKING:
    from harness.experiment.spec import Experiment
    from harness.planning.plan import Plan

RUNS = 300
REPLAYED_SHARE = 1 / 3
"""Part of a cell's cost that its roles with a form make up: only these are replayed by the screen."""


@dataclass(frozen=True)
class Chances:
    """Forecast of a search."""

    settled: Mapping[str, float]
    """Metric -> chance that an arm equal to the baseline is shown not to be worse."""
    good_enough: float
    """Chance of that on all of them."""
    picked: float
    """Chance that a recommendation is made if every candidate is equal to the baseline."""
    share_if_equal: float
    """Expected cells of the blocks, as a share of the whole matrix, if every candidate is equal."""
    share_on_margin: float
    """The same if every candidate lies on a margin."""
    usd_if_equal: float | None
    usd_on_margin: float | None
    usd_of_matrix: float | None
    seconds_of_matrix: float | None

    def to_plain(self) -> dict[str, Any]:
        return asdict(self)

    def lines(self) -> list[str]:
        """For the terminal."""
        chances = ", ".join(f"{name.replace('_', ' ')} {chance:.0%}" for name, chance in self.settled.items())
        lines = [
            "as a search (`find`): the screen, then blocks of dates until nothing is open",
            f"  if every candidate is equal to the baseline, chance to settle: {chances}; all three {self.good_enough:.0%}; "
            f"to recommend one {self.picked:.0%}",
            f"  expected part of the blocks: {self.share_if_equal:.0%} if all are equal, {self.share_on_margin:.0%} if "
            "all are on a margin, less if the screen drops some",
        ]
        if self.usd_of_matrix is not None and self.usd_if_equal is not None and self.usd_on_margin is not None:
            low, high = sorted((self.usd_on_margin, self.usd_if_equal))
            whole = f"every block to its end, without the screen and its dates, ${self.usd_of_matrix:,.2f}"
            lines.append(f"  expected API cost: ${low:,.2f} to ${high:,.2f}, screen included; {whole}")
        if self.seconds_of_matrix is not None:
            low, high = sorted(self.seconds_of_matrix * share for share in (self.share_on_margin, self.share_if_equal))
            lines.append(f"  expected time: {seconds_text(low)} to {seconds_text(high)}, without the waits of deferred lanes")
        return lines


def of_experiment(experiment: Experiment, plan: Plan, assumptions: Assumptions | None = None) -> Chances | None:
    """The forecast of a search over this experiment; None if it cannot be searched, or if only a part is planned."""
    try:
        wanted = make(experiment, None)
    except InvalidInput:
        return None
    return forecast(wanted, plan, assumptions) if {wanted.baseline, *wanted.candidates} <= plan.arms.keys() else None


def forecast(design: SearchDesign, plan: Plan, assumptions: Assumptions | None = None, seed: int = 1) -> Chances:
    """Simulate the search; the plan prices its cells, and `assumptions` are what earlier runs measured."""
    rng, known = np.random.default_rng(seed), assumptions or Assumptions()
    equal = _simulate(rng, design, known, [0.0] * len(design.gate.metrics))
    on_margin = _simulate(rng, design, known, [-margin for margin in design.gate.margins])
    usd = _prices(design, plan)
    return Chances(
        settled={name: float(equal.flags[..., place].mean()) for place, name in enumerate(design.gate.metrics)},
        good_enough=float(equal.flags.all(axis=-1).mean()),
        picked=float((equal.pick >= 0).mean()),
        share_if_equal=_share(design, equal),
        share_on_margin=_share(design, on_margin),
        usd_if_equal=None if usd is None else usd.of(equal),
        usd_on_margin=None if usd is None else usd.of(on_margin),
        usd_of_matrix=None if usd is None else usd.baseline + sum(usd.candidates),
        seconds_of_matrix=plan.total_time.mid,
    )


@dataclass(frozen=True)
class _Course:
    """Simulated searches: flags (runs, arms, metrics), the share of blocks that each arm and the baseline played."""

    flags: Any
    pick: Any
    arms: Any
    baseline: Any


def _simulate(rng: np.random.Generator, design: SearchDesign, known: Assumptions, truths: list[float]) -> _Course:
    count, looks, tickers = len(design.candidates), design.looks, len(design.tickers)
    dates = len(design.blocks[0]) * looks
    shape = (RUNS, count, dates, tickers)
    planned = Design(dates, tickers, design.baseline_repeats, design.arm_repeats)
    same = truths[0] + _differences(rng, shape, known.prior("same_rating", planned))
    ahead, behind = np.maximum(same, 0).sum(axis=-1), np.maximum(-same, 0).sum(axis=-1)
    grounding = truths[2] + _differences(rng, shape, known.prior("grounding", planned)).mean(axis=-1)
    failing = rng.binomial(design.arm_repeats, known.failing - truths[1], shape) / design.arm_repeats
    apart = rng.binomial(design.baseline_repeats, known.failing, shape) / design.baseline_repeats - failing
    gains, losses = np.maximum(apart, 0).sum(axis=-1), np.maximum(-apart, 0).sum(axis=-1)
    standing = sequential.before_any_look((RUNS, count), design.gate)
    everyone, is_open = np.ones((RUNS, count), bool), np.ones((RUNS, count), bool)
    arms, baseline = np.zeros((RUNS, count)), np.zeros(RUNS)
    for look in range(1, looks + 1):
        arms, baseline = arms + is_open / looks, baseline + is_open.any(axis=1) / looks
        until = look * len(design.blocks[0])
        cases = np.full((RUNS, count, until), float(tickers))
        by_means = is_by_means("agreement", until, until * tickers)
        samples: tuple[Sample, ...] = (
            means.of_dates(same.mean(axis=-1)[..., :until])
            if by_means
            else exact.paired(ahead[..., :until], behind[..., :until], cases),
            exact.paired(gains[..., :until], losses[..., :until], cases),
            means.of_dates(grounding[..., :until]),
        )
        p = np.stack([sample.p_above(-margin) for sample, margin in zip(samples, design.gate.margins, strict=True)], axis=-1)
        seen = np.stack([sample.value for sample in samples], axis=-1)
        standing = sequential.after_look(standing, design.gate, p, seen, is_open, look, looks)
        is_open = is_open & sequential.still_open(standing, design.gate, everyone, look, looks)
    return _Course(standing.flags, sequential.recommended(standing, design.gate, everyone), arms, baseline)


def _differences(rng: np.random.Generator, shape: tuple[int, ...], prior: Prior) -> Any:
    """Differences of cases (..., dates, tickers), of which a date's cases have a part in common."""
    common, own = rng.normal(size=(*shape[:-1], 1)), rng.normal(size=shape)
    return prior.sd * (math.sqrt(prior.icc) * common + math.sqrt(1 - prior.icc) * own)


def _share(design: SearchDesign, course: _Course) -> float:
    """Cells of the blocks as a share of the whole matrix."""
    of_baseline = design.baseline_repeats * float(course.baseline.mean())
    of_arms = design.arm_repeats * float(course.arms.sum(axis=1).mean())
    return (of_baseline + of_arms) / (design.baseline_repeats + design.arm_repeats * len(design.candidates))


@dataclass(frozen=True)
class _Prices:
    """Dollars of all blocks for the baseline and each candidate, and of the screen."""

    baseline: float
    candidates: tuple[float, ...]
    screen: float

    def of(self, course: _Course) -> float:
        shares = course.arms.mean(axis=0)
        return self.screen + self.baseline * float(course.baseline.mean()) + float(np.dot(shares, self.candidates))


def _prices(design: SearchDesign, plan: Plan) -> _Prices | None:
    """None if a price is unknown."""
    per_cell = {}
    for name in (design.baseline, *design.candidates):
        arm = plan.arms.get(name)
        if arm is None or arm.api_cost.mid is None:
            return None
        per_cell[name] = arm.api_cost.mid / arm.cells if arm.cells else 0.0
    cases, screened = design.cases_of_block * design.looks, len(design.screen_cases) * design.baseline_repeats
    screen = screened * (1 + REPLAYED_SHARE) * per_cell[design.baseline]
    screen += screened * REPLAYED_SHARE * sum(per_cell[arm] for arm in design.candidates)
    baseline = cases * design.baseline_repeats * per_cell[design.baseline]
    return _Prices(baseline, tuple(cases * design.arm_repeats * per_cell[arm] for arm in design.candidates), screen)
