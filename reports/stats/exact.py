"""Exact intervals for shares (Clopper-Pearson at the effective number of cases), because t is wrong for few or rare events."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import special

from reports.stats.estimate import Numbers

STEPS = 40
"""Bisection steps for a p-value: 2^-40 is far below any level."""
ASSUMED_ICC = 0.1
"""Correlation within a date if there are too few events to estimate it: failures cluster by date, rare ones weakly."""


@dataclass(frozen=True)
class Paired:
    """A difference of two shares over the same cases: `gains` cases for the arm, `losses` for the baseline, of `cases`.

    Each kind of discordant case has its Clopper-Pearson interval; the two are joined by square-and-add (MOVER).
    """

    gains: Numbers
    losses: Numbers
    cases: Numbers
    effective: Numbers
    """Cases after the design effect of dates (Korn-Graubard)."""

    method = "exact on discordant cases"

    @property
    def value(self) -> Numbers:
        return (self.gains - self.losses) / self.cases

    @property
    def se(self) -> Numbers:
        """Half the 95 % interval in standard errors, for power."""
        low, high = self.bounds(0.05)
        return (high - low) / 2 / 1.959964

    @property
    def df(self) -> Numbers:
        return np.full(np.shape(self.value), 1e6)[()]

    def bounds(self, level: Numbers) -> tuple[Numbers, Numbers]:
        """Two-sided interval at confidence 1 - level."""
        return self._low(level), -self.flipped()._low(level)

    def _low(self, level: Numbers) -> Numbers:
        gain, loss = self.gains / self.cases, self.losses / self.cases
        gain_low = _share_low(gain * self.effective, self.effective, level)
        loss_high = _share_high(loss * self.effective, self.effective, level)
        return np.maximum(gain - loss - np.hypot(gain - gain_low, loss_high - loss), -1.0)

    def p_above(self, x: Numbers) -> Numbers:
        """p of the hypothesis that the truth is at most x: the level at which the lower bound meets it."""
        return self._level_where(lambda level: self._low(2 * level) > x)

    def p_below(self, x: Numbers) -> Numbers:
        return self._level_where(lambda level: -self.flipped()._low(2 * level) < x)

    def flipped(self) -> Paired:
        return Paired(self.losses, self.gains, self.cases, self.effective)

    def scaled(self, times: float) -> Paired:
        """The same shares with `times` as many cases."""
        return Paired(self.gains * times, self.losses * times, self.cases * times, self.effective * times)

    def provable(self, level: float, power: float) -> Numbers:
        """Smallest margin beyond which a loss is excluded with this power at a one-sided level, if there is no difference:
        the loss's bound of a sample with as many gains as losses, and the spread of their difference."""
        half = (self.gains + self.losses) / 2
        low, _ = Paired(half, half, self.cases, self.effective).bounds(2 * level)
        spread = np.sqrt(2 * half / self.cases / self.effective)
        return -low + special.ndtri(power) * spread

    def _level_where(self, is_rejected) -> Numbers:  # type: ignore[no-untyped-def]
        low, high = np.zeros(np.shape(self.value)), np.full(np.shape(self.value), 0.5)
        for _ in range(STEPS):
            middle = (low + high) / 2
            rejected = is_rejected(middle)
            low, high = np.where(rejected, low, middle), np.where(rejected, middle, high)
        return high


@dataclass(frozen=True)
class Share:
    """A share of cases: Clopper-Pearson at the effective number of cases."""

    events: Numbers
    cases: Numbers
    effective: Numbers

    method = "exact, dates as clusters"

    @property
    def value(self) -> Numbers:
        return self.events / self.cases

    def bounds(self, level: Numbers) -> tuple[Numbers, Numbers]:
        """Two-sided interval at confidence 1 - level."""
        return share_bounds(self.value * self.effective, self.effective, level)


def share(events: Numbers, cases: Numbers) -> Share:
    """From counts per date (last axis): events, which may be fractional after repeats are collapsed, and cases."""
    events, cases = np.asarray(events, dtype=float), np.asarray(cases, dtype=float)
    dates = np.sum(cases > 0, axis=-1)
    effective = effective_cases(cases.sum(axis=-1), dates, *_variances(events, np.zeros_like(events), cases))
    return Share(events.sum(axis=-1), cases.sum(axis=-1), effective)


def sign_test(ups: int, downs: int) -> float:
    """Two-sided p of a sign test; 1 without any difference."""
    return float(min(1.0, 2 * special.bdtr(min(ups, downs), ups + downs, 0.5))) if ups + downs else 1.0


def share_bounds(events: Numbers, cases: Numbers, level: Numbers) -> tuple[Numbers, Numbers]:
    """Clopper-Pearson interval of a share; events and cases may be fractional."""
    return _share_low(events, cases, level), _share_high(events, cases, level)


def _share_low(events: Numbers, cases: Numbers, level: Numbers) -> Numbers:
    events = np.asarray(events, dtype=float)
    rest = np.maximum(np.asarray(cases, dtype=float) - events, 0.0)
    low = special.betaincinv(np.maximum(events, 1e-12), rest + 1, level / 2)
    return np.where(events <= 1e-9, 0.0, low)


def _share_high(events: Numbers, cases: Numbers, level: Numbers) -> Numbers:
    events = np.asarray(events, dtype=float)
    rest = np.maximum(np.asarray(cases, dtype=float) - events, 0.0)
    high = special.betaincinv(events + 1, np.maximum(rest, 1e-12), 1 - np.asarray(level) / 2)
    return np.where(rest <= 1e-9, 1.0, high)


def paired(gains: Numbers, losses: Numbers, cases: Numbers) -> Paired:
    """From counts per date (last axis): cases where the arm is ahead, where the baseline is, and all."""
    gains, losses, cases = (np.asarray(counts, dtype=float) for counts in (gains, losses, cases))
    total = cases.sum(axis=-1)
    dates = np.sum(cases > 0, axis=-1)
    effective = effective_cases(total, dates, *_variances(gains, losses, cases))
    return Paired(gains.sum(axis=-1), losses.sum(axis=-1), total, effective)


def _variances(gains: Numbers, losses: Numbers, cases: Numbers) -> tuple[Numbers, Numbers]:
    """Variance of the mean difference with dates as clusters, and as if cases were independent."""
    total = cases.sum(axis=-1)
    dates = np.sum(cases > 0, axis=-1)
    mean = (gains - losses).sum(axis=-1) / total
    residuals = gains - losses - np.expand_dims(mean, -1) * cases
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = dates / (dates - 1) * np.sum(residuals**2, axis=-1) / total**2
        independent = ((gains + losses).sum(axis=-1) - total * mean**2) / total / (total - 1)
    return spread, independent


def effective_cases(cases: Numbers, dates: Numbers, spread: Numbers, independent: Numbers) -> Numbers:
    """Cases after the design effect: `spread` is the variance of the mean by dates, `independent` the one without clusters.

    Korn and Graubard (1998): also pays for having estimated the spread from few dates. Never above the cases themselves.
    """
    per_date = cases / dates
    assumed = 1 + (per_date - 1) * ASSUMED_ICC
    with np.errstate(divide="ignore", invalid="ignore"):
        effect = np.where(independent > 0, spread / independent, assumed)
        effect = np.clip(effect, 1.0, np.maximum(per_date, 1.0))
    few = special.stdtrit(np.maximum(cases - 1, 1), 0.975) / special.stdtrit(np.maximum(dates - 1, 1), 0.975)
    return np.where(dates > 1, np.minimum(cases, np.maximum(cases / effect * few**2, 1.0)), 1.0)
