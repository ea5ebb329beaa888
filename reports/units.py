"""How an endpoint's figures are written: values, differences, intervals and verdicts in the unit it declares."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from markupsafe import Markup

from reports import charts
from reports.figures import THIN, known, seconds_text, significant, unknown, usd_text

if TYPE_CHECKING:
    from reports.estimate import Estimate
    from reports.findings import Comparison, Row
    from reports.verdict import Verdict

TONES = {"better": "good", "equivalent": "good", "not worse": "good", "worse": "bad", "cannot tell": "idle"}
"""verdict -> class of its pill; the word itself always stands in it."""


def value_text(value: float, unit: str) -> str:
    """An arm's own figure."""
    if unit == "usd":
        return usd_text(value)
    if unit == "s":
        return seconds_text(value)
    if unit == "share":
        return f"{value * 100:.{0 if abs(value) > 0.0995 or value == 0 else 1}f}{THIN}%"
    if unit == "return":
        return _signed(value * 100, 2) + f"{THIN}%"
    if unit == "tokens_per_s":
        return f"{significant(value, 2)} tokens/s"
    if unit in ("score", "correlation"):
        return _signed(value, 2)
    return f"{value:,.0f} {unit}" if unit == "tokens" else f"{significant(value)} {unit}".rstrip()


def difference_text(value: float, unit: str, scale: str) -> str:
    """Arm against baseline: a ratio as per cent or times, a difference with its sign."""
    if scale == "ratio":
        return ratio_text(value)
    if unit == "share":
        return _signed(value * 100, 1) + f"{THIN}points"
    if unit == "return":
        return _signed(value * 10_000, 0) + f"{THIN}bp"
    if unit == "usd":
        return ("−" if value < 0 else "+") + usd_text(abs(value))
    if unit == "s":
        return ("−" if value < 0 else "+") + seconds_text(abs(value))
    return _signed(value, 2 if unit in ("score", "correlation") else 0)


def ratio_text(value: float) -> str:
    """0.08 is −92 %, 1.4 is +40 %, 5 is ×5."""
    if value >= 2:
        return f"×{significant(value, 2)}"
    return _signed((value - 1) * 100, 1 if abs(value - 1) < 0.0995 or value < 0.02 else 0) + f"{THIN}%"


def estimate(found: Estimate | None, unit: str) -> Markup:
    """A figure with its interval, or unknown."""
    if found is None or not known(found.value):
        return unknown("not measured in this run", "not measured")
    return _with_interval(value_text(found.value, unit), found, lambda v: value_text(v, unit))


def difference(comparison: Comparison | None, unit: str) -> Markup:
    """A comparison with its interval, or why there is none."""
    if comparison is None or not known(comparison.estimate.value):
        return unknown((comparison.note if comparison else "") or "the arms share no measured case", "not measured")
    write = lambda v: difference_text(v, unit, comparison.scale)  # noqa: E731
    return _with_interval(write(comparison.estimate.value), comparison.estimate, write)


def verdict(found: Verdict | None, unit: str, scale: str) -> Markup:
    """The verdict as a pill, then what it rests on or what would settle it."""
    if found is None:
        return Markup("")
    text = verdict_text(found, unit, scale)
    detail = verdict_detail(found, unit, scale)
    pill = Markup('<span class="pill {}">{}</span>').format(TONES[found.word], text)
    return pill + (Markup('<span class="sub">{}</span>').format(detail) if detail else "")


def verdict_text(found: Verdict, unit: str, scale: str) -> str:
    """The verdict in words, with its margin."""
    if found.word == "equivalent" and found.margin is not None:
        return f"equivalent within {margin_text(found.margin, unit, scale)}"
    if found.word == "not worse" and found.margin is not None:
        return f"not worse by {margin_text(found.margin, unit, scale)}"
    return found.word


