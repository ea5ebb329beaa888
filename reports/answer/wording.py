"""Findings as text: figures with units, differences with a sign, verdicts in words."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from reports.format import MINUS, THIN, percent_text, seconds_text, significant, usd_text
from reports.verdict import EQUIVALENT, NOT_WORSE, UNDECIDED, Verdict

if TYPE_CHECKING:
    from reports.metrics.registry import Metric
    from reports.stats.estimate import Estimate

UNKNOWN = "unknown"


def figure(unit: str, value: float) -> str:
    """A value with its unit."""
    if not math.isfinite(value):
        return UNKNOWN
    writers = {"usd": usd_text, "s": seconds_text, "share": percent_text, "return": _return}
    if unit in writers:
        return writers[unit](value).replace("-", MINUS)
    if unit == "tokens":
        return f"{value:,.0f} tokens"
    if unit == "tokens_per_s":
        return f"{significant(value, 2)} tokens/s"
    text = f"{value:+.2f}".replace("-", MINUS)
    return text[1:] if text[1:] == "0.00" else text


def difference(unit: str, scale: str, value: float, places: int = 1) -> str:
    """A signed difference: points for shares, basis points for returns, percent on the ratio scale."""
    if not math.isfinite(value):
        return UNKNOWN
    if scale == "ratio":
        return _signed((value - 1) * 100, "%", places) if value < 3 else f"×{significant(value, 2)}"
    if unit == "share":
        return _signed(value * 100, "pp", places)
    if unit == "return":
        return _signed(value * 10_000, "bp", places=0)
    sign = "+" if value > 0 else MINUS if value < 0 else ""
    return sign + figure(unit, abs(value)).lstrip("+")


def size(unit: str, scale: str, value: float) -> str:
    """An unsigned difference, such as a margin."""
    if scale == "ratio":
        return f"{significant(value * 100, 2)} %"
    return difference(unit, scale, abs(value)).lstrip("+")


def differences(unit: str, scale: str, estimate: Estimate) -> list[str]:
    """A difference and the ends of its interval, with as many digits as it takes to tell the ends apart."""
    for places in (1, 2, 3):
        texts = [difference(unit, scale, bound, places) for bound in (estimate.value, estimate.low, estimate.high)]
        if texts[1] != texts[2] or estimate.low == estimate.high:
            break
    return texts


def margin(metric: Metric, value: float) -> str:
    """A declared margin, without a digit that was not declared."""
    return size(metric.unit, metric.scale, value).replace(".0 ", " ")


def interval(metric: Metric, scale: str, estimate: Estimate) -> str:
    """A difference with its 95 % interval."""
    value, low, high = differences(metric.unit, scale, estimate)
    return f"{value} [{span(low, high)}]" if low != UNKNOWN else f"{value} (no interval)"


def range_of(metric: Metric, estimate: Estimate) -> str:
    """An arm's own figure with its 95 % interval."""
    value, low, high = (figure(metric.unit, bound) for bound in (estimate.value, estimate.low, estimate.high))
    return f"{value} [{span(low, high)}]" if low != UNKNOWN else value


def span(low: str, high: str) -> str:
    """A range of two formatted numbers; a common unit is written once."""
    head, gap, unit = low.replace(THIN, " ").rpartition(" ")
    same = gap and high.replace(THIN, " ").rpartition(" ")[2] == unit and " " not in head
    return f"{head} to {high}" if same else f"{low} to {high}"


def verdict(metric: Metric, scale: str, given: Verdict) -> str:
    """The verdict in words, an undecided one with its bound or with why there is none."""
    if given.word in (EQUIVALENT, NOT_WORSE) and given.margin is not None:
        amount = size(metric.unit, scale, given.margin).replace(".0 ", " ")
        return f"equivalent within {amount}" if given.word == EQUIVALENT else f"not worse than {MINUS}{amount}"
    if given.word != UNDECIDED:
        return given.word
    return f"{UNDECIDED} ({given.reason or bound(metric, scale, given)})"


def bound(metric: Metric, scale: str, given: Verdict) -> str:
    """The largest loss that the data leave open: "at most 5.7 points worse"; empty without a test."""
    if not math.isfinite(given.loss):
        return ""
    if not given.loss:
        return "no loss"
    amount = size(metric.unit, scale, given.loss).replace(" pp", " points")
    word = _LOSS_WORDS.get(metric.group, "worse") if scale == "ratio" else "worse"
    return f"at most {amount} {word}"


def more_cases(verdict: Verdict) -> str:
    """How many more cases would settle it if the arm is equal, and their cost."""
    if verdict.more_cases is None:
        return ""
    dollars = "cost unknown" if verdict.more_usd is None else f"about {_rough_usd(verdict.more_usd)}"
    return f"{verdict.more_cases:,} more {'case' if verdict.more_cases == 1 else 'cases'} if it is equal, {dollars}"


def methods() -> str:
    """One sentence on the terms of every verdict."""
    return (
        f"An arm is good enough if it is shown not worse than the margin on same rating (one-sided 2.5{THIN}%), usable "
        f"decisions (4{THIN}%) and grounding (4{THIN}%), each at its own level; the pick of the cheapest good arm is "
        "Holm-corrected over the arms."
    )


_LOSS_WORDS = {"money": "dearer", "time": "slower"}


def _rough_usd(value: float) -> str:
    """Two significant digits, since it is a forecast."""
    return usd_text(value) if value < 10 else f"${float(f'{value:.2g}'):,.0f}"


def _return(value: float) -> str:
    return f"{round(value * 10_000):+d} bp" if round(value * 10_000) else "0 bp"


def _signed(value: float, unit: str, places: int = 1) -> str:
    text = f"{value:+,.{places}f}".replace("-", MINUS)
    return f"{'0' if float(f'{value:.{places}f}') == 0 else text} {unit}"
