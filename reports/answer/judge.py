"""From tests to verdicts: Holm over the declared endpoints of a pair, then one of five words with what would settle it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from reports import verdict
from reports.measure import Test
from reports.registry import Metric
from reports.stats import holm
from reports.verdict import CANNOT_TELL, WORDS, Sample, Verdict


@dataclass(frozen=True)
class Question:
    """A declared endpoint of one pair, before its verdict."""

    metric: Metric
    margin: float | None
    test: Test | None
    reason: str = ""
    """Why there is no test."""


def verdicts(questions: Mapping[str, Question], usd_per_case: float | None) -> dict[str, Verdict]:
    """endpoint -> verdict, for one pair; `usd_per_case` is what both arms spend on a case, None where unknown."""
    tested = [name for name, question in questions.items() if _is_testable(question)]
    claims = [verdict.claims(_benefit(questions[name]), _margin(questions[name])) for name in tested]
    level = holm.level(claims, verdict.LEVEL)
    told = {name: (min(of), adjusted) for name, of, adjusted in zip(tested, claims, holm.adjusted(claims), strict=True)}
    return {
        name: _judged(question, level, *told[name], usd_per_case) if name in told else _untold(question)
        for name, question in questions.items()
    }


def _judged(question: Question, level: float, p: float, p_holm: float, usd_per_case: float | None) -> Verdict:
    sample, margin = _benefit(question), _margin(question)
    code = int(verdict.words(sample, margin, level))
    given = Verdict(WORDS[code], question.margin, p, p_holm, _unlog(question, verdict.detectable(sample)))
    if code != CANNOT_TELL:
        return given
    more = _more_cases(question, sample, margin)
    usd = None if more is None or usd_per_case is None else more * usd_per_case
    return Verdict(given.word, given.margin, p, p_holm, given.detectable, more, usd)


def _untold(question: Question) -> Verdict:
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
    dates = verdict.dates_needed(sample, margin or None, published.dates)
    if dates is None or dates <= published.dates:
        return None
    more = math.ceil((dates - published.dates) * published.cases / published.dates)
    return more if more <= verdict.MOST_CASES else None
