"""Power of a design before it runs: how likely "good enough" is settled for an equal arm, and the margins that it can settle.

The variance of a case's difference is assumed until a run has measured it. Same rating follows from Hoeffding's decomposition
of a U-statistic (1948): what a draw adds alone (`ALONE`) falls with the repeats, what two draws add together (`TOGETHER`) with
the pairs. Cases of one date share a part of their variance (icc), which costs 1 + (tickers - 1) icc times the cases.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import numpy as np
from scipy import special

from domain.defaults import HORIZONS
from reports.metrics import catalog
from reports.metrics.measure import T_FROM
from reports.metrics.registry import Metric
from reports.stats import exact
from reports.verdict import DIFFERENCE_LEVEL, POWER

ALONE, TOGETHER = 0.0403, 0.1287
"""Variance parts of same rating where the baseline repeats its own rating in 65 % of cases (from simulation)."""
OWN_VIEW = 0.012
"""Added where an arm agrees with the baseline as often as the baseline with itself, but has its own view of each case."""
SAME_RATING_ICC = 0.025
DAILY_EXCESS_SD = 0.016
"""Standard deviation of one stock's excess return over one session (large US companies); positions differ by 1 on average."""


@dataclass(frozen=True)
class Prior:
    """Variation of the paired differences of a metric over cases."""

    sd: float
    """Standard deviation of the difference in one case; of its logarithm for ratios."""
    icc: float = 0.05
    """Share of its variance that a date's cases have in common."""
    source: str = ""
    """What it rests on."""


PRIORS: Mapping[str, Prior] = {
    "grounding": Prior(0.10, 0.1, "assumed: ten points in a case"),
    "opposite_trade": Prior(0.15, 0.05, "assumed: one case in fifty is opposed in one of arm and noise floor only"),
    "valid": Prior(math.sqrt(0.1), source="assumed: one case in ten is readable in one arm only"),
    "typed": Prior(math.sqrt(0.2), source="assumed: one case in five needs repair in one arm only"),
    "stability": Prior(math.sqrt(0.4), source="assumed: four cases in ten agree in one arm only"),
    "hit_rate": Prior(math.sqrt(0.35), source="assumed: the direction differs in 35 % of cases"),
    "cost": Prior(0.40, source="assumed: cost ratios of a case vary by a factor of 1.5"),
    "cold_cost": Prior(0.30, source="assumed: cost ratios of a case vary by a factor of 1.35"),
    "api_cost": Prior(0.30, source="assumed: as cost, in dollars"),
    "service_time": Prior(0.40, source="assumed: time ratios of a case vary by a factor of 1.5"),
    "service_p50": Prior(0.60, source="assumed: a median varies more than a mean"),
    "service_p95": Prior(1.00, source="assumed: a tail varies most"),
    "ttft": Prior(0.40, source="assumed: as service time"),
    "tokens_per_s": Prior(0.20, source="assumed: speed is steady"),
    "rank_correlation": Prior(0.50, 1.0, "assumed: one value per date, however many cases"),
}


@dataclass(frozen=True)
class Design:
    """How many cases are decided how often."""

    dates: int
    tickers: float
    """Cases per date."""
    baseline_repeats: int
    arm_repeats: int

    @property
    def cases(self) -> float:
        return self.dates * self.tickers


FAILING = 0.01
"""Share of runs without a usable decision, assumed of both arms: one failure costs much of the proof."""
WORLDS, FEWEST_WORLDS, DRAWS = 4_000, 200, 1_000_000
"""Simulated runs of a design for the power of usable; fewer where that would be more than so many cases."""


@dataclass(frozen=True)
class Assumptions:
    """What is known of the variation before the run; what earlier runs measured replaces the priors."""

    same_rating: float = 1.0
    """Factor on the assumed variance of same rating."""
    same_rating_source: str = "assumed: the baseline repeats its own rating in 65 % of cases"
    failing: float = FAILING
    """Share of the runs of either arm without a usable decision."""
    failing_source: str = f"assumed: {FAILING:.0%} of the answers of both arms fail"
    measured: Mapping[str, Prior] = field(default_factory=dict)
    """Metric -> its measured variation."""

    def prior(self, metric: str, design: Design, *, own_view: bool = False) -> Prior:
        """The variation of a metric in a design. Raises KeyError if nothing is known of the metric."""
        if metric in ("same_rating", "same_rating_of_all"):
            variance = self.same_rating * variance_of_same_rating(design) + (OWN_VIEW if own_view else 0.0)
            return Prior(math.sqrt(variance), SAME_RATING_ICC, self.same_rating_source)
        if metric == "usable":
            apart = self.failing * (1 - self.failing) * (1 / design.baseline_repeats + 1 / design.arm_repeats)
            return Prior(math.sqrt(apart), exact.ASSUMED_ICC, self.failing_source)
        return self.measured.get(metric) or prior(metric)


def variance_of_same_rating(design: Design) -> float:
    """Variance of A - F in one case for an arm that behaves like the baseline; infinite without two repeats of the baseline."""
    baseline, arm = design.baseline_repeats, design.arm_repeats
    if baseline < 2:
        return math.inf
    return ALONE * (1 / baseline + 1 / arm) + TOGETHER * (1 / (baseline * arm) + 2 / (baseline * (baseline - 1)))


def prior(name: str) -> Prior:
    """The assumed variation of a metric. Raises KeyError if unknown."""
    if match := re.fullmatch(r"excess_return_(\d+)", name):
        return Prior(DAILY_EXCESS_SD * math.sqrt(int(match[1])), 0.05, "assumed: 1.6 % a session, growing with its root")
    return PRIORS[re.sub(r"_\d+$", "", name) if name not in PRIORS else name]


