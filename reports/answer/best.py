"""Best of many: which arms cannot be told from the best one (Model Confidence Set, Hansen, Lunde and Nason 2011)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

if TYPE_CHECKING:
    from reports.answer.headline import Headline
    from reports.facts import Facts

SIZE = 0.1
DRAWS = 1000
SEED = 7
FEWEST_ARMS = 3
FEWEST_WINDOWS = 10


@dataclass(frozen=True)
class BestOfMany:
    """The arms that hold the best one with 90 % confidence, by mean excess return."""

    horizon: int
    windows: int
    """Non-overlapping windows in which every arm decided."""
    arms: tuple[str, ...]
    """Arms that cannot be told from the best."""
    p_values: tuple[tuple[str, float], ...]
    """arm -> p of being as good as the best, all arms."""


def best_of_many(facts: Facts, headline: Headline, horizon: int) -> BestOfMany | None:
    """None below three arms with models or ten windows in which all of them decided: too little to choose from."""
    arms = [arm for arm in facts.arms if arm not in facts.rules]
    if len(arms) < FEWEST_ARMS:
        return None
    returns = _returns(facts, headline, horizon, arms)
    if len(returns) < FEWEST_WINDOWS or not (returns.std() > 0).all():
        return None
    p_values = _p_values(-returns)
    kept = tuple(arm for arm in arms if p_values[arm] > SIZE)
    return BestOfMany(horizon, len(returns), kept, tuple((arm, p_values[arm]) for arm in arms))


def _returns(facts: Facts, headline: Headline, horizon: int, arms: list[str]) -> pd.DataFrame:
    """Mean excess return per window, windows x arms, over cases that every arm decided."""
    gains = facts.by_case(facts.position)[arms].mul(facts.excess(horizon), axis=0)
    gains = gains[headline.cases(horizon, *arms)].dropna()
    by_window: pd.DataFrame = gains.groupby(facts.dates.reindex(gains.index)).mean()
    return by_window


def _p_values(losses: pd.DataFrame) -> dict[str, float]:
    # Windows do not overlap, so blocks of one are right; importing arch takes seconds, so only where it is used.
    from arch.bootstrap import MCS

    found: Any = MCS(losses, size=SIZE, reps=DRAWS, block_size=1, method="R", seed=SEED)
    found.compute()
    return {str(arm): float(p) for arm, p in found.pvalues["Pvalue"].items()}
