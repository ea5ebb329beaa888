"""Figures that follow from others: difference, ratio, percent change, sum, average, change of unit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from reports.tracing.given import Given
from reports.tracing.quantities import Quantity

_POOL = 14
"""Most figures of one quantity that are combined: more, and chance alone would derive anything."""
_MIN_DIGITS = 2
_FEW = 4
"""Figures among which also one with few digits may be combined freely."""
_SURE_DIGITS = 4


def derivation(quantity: Quantity, labels: Sequence[str], given: Given, cited: Sequence[Quantity]) -> str | None:
    """How a figure follows from what was given of the named quantities, or from figures cited beside it; else None."""
    return (
        _unit_change(quantity, labels, given)
        or _of_multiple(quantity, labels, given)
        or _combined(quantity, labels, given, cited)
    )


def _of_multiple(quantity: Quantity, labels: Sequence[str], given: Given) -> str | None:
    """0.78 x the mean is 22 % less."""
    multiples = [fact for label in labels for fact in given.named(label) if fact.unit == "x"] if quantity.unit == "%" else []
    for fact in multiples:
        if abs(abs(100 * (fact.value - 1)) - abs(quantity.value)) <= quantity.half * 1.05:
            return f"{fact.value:g} - 1: {fact.line}"
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


def _combined(quantity: Quantity, labels: Sequence[str], given: Given, cited: Sequence[Quantity]) -> str | None:
    near = [(one.value, one.unit) for one in cited[-8:]]
    named = [(fact.value, fact.unit) for label in labels for fact in given.named(label)[: _POOL // len(labels)]]
    latest = [(fact.value, fact.unit) for fact in given.named("close")[:1]]
    size, slack = abs(quantity.value), quantity.half * 1.05
    is_sure = quantity.digits > _MIN_DIGITS or len(named) <= _FEW
    for one, other in _pairs(near, named, latest) if is_sure else _plain_pairs(near, labels, given, latest):
        a, b = one[0], other[0]
        for step in _steps(one, other, quantity.unit):
            if abs(abs(step.of(a, b)) - size) <= slack:
                return step.said.format(a=a, b=b)
    return None


_Figure = tuple[float, str]


def _pairs(near: list[_Figure], named: list[_Figure], latest: list[_Figure]) -> Iterator[tuple[_Figure, _Figure]]:
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
    near: list[_Figure], labels: Sequence[str], given: Given, latest: list[_Figure]
) -> Iterator[tuple[_Figure, _Figure]]:
    """Of a figure with few digits only what a reader would try first: newest values, and a quantity against its own past."""
    amounts = [[(fact.value, fact.unit) for fact in given.named(label) if fact.unit != "%"] for label in labels]
    newest = [values[0] for values in amounts if values]
    yield from _pairs(near, newest, latest)
    for values in amounts:
        yield from ((values[0], other) for other in values[1:_FEW])


class _Step(NamedTuple):
    """One way to get a figure from two others."""

    of: Callable[[float, float], float]
    said: str


_GROWTH = _Step(lambda a, b: 100 * (a / b - 1), "{a:g} / {b:g} - 1")
_SHARE = _Step(lambda a, b: 100 * a / b, "{a:g} / {b:g}")
_RATIO = _Step(lambda a, b: a / b, "{a:g} / {b:g}")
_SUMS = (
    _Step(lambda a, b: a - b, "{a:g} - {b:g}"),
    _Step(lambda a, b: a + b, "{a:g} + {b:g}"),
    _Step(lambda a, b: (a + b) / 2, "average of {a:g} and {b:g}"),
)


def _steps(one: _Figure, other: _Figure, unit: str) -> tuple[_Step, ...]:
    """The steps by which two figures can give one of this unit."""
    unit_a, unit_b = one[1], other[1]
    sums = _SUMS if (unit == "%") == (unit_a == "%") == (unit_b == "%") else ()
    if not other[0] or "%" in (unit_a, unit_b):
        return sums
    return _BEFORE.get(unit, ()) + sums


_BEFORE = {"%": (_GROWTH, _SHARE), "x": (_RATIO,), "": (_RATIO,)}
"""What two figures that are no percentages also give, by the unit of the result."""
