"""Verdicts on the declared metrics of a pair of arms: margin, tests, correction, word, and what would settle it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import special

from reports.metrics.measure import PairedTest
from reports.metrics.registry import Metric
from reports.stats.estimate import Numbers, Sample

LEVEL = 0.04
"""Two-sided level of a verdict. It is below 5 %, so that simulated wrong verdicts stay below 5 % even if a test is only
approximate (benchmarks/statistics.py). Printed intervals are 95 %."""
POWER = 0.8
WORDS = ("cannot tell", "not worse", "worse", "better", "equivalent")
CANNOT_TELL, NOT_WORSE, WORSE, BETTER, EQUIVALENT = range(5)
UNDECIDED = WORDS[CANNOT_TELL]
"""The word without a settled claim."""
MOST_CASES = 10_000_000

Family = Sequence[Sequence[float]]
"""The p-values of each metric's hypotheses."""


@dataclass(frozen=True)
class Question:
    """A declared metric of one pair of arms, before its verdict."""

    metric: Metric
    margin: float | None
    test: PairedTest | None
    reason: str = ""
    """Why there is no test."""

    @property
    def is_testable(self) -> bool:
        return self.test is not None and self.test.estimate.dates > 1 and bool(np.isfinite(self.test.sample.se))

    @property
    def benefit(self) -> Sample:
        """The difference in favour of the arm (above zero is better)."""
        assert self.test is not None
        return self.test.sample if self.metric.better == "higher" else self.test.sample.flipped()

    @property
    def sample_margin(self) -> float | None:
        """The margin on the scale of the sample (logarithms for a ratio)."""
        return math.log1p(self.margin) if self._is_ratio and self.margin else self.margin

    def published(self, size: float | None) -> float | None:
        """A size on the scale of the sample, on the scale of the comparison."""
        return math.expm1(min(size, 700.0)) if self._is_ratio and size is not None else size

    @property
    def _is_ratio(self) -> bool:
        return self.test is not None and self.test.scale == "ratio"


@dataclass(frozen=True)
class Verdict:
    """The conclusion about one metric of one arm against the baseline."""

    word: str
    """One of WORDS."""
    margin: float | None
    """Largest difference that does not matter, as declared, on the scale of the comparison (for a ratio, 0.1 is 10 %)."""
    p: float
    """Smallest p of the claims that were tested; NaN without a test."""
    p_holm: float
    """The same after Holm's correction over the declared metrics of this pair; compared with LEVEL."""
    detectable: float | None = None
    """Smallest difference that such a sample would show in 80 of 100 runs, on the scale of the comparison."""
    more_cases: int | None = None
    """Additional cases that would settle it if nothing else changes; None if unknown."""
    more_usd: float | None = None
    """Cost of those cases for both arms."""
    reason: str = ""
    """Why there is no test; empty if only cases are missing."""


def verdicts(questions: Mapping[str, Question], usd_per_case: float | None) -> dict[str, Verdict]:
    """Return metric -> verdict for one pair of arms. `usd_per_case` is the cost of a case for both arms, None if unknown."""
    tested = {name: question for name, question in questions.items() if question.is_testable}
    family = [p_values(question.benefit, question.sample_margin) for question in tested.values()]
    level = holm_level(family, LEVEL)
    p_holm = dict(zip(tested, holm_adjusted(family), strict=True))
    p = {name: min(of_metric) for name, of_metric in zip(tested, family, strict=True)}
    return {
        name: _verdict(question, level, p[name], p_holm[name], usd_per_case) if name in tested else _without_test(question)
        for name, question in questions.items()
    }


def _verdict(question: Question, level: float, p: float, p_holm: float, usd_per_case: float | None) -> Verdict:
    word = WORDS[int(word_index(question.benefit, question.sample_margin, level))]
    verdict = Verdict(word, question.margin, p, p_holm, question.published(detectable(question.benefit)))
    if word != UNDECIDED:
        return verdict
    more_cases = _more_cases(question)
    more_usd = None if more_cases is None or usd_per_case is None else more_cases * usd_per_case
    return replace(verdict, more_cases=more_cases, more_usd=more_usd)


def _without_test(question: Question) -> Verdict:
    one_date = "one date only, and cases of one date count as one" if question.test is not None else ""
    reason = question.reason or one_date or "no case has a known value of both arms"
    return Verdict(UNDECIDED, question.margin, math.nan, math.nan, reason=reason)


# --- tests -------------------------------------------------------------------------------------------------------------


