"""Figures that follow by a formula with a name: margins, multiples, bandwidth, a year's dividend, other units."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations

from reports.tracing.given import Given
from reports.tracing.labels import MADE_OF
from reports.tracing.quantities import Quantity

_MIN_DIGITS = 2
_SURE_DIGITS = 4
_PERIODS = 5
"""Quarters of a quantity that a multiple is taken of."""
_AMOUNT = 1e6
"""From here on a figure is an amount of a statement, not a price or a ratio."""


def by_formula(quantity: Quantity, labels: Sequence[str], given: Given) -> str | None:
    """The calculation by which the quantities that are named give a figure, the speaker's own first; else None."""
    return (
        _unit_change(quantity, labels, given)
        or _of_multiple(quantity, labels, given)
        or _of_a_year(quantity, labels, given)
        or _of_bands(quantity, labels, given)
        or _of_one_period(quantity, labels, given)
        or _of_market_value(quantity, labels, given)
    )


def _of_multiple(quantity: Quantity, labels: Sequence[str], given: Given) -> str | None:
    """0.78 x the mean is 22 % less."""
    is_share = quantity.unit == "%" and quantity.digits >= _MIN_DIGITS
    multiples = [fact for label in labels[:1] for fact in given.named(label) if fact.unit == "x"] if is_share else []
    for fact in multiples:
        if abs(abs(100 * (fact.value - 1)) - abs(quantity.value)) <= quantity.slack:
            return f"{fact.value:g} - 1: {fact.line}"
    return None


def _of_a_year(quantity: Quantity, labels: Sequence[str], given: Given) -> str | None:
    """Four times a quarter's dividend."""
    for fact in given.named("dividend") if "dividend" in labels and quantity.unit in ("$", "") else ():
        if fact.unit != "%" and abs(4 * fact.value - abs(quantity.value)) <= quantity.slack:
            return f"4 x {fact.value:g}: {fact.line}"
    return None


def _of_bands(quantity: Quantity, labels: Sequence[str], given: Given) -> str | None:
    """Bollinger's bandwidth, their distance as a share of the middle one, and %B, the place of the close between them."""
    found = [given.named(name)[:1] for name in ("boll_upper", "boll_lower", "boll_middle", "close")]
    if not _BANDS.intersection(labels) or not all(found):
        return None
    upper, lower, middle, close = (facts[0].value for facts in found)
    times = {"%": 100.0, "": 1.0}.get(quantity.unit)
    for over, under, said in ((upper - lower, middle, "bandwidth"), (close - lower, upper - lower, "%B")):
        if times and under and abs(times * over / under - quantity.value) <= quantity.slack:
            return f"{said}: {over:g} / {under:g}"
    return None


_BANDS = frozenset({"boll_width", "boll_upper", "boll_lower", "boll_middle"})


def _of_one_period(quantity: Quantity, labels: Sequence[str], given: Given) -> str | None:
    """A margin or ratio from the two rows that it is made of; of the newest period only where it was not given itself."""
    times = {"%": 100.0, "x": 1.0, "": 1.0}.get(quantity.unit, 0.0)
    made_of = [(label, *MADE_OF[label]) for label in labels if label in MADE_OF]
    made_of += [("", one, other) for one, other in permutations(labels[:2], 2)]
    for label, over, under in made_of if times and quantity.digits >= _MIN_DIGITS else ():
        below = given.by_period(under)
        first = 1 if given.named(label) else 0
        for column, fact in given.by_period(over).items() if below else ():
            per = below[column].value if column in below and column >= first else 0.0
            if per and abs(abs(times * fact.value / per) - abs(quantity.value)) <= quantity.slack:
                return f"{fact.value:g} / {per:g}: {fact.line}"
    return None


def _unit_change(quantity: Quantity, labels: Sequence[str], given: Given) -> str | None:
    for factor, units, said in _CHANGES.get(quantity.unit, ()):
        for fact in given.near(quantity.value / factor, quantity.half / factor):
            if fact.unit in units and (quantity.digits >= _SURE_DIGITS or fact.label in labels):
                return f"{fact.value:g} {said}: {fact.line}"
    return None


_CHANGES: dict[str, tuple[tuple[float, tuple[str, ...], str], ...]] = {
    "%": ((100.0, ("", "x"), "x 100"), (0.01, ("bp",), "/ 100")),
    "bp": ((100.0, ("%",), "x 100"), (10_000.0, ("",), "x 10,000")),
    "cents": ((100.0, ("", "$"), "x 100"),),
    "": (
        (0.01, ("%",), "/ 100"),
        (1e-3, ("", "$"), "in thousands"),
        (1e-6, ("", "$"), "in millions"),
        (1e-9, ("", "$"), "in billions"),
    ),
    "$": ((1e-6, ("", "$"), "in millions"), (1e-9, ("", "$"), "in billions"), (0.01, ("cents",), "/ 100")),
}


def _of_market_value(quantity: Quantity, labels: Sequence[str], given: Given) -> str | None:
    """16.8x sales: the market's value of the company against an amount of its statements."""
    for worth in given.named("market_cap")[:1] if quantity.unit == "x" else ():
        for fact in (fact for label in labels for fact in given.named(label)[:_PERIODS] if fact.value >= _AMOUNT):
            for quarters in (1, 4):
                if abs(worth.value / fact.value / quarters - quantity.value) <= quantity.slack:
                    return f"{worth.value:g} / ({quarters} x {fact.value:g}): {fact.line}"
    return None
