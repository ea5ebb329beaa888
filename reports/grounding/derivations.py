"""The single steps by which two figures give a third: difference, growth, share, ratio, sum, average, product."""

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
    """One way to get a figure from two others."""

    of: Callable[[float, float], float]
    said: str


_GROWTH = Step(lambda a, b: 100 * (a / b - 1), "{a:g} / {b:g} - 1")
_SHARE = Step(lambda a, b: 100 * a / b, "{a:g} / {b:g}")
_RATIO = Step(lambda a, b: a / b, "{a:g} / {b:g}")
_IN_BP = Step(lambda a, b: 100 * (a - b), "{a:g} - {b:g}, in basis points")
_GROWTH_IN_BP = Step(lambda a, b: 1e4 * (a / b - 1), "{a:g} / {b:g} - 1, in basis points")
_SHARE_IN_BP = Step(lambda a, b: 1e4 * a / b, "{a:g} / {b:g}, in basis points")
_IN_CENTS = Step(lambda a, b: 100 * (a - b), "{a:g} - {b:g}, in cents")
_PRODUCT = Step(lambda a, b: a * b, "{a:g} x {b:g}")
_MANY = 1e6
"""From here on a figure is a count of shares rather than a price of one: their product is an amount."""
_DIFFERENCE = (Step(lambda a, b: a - b, "{a:g} - {b:g}"),)
_SUMS = (
    *_DIFFERENCE,
    Step(lambda a, b: a + b, "{a:g} + {b:g}"),
    Step(lambda a, b: (a + b) / 2, "average of {a:g} and {b:g}"),
)
"""Sums and averages only of what stands beside the figure: among all that was given, chance alone finds some."""


def steps(one: Figure, other: Figure, unit: str, *, cited: int) -> tuple[Step, ...]:
    """The steps by which two figures can give one of this unit; `cited` says how many of them stand beside it."""
    if cited and unit in ("$", "") and max(one[0], other[0]) >= _MANY > min(one[0], other[0]) > 0:
        return (_PRODUCT,)
    return _of_units(one[1], other[1], unit, cited == 2, bool(other[0]))


@cache
def _of_units(one: str, other: str, unit: str, are_cited: bool, can_divide: bool) -> tuple[Step, ...]:
    if unit in ("bp", "") and one == other == "%":
        return (_IN_BP,) if unit else _DIFFERENCE
    if unit == "cents" and "%" not in (one, other):
        return (_IN_CENTS,)
    sums = (_SUMS if are_cited else _DIFFERENCE) if (unit == "%") == (one == "%") == (other == "%") else ()
    return sums if not can_divide or "%" in (one, other) else _BEFORE.get(unit, ()) + sums


_BEFORE = {"%": (_GROWTH, _SHARE), "bp": (_GROWTH_IN_BP, _SHARE_IN_BP), "x": (_RATIO,), "": (_RATIO,)}
"""What two figures that are no percentages also give, by the unit of the result."""


_FORMULA_DIGITS = 2
_SURE_DIGITS = 4
_PERIODS = 5
"""Quarters of a quantity that a multiple is taken of."""
_AMOUNT = 1e6
"""From here on a figure is an amount of a statement, not a price or a ratio."""


def by_formula(quantity: Quantity, labels: Sequence[str], given: Inputs) -> str | None:
    """The calculation by which the quantities that are named give a figure, the speaker's own first; else None."""
    return (
        _unit_change(quantity, labels, given)
        or _of_multiple(quantity, labels, given)
        or _of_a_year(quantity, labels, given)
        or _of_bands(quantity, labels, given)
        or _of_one_period(quantity, labels, given)
        or _of_market_value(quantity, labels, given)
    )


def _of_multiple(quantity: Quantity, labels: Sequence[str], given: Inputs) -> str | None:
    """0.78 x the mean is 22 % less."""
    is_share = quantity.unit == "%" and quantity.digits >= _FORMULA_DIGITS
    multiples = [fact for label in labels[:1] for fact in given.named(label) if fact.unit == "x"] if is_share else []
    for fact in multiples:
        if abs(abs(100 * (fact.value - 1)) - abs(quantity.value)) <= quantity.slack:
            return f"{fact.value:g} - 1: {fact.line}"
    return None


def _of_a_year(quantity: Quantity, labels: Sequence[str], given: Inputs) -> str | None:
    """Four times a quarter's dividend."""
    for fact in given.named("dividend") if "dividend" in labels and quantity.unit in ("$", "") else ():
        if fact.unit != "%" and abs(4 * fact.value - abs(quantity.value)) <= quantity.slack:
            return f"4 x {fact.value:g}: {fact.line}"
    return None


def _of_bands(quantity: Quantity, labels: Sequence[str], given: Inputs) -> str | None:
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


def _of_one_period(quantity: Quantity, labels: Sequence[str], given: Inputs) -> str | None:
    """A margin or ratio from the two rows that it is made of; of the newest period only where it was not given itself."""
    times = {"%": 100.0, "x": 1.0, "": 1.0}.get(quantity.unit, 0.0)
    made_of = [(label, *MADE_OF[label]) for label in labels if label in MADE_OF]
    made_of += [("", one, other) for one, other in permutations(labels[:2], 2)]
    for label, over, under in made_of if times and quantity.digits >= _FORMULA_DIGITS else ():
        below = given.by_period(under)
        first = 1 if given.named(label) else 0
        for column, fact in given.by_period(over).items() if below else ():
            per = below[column].value if column in below and column >= first else 0.0
            if per and abs(abs(times * fact.value / per) - abs(quantity.value)) <= quantity.slack:
                return f"{fact.value:g} / {per:g}: {fact.line}"
    return None


