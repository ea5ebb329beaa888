"""Power of a design: detectable difference, provable margin and cases needed, from the variation of paired differences.

Formulas: standard errors of a difference times (t at the level + t at the power), at the design effect of dates
1 + (cases per date - 1) x icc; shares of small samples by enumeration of the exact interval.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import special

from domain.defaults import HORIZONS
from reports.metrics import catalog
from reports.metrics.registry import Metric
from reports.stats import exact
from reports.verdict import DIFFERENCE_LEVEL, POWER

SMALL = 80
"""Effective cases up to which the power of an exact interval is enumerated."""
SLACK = 0.08
"""Added to the power of an enumerated design, where the effect of dates has to be estimated too."""
MOST_DATES = 100_000


@dataclass(frozen=True)
class Prior:
    """Assumed variation of the paired differences of a metric, before a run has measured it."""

    sd: float
    """Standard deviation of the difference between two arms in one case; of its logarithm for ratios."""
    icc: float = 0.05
    """Share of its variance that a date's cases have in common."""
    repeat_noise: float = 0.5
    """Share of its variance that repeats of the same case would average away."""
    source: str = ""


def share(discordance: float, source: str) -> Prior:
    """Prior of a share from the part of cases in which two arms differ."""
    return Prior(math.sqrt(discordance), source=source)


PRIORS: dict[str, Prior] = {
    "usable": share(0.10, "one case in ten is usable in one arm only"),
    "valid": share(0.10, "one case in ten is readable in one arm only"),
    "typed": share(0.20, "one case in five needs repair in one arm only"),
    "same_rating": share(0.40, "four cases in ten agree in one of arm and noise floor only"),
    "same_rating_of_all": share(0.40, "as same_rating"),
    "opposite_trade": share(0.05, "one case in twenty is opposed in one of arm and noise floor only"),
    "stability": share(0.40, "as same_rating"),
    "hit_rate": share(0.35, "direction differs in 35 % of cases"),
    "cost": Prior(0.40, 0.05, 0.5, "per-case cost ratios vary by a factor of 1.35, and usable decisions vary"),
    "cold_cost": Prior(0.30, 0.05, 0.5, "as cost"),
    "api_cost": Prior(0.30, 0.05, 0.5, "as cost, in dollars"),
    "service_time": Prior(0.40, 0.05, 0.5, "per-case time ratios vary by a factor of 1.5"),
    "service_p50": Prior(0.60, 0.05, 0.5, "a median varies more than a mean"),
    "service_p95": Prior(1.00, 0.05, 0.5, "a tail varies most"),
    "ttft": Prior(0.40, 0.05, 0.5, "as service time"),
    "tokens_per_s": Prior(0.20, 0.05, 0.5, "speed is steady"),
    "rank_correlation": Prior(0.50, 1.0, 0.3, "one value per date, however many cases"),
}
DAILY_EXCESS_SD = 0.016
"""Standard deviation of one stock's excess return over one session (large US companies); positions differ by 1 on average."""


def prior(name: str) -> Prior:
    """The prior of a metric. Raises KeyError if unknown."""
    if match := re.fullmatch(r"excess_return_(\d+)", name):
        sd = DAILY_EXCESS_SD * math.sqrt(int(match[1]))
        return Prior(sd, 0.05, 0.3, "1.6 % a session, growing with its root")
    return PRIORS[re.sub(r"_\d+$", "", name) if name not in PRIORS else name]


def detectable(
    name: str, *, cases: int, dates: int, repeats: float = 1.0, assumed: Prior | None = None, level: float = DIFFERENCE_LEVEL
) -> float | None:
    """Smallest true difference that a verdict detects in 80 of 100 runs, as a fraction (0.1: 10 points or a ratio of 1.1).

    None below two dates. For outcomes, dates are non-overlapping windows (stats.windows.of_dates).
    """
    design = _Design(metric_named(name), assumed or prior(name), cases, dates, repeats, level)
    return None if dates < 2 else design.unlogged(design.detectable())


def provable_margin(
    name: str, *, cases: int, dates: int, repeats: float = 1.0, assumed: Prior | None = None, level: float = DIFFERENCE_LEVEL
) -> float | None:
    """Smallest margin for which equivalence would be shown in 80 of 100 runs if there were no difference."""
    design = _Design(metric_named(name), assumed or prior(name), cases, dates, repeats, level)
    return None if dates < 2 else design.unlogged(design.provable())


