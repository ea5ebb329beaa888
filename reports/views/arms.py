"""The arms as their cards show them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from reports import lineups
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
    statuses: Mapping[str, int]
    """decision status (or the cell's, when it did not end ok) -> cells."""

    @property
    def no_cost_because(self) -> str:
        """Why there is no cost per usable decision."""
        return self.why_no_cost or ("no decision was usable" if not self.usable else "some cells have no cost")


def arms(run: Run) -> tuple[Arm, ...]:
    """Every arm in the order of the experiment."""
    unpriced = run.calls.loc[run.calls["cost_usd"].isna(), ["arm", "cost_usd", "provider", "outcome"]]
    return tuple(_arm(run, slot, name, unpriced[unpriced["arm"] == name]) for slot, name in enumerate(run.arms))


def _arm(run: Run, slot: int, name: str, unpriced: pd.DataFrame) -> Arm:
    mine = run.judged[run.judged["arm"] == name]
    is_rule = name in lineups.rule_arms(run.experiment)
    return Arm(
        name=name,
        slot=slot,
        is_baseline=name == run.declared.baseline,
        rule=is_rule,
        models=() if is_rule else lineups.models_of(run.experiment, name),
        cells=len(mine),
        usable=int(mine["rating"].notna().sum()),
        cost=breakdown.total(mine["cost_usd"]),
        why_no_cost=breakdown.why_no_cost(unpriced),
        statuses=_statuses(mine),
    )


def _statuses(cells: pd.DataFrame) -> dict[str, int]:
    words = cells["decision_status"].where(cells["status"] == "ok", cells["status"]).fillna("missing")
    return {str(word): int(n) for word, n in words.value_counts().items()}
