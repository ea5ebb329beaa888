"""The caps of a budget held against the forecast: which of them is likely to bind."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from harness.experiment.terms import Budget
from harness.planning.forecast import ArmForecast

if TYPE_CHECKING:
    from harness.planning.draws import Draws

LIKELY = 0.1
"""Chance from which a cap is said to bind."""


@dataclass(frozen=True)
class Cap:
    """A cap of the budget, and how likely it cuts something off."""

    name: str
    usd: float
    chance: float
    """Share of the draws in which it binds; of the cells where it is a cell's cap, of the calls where it is a call's."""
    would_need: float | None
    """What would be enough in nine of ten cases."""
    binds: str
    """run | model | cell | call: of what the chance speaks."""

    def to_plain(self) -> dict[str, Any]:
        return asdict(self)


def of_budget(budget: Budget, arms: Mapping[str, ArmForecast], api: Draws | None) -> tuple[Cap, ...]:
    """Every cap that is declared and can be judged; none where a price is unknown."""
    known = [arm for arm in arms.values() if arm.calls and arm.api_cost.mid is not None]
    run = _cap("run_usd", budget.run_usd, api, "run") if budget.run_usd is not None and api is not None else ()
    return (*run, *_models(budget.model_usd, known), *_cells(budget.cell_usd, known), *_calls(budget.call_usd, known))


def _cap(name: str, usd: float, cost: Draws, binds: str) -> Iterator[Cap]:
    import numpy as np

    yield Cap(name, usd, float(np.mean(cost > usd)), float(np.percentile(cost, 90)), binds)


def _models(caps: Mapping[str, float], arms: list[ArmForecast]) -> Iterator[Cap]:
    for alias, usd in caps.items():
        paid = [arm.model_draws[alias] for arm in arms if alias in arm.model_draws]
        if paid:
            yield from _cap(f"model_usd.{alias}", usd, sum(paid[1:], paid[0]), "model")


def _cells(usd: float | None, arms: list[ArmForecast]) -> Iterator[Cap]:
    """The cells of the arm that costs most."""
    if usd is not None and arms:
        dearest = max(arms, key=lambda arm: float(arm.cell_draws.mean()))
        yield from _cap("cell_usd", usd, dearest.cell_draws, "cell")


def _calls(usd: float | None, arms: list[ArmForecast]) -> Iterator[Cap]:
    """A call is not sent when its worst case, with all the output that it may write, passes the cap."""
    import numpy as np

    worst = [cost for arm in arms for cost in arm.worst_calls_usd]
    if usd is not None and worst:
        yield Cap("call_usd", usd, sum(cost > usd for cost in worst) / len(worst), float(np.max(worst)), "call")
