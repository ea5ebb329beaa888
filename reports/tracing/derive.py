"""Figures that follow from others: by a formula with a name, from another period, or in one step from figures beside them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from reports.tracing.formulas import by_formula
from reports.tracing.given import Fact, Given
from reports.tracing.quantities import Quantity
from reports.tracing.steps import Figure, steps

_POOL = 14
"""Most figures of one quantity that are combined: more, and chance alone would derive anything."""
_MIN_DIGITS = 2
_FEW = 4
"""Figures among which also one with few digits may be combined freely."""
_WHOLE = 0.5
"""Half a unit of a figure without decimals: chance alone derives 1 % or 20 %, so only from what stands beside them."""


def derivation(
    quantity: Quantity, labels: Sequence[str], given: Given, cited: Sequence[Quantity], sources: Sequence[Fact] = ()
) -> str | None:
    """How a figure follows from what was given of the named quantities, or from figures cited beside it; else None.

    `sources` are the facts that figures of its sentence were found in: other periods of theirs are held against it, too."""
    return (
        by_formula(quantity, labels, given)
        or _of_row(quantity, given, sources)
        or _of_all(quantity, sources)
        or _combined(quantity, labels, given, cited)
    )


def _of_row(quantity: Quantity, given: Given, sources: Sequence[Fact]) -> str | None:
    """A change against another period of a figure that stands beside it, whatever its quantity is called."""
    pairs = (pair for fact in sources for other in given.row(fact) for pair in ((fact, other), (other, fact)))
    for one, other in pairs:
        for step in steps((one.value, one.unit), (other.value, other.unit), quantity.unit, cited=0):
            if abs(abs(step.of(one.value, other.value)) - abs(quantity.value)) <= quantity.slack:
                return step.said.format(a=one.value, b=other.value)
    return None


def _of_all(quantity: Quantity, sources: Sequence[Fact]) -> str | None:
    """The sum of all that its sentence cites."""
    if len(sources) < 3 or abs(sum(fact.value for fact in sources) - quantity.value) > quantity.half * len(sources):
        return None
    return " + ".join(f"{fact.value:g}" for fact in sources)


def _combined(quantity: Quantity, labels: Sequence[str], given: Given, cited: Sequence[Quantity]) -> str | None:
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
    near: list[Figure], labels: Sequence[str], given: Given, latest: list[Figure]
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
