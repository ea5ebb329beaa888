"""Things found by the magnitude of a number, in logarithmic time and never more than a stated many."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from typing import Generic, TypeVar

T = TypeVar("T")

MOST_NEAR = 500
"""Things that one figure is held against: the closest ones, where more lie within its rounding."""


class BySize(Generic[T]):
    """Things sorted by the magnitude of the number that belongs to each."""

    def __init__(self, things: Iterable[tuple[float, T]]) -> None:
        ordered = sorted(((abs(value), thing) for value, thing in things), key=lambda pair: pair[0])
        self._sizes = [size for size, _ in ordered]
        self._things = [thing for _, thing in ordered]

    def near(self, value: float, slack: float) -> list[T]:
        """What lies within `slack` of a value's magnitude, smallest first."""
        low, high = bisect_left(self._sizes, abs(value) - slack), bisect_right(self._sizes, abs(value) + slack)
        if high - low > MOST_NEAR:
            middle = bisect_left(self._sizes, abs(value), low, high)
            low = min(max(low, middle - MOST_NEAR // 2), high - MOST_NEAR)
            high = low + MOST_NEAR
        return self._things[low:high]
