"""What the section on money and time reads."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING

from reports.drawing import bars
from reports.drawing.bars import Bar
from reports.money import breakdown
from reports.money.breakdown import Spend, Waste
from reports.views import waterfall
from reports.views.waterfall import Waterfall

if TYPE_CHECKING:
    from reports.load import Run


class Money:
    """Where money, tokens and time went."""

    def __init__(self, run: Run, slots: Mapping[str, int]) -> None:
        self.run, self._slots = run, slots

    @cached_property
    def spends(self) -> dict[str, Spend]:
        return breakdown.by_arm(self.run)

    @cached_property
    def roles(self) -> dict[str, dict[str, Spend]]:
        return breakdown.by_role(self.run)

    @cached_property
    def wasted(self) -> list[Waste]:
        return breakdown.wasted(self.run)

    @cached_property
    def failures(self) -> list[tuple[str, str, int, str]]:
        return breakdown.failures(self.run)

    @cached_property
    def token_bars(self) -> list[Bar]:
        return bars.tokens(self.spends, self._slots)

    @cached_property
    def time_bars(self) -> list[Bar]:
        return bars.times(self.spends, self._slots)

    @cached_property
    def waterfalls(self) -> list[Waterfall]:
        return waterfall.typical(self.run)
