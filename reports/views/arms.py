"""The arms as their cards show them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from reports import lineups
from reports.figures import known
from reports.money import breakdown
from reports.money.breakdown import Total

if TYPE_CHECKING:
    import pandas as pd

    from reports.load import Run


@dataclass(frozen=True)
class Arm:
    """One arm as its card shows it."""

    name: str
    slot: int
    """Position in the experiment: its colour and its shape everywhere."""
    is_baseline: bool
    rule: bool
    models: tuple[str, ...]
    cells: int
    usable: int
    """Cells with a usable decision."""
    cost: Total
    """Sum of the cells' costs over all attempts."""
    why_no_cost: str
    service_p50_s: float | None
    service_p95_s: float | None
    statuses: Mapping[str, int]
    """decision status (or the cell's, when it did not end ok) -> cells."""

    @property
    def no_cost_because(self) -> str:
        """Why there is no cost per usable decision."""
        return self.why_no_cost or ("no decision was usable" if not self.usable else "some cells have no cost")

    @property
    def cost_per_decision(self) -> float | None:
        return self.cost.per(self.cells)

    @property
    def cost_per_usable(self) -> float | None:
        return self.cost.per(self.usable)

    @property
    def usable_share(self) -> float | None:
        return self.usable / self.cells if self.cells else None


def arms(run: Run) -> tuple[Arm, ...]:
    """Every arm in the order of the experiment."""
    return tuple(_arm(run, slot, name) for slot, name in enumerate(run.arms))


def _arm(run: Run, slot: int, name: str) -> Arm:
    mine = run.judged[run.judged["arm"] == name]
    is_rule = name in lineups.rule_arms(run.experiment)
    calls = run.calls[run.calls["arm"] == name]
    return Arm(
        name=name,
        slot=slot,
        is_baseline=name == run.declared.baseline,
        rule=is_rule,
        models=() if is_rule else lineups.models_of(run.experiment, name),
        cells=len(mine),
        usable=int(mine["rating"].notna().sum()),
        cost=breakdown.total(mine["cost_usd"]),
        why_no_cost=breakdown.why_no_cost(calls),
        service_p50_s=_quantile(mine["service_s"], 0.5),
        service_p95_s=_quantile(mine["service_s"], 0.95),
        statuses=_statuses(mine),
    )


def _quantile(column: pd.Series, share: float) -> float | None:
    value = column.quantile(share)
    return float(value) if known(value) else None


def _statuses(cells: pd.DataFrame) -> dict[str, int]:
    words = cells["decision_status"].where(cells["status"] == "ok", cells["status"]).fillna("missing")
    return {str(word): int(n) for word, n in words.value_counts().items()}
