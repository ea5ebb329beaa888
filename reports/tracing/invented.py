"""The invented figures of one text, found by what they say."""

from __future__ import annotations

from collections.abc import Iterable

from reports.tracing.by_size import BySize
from reports.tracing.quantities import Quantity, same_unit
from reports.tracing.traced import Traced

_SLACK = 1.0001


class Invented:
    """Invented figures: each saying once, grouped by the precision that it was said with."""

    def __init__(self, figures: Iterable[Traced]) -> None:
        sayings: dict[float, dict[tuple[float, str], tuple[int, Traced]]] = {}
        for order, one in enumerate(figures):
            said = one.quantity
            sayings.setdefault(said.half, {}).setdefault((abs(said.value), said.unit), (order, one))
        self._by_half = {
            half: BySize([(value, (unit, order, one)) for (value, unit), (order, one) in group.items()])
            for half, group in sayings.items()
        }

    def first_like(self, quantity: Quantity) -> Traced | None:
        """The first that says the same: the same kind of unit, and no further away than the coarser of the two is rounded."""
        found = [
            (order, one)
            for half, group in self._by_half.items()
            for unit, order, one in group.near(quantity.value, max(half, quantity.half) * _SLACK)
            if same_unit(quantity.unit, unit)
        ]
        return min(found, key=lambda pair: pair[0])[1] if found else None
