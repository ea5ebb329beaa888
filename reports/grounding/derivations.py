"""Figures that follow from others: by a named formula, from another period, or in one step from figures nearby."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import permutations
from typing import NamedTuple

from reports.grounding.inputs import InputFigure, Inputs
from reports.grounding.labels import MADE_OF
from reports.grounding.quantities import Quantity

Figure = tuple[float, str]
"""A value and its unit."""


class Step(NamedTuple):
    """One way to compute a figure from two others."""

    of: Callable[[float, float], float]
    text: str


_GROWTH = Step(lambda a, b: 100 * (a / b - 1), "{a:g} / {b:g} - 1")
_SHARE = Step(lambda a, b: 100 * a / b, "{a:g} / {b:g}")
_RATIO = Step(lambda a, b: a / b, "{a:g} / {b:g}")
_IN_BP = Step(lambda a, b: 100 * (a - b), "{a:g} - {b:g}, in basis points")
_GROWTH_IN_BP = Step(lambda a, b: 1e4 * (a / b - 1), "{a:g} / {b:g} - 1, in basis points")
_SHARE_IN_BP = Step(lambda a, b: 1e4 * a / b, "{a:g} / {b:g}, in basis points")
_IN_CENTS = Step(lambda a, b: 100 * (a - b), "{a:g} - {b:g}, in cents")
_PRODUCT = Step(lambda a, b: a * b, "{a:g} x {b:g}")
_MANY = 1e6
"""Above this a figure is a number of shares, not a price; their product is an amount."""
_DIFFERENCE = (Step(lambda a, b: a - b, "{a:g} - {b:g}"),)
_SUMS = (
    *_DIFFERENCE,
    Step(lambda a, b: (a + b) / 2, "average of {a:g} and {b:g}"),
)
"""Sums and averages only of nearby figures: among all inputs, chance finds some."""


def steps(first: Figure, second: Figure, unit: str, *, cited: int) -> tuple[Step, ...]:
    """Steps from two figures to one of this unit; `cited` is how many of the two are near it."""
    if cited and unit in ("$", "") and max(first[0], second[0]) >= _MANY > min(first[0], second[0]) > 0:
        return (_PRODUCT,)
    return _of_units(first[1], second[1], unit, cited == 2, bool(second[0]))


@cache
def _of_units(first: str, second: str, unit: str, are_cited: bool, can_divide: bool) -> tuple[Step, ...]:
    if unit in ("bp", "") and first == second == "%":
        return (_IN_BP,) if unit else _DIFFERENCE
    if unit == "cents" and "%" not in (first, second):
        return (_IN_CENTS,)
    sums = (_SUMS if are_cited else _DIFFERENCE) if (unit == "%") == (first == "%") == (second == "%") else ()
    return sums if not can_divide or "%" in (first, second) else _BEFORE.get(unit, ()) + sums


_BEFORE = {"%": (_GROWTH, _SHARE), "bp": (_GROWTH_IN_BP, _SHARE_IN_BP), "x": (_RATIO,), "": (_RATIO,)}
"""Further steps for two figures that are not percentages, by the unit of the result."""


_FORMULA_DIGITS = 2
_SURE_DIGITS = 4
_PERIODS = 5
"""Quarters of a quantity that are tried for a multiple."""
_AMOUNT = 1e6
"""Above this a figure is an amount of a statement, not a price or ratio."""


def by_formula(quantity: Quantity, labels: Sequence[str], inputs: Inputs) -> str | None:
    """The calculation that gives a figure from the named quantities, its own quantity first; else None."""
    return (
        _unit_change(quantity, labels, inputs)
        or _of_multiple(quantity, labels, inputs)
        or _of_a_year(quantity, labels, inputs)
        or _of_bands(quantity, labels, inputs)
        or _of_one_period(quantity, labels, inputs)
        or _of_market_value(quantity, labels, inputs)
    )


def _of_multiple(quantity: Quantity, labels: Sequence[str], inputs: Inputs) -> str | None:
    """0.78 x the mean is 22 % less."""
    is_share = quantity.unit == "%" and quantity.digits >= _FORMULA_DIGITS
    multiples = [fact for label in labels[:1] for fact in inputs.named(label) if fact.unit == "x"] if is_share else []
    for fact in multiples:
        if abs(abs(100 * (fact.value - 1)) - abs(quantity.value)) <= quantity.slack:
            return f"{fact.value:g} - 1: {fact.line}"
    return None


def _of_a_year(quantity: Quantity, labels: Sequence[str], inputs: Inputs) -> str | None:
    """Four times a quarter's dividend."""
    for fact in inputs.named("dividend") if "dividend" in labels and quantity.unit in ("$", "") else ():
        if fact.unit != "%" and abs(4 * fact.value - abs(quantity.value)) <= quantity.slack:
            return f"4 x {fact.value:g}: {fact.line}"
    return None


