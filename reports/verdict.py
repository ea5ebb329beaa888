"""Verdicts on one arm against the baseline: a word per metric, whether the arm is good enough, and the pick of the cheapest.

*Good enough* is an intersection-union test (Berger 1982): the arm must be shown not worse than the margin on every metric of
`GATE`, each at its own level, without a correction. The pick of the cheapest good arm is corrected over arms (Holm 1979).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from reports.metrics.measure import PairedTest
from reports.metrics.registry import Metric
from reports.stats.estimate import Numbers, Sample
from reports.stats.sequential import NotWorseTest

WORDS = ("undecided", "not worse", "worse", "better", "equivalent")
UNDECIDED, NOT_WORSE, WORSE, BETTER, EQUIVALENT = WORDS
GOOD_ENOUGH, NOT_GOOD_ENOUGH = "good enough", "not good enough"

DIFFERENCE_LEVEL = 0.04
"""Two-sided level of better and worse. Below 5 %, so that simulated errors stay below 5 % even if a test is approximate."""
PICK_LEVEL = 0.04
"""Level of the pick over all arms."""
POWER = 0.8
MOST_CASES = 10_000_000


@dataclass(frozen=True)
class GateTerm:
    """One metric of "good enough"; its level is that of its test (`Metric.level`)."""

    metric: str
    margin: float
    """Default: used if the experiment declares none."""
    weight: float = 1.0
    """Multiplies p for the pick, so that all metrics of the gate are compared with PICK_LEVEL."""


GATE = (GateTerm("same_rating", 0.10, weight=1.6), GateTerm("usable", 0.10), GateTerm("grounding", 0.05))
"""Metrics that decide whether an arm is good enough. Returns, hits, cost and time are never among them."""
MARGINS: Mapping[str, float] = {term.metric: term.margin for term in GATE}
_WEIGHTS: Mapping[str, float] = {term.metric: term.weight for term in GATE}


def not_worse_test(margins: Mapping[str, float] = MARGINS) -> NotWorseTest:
    """The same gate for tests at several looks; margins that are not given are the defaults."""
    levels = tuple(round(PICK_LEVEL / term.weight, 6) for term in GATE)
    return NotWorseTest(tuple(MARGINS), tuple(margins.get(term.metric, term.margin) for term in GATE), levels)


@dataclass(frozen=True)
class Question:
    """A metric of one pair of arms, before its verdict."""

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

    def published(self, value: Numbers) -> float:
        """A value on the scale of the sample, on the scale of the comparison and inside what a difference can be."""
        if self._is_ratio:
            return math.exp(min(float(value), 700.0))
        low, high = self.metric.range_of_differences
        return min(max(float(value), low), high)

    @property
    def _is_ratio(self) -> bool:
        return self.test is not None and self.test.scale == "ratio"


@dataclass(frozen=True)
class Verdict:
    """The conclusion about one metric of one arm against the baseline."""

    word: str
    """One of WORDS."""
    margin: float | None
    """Largest loss that does not matter, on the scale of the comparison (for a ratio, 0.1 is 10 %)."""
    bound: float = math.nan
    """One-sided bound in the direction of loss, on the scale of the comparison: at `level` the arm is at least this good."""
    loss: float = math.nan
    """The bound as an amount of loss, 0 or more: 0.057 is "at most 5.7 points less"; for a ratio, 0.12 is 12 %."""
    level: float = math.nan
    """One-sided level of the bound: that of "not worse"; of an undecided word, that of the interval, whose end is the bound."""
    low: float = math.nan
    """Lower end of the interval that the word rests on, on the scale of the comparison; this interval is drawn."""
    high: float = math.nan
    confidence: float = math.nan
    """Of that interval, two-sided."""
    p: float = math.nan
    """p of "worse than the margin", compared with `level`; NaN without a margin or a test."""
    p_difference: float = math.nan
    """p of "no difference", compared with DIFFERENCE_LEVEL; NaN without a test."""
    cases: int = 0
    dates: int = 0
    more_cases: int | None = None
    """Further cases that would show "not worse" in 80 of 100 runs if the arm were equal; None if settled, without a margin,
    or if the arm looks worse. It rests on the spread of the differences, never on the difference that was seen."""
    more_usd: float | None = None
    """Cost of those cases for both arms."""
    reason: str = ""
    """Why there is no test."""

    @property
    def is_not_worse(self) -> bool:
        """Whether a loss of the margin or more is excluded."""
        return self.p <= self.level


@dataclass(frozen=True)
class GoodEnough:
    """Whether an arm can replace the baseline: not worse than the margin on every metric of the gate, each at its own level."""

    arm: str
    word: str
    """GOOD_ENOUGH | NOT_GOOD_ENOUGH (a metric is shown to lose more than its margin) | UNDECIDED."""
    verdicts: Mapping[str, Verdict]
    """Metric of the gate -> its verdict."""
    failing: tuple[str, ...]
    """Metrics that are shown to lose more than their margin."""
    undecided: tuple[str, ...]
    """Metrics that show neither."""
    p: float
    """p of "not good enough" for the pick, compared with PICK_LEVEL after Holm; 1 if a metric has no test."""


@dataclass(frozen=True)
class Pick:
    """The cheapest arm that is good enough, with Holm's correction over the arms."""

    arm: str | None
    """None if no arm passes."""
    good: tuple[str, ...]
    """Arms that pass, cheapest first, those of unknown cost last."""
    p: Mapping[str, float]
    """arm -> adjusted p, compared with PICK_LEVEL."""


