"""What a matrix can prove before it is run: the smallest difference it shows, and the margin it can prove."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from reports import verdict
from reports.stats import windows
from reports.stats.means import Mean

DATE_SHARE = 0.3
"""Share of the variance of a paired difference that all cases of one date have in common (facts of the field: 0.1 to 0.4)."""
REPEAT_SHARE = 0.4
"""Share of it that comes from the models' own dice: repeats shrink this part only."""
MOST_DATES = 100_000


@dataclass(frozen=True)
class Assumed:
    """How much one case's paired difference scatters, before anything was measured."""

    deviation: float
    why: str
    is_ratio: bool = False
    """Whether arms are compared by ratio: the deviation is one of logarithms."""


ASSUMED: Mapping[str, Assumed] = {
    "usable": Assumed(0.32, "one decision in ten usable in one arm only"),
    "similarity": Assumed(0.59, "35 % of cases agree in one pairing only"),
    "cost": Assumed(0.35, "cost ratios of cases within a factor of 1.4", is_ratio=True),
    "cost_per_usable": Assumed(0.40, "cost ratios of cases within a factor of 1.5", is_ratio=True),
    "service_time": Assumed(0.50, "time ratios of cases within a factor of 1.6", is_ratio=True),
    "hit_rate": Assumed(0.59, "35 % of cases right in one arm only"),
}
EXCESS_PER_SESSION = 0.018
"""Standard deviation of one session's excess return of a large company."""


@dataclass(frozen=True)
class Provable:
    """What the matrix can say about one endpoint of one arm against the baseline."""

    unit: str
    """difference, or ratio (0.1 is a tenth)."""
    cases: int
    dates: int
    """Dates that count: for outcomes those whose windows do not overlap."""
    difference: float | None
    """Smallest true difference that is called in 80 of 100 such runs; None when no number of draws could tell."""
    margin: float | None
    """As declared."""
    provable_margin: float | None
    """Smallest margin within which two equal arms are called equivalent in 80 of 100 such runs."""
    can_prove: bool | None
    """Whether the declared margin can be proven; None where none is declared."""
    cases_needed: int | None
    """Cases, in as many tickers, that would prove the declared margin."""
    spend_on: str
    """Whether money for more cells goes further on dates or on repeats."""
    assumed: str

    def to_plain(self) -> dict[str, Any]:
        return asdict(self)


def of_endpoint(
    name: str, dates: Sequence[dt.date], tickers: int, repeats: float, margin: float | None, every: int = 1
) -> Provable | None:
    """What a matrix can say about an endpoint; None where nothing is known of how much it scatters."""
    assumed, horizon = _assumed(name)
    if assumed is None:
        return None
    counted = windows.of_dates(dates, horizon) if horizon else len(dates)
    sample = _sample(assumed, counted, tickers, repeats)
    return Provable(
        unit="ratio" if assumed.is_ratio else "difference",
        cases=counted * tickers,
        dates=counted,
        difference=_shown(verdict.detectable(sample) if sample else None, assumed),
        margin=margin,
        provable_margin=_shown(_margin(sample) if sample else None, assumed),
        can_prove=None if margin is None else bool(sample and verdict.is_powered(sample, _log(margin, assumed), verdict.LEVEL)),
        cases_needed=None if margin is None else _needed(assumed, tickers, repeats, margin),
        spend_on=_spend_on(assumed, counted, tickers, repeats),
        assumed=assumed.why,
    )


def _assumed(name: str) -> tuple[Assumed | None, int]:
    stem, _, last = name.rpartition("_")
    horizon = int(last) if last.isdigit() else 0
    if stem == "excess_return" and horizon:
        deviation = EXCESS_PER_SESSION * math.sqrt(horizon) * 0.9
        return Assumed(
            deviation, f"excess returns scatter by 1.8 % a session, {horizon} sessions; half the positions differ"
        ), horizon
    return ASSUMED.get(stem if horizon else name), horizon


def _sample(assumed: Assumed, dates: int, tickers: int, repeats: float) -> Mean | None:
    """An arm that is no different, measured on this design: t on date means."""
    if dates < 2:
        return None
    variance = assumed.deviation**2 * ((1 - REPEAT_SHARE) + REPEAT_SHARE / repeats)
    of_a_date = variance * (DATE_SHARE + (1 - DATE_SHARE) / tickers)
    return Mean(0.0, math.sqrt(of_a_date / dates), dates - 1)


def _margin(sample: Mean) -> float | None:
    """Smallest margin with 80 % power to prove equivalence, by halving."""
    low, high = 0.0, 1.0
    while not verdict.is_powered(sample, high, verdict.LEVEL):
        high *= 2
        if high > 1e6:
            return None
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (low, middle) if verdict.is_powered(sample, middle, verdict.LEVEL) else (middle, high)
    return high


def _needed(assumed: Assumed, tickers: int, repeats: float, margin: float) -> int | None:
    def proves(dates: int) -> bool:
        sample = _sample(assumed, dates, tickers, repeats)
        return bool(sample and verdict.is_powered(sample, _log(margin, assumed), verdict.LEVEL))

    if margin <= 0:
        return None
    low, high = 1, 2
    while not proves(high):
        low, high = high, high * 2
        if high > MOST_DATES:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if proves(middle) else (middle, high)
    return high * tickers


def _spend_on(assumed: Assumed, dates: int, tickers: int, repeats: float) -> str:
    """Twice the money: twice the dates, or twice the repeats?"""
    now, wider, again = (
        _sample(assumed, *design)
        for design in ((dates, tickers, repeats), (2 * dates, tickers, repeats), (dates, tickers, 2 * repeats))
    )
    if now is None or wider is None or again is None:
        return "dates: a single one proves nothing"
    by_dates, by_repeats = 1 - wider.se / now.se, 1 - again.se / now.se
    better = "dates" if by_dates >= by_repeats else "repeats"
    return f"{better}: twice the dates narrow intervals by {by_dates:.0%}, twice the repeats by {by_repeats:.0%}"


def _log(margin: float, assumed: Assumed) -> float:
    return math.log1p(margin) if assumed.is_ratio else margin


def _shown(size: float | None, assumed: Assumed) -> float | None:
    if size is None:
        return None
    return math.expm1(size) if assumed.is_ratio else size