def _of_bands(quantity: Quantity, labels: Sequence[str], inputs: Inputs) -> str | None:
    """Bollinger bandwidth (distance of the bands over the middle band) and %B (position of the close between them)."""
    band_facts = [inputs.named(name)[:1] for name in ("boll_upper", "boll_lower", "boll_middle", "close")]
    if not _BANDS.intersection(labels) or not all(band_facts):
        return None
    upper, lower, middle, close = (facts[0].value for facts in band_facts)
    times = {"%": 100.0, "": 1.0}.get(quantity.unit)
    for over, under, name in ((upper - lower, middle, "bandwidth"), (close - lower, upper - lower, "%B")):
        if times and under and abs(times * over / under - quantity.value) <= quantity.slack:
            return f"{name}: {over:g} / {under:g}"
    return None


_BANDS = frozenset({"boll_width", "boll_upper", "boll_lower", "boll_middle"})


def _of_one_period(quantity: Quantity, labels: Sequence[str], inputs: Inputs) -> str | None:
    """A margin or ratio from its two rows; for the newest period only if it is not in the inputs itself."""
    times = {"%": 100.0, "x": 1.0, "": 1.0}.get(quantity.unit, 0.0)
    made_of = [(label, *MADE_OF[label]) for label in labels if label in MADE_OF]
    made_of += [("", over_label, under_label) for over_label, under_label in permutations(labels[:2], 2)]
    for label, over, under in made_of if times and quantity.digits >= _FORMULA_DIGITS else ():
        below = inputs.by_period(under)
        first = 1 if inputs.named(label) else 0
        for column, fact in inputs.by_period(over).items() if below else ():
            per = below[column].value if column in below and column >= first else 0.0
            if per and abs(abs(times * fact.value / per) - abs(quantity.value)) <= quantity.slack:
                return f"{fact.value:g} / {per:g}: {fact.line}"
    return None


def _unit_change(quantity: Quantity, labels: Sequence[str], inputs: Inputs) -> str | None:
    for factor, units, description in _CHANGES.get(quantity.unit, ()):
        for fact in inputs.near(quantity.value / factor, quantity.half / factor):
            if fact.unit in units and (quantity.digits >= _SURE_DIGITS or fact.label in labels):
                return f"{fact.value:g} {description}: {fact.line}"
    return None


_CHANGES: dict[str, tuple[tuple[float, tuple[str, ...], str], ...]] = {
    "%": ((100.0, ("", "x"), "x 100"), (0.01, ("bp",), "/ 100")),
    "bp": ((100.0, ("%",), "x 100"), (10_000.0, ("",), "x 10,000")),
    "cents": ((100.0, ("", "$"), "x 100"),),
    "": (
        (0.01, ("%",), "/ 100"),
        (1e-9, ("", "$"), "in billions"),
    ),
    "$": ((1e-6, ("", "$"), "in millions"), (1e-9, ("", "$"), "in billions"), (0.01, ("cents",), "/ 100")),
}


def _of_market_value(quantity: Quantity, labels: Sequence[str], inputs: Inputs) -> str | None:
    """16.8x sales: market value over an amount of the statements."""
    for worth in inputs.named("market_cap")[:1] if quantity.unit == "x" else ():
        for fact in (fact for label in labels for fact in inputs.named(label)[:_PERIODS] if fact.value >= _AMOUNT):
            for quarters in (1, 4):
                if abs(worth.value / fact.value / quarters - quantity.value) <= quantity.slack:
                    return f"{worth.value:g} / ({quarters} x {fact.value:g}): {fact.line}"
    return None


