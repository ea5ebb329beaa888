"""The verdict on one endpoint of one pair: one of five words, from tests at the level that Holm leaves it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from scipy import special

from reports.stats.means import Numbers

LEVEL = 0.04
"""Two-sided level of a verdict; below 5 % on purpose, so that simulated wrong verdicts stay at most 5 % also where a test
holds only nearly (benchmarks/statistics.py). Printed intervals are 95 %."""
POWER = 0.8
WORDS = ("cannot tell", "not worse", "worse", "better", "equivalent")
CANNOT_TELL, NOT_WORSE, WORSE, BETTER, EQUIVALENT = range(5)
MOST_CASES = 10_000_000


class Sample(Protocol):
    """A difference in favour of the arm (above zero is better), as stats.means and stats.exact estimate it."""

    @property
    def value(self) -> Numbers: ...
    @property
    def se(self) -> Numbers: ...
    @property
    def df(self) -> Numbers: ...
    def bounds(self, level: Numbers) -> tuple[Numbers, Numbers]: ...
    def p_above(self, x: Numbers) -> Numbers: ...
    def p_below(self, x: Numbers) -> Numbers: ...
    def flipped(self) -> Sample: ...
    def scaled(self, times: float) -> Sample: ...


@dataclass(frozen=True)
class Verdict:
    """What the run can say about one endpoint of one arm against the baseline."""

    word: str
    """One of WORDS."""
    margin: float | None
    """Declared difference that does not matter, on the scale of the comparison (0.1 is a tenth, for a ratio)."""
    p: float
    """Smallest p of the claims that could be made; NaN where there is no test."""
    p_holm: float
    """The same after Holm over the declared endpoints of this pair; held against LEVEL."""
    detectable: float | None = None
    """Smallest difference that this sample shows in 80 of 100 runs, on the scale of the comparison."""
    more_cases: int | None = None
    """Cases that would settle it, if nothing else changes; None where that cannot be said."""
    more_usd: float | None = None
    """What they would cost both arms."""
    reason: str = ""
    """Why nothing can be told, where it is not for lack of cases."""


def words(sample: Sample, margin: float | None, level: Numbers = LEVEL) -> Any:
    """Index into WORDS, over arrays as well: equivalence first, since a margin says what matters.

    Read from the intervals that belong to the tests: better and worse two-sided, not worse by a one-sided test at half the
    level, equivalence by two one-sided tests and only with 80 % power to show it.
    """
    low, high = sample.bounds(level)
    code = np.where(low > 0, BETTER, np.where(high < 0, WORSE, CANNOT_TELL))
    if margin is None:
        return code
    code = np.where((code == CANNOT_TELL) & (low > -margin), NOT_WORSE, code)
    low, high = sample.bounds(2 * np.asarray(level))
    is_inside = (low > -margin) & (high < margin)
    return np.where(is_inside & is_powered(sample, margin, level), EQUIVALENT, code)


def claims(sample: Sample, margin: float | None) -> tuple[float, ...]:
    """p of the hypotheses that a verdict may reject: no difference; with a margin also a difference no smaller than it."""
    apart = 2 * min(float(sample.p_above(0.0)), float(sample.p_below(0.0)))
    if margin is None:
        return (min(apart, 1.0),)
    above = float(sample.p_above(-margin))
    inside = max(above, float(sample.p_below(margin))) if is_powered(sample, margin, LEVEL) else 1.0
    return (min(apart, 1.0), min(inside, 2 * above, 1.0))


def is_powered(sample: Sample, margin: float, level: Numbers) -> Any:
    """Whether equivalence within the margin would be shown in 80 of 100 runs if there were no difference.

    The standard error is itself uncertain: its upper 80 % bound counts, so that lucky small samples prove nothing.
    """
    return margin >= _reach(sample.df, level, 1 - (1 - POWER) / 2, sides=1) * sample.se * uncertainty(sample.df)


def uncertainty(df: Numbers) -> Numbers:
    """Upper 80 % bound of a standard error with this many degrees of freedom, divided by its estimate."""
    return np.sqrt(df / special.chdtri(df, POWER))


def detectable(sample: Sample, level: float = LEVEL) -> float | None:
    """Smallest true difference that would be called in 80 of 100 such samples."""
    size = float(_reach(sample.df, level, POWER, sides=2) * sample.se)
    return size if math.isfinite(size) else None


def dates_needed(sample: Sample, margin: float | None, dates: int, level: float = LEVEL) -> int | None:
    """Dates like these that would settle it: show equivalence where the difference seen is below the margin, else show it."""
    is_small = margin is not None and abs(float(sample.value)) < margin
    if dates < 2 or not math.isfinite(float(sample.se)) or not (is_small or float(sample.value)):
        return None
    margin = margin if is_small else None
    low, high = dates, dates
    while not _settles(sample.scaled(high / dates), margin, level):
        low, high = high, high * 2
        if high > MOST_CASES:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _settles(sample.scaled(middle / dates), margin, level) else (middle, high)
    return high


def _settles(sample: Sample, margin: float | None, level: float) -> bool:
    if margin is not None:
        return bool(is_powered(sample, margin, level))
    return bool(abs(sample.value) >= _reach(sample.df, level, POWER, sides=2) * sample.se)


def _reach(df: Numbers, level: Numbers, power: float, *, sides: int) -> Numbers:
    """Standard errors between no difference and one that is called with this power."""
    return special.stdtrit(df, 1 - np.asarray(level) / sides) + special.stdtrit(df, power)
