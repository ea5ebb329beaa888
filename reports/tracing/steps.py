"""The single steps by which two figures give a third: difference, growth, share, ratio, sum, average, product."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

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
