"""Findings as HTML: a figure with a small interval, a verdict as a pill."""

from __future__ import annotations

from typing import TYPE_CHECKING

from markupsafe import Markup

from reports.answer import wording
from reports.format import THIN, count, known, unknown
from reports.verdict import UNDECIDED

if TYPE_CHECKING:
    from reports.answer.findings import Comparison
    from reports.answer.side_by_side import SideBySide
    from reports.metrics.registry import Metric
    from reports.metrics.similarity import Similarity
    from reports.returns.placebos import Placebo
    from reports.stats.estimate import Estimate
    from reports.verdict import Verdict

TONES = {"better": "good", "equivalent": "good", "not worse": "good", "worse": "bad", UNDECIDED: "idle"}
"""verdict -> CSS class of its pill, which always contains the word."""


def estimate(measured: Estimate | None, metric: Metric) -> Markup:
    """An arm's figure, or "not measured"."""
    if measured is None or not known(measured.value):
        return unknown("no case of this arm has a known value", "not measured")
    return with_interval([wording.figure(metric.unit, v) for v in (measured.value, measured.low, measured.high)], measured)


def side_by_side(arm: str, shown: SideBySide | None, metric: Metric) -> Markup:
    """An arm's figure over the cases that all arms have, or why it is not among them."""
    if shown is None or arm in shown.values or not shown.left_out.get(arm):
        return estimate(shown.values.get(arm) if shown else None, metric)
    few = f"{arm} has {count(shown.left_out[arm], 'case')} only, less than half of the baseline's"
    return unknown(few if shown.values else "no case is common to the arms", "left out")


def interval(measured: Estimate | None, metric: Metric) -> str:
    """The interval of an arm's figure in words."""
    if measured is None or not (known(measured.low) and known(measured.high)):
        return "no interval: too few cases"
    return f"95 % interval {wording.span(*(wording.figure(metric.unit, end) for end in (measured.low, measured.high)))}"


def difference(comparison: Comparison | None, metric: Metric) -> Markup:
    """An arm against the baseline, or why it is unknown."""
    if comparison is None or not known(comparison.estimate.value):
        why = comparison.note if comparison and comparison.note else "the two arms share no case with a known value"
        return unknown(why, "not measured")
    measured = comparison.estimate
    return with_interval(wording.differences(metric.unit, comparison.scale, measured), measured)


def plain(unit: str, value: float) -> Markup:
    """A figure without an interval."""
    return (
        Markup("{}").format(wording.figure(unit, value))
        if known(value)
        else unknown("no case has a known value", "not measured")
    )


def beside_difference(unit: str, value: float) -> Markup:
    """A figure next to a difference in points: a share with one decimal, so that the three fit."""
    return Markup("{}").format(f"{100 * value:.1f}{THIN}%") if unit == "share" and known(value) else plain(unit, value)


def plain_interval(measured: Estimate) -> Markup:
    """A figure without a unit, with its interval."""
    if not known(measured.value):
        return unknown("too few cases", "not measured")
    return with_interval([wording.figure("", round(v, 2) + 0.0).lstrip("+") for v in _ends(measured)], measured)


def shift(similarity: Similarity) -> Markup:
    """Whether two arms use the ratings equally often."""
    if not known(similarity.shift_p):
        return unknown("too few cases", "not measured")
    answer = "differs" if similarity.shift_p < 0.05 else "no difference shown"
    p = "p < 0.001" if similarity.shift_p < 0.001 else f"p = {similarity.shift_p:.2g}"
    return Markup('{} <span class="ci">{}</span>').format(answer, p)


def placebo(placebo_of_arm: Placebo) -> Markup:
    """Return of a placebo, with its interval or draws."""
    if not known(placebo_of_arm.estimate.value):
        return unknown("no case has a known value", "not measured")
    return with_interval([wording.figure("return", v) for v in _ends(placebo_of_arm.estimate)], placebo_of_arm.estimate)


def _ends(measured: Estimate) -> tuple[float, float, float]:
    return measured.value, measured.low, measured.high


def verdict(given_verdict: Verdict, metric: Metric, scale: str) -> Markup:
    """The verdict as a pill; an undecided one with what would settle it."""
    word, _, detail = wording.verdict(metric, scale, given_verdict).partition(" (")
    return _pill(given_verdict, word) + (
        Markup('<span class="sub">{}</span>').format(detail.removesuffix(")")) if detail else ""
    )


def pill(given_verdict: Verdict, metric: Metric, scale: str) -> Markup:
    """The verdict alone."""
    return _pill(given_verdict, wording.verdict(metric, scale, given_verdict).partition(" (")[0])


def _pill(given_verdict: Verdict, word: str) -> Markup:
    return Markup('<span class="pill {}">{}</span>').format(TONES[given_verdict.word], word)


def with_interval(texts: list[str], measured: Estimate) -> Markup:
    """A formatted value with its formatted interval, if it has one."""
    value, low, high = texts
    if not (known(measured.low) and known(measured.high)):
        return Markup('<span class="v">{}</span> <span class="ci">no interval</span>').format(value)
    start, to, end = wording.span(low, high).partition(" to ")
    bracketed = Markup('<span class="nb">[{}</span>{}<span class="nb">{}]</span>').format(start, to, end)
    return Markup('<span class="v">{}</span> <span class="ci">{}</span>').format(value, bracketed)
