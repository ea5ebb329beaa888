"""A published figure with its 95 % interval and the number of cases and dates behind it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

Numbers = Any
"""A float or an array of them: every function works over leading axes, so that simulations run the product's own code."""
LEVEL = 0.05
"""Printed intervals cover 95 %."""


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
    def provable(self, level: float, power: float) -> Numbers: ...


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % interval over cases; NaN if unknown."""

    value: float
    low: float
    high: float
    cases: int
    """Cases used."""
    dates: int
    """Dates, or non-overlapping windows of an outcome; the interval depends on this number."""
    missing: int = 0
    """Cases of this arm without a known value."""
    method: str = ""
    confidence: float = 1 - LEVEL
    """Of the interval, two-sided."""


def of_mean(
    sample: Any,
    cases: int,
    dates: int,
    *,
    missing: int = 0,
    method: str = "",
    scale: Callable[[Any], Any] = lambda value: value,
    within: tuple[float, float] = (-np.inf, np.inf),
) -> Estimate:
    """Estimate from a sample; `scale` transforms it (exp for ratios), and its interval stays inside what a figure can be."""
    low, high = sample.bounds(LEVEL)
    with np.errstate(over="ignore"):
        value, low, high = (float(scale(bound)) for bound in (sample.value, low, high))
    low, high = (float(np.clip(bound, *within)) for bound in (low, high))
    return Estimate(value, low, high, cases, dates, missing, method or sample.method)


def unknown(missing: int = 0, method: str = "") -> Estimate:
    """An estimate without a value."""
    return Estimate(np.nan, np.nan, np.nan, 0, 0, missing, method)
