"""Figures that follow from others: difference, ratio, percent change, sum, average, change of unit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from reports.tracing.given import Given
from reports.tracing.quantities import Quantity

_POOL = 14
"""Most figures of one quantity that are combined: more, and chance alone would derive anything."""
_MIN_DIGITS = 2
_SURE_DIGITS = 4


def derivation(quantity: Quantity, labels: Sequence[str], given: Given, cited: Sequence[Quantity]) -> str | None:
    """How a figure follows from what was given of the named quantities, or from figures cited beside it; else None."""
    return _unit_change(quantity, labels, given) or _combined(quantity, labels, given, cited)


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
    named = named if quantity.digits > _MIN_DIGITS or len(named) <= 4 else []
    latest = [(fact.value, fact.unit) for fact in given.named("close")[:1]]
    for one, other in _pairs(near, named, latest):
        for value, how in _results(one, other, quantity.unit):
            if abs(abs(value) - abs(quantity.value)) <= quantity.half * 1.05:
                return how
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


def _results(one: _Figure, other: _Figure, unit: str) -> Iterator[tuple[float, str]]:
    (a, unit_a), (b, unit_b) = one, other
    percent = "%" in (unit_a, unit_b)
    if unit == "%" and not percent and b:
        yield 100 * (a / b - 1), f"{a:g} / {b:g} - 1"
        yield 100 * a / b, f"{a:g} / {b:g}"
    if unit in ("x", "") and not percent and b:
        yield a / b, f"{a:g} / {b:g}"
    if (unit == "%") == (unit_a == "%") == (unit_b == "%"):
        yield a - b, f"{a:g} - {b:g}"
        yield a + b, f"{a:g} + {b:g}"
        yield (a + b) / 2, f"average of {a:g} and {b:g}"