# --- one metric --------------------------------------------------------------------------------------------------------


def of_question(question: Question, usd_per_case: float | None = None) -> Verdict:
    """The verdict on one metric. `usd_per_case` is the cost of a case for both arms, None if unknown."""
    if not question.is_testable:
        return Verdict(UNDECIDED, question.margin, reason=_why_no_test(question))
    assert question.test is not None
    benefit, level = question.benefit, question.test.level
    word = WORDS[int(word_index(benefit, question.sample_margin, level))]
    low, high, confidence = _interval(question, level, word)
    if word == UNDECIDED:
        level = (1 - confidence) / 2
    bound, loss = _bound(question, level)
    verdict = Verdict(
        word=word,
        margin=question.margin,
        bound=bound,
        loss=loss,
        level=level,
        low=low,
        high=high,
        confidence=confidence,
        p=p_not_worse(question),
        p_difference=min(1.0, 2 * min(float(benefit.p_above(0.0)), float(benefit.p_below(0.0)))),
        cases=question.test.estimate.cases,
        dates=question.test.estimate.dates,
    )
    more_cases = None if verdict.is_not_worse else _more_cases(question)
    more_usd = None if more_cases is None or usd_per_case is None else more_cases * usd_per_case
    return replace(verdict, more_cases=more_cases, more_usd=more_usd)


def p_not_worse(question: Question) -> float:
    """p of a loss of the margin or more; NaN without a margin or a test."""
    if question.sample_margin is None or not question.is_testable:
        return math.nan
    return float(question.benefit.p_above(-question.sample_margin))


def word_index(benefit: Sample, margin: float | None, level: Numbers) -> Any:
    """Index into WORDS, for floats and arrays; `level` is one-sided.

    Not worse and equivalent use one-sided tests at `level`, better and worse a two-sided test at DIFFERENCE_LEVEL. "Equal" and
    "worse than the margin" cannot both be true, so neither claim pays for the other (Shaffer 1986).
    """
    low, high = benefit.bounds(DIFFERENCE_LEVEL)
    index = np.where(low > 0, WORDS.index(BETTER), np.where(high < 0, WORDS.index(WORSE), WORDS.index(UNDECIDED)))
    if margin is None:
        return index
    low, high = benefit.bounds(2 * np.asarray(level))
    is_not_worse, is_not_better = low > -margin, high < margin
    index = np.where(is_not_worse & (index != WORDS.index(BETTER)), WORDS.index(NOT_WORSE), index)
    return np.where(is_not_worse & is_not_better, WORDS.index(EQUIVALENT), index)


def _why_no_test(question: Question) -> str:
    if question.reason or question.test is None:
        return question.reason or "no case has a known value of both arms"
    return "one date only, and cases of one date count as one"


def _bound(question: Question, level: float) -> tuple[float, float]:
    """The one-sided bound in the direction of loss, and the loss that it leaves open."""
    assert question.test is not None
    low, high = question.test.sample.bounds(2 * level)
    bound = question.published(high if question.metric.better == "lower" else low)
    no_difference = 1.0 if question.test.scale == "ratio" else 0.0
    loss = bound - no_difference if question.metric.better == "lower" else no_difference - bound
    return bound, max(loss, 0.0)