def _unit_change(quantity: Quantity, labels: Sequence[str], given: Inputs) -> str | None:
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


def _of_market_value(quantity: Quantity, labels: Sequence[str], given: Inputs) -> str | None:
    """16.8x sales: the market's value of the company against an amount of its statements."""
    for worth in given.named("market_cap")[:1] if quantity.unit == "x" else ():
        for fact in (fact for label in labels for fact in given.named(label)[:_PERIODS] if fact.value >= _AMOUNT):
            for quarters in (1, 4):
                if abs(worth.value / fact.value / quarters - quantity.value) <= quantity.slack:
                    return f"{worth.value:g} / ({quarters} x {fact.value:g}): {fact.line}"
    return None


_POOL = 14
"""Most figures of one quantity that are combined: more, and chance alone would derive anything."""
_MIN_DIGITS = 2
_FEW = 4
"""Figures among which also one with few digits may be combined freely."""
_WHOLE = 0.5
"""Half a unit of a figure without decimals: chance alone derives 1 % or 20 %, so only from what stands beside them."""


def derivation(
    quantity: Quantity, labels: Sequence[str], given: Inputs, cited: Sequence[Quantity], sources: Sequence[InputFigure] = ()
) -> str | None:
    """How a figure follows from what was given of the named quantities, or from figures cited beside it; else None.

    `sources` are the facts that figures of its sentence were found in: other periods of theirs are held against it, too."""
    return (
        by_formula(quantity, labels, given)
        or _of_row(quantity, given, sources)
        or _of_all(quantity, sources)
        or _combined(quantity, labels, given, cited)
    )


def _of_row(quantity: Quantity, given: Inputs, sources: Sequence[InputFigure]) -> str | None:
    """A change against another period of a figure that stands beside it, whatever its quantity is called."""
    pairs = (pair for fact in sources for other in given.row(fact) for pair in ((fact, other), (other, fact)))
    for one, other in pairs:
        for step in steps((one.value, one.unit), (other.value, other.unit), quantity.unit, cited=0):
            if abs(abs(step.of(one.value, other.value)) - abs(quantity.value)) <= quantity.slack:
                return step.said.format(a=one.value, b=other.value)
    return None


def _of_all(quantity: Quantity, sources: Sequence[InputFigure]) -> str | None:
    """The sum of all that its sentence cites."""
    if len(sources) < 3 or abs(sum(fact.value for fact in sources) - quantity.value) > quantity.half * len(sources):
        return None
    return " + ".join(f"{fact.value:g}" for fact in sources)


def _combined(quantity: Quantity, labels: Sequence[str], given: Inputs, cited: Sequence[Quantity]) -> str | None:
    near = [(one.value, one.unit) for one in cited[-8:]]
    named = [(fact.value, fact.unit) for label in labels for fact in given.named(label)[: _POOL // len(labels)]]
    latest = [(fact.value, fact.unit) for fact in given.named("close")[:1]]
    beside = frozenset(near)
    size, slack = abs(quantity.value), quantity.slack
    is_sure = quantity.digits > _MIN_DIGITS or len(named) <= _FEW
    if quantity.half >= _WHOLE and quantity.digits < _MIN_DIGITS and quantity.unit == "%":
        pairs = _pairs(near, [], latest)
    else:
        pairs = _pairs(near, named, latest) if is_sure else _plain_pairs(near, labels, given, latest)
    for one, other in pairs:
        a, b = one[0], other[0]
        for step in steps(one, other, quantity.unit, cited=(one in beside) + (other in beside)):
            if abs(abs(step.of(a, b)) - size) <= slack:
                return step.said.format(a=a, b=b)
    return None


def _pairs(near: list[Figure], named: list[Figure], latest: list[Figure]) -> Iterator[tuple[Figure, Figure]]:
    for pool, others in (
        (near, near + latest),
        (latest, near),
        (named, named),
        (near, named),
        (named, latest),
        (latest, named),
    ):
        for one in pool:
            for other in others:
                if one != other:
                    yield one, other


def _plain_pairs(
    near: list[Figure], labels: Sequence[str], given: Inputs, latest: list[Figure]
) -> Iterator[tuple[Figure, Figure]]:
    """Of a figure with few digits only what a reader would try first: newest values, and a quantity against its own past."""
    amounts = [[(fact.value, fact.unit) for fact in given.named(label) if fact.unit != "%"] for label in labels]
    newest = [values[0] for values in amounts if values]
    few = [(fact.value, fact.unit) for label in labels if label in _FEW_OF for fact in given.named(label)[: 2 * _FEW]]
    yield from _pairs(near, newest + few, latest)
    for values in amounts:
        yield from ((values[0], other) for other in values[1 : _FEW + 1])


_FEW_OF = frozenset({"return", "dividend"})
"""Quantities of which a handful is given, so that each may be held against each."""