_POOL = 14
"""Maximum figures of one quantity that are combined; with more, chance would derive anything."""
_MIN_DIGITS = 2
_FEW = 4
"""With at most this many figures, those with few digits are combined too."""
_WHOLE = 0.5
"""Half a unit of a figure without decimals: chance derives 1 % or 20 %, so only nearby figures are combined for them."""


def derivation(
    quantity: Quantity, labels: Sequence[str], inputs: Inputs, cited: Sequence[Quantity], sources: Sequence[InputFigure] = ()
) -> str | None:
    """How a figure follows from the inputs of the named quantities or from nearby figures; else None.

    `sources` are the input figures matched in its sentence; their other periods are tried too."""
    return (
        by_formula(quantity, labels, inputs)
        or _of_row(quantity, inputs, sources)
        or _of_all(quantity, sources)
        or _combined(quantity, labels, inputs, cited)
    )


def _of_row(quantity: Quantity, inputs: Inputs, sources: Sequence[InputFigure]) -> str | None:
    """A change against another period of a nearby figure, whatever its quantity is called."""
    pairs = (pair for fact in sources for second in inputs.row(fact) for pair in ((fact, second), (second, fact)))
    for first, second in pairs:
        for step in steps((first.value, first.unit), (second.value, second.unit), quantity.unit, cited=0):
            if abs(abs(step.of(first.value, second.value)) - abs(quantity.value)) <= quantity.slack:
                return step.text.format(a=first.value, b=second.value)
    return None


def _of_all(quantity: Quantity, sources: Sequence[InputFigure]) -> str | None:
    """The sum of all input figures in its sentence."""
    if len(sources) < 3 or abs(sum(fact.value for fact in sources) - quantity.value) > quantity.half * len(sources):
        return None
    return " + ".join(f"{fact.value:g}" for fact in sources)


def _combined(quantity: Quantity, labels: Sequence[str], inputs: Inputs, cited: Sequence[Quantity]) -> str | None:
    near = [(first.value, first.unit) for first in cited[-8:]]
    named = [(fact.value, fact.unit) for label in labels for fact in inputs.named(label)[: _POOL // len(labels)]]
    latest = [(fact.value, fact.unit) for fact in inputs.named("close")[:1]]
    near_figures = frozenset(near)
    size, slack = abs(quantity.value), quantity.slack
    is_sure = quantity.digits > _MIN_DIGITS or len(named) <= _FEW
    if quantity.half >= _WHOLE and quantity.digits < _MIN_DIGITS and quantity.unit == "%":
        pairs = _pairs(near, [], latest)
    else:
        pairs = _pairs(near, named, latest) if is_sure else _plain_pairs(near, labels, inputs, latest)
    for first, second in pairs:
        a, b = first[0], second[0]
        for step in steps(first, second, quantity.unit, cited=(first in near_figures) + (second in near_figures)):
            if abs(abs(step.of(a, b)) - size) <= slack:
                return step.text.format(a=a, b=b)
    return None


def _pairs(near: list[Figure], named: list[Figure], latest: list[Figure]) -> Iterator[tuple[Figure, Figure]]:
    for pool, partners in (
        (near, near + latest),
        (latest, near),
        (named, named),
        (near, named),
        (named, latest),
        (latest, named),
    ):
        for first in pool:
            for second in partners:
                if first != second:
                    yield first, second


def _plain_pairs(
    near: list[Figure], labels: Sequence[str], inputs: Inputs, latest: list[Figure]
) -> Iterator[tuple[Figure, Figure]]:
    """Pairs for a figure with few digits: newest values, and a quantity against its own past."""
    amounts = [[(fact.value, fact.unit) for fact in inputs.named(label) if fact.unit != "%"] for label in labels]
    newest = [values[0] for values in amounts if values]
    few = [(fact.value, fact.unit) for label in labels if label in _FEW_OF for fact in inputs.named(label)[: 2 * _FEW]]
    yield from _pairs(near, newest + few, latest)
    for values in amounts:
        yield from ((values[0], other) for other in values[1 : _FEW + 1])


_FEW_OF = frozenset({"return", "dividend"})
"""Quantities with few input figures, so that all pairs are tried."""