def _interval(question: Question, level: float, word: str) -> tuple[float, float, float]:
    """Interval and confidence behind the word: at the level of "not worse"; of a word about "no difference", at its level."""
    assert question.test is not None
    sample, two_sided = question.test.sample, 2 * level
    low, high = sample.bounds(two_sided)
    if not low <= 0 <= high and word not in (NOT_WORSE, EQUIVALENT):
        two_sided = DIFFERENCE_LEVEL
        low, high = sample.bounds(two_sided)
    return question.published(low), question.published(high), 1 - two_sided


def _more_cases(question: Question) -> int | None:
    """Cases still missing for 80 % power if the arms are equal; None if the arm looks worse than half the margin."""
    assert question.test is not None
    estimate, margin = question.test.estimate, question.sample_margin
    if not margin or float(question.benefit.value) < -margin / 2:
        return None
    dates = dates_needed(question.benefit, margin, estimate.dates, question.test.level)
    if dates is None or dates <= estimate.dates:
        return None
    more = math.ceil((dates - estimate.dates) * estimate.cases / estimate.dates)
    return more if more <= MOST_CASES else None


def dates_needed(sample: Sample, margin: float, dates: int, level: float) -> int | None:
    """Dates for 80 % power to show "not worse than -margin" at a one-sided level, if there is no difference; None: too many."""

    def is_enough(count: int) -> bool:
        return bool(sample.scaled(count / dates).provable(level, POWER) <= margin)

    if dates < 2 or not math.isfinite(float(sample.se)):
        return None
    low, high = dates, dates
    while not is_enough(high):
        low, high = high, high * 2
        if high > MOST_CASES:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if is_enough(middle) else (middle, high)
    return high


# --- all metrics of the gate, all arms ---------------------------------------------------------------------------------


def good_enough(arm: str, verdicts: Mapping[str, Verdict]) -> GoodEnough:
    """Whether an arm is good enough, from the verdicts on the metrics of the gate."""
    failing = tuple(name for name, verdict in verdicts.items() if _is_below_margin(verdict))
    undecided = tuple(name for name, verdict in verdicts.items() if not verdict.is_not_worse and name not in failing)
    word = NOT_GOOD_ENOUGH if failing else UNDECIDED if undecided else GOOD_ENOUGH
    return GoodEnough(arm, word, dict(verdicts), failing, undecided, gate_p({name: v.p for name, v in verdicts.items()}))


def _is_below_margin(verdict: Verdict) -> bool:
    """Whether the whole interval shows a loss of more than the margin."""
    if verdict.word != WORSE or verdict.margin is None:
        return False
    # The metrics of the gate are differences of which higher is better.
    return verdict.high < -verdict.margin


def gate_p(p_by_metric: Mapping[str, float]) -> float:
    """p of "not good enough" from the p of each metric of the gate: the largest, each on the scale of PICK_LEVEL."""
    weighted = [p_by_metric.get(name, math.nan) * weight for name, weight in _WEIGHTS.items()]
    return 1.0 if any(math.isnan(p) for p in weighted) else min(1.0, max(weighted))


def pick(arms: Sequence[GoodEnough], usd_by_arm: Mapping[str, float]) -> Pick:
    """The cheapest arm that is good enough after Holm's correction over `arms`; a cost of NaN is unknown."""
    adjusted = holm({arm.arm: arm.p for arm in arms})

    def price(arm: str) -> float:
        usd = usd_by_arm.get(arm, math.nan)
        return math.inf if math.isnan(usd) else usd

    good = sorted((arm for arm, p in adjusted.items() if p <= PICK_LEVEL), key=price)
    return Pick(good[0] if good else None, tuple(good), adjusted)


def holm(p_by_name: Mapping[str, float]) -> dict[str, float]:
    """Holm's adjusted p-values: each is compared with the level of the whole family."""
    adjusted: dict[str, float] = {}
    worst = 0.0
    for place, (name, p) in enumerate(sorted(p_by_name.items(), key=lambda item: item[1])):
        worst = max(worst, min(1.0, p * (len(p_by_name) - place)))
        adjusted[name] = worst
    return {name: adjusted[name] for name in p_by_name}