def verdict_detail(found: Verdict, unit: str, scale: str) -> str:
    """For `cannot tell`: why, what could have been seen, and what would settle it."""
    if found.word != "cannot tell":
        return ""
    if found.reason:
        return found.reason
    parts = []
    if known(found.detectable) and found.detectable is not None:
        parts.append(f"smallest visible difference {margin_text(found.detectable, unit, scale)}")
    if found.more_cases:
        money = f", about {usd_text(found.more_usd)}" if found.more_usd is not None and known(found.more_usd) else ""
        parts.append(f"{found.more_cases:,} more cases{money} would settle it")
    return "; ".join(parts)


def margin_text(margin: float, unit: str, scale: str) -> str:
    """A size without sign."""
    if scale == "ratio":
        return f"{significant(margin * 100, 2)}{THIN}%"
    return difference_text(abs(margin), unit, scale).lstrip("+")


@dataclass(frozen=True)
class Axis:
    """The common axis of one endpoint's forest plot."""

    scale: str
    reach: float
    """Largest absolute value shown; a logarithm on the ratio scale."""

    def place(self, value: float) -> float:
        return math.log(value) if self.scale == "ratio" else value

    def tick(self, share: float) -> float:
        """The value at a share (-1 to 1) of the axis."""
        return math.exp(share * self.reach) if self.scale == "ratio" else share * self.reach


def axis(row: Row) -> Axis:
    """Wide enough for every difference and interval of the endpoint, but not for a hopeless one."""
    scale = row.metric.scale
    ends: list[float] = []
    points: list[float] = []
    for comparison in row.comparisons.values():
        there = [v for v in (comparison.estimate.low, comparison.estimate.high) if known(v) and _fits(v, scale)]
        ends += [abs(Axis(scale, 1).place(v)) for v in there]
        if known(comparison.estimate.value) and _fits(comparison.estimate.value, scale):
            points.append(abs(Axis(scale, 1).place(comparison.estimate.value)))
    margin = row.margin or 0.0
    wanted = max([*ends, math.log1p(margin) if scale == "ratio" else margin], default=0.0)
    limit = max(4 * max([*points, margin], default=0.0), 1e-9)
    return Axis(scale, min(wanted, limit) * 1.12 or 1.0)


def forest(comparison: Comparison, row: Row, on: Axis, slot: int) -> Markup:
    """One arm's line of the forest plot; nothing when there is no estimate."""
    found = comparison.estimate
    if not known(found.value) or not _fits(found.value, on.scale):
        return Markup("")
    low, high = (on.place(v) if known(v) and _fits(v, on.scale) else None for v in (found.low, found.high))
    if on.scale == "ratio" and low is None and known(found.low):
        low = -on.reach * 2
    margin = None if row.margin is None else (math.log1p(row.margin) if on.scale == "ratio" else row.margin)
    unit = row.metric.unit
    said = f"{comparison.arm} against {comparison.baseline}: {difference_text(found.value, unit, on.scale)}"
    return charts.forest(on.place(found.value), low, high, margin, on.reach, slot, said)


def ticks(row: Row, on: Axis) -> list[str]:
    """Texts under the forest plot: left end, no difference, right end."""
    unit = row.metric.unit
    return [difference_text(on.tick(-0.9), unit, on.scale), "no difference", difference_text(on.tick(0.9), unit, on.scale)]


def _fits(value: float, scale: str) -> bool:
    return math.isfinite(value) and (scale != "ratio" or value > 0)


def _with_interval(text: str, found: Estimate, write: object) -> Markup:
    if not (known(found.low) and known(found.high) and callable(write)):
        return Markup("{}").format(text)
    low, high = (str(write(v)) if math.isfinite(v) else "∞" for v in (found.low, found.high))
    return Markup('<span class="v">{}</span> <span class="ci">[{} to {}]</span>').format(text, low, high)


def _signed(value: float, places: int) -> str:
    text = f"{value:+.{places}f}".replace("-", "−")
    return text.lstrip("+−") if float(f"{value:.{places}f}") == 0 else text
