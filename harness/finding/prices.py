"""What the next block costs and how long it takes, from the cells that have ended; before the first one, from the plan."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.errors import InvalidInput, Problem
from harness.planning import plan as planning

if TYPE_CHECKING:
    from harness.cells import Cell
    from harness.runs.session import RunPlan
    from harness.storage.rows import Row


@dataclass(frozen=True)
class BlockPrices:
    """Means of the ended cells of a run."""

    usd: Mapping[str, float]
    """Arm -> what hosted models billed for one of its cells."""
    spent_usd: float
    """What this run has paid."""
    ended: int

    @classmethod
    def of(cls, receipts: Iterable[Row]) -> BlockPrices:
        by_arm: dict[str, list[float]] = {}
        spent, ended = 0.0, 0
        for receipt in receipts:
            billed = receipt["api_cost_usd"]
            spent += (billed or 0.0) - (receipt.get("reused_api_usd") or 0.0)
            ended += 1
            if billed is not None:
                by_arm.setdefault(str(receipt["arm"]), []).append(float(billed))
        return cls({arm: sum(costs) / len(costs) for arm, costs in by_arm.items()}, spent, ended)

    def of_cells(self, cells: Sequence[Cell]) -> float | None:
        """Dollars of these cells; None if an arm has no cell of known cost yet."""
        costs = [self.usd.get(cell.arm) for cell in cells]
        known = [cost for cost in costs if cost is not None]
        return sum(known) if len(known) == len(costs) else None

    def too_dear(self, cells: Sequence[Cell], cap: float | None) -> str:
        """Why these cells do not fit the budget; empty if they do, or if that is not known."""
        needed = self.of_cells(cells)
        if cap is None or needed is None or self.spent_usd + needed <= cap:
            return ""
        left = max(cap - self.spent_usd, 0.0)
        of_budget = f"${left:,.2f} of the budget of ${cap:,.2f} are left (raise --budget)"
        return f"the next block costs about ${needed:,.2f}, and {of_budget}"

    def seconds(self, cells: Sequence[Cell], spent_s: float, ended_before: int) -> float | None:
        """Seconds that these cells take at the pace of those that have ended since `ended_before` were there."""
        ended = self.ended - ended_before
        return spent_s / ended * len(cells) if ended > 0 else None


def planned_usd(plan: RunPlan) -> dict[str, float]:
    """Arm -> dollars of one of its cells as planned, local hardware included; without arms of unknown price."""
    where = planning.Where(plan.options.results, plan.options.snapshots)
    every_key = frozenset(cell.cell_key for cell in plan.matrix)
    arms = planning.make(plan.resolved, plan.matrix, where, left=every_key).arms
    return {name: arm.cost.mid / arm.cells for name, arm in arms.items() if arm.cost.mid is not None and arm.cells}


def refuse_too_little(plan: RunPlan, cells: Sequence[Cell]) -> None:
    """Raises InvalidInput if the budget is below the forecast of these cells, the least from which anything follows."""
    cap = plan.experiment.budget.run_usd
    if cap is None:
        return
    where = planning.Where(plan.options.results, plan.options.snapshots)
    cost = planning.make(plan.resolved, cells, where).total_api_cost
    if cost.low is not None and cost.low > cap:
        what = f"${cap:,.2f} do not pay for the screen and one block: that costs ${cost.low:,.2f} to ${cost.high:,.2f} (80 %)"
        fix = f"pass --budget {cost.high:.2f} or more, or test fewer candidates or tickers"
        raise InvalidInput([Problem("budget", what, fix)])