def cases_needed(
    name: str,
    *,
    cases_per_date: float,
    difference: float | None = None,
    margin: float | None = None,
    repeats: float = 1.0,
    assumed: Prior | None = None,
    level: float = DIFFERENCE_LEVEL,
) -> int | None:
    """Cases to detect this difference, or to prove equivalence within this margin, at 80 % power; None beyond 100,000 dates."""

    def is_enough(dates: int) -> bool:
        cases = max(round(cases_per_date * dates), dates)
        terms: dict[str, Any] = {"cases": cases, "dates": dates, "repeats": repeats, "assumed": assumed, "level": level}
        reached = detectable(name, **terms) if margin is None else provable_margin(name, **terms)
        return reached is not None and reached <= (difference if margin is None else margin)  # type: ignore[operator]

    high = 2
    while not is_enough(high):
        high *= 2
        if high > MOST_DATES:
            return None
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if is_enough(middle) else (middle, high)
    return max(round(cases_per_date * high), high)


def metric_named(name: str) -> Metric:
    """The metric of this name. Raises KeyError that lists the known ones."""
    horizon = re.search(r"_(\d+)$", name)
    horizons = sorted({*HORIZONS, *([int(horizon[1])] if horizon and not name.startswith("service") else [])})
    metrics_by_name = {each.name: each for each in catalog.all_metrics(horizons)}
    if name not in metrics_by_name:
        raise KeyError(f"unknown name {name!r}; known: {', '.join(catalog.metric_names())}")
    return metrics_by_name[name]


@dataclass(frozen=True)
class _Design:
    metric: Metric
    prior: Prior
    cases: int
    dates: int
    repeats: float
    level: float

    def detectable(self) -> float:
        is_exact = self.metric.kind == "share" and self.repeats == 1 and self.effective() <= SMALL
        if is_exact:
            return self._enumerated()
        size = self.reach(POWER, sides=2) * self.se()
        # A share's variance shrinks by the square of the difference itself.
        return size / math.sqrt(1 + (size / self.prior.sd) ** 2) if self.metric.kind == "share" else size

    def provable(self) -> float:
        """The margin that 80 of 100 samples would find powered: the estimated standard error may be above the true one."""
        df = self.dates - 1
        unlucky = math.sqrt(special.chdtri(df, 1 - POWER) / df)
        return self.reach(1 - (1 - POWER) / 2, sides=1) * self.se() * unlucky

    def effective(self) -> float:
        """Cases after the design effect of dates."""
        return self.cases / (1 + (self.cases / self.dates - 1) * self.prior.icc)

    def se(self) -> float:
        noise = self.prior.repeat_noise
        variance = self.prior.sd**2 * (1 - noise + noise / self.repeats)
        return math.sqrt(variance / self.effective())

    def reach(self, power: float, *, sides: int) -> float:
        df = self.dates - 1
        return float(special.stdtrit(df, 1 - self.level / sides) + special.stdtrit(df, power))

    def unlogged(self, size: float) -> float:
        return math.expm1(min(size, 700.0)) if self.metric.scale == "ratio" else size

    def _enumerated(self) -> float:
        """Smallest difference of shares whose exact interval leaves out zero in 80 of 100 samples."""
        low, high = 0.0, 1.0
        for _ in range(20):
            middle = (low + high) / 2
            low, high = (low, middle) if self._exact_power(middle) >= POWER + SLACK else (middle, high)
        return high

    def _exact_power(self, difference: float) -> float:
        count = max(round(self.effective()), 2)
        few = special.stdtrit(max(self.cases - 1, 1), 0.975) / special.stdtrit(self.dates - 1, 0.975)
        gains, losses = np.meshgrid(np.arange(count + 1.0), np.arange(count + 1.0))
        inside = gains + losses <= count
        gains, losses = gains[inside], losses[inside]
        low, _ = exact.Paired(gains, losses, count, max(count * few**2, 1.0)).bounds(self.level)
        return float(_trinomial(gains, losses, count, *self._discordant(difference))[low > 0].sum())

    def _discordant(self, difference: float) -> tuple[float, float]:
        """Probabilities of a case won by the arm and by the baseline; a large difference raises the prior's discordance."""
        discordance = min(max(self.prior.sd**2, difference), 1.0)
        return (discordance + difference) / 2, (discordance - difference) / 2


def _trinomial(gains: Any, losses: Any, count: int, gain: float, loss: float) -> Any:
    rest = count - gains - losses
    coefficient = (
        special.gammaln(count + 1) - special.gammaln(gains + 1) - special.gammaln(losses + 1) - special.gammaln(rest + 1)
    )
    return np.exp(
        coefficient + special.xlogy(gains, gain) + special.xlogy(losses, loss) + special.xlogy(rest, max(1 - gain - loss, 0.0))
    )