def p_values(sample: Sample, margin: float | None) -> tuple[float, ...]:
    """p-values of the hypotheses that a verdict may reject: no difference; with a margin, a difference of at least it."""
    apart = 2 * min(float(sample.p_above(0.0)), float(sample.p_below(0.0)))
    if margin is None:
        return (min(apart, 1.0),)
    above = float(sample.p_above(-margin))
    inside = max(above, float(sample.p_below(margin))) if is_powered(sample, margin, LEVEL) else 1.0
    return (min(apart, 1.0), min(inside, 2 * above, 1.0))


def is_powered(sample: Sample, margin: float, level: Numbers) -> Any:
    """Return whether equivalence within the margin would be shown in 80 of 100 runs if there were no difference.

    The standard error is an estimate, so its upper 80 % bound is used: a small sample with a lucky spread proves nothing.
    """
    return margin >= _reach(sample.df, level, 1 - (1 - POWER) / 2, sides=1) * sample.se * uncertainty(sample.df)


def uncertainty(df: Numbers) -> Numbers:
    """Upper 80 % bound of a standard error with this many degrees of freedom, divided by its estimate."""
    return np.sqrt(df / special.chdtri(df, POWER))


# --- correction --------------------------------------------------------------------------------------------------------

# Holm's step-down correction over the declared metrics of a pair, with Shaffer's (1986) logical constraints: a metric brings
# one or two hypotheses ("no difference" and, with a margin, "a difference of at least the margin"). They exclude each other, so
# at most one per metric is true, and the divisor is the number of metrics with a hypothesis left.


def holm_level(family: Family, alpha: float) -> float:
    """Final level of Holm's procedure: hypotheses with p at or below it are rejected."""
    left = [len(of_metric) for of_metric in family]
    for p, metric in _ascending(family):
        if not p <= alpha / _still_open(left):
            break
        left[metric] -= 1
    return alpha / max(_still_open(left), 1)


def holm_adjusted(family: Family) -> list[float]:
    """Adjusted p of each metric: the smallest alpha at which one of its hypotheses would be rejected."""
    left = [len(of_metric) for of_metric in family]
    result, worst = [1.0] * len(family), 0.0
    for p, metric in _ascending(family):
        worst = max(worst, min(1.0, p * _still_open(left)))
        if left[metric] == len(family[metric]):
            result[metric] = worst
        left[metric] -= 1
    return result


def _ascending(family: Family) -> list[tuple[float, int]]:
    return sorted((p, metric) for metric, of_metric in enumerate(family) for p in of_metric)


def _still_open(left: Sequence[int]) -> int:
    return sum(count > 0 for count in left)


# --- word --------------------------------------------------------------------------------------------------------------


def word_index(sample: Sample, margin: float | None, level: Numbers = LEVEL) -> Any:
    """Index into WORDS, for floats and arrays; equivalence comes first, because a margin defines what matters.

    Uses the intervals of the tests: better and worse are two-sided; not worse is a one-sided test at half the level;
    equivalence is two one-sided tests and needs 80 % power.
    """
    low, high = sample.bounds(level)
    code = np.where(low > 0, BETTER, np.where(high < 0, WORSE, CANNOT_TELL))
    if margin is None:
        return code
    code = np.where((code == CANNOT_TELL) & (low > -margin), NOT_WORSE, code)
    low, high = sample.bounds(2 * np.asarray(level))
    is_inside = (low > -margin) & (high < margin)
    return np.where(is_inside & is_powered(sample, margin, level), EQUIVALENT, code)


# --- what would settle it ----------------------------------------------------------------------------------------------


def detectable(sample: Sample, level: float = LEVEL) -> float | None:
    """Smallest true difference that 80 of 100 such samples would detect."""
    size = float(_reach(sample.df, level, POWER, sides=2) * sample.se)
    return size if math.isfinite(size) else None


def _more_cases(question: Question) -> int | None:
    assert question.test is not None
    estimate = question.test.estimate
    dates = dates_needed(question.benefit, question.sample_margin or None, estimate.dates)
    if dates is None or dates <= estimate.dates:
        return None
    more = math.ceil((dates - estimate.dates) * estimate.cases / estimate.dates)
    return more if more <= MOST_CASES else None


def dates_needed(sample: Sample, margin: float | None, dates: int, level: float = LEVEL) -> int | None:
    """Dates needed to settle it: by equivalence if the observed difference is below the margin, else by a difference."""
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
    """Distance, in standard errors, of the smallest difference that is detected with this power."""
    return special.stdtrit(df, 1 - np.asarray(level) / sides) + special.stdtrit(df, power)
