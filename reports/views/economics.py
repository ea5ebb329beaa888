"""What the section on real costs reads."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from reports.drawing import monthly_chart
from reports.drawing.monthly_chart import Bill, Crossing
from reports.money import breakeven, economics, forecasts

if TYPE_CHECKING:
    from markupsafe import Markup

    from reports.load import Run
    from reports.money.breakeven import BreakEven
    from reports.money.economics import ArmCost, LocalUse
    from reports.money.forecasts import Forecast


class Economics:
    """Cold caches, hardware of one's own, break-even, forecasts."""

    def __init__(self, run: Run) -> None:
        self.run = run

    @cached_property
    def costs(self) -> dict[str, ArmCost]:
        return economics.by_arm(self.run)

    @cached_property
    def local_use(self) -> list[LocalUse]:
        return economics.local_use(self.run)

    @cached_property
    def break_even(self) -> list[BreakEven]:
        return breakeven.table(self.run)

    @cached_property
    def break_even_chart(self) -> Markup:
        """One line for each hosted arm and each that runs on hardware of one's own."""
        slots = {arm: slot for slot, arm in enumerate(self.run.arms)}
        usd = {line.hosted: line.hosted_per_month for line in self.break_even}
        usd |= {line.local: line.monthly.usd for line in self.break_even}
        bills = [Bill(arm, slot, usd[arm]) for arm, slot in slots.items() if arm in usd]
        crossings = [
            Crossing(line.local, line.hosted, slots[line.local], line.decisions, line.hosted_per_month(line.decisions))
            for line in self.break_even
            if line.decisions is not None
        ]
        return monthly_chart.draw(bills, crossings, *breakeven.span(self.break_even))

    @cached_property
    def forecasts(self) -> list[Forecast]:
        """Forecasts of arms that hosted models bill, or that are not settled; others have nothing to compare."""
        return [one for one in forecasts.read(self.run) if one.high or one.paid]

    @cached_property
    def has_caching(self) -> bool:
        """Whether some price would have been another one without caches."""
        return any(cost.saved_by_caching for cost in self.costs.values())

    @property
    def is_there(self) -> bool:
        return bool(self.has_caching or self.local_use or self.forecasts)

    @staticmethod
    def per_usable(total: float | None, use: LocalUse) -> float | None:
        return total / use.usable if total is not None and use.usable else None