def metric_named(name: str) -> Metric:
    """The metric of this name. Raises KeyError that lists the known ones."""
    horizon = re.search(r"_(\d+)$", name)
    horizons = sorted({*HORIZONS, *([int(horizon[1])] if horizon and not name.startswith("service") else [])})
    metrics_by_name = {each.name: each for each in catalog.all_metrics(horizons)}
    if name not in metrics_by_name:
        raise KeyError(f"unknown name {name!r}; known: {', '.join(catalog.metric_names())}")
    return metrics_by_name[name]


def power(name: str, margin: float, design: Design, assumptions: Assumptions | None = None, *, own_view: bool = False) -> float:
    """Chance that an equal arm is shown not worse than the margin; 0 below two dates and where it cannot be measured."""
    known = (assumptions or Assumptions()).prior(name, design, own_view=own_view)
    metric = metric_named(name)
    if design.dates < 2 or not math.isfinite(known.sd):
        return 0.0
    if name == "usable":
        losses = _losses_of_usable(design, (assumptions or Assumptions()).failing, metric.level)
        return float(np.mean(losses < margin))
    if is_exact(metric, design):
        return _exact_power(margin, design, known, metric.level)
    df, size = design.dates - 1, math.log1p(margin) if metric.scale == "ratio" else margin
    return float(special.stdtr(df, size / standard_error(known, design) - special.stdtrit(df, 1 - metric.level)))


def is_exact(metric: Metric, design: Design) -> bool:
    """Whether so small a design is judged by an exact test."""
    dates, cases = T_FROM.get(metric.kind, (0, 0))
    return metric.kind == "share" or design.dates < dates or design.cases < cases


def standard_error(known: Prior, design: Design) -> float:
    return known.sd * math.sqrt((1 + max(design.tickers - 1, 0) * known.icc) / design.cases)


@lru_cache(maxsize=256)
def _losses_of_usable(design: Design, failing: float, level: float) -> Any:
    """The bounds of the loss in simulated runs of an equal arm: failures are few, so no formula for many cases holds."""
    tickers = max(1, round(design.tickers))
    worlds = max(FEWEST_WORLDS, min(WORLDS, DRAWS // (design.dates * tickers)))
    rng, shape = np.random.default_rng(1), (worlds, design.dates, tickers)
    baseline, arm = (
        rng.binomial(repeats, failing, shape) / repeats for repeats in (design.baseline_repeats, design.arm_repeats)
    )
    gains, losses = (np.maximum(side * (baseline - arm), 0.0).sum(axis=-1) for side in (1, -1))
    return -exact.paired(gains, losses, np.full(gains.shape, float(tickers))).bounds(2 * level)[0]


def _exact_power(margin: float, design: Design, known: Prior, level: float) -> float:
    """From as many gains as losses; without any, the exact test passes or it does not."""
    counts, none = np.full(design.dates, float(design.tickers)), np.zeros(design.dates)
    half = known.sd**2 / 2 * design.cases
    sample = exact.Paired(half, half, design.cases, exact.paired(none, none, counts).effective)
    loss = -float(sample.bounds(2 * level)[0])
    spread = known.sd / math.sqrt(float(sample.effective))
    return float(special.ndtr((margin - loss) / spread)) if spread > 0 else float(loss < margin)


def smallest_margin(name: str, design: Design, assumptions: Assumptions | None = None, *, share: float = POWER) -> float | None:
    """Smallest margin that an equal arm is shown to keep with this power; None if there is none below a whole."""
    low, high = 0.0, 1.0
    if power(name, high, design, assumptions) < share:
        return None
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (low, middle) if power(name, middle, design, assumptions) >= share else (middle, high)
    return high


def good_enough_power(
    margins: Mapping[str, float], design: Design, assumptions: Assumptions | None = None, *, own_view: bool = False
) -> float:
    """Chance that an equal arm is shown good enough on all metrics, taken as independent."""
    return math.prod(power(name, margin, design, assumptions, own_view=own_view) for name, margin in margins.items())


def dates_needed(
    margins: Mapping[str, float], design: Design, assumptions: Assumptions | None = None, *, most: int = 10_000
) -> int | None:
    """Dates, with the tickers and repeats of `design`, that settle all margins with 80 % power; None if too many."""

    def is_enough(dates: int) -> bool:
        return good_enough_power(margins, replace(design, dates=dates), assumptions) >= POWER

    low, high = 2, 4
    while not is_enough(high):
        low, high = high, high * 2
        if high > most:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if is_enough(middle) else (middle, high)
    return high


def detectable(
    name: str, *, cases: float, dates: int, assumed: Prior | None = None, level: float = DIFFERENCE_LEVEL
) -> float | None:
    """Smallest true difference that a two-sided test shows in 80 of 100 runs (0.1: 10 points or a ratio of 1.1).

    None below two dates, and for a share of which even the whole would not do."""
    metric, known = metric_named(name), assumed or prior(name)
    if dates < 2:
        return None
    df = dates - 1
    reach = special.stdtrit(df, 1 - level / 2) + special.stdtrit(df, POWER)
    size = float(reach) * standard_error(known, Design(dates, cases / dates, 1, 1))
    if metric.scale == "ratio":
        return math.expm1(min(size, 700.0))
    return None if metric.unit == "share" and size >= 1 else size
