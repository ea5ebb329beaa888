"""The verdict on one metric of one pair: margin, test, correction for several metrics, and one of five words."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import special

from reports.metrics.measure import PairedTest
from reports.metrics.registry import Metric
from reports.stats.estimate import Numbers, Sample

LEVEL = 0.04
"""Two-sided level of a verdict; below 5 % on purpose, so that simulated wrong verdicts stay at most 5 % also where a test
holds only nearly (benchmarks/statistics.py). Printed intervals are 95 %."""
POWER = 0.8
WORDS = ("cannot tell", "not worse", "worse", "better", "equivalent")
CANNOT_TELL, NOT_WORSE, WORSE, BETTER, EQUIVALENT = range(5)
MOST_CASES = 10_000_000


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


def word_index(sample: Sample, margin: float | None, level: Numbers = LEVEL) -> Any:
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


def p_values(sample: Sample, margin: float | None) -> tuple[float, ...]:
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


Family = Sequence[Sequence[float]]
"""p-values of each endpoint's hypotheses."""


def holm_level(claims: Family, alpha: float) -> float:
    """The level at which every hypothesis of the family is tested in the end; those with p at most this are rejected."""
    left = [len(of_endpoint) for of_endpoint in claims]
    for p, endpoint in _ascending(claims):
        if not p <= alpha / _still_open(left):
            break
        left[endpoint] -= 1
    return alpha / max(_still_open(left), 1)


def holm_adjusted(claims: Family) -> list[float]:
    """For each endpoint the smallest alpha at which one of its hypotheses would be rejected."""
    left = [len(of_endpoint) for of_endpoint in claims]
    result, worst = [1.0] * len(claims), 0.0
    for p, endpoint in _ascending(claims):
        worst = max(worst, min(1.0, p * _still_open(left)))
        if left[endpoint] == len(claims[endpoint]):
            result[endpoint] = worst
        left[endpoint] -= 1
    return result


def _ascending(claims: Family) -> list[tuple[float, int]]:
    return sorted((p, endpoint) for endpoint, of_endpoint in enumerate(claims) for p in of_endpoint)


def _still_open(left: Sequence[int]) -> int:
    return sum(count > 0 for count in left)


@dataclass(frozen=True)
class Question:
    """A declared endpoint of one pair, before its verdict."""

    metric: Metric
    margin: float | None
    test: PairedTest | None
    reason: str = ""
    """Why there is no test."""


def verdicts(questions: Mapping[str, Question], usd_per_case: float | None) -> dict[str, Verdict]:
    """endpoint -> verdict, for one pair; `usd_per_case` is what both arms spend on a case, None where unknown."""
    tested = [name for name, question in questions.items() if _is_testable(question)]
    claims = [p_values(_benefit(questions[name]), _margin(questions[name])) for name in tested]
    level = holm_level(claims, LEVEL)
    told = {name: (min(of), adjusted) for name, of, adjusted in zip(tested, claims, holm_adjusted(claims), strict=True)}
    return {
        name: _verdict(question, level, *told[name], usd_per_case) if name in told else _without_test(question)
        for name, question in questions.items()
    }


def _verdict(question: Question, level: float, p: float, p_holm: float, usd_per_case: float | None) -> Verdict:
    sample, margin = _benefit(question), _margin(question)
    code = int(word_index(sample, margin, level))
    given = Verdict(WORDS[code], question.margin, p, p_holm, _unlog(question, detectable(sample)))
    if code != CANNOT_TELL:
        return given
    more = _more_cases(question, sample, margin)
    usd = None if more is None or usd_per_case is None else more * usd_per_case
    return Verdict(given.word, given.margin, p, p_holm, given.detectable, more, usd)


def _without_test(question: Question) -> Verdict:
    few = "one date only, and cases of one date count as one" if question.test is not None else ""
    reason = question.reason or few or "no case has a known value of both arms"
    return Verdict("cannot tell", question.margin, math.nan, math.nan, reason=reason)


def _is_testable(question: Question) -> bool:
    return question.test is not None and question.test.estimate.dates > 1 and bool(np.isfinite(question.test.sample.se))


def _benefit(question: Question) -> Sample:
    """The difference in favour of the arm."""
    assert question.test is not None
    sample = question.test.sample
    return sample if question.metric.better == "higher" else sample.flipped()


def _margin(question: Question) -> float | None:
    """The margin on the scale of the sample."""
    is_ratio = question.test is not None and question.test.scale == "ratio"
    return math.log1p(question.margin) if is_ratio and question.margin else question.margin


def _unlog(question: Question, size: float | None) -> float | None:
    is_ratio = question.test is not None and question.test.scale == "ratio"
    return math.expm1(min(size, 700.0)) if is_ratio and size is not None else size


def _more_cases(question: Question, sample: Sample, margin: float | None) -> int | None:
    assert question.test is not None
    published = question.test.estimate
    dates = dates_needed(sample, margin or None, published.dates)
    if dates is None or dates <= published.dates:
        return None
    more = math.ceil((dates - published.dates) * published.cases / published.dates)
    return more if more <= MOST_CASES else None
