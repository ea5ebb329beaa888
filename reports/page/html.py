"""How findings stand on the page: a figure with its interval in small, a verdict as a pill with what it rests on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from markupsafe import Markup

from reports.answer import wording
from reports.format import known, unknown

if TYPE_CHECKING:
    from reports.answer.findings import Comparison
    from reports.metrics.registry import Metric
    from reports.metrics.similarity import Similarity
    from reports.returns.placebos import Placebo
    from reports.stats.estimate import Estimate
    from reports.verdict import Verdict

TONES = {"better": "good", "equivalent": "good", "not worse": "good", "worse": "bad", "cannot tell": "idle"}
"""verdict -> class of its pill; the word itself always stands in it."""


def estimate(found: Estimate | None, metric: Metric) -> Markup:
    """An arm's own figure, or not measured."""
    if found is None or not known(found.value):
        return unknown("no case of this arm has a known value", "not measured")
    return with_interval([wording.figure(metric.unit, v) for v in (found.value, found.low, found.high)], found)


def interval(found: Estimate | None, metric: Metric) -> str:
    """The interval of an arm's own figure in words."""
    if found is None or not (known(found.low) and known(found.high)):
        return "no interval: too few cases"
    return f"95 % interval {wording.span(*(wording.figure(metric.unit, end) for end in (found.low, found.high)))}"


def difference(comparison: Comparison | None, metric: Metric) -> Markup:
    """An arm against the baseline, or why that is not known."""
    if comparison is None or not known(comparison.estimate.value):
        why = comparison.note if comparison and comparison.note else "the two arms share no case with a known value"
        return unknown(why, "not measured")
    found = comparison.estimate
    ends = [wording.difference(metric.unit, comparison.scale, v) for v in (found.value, found.low, found.high)]
    return with_interval(ends, found)


def plain(unit: str, value: float) -> Markup:
    """A figure without an interval."""
    return Markup("{}").format(wording.figure(unit, value)) if known(value) else unknown("no case tells", "not measured")


def plain_interval(found: Estimate) -> Markup:
    """A figure without a unit, with its interval."""
    if not known(found.value):
        return unknown("too few cases tell", "not measured")
    return with_interval([wording.figure("", round(v, 2) + 0.0).lstrip("+") for v in _ends(found)], found)


def agreement(found: Estimate, is_own: bool) -> Markup:
    """How often two arms gave the same rating, with its interval and the cases that it rests on."""
    if not known(found.value):
        return unknown("no case has two ratings to compare", "no repeats" if is_own else "none shared")
    value, low, high = (wording.figure("share", v) for v in _ends(found))
    ends = wording.span(low, high) if known(found.low) and known(found.high) else "no interval"
    template = '<span class="v">{}</span><span class="sub nb">{}</span><span class="sub nb">{} cases</span>'
    return Markup(template).format(value, ends, f"{found.cases:,}")


def shift(found: Similarity) -> Markup:
    """Whether two arms use the ratings equally often."""
    if not known(found.shift_p):
        return unknown("too few cases tell", "not measured")
    said = "no" if found.shift_p < 0.05 else "no difference shown"
    p = "p < 0.001" if found.shift_p < 0.001 else f"p = {found.shift_p:.2g}"
    return Markup('{} <span class="ci">{}</span>').format(said, p)


def placebo(found: Placebo) -> Markup:
    """What a placebo earned, with its interval or its draws."""
    if not known(found.estimate.value):
        return unknown("no case tells", "not measured")
    return with_interval([wording.figure("return", v) for v in _ends(found.estimate)], found.estimate)


def _ends(found: Estimate) -> tuple[float, float, float]:
    return found.value, found.low, found.high


def verdict(found: Verdict, metric: Metric, scale: str) -> Markup:
    """The verdict as a pill; where nothing can be told, beside it what would settle it."""
    word, _, detail = wording.verdict(metric, scale, found).partition(" (")
    return _pill(found, word) + (Markup('<span class="sub">{}</span>').format(detail.removesuffix(")")) if detail else "")


def pill(found: Verdict, metric: Metric, scale: str) -> Markup:
    """The verdict alone."""
    return _pill(found, wording.verdict(metric, scale, found).partition(" (")[0])


def _pill(found: Verdict, word: str) -> Markup:
    return Markup('<span class="pill {}">{}</span>').format(TONES[found.word], word)


def with_interval(texts: list[str], found: Estimate) -> Markup:
    """A written value with its written ends, where it has an interval."""
    value, low, high = texts
    if not (known(found.low) and known(found.high)):
        return Markup('<span class="v">{}</span> <span class="ci">no interval</span>').format(value)
    start, to, end = wording.span(low, high).partition(" to ")
    said = Markup('<span class="nb">[{}</span>{}<span class="nb">{}]</span>').format(start, to, end)
    return Markup('<span class="v">{}</span> <span class="ci">{}</span>').format(value, said)
