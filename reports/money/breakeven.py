"""The number of decisions a month from which a self-hosted arm is cheaper than a hosted one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from domain.hardware import HOURS_PER_MONTH, Hardware
from reports.money import economics

if TYPE_CHECKING:
    from reports.load import Run


@dataclass(frozen=True)
class Monthly:
    """Monthly cost of a self-hosted arm on hardware that is bought or rented for it."""

    fixed_usd: float
    """Purchase spread over the lifetime, or a month's rent."""
    marginal_usd: float
    """Electricity of one decision; 0 where it is in the rent."""
    capacity: float
    """Decisions that one machine makes in a month, at its expected utilisation."""
    is_rented: bool

    def usd(self, decisions: float) -> float:
        """Cost of this many decisions a month, with as many machines as needed."""
        machines = max(1, -(-int(decisions) // max(1, int(self.capacity))))
        return machines * self.fixed_usd + decisions * self.marginal_usd


@dataclass(frozen=True)
class BreakEven:
    """One local arm against one hosted one."""

    local: str
    hosted: str
    hosted_usd: float
    """Cost per usable decision of the hosted arm."""
    monthly: Monthly
    decisions: float | None
    """Usable decisions a month from which local is cheaper; None for never."""

    def hosted_per_month(self, decisions: float) -> float:
        """US dollars of this many usable decisions a month with the hosted arm."""
        return decisions * self.hosted_usd

    @property
    def why_never(self) -> str:
        """Why local is never cheaper; empty otherwise."""
        if self.decisions is not None:
            return ""
        if self.monthly.marginal_usd >= self.hosted_usd:
            return "one more local decision costs more than a hosted one"
        return "a machine cannot make as many decisions as would pay for it"


def table(run: Run) -> list[BreakEven]:
    """Every self-hosted arm against every hosted arm; empty without prices."""
    costs = economics.by_arm(run)
    local = economics.local_use(run)
    alone = {use.arm for use in local if [use_of_server.arm for use_of_server in local].count(use.arm) == 1}
    pure = [use for use in local if use.arm in alone and not (costs[use.arm].hosted.value or 0.0)]
    hosted = {arm: cost.per_usable for arm, cost in costs.items() if arm not in {use.arm for use in local}}
    machines = run.record.hardware or {}
    return [
        line
        for use in pure
        for arm, usd in hosted.items()
        if usd and (line := against(use.arm, arm, use.machine_s_per_decision, machines[use.server], usd))
    ]


def against(local: str, hosted: str, machine_s: float | None, hardware: Hardware, hosted_usd: float) -> BreakEven | None:
    """One pair; None without a purchase price or rent, or without the time of a decision."""
    now = monthly(machine_s, hardware)
    if now is None or machine_s is None:
        return None
    return BreakEven(local, hosted, hosted_usd, now, decisions(now, hosted_usd))


def monthly(machine_s: float | None, hardware: Hardware) -> Monthly | None:
    """A month of a self-hosted arm: bought if a purchase price is known, else rented by the hour all month."""
    if not machine_s:
        return None
    capacity = HOURS_PER_MONTH * 3600 * (hardware.utilisation or 1.0) / machine_s
    purchase = hardware.purchase_usd_per_month
    if purchase is not None and hardware.energy_usd_per_s is not None:
        return Monthly(purchase, hardware.energy_usd_per_s * machine_s, capacity, is_rented=False)
    if hardware.usd_per_hour is not None:
        return Monthly(hardware.usd_per_hour * HOURS_PER_MONTH, 0.0, capacity, is_rented=True)
    return None


def decisions(month: Monthly | None, hosted_usd: float) -> float | None:
    """fixed / (hosted - marginal) decisions a month if one machine can make them, else never: a second machine costs the same
    again for the same number of decisions."""
    if month is None or hosted_usd <= month.marginal_usd:
        return None
    needed = month.fixed_usd / (hosted_usd - month.marginal_usd)
    return needed if needed <= month.capacity else None


def span(lines: Sequence[BreakEven]) -> tuple[float, float]:
    """Decisions a month that a chart shows: from a decade below the first break-even to what two machines make."""
    met = [line.decisions for line in lines if line.decisions]
    capacity = max(line.monthly.capacity for line in lines)
    first = min(met, default=capacity / 100) / 10
    return max(1.0, first), max(10.0, 2 * capacity)
