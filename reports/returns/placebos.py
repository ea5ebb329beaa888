"""Placebos beside the arms: what buying always, a coin with the arm's own habits, and momentum earn on the same cases."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from reports.stats import estimate, means
from reports.stats.estimate import Estimate

if TYPE_CHECKING:
    from reports.metrics.facts import Facts
    from reports.returns.eligible_cases import EligibleCases

DRAWS = 1000
SEED = 11
LOOK_BACK = 20
"""Sessions over which momentum looks back."""


@dataclass(frozen=True)
class Placebo:
    """Mean excess return of a rule that knows nothing, on the headline cases of an arm."""

    name: str
    """always buy | coin | momentum."""
    arm: str
    horizon: int
    arm_value: float
    """What the arm itself earned on these cases."""
    estimate: Estimate
    """Of the coin, low and high hold 95 % of its draws."""
    beaten_share: float
    """Share of the coin's draws that the arm beat; NaN for the others."""
    note: str = ""


def placebos(facts: Facts, headline: EligibleCases, horizon: int) -> tuple[Placebo, ...]:
    """Three per arm with usable decisions on headline cases; none where no case may carry a claim."""
    excess = facts.excess(horizon)
    held, trend = facts.by_case(facts.position), momentum(facts)
    found: list[Placebo] = []
    for arm in facts.arms:
        cases = headline.cases(horizon, arm)
        both = pd.DataFrame({"held": held[arm], "excess": excess, "date": facts.dates}).loc[cases].dropna()
        if len(both):
            found += _of_arm(arm, horizon, both, trend.reindex(both.index))
    return tuple(found)


def _of_arm(arm: str, horizon: int, both: pd.DataFrame, trend: pd.Series[Any]) -> list[Placebo]:
    own = _mean(both["held"] * both["excess"], both["date"])
    known = trend.notna()
    note = (
        "" if known.all() else f"known for {int(known.sum())} of {len(both)} cases: daily prices begin too late for the others"
    )
    return [
        Placebo("always buy", arm, horizon, own.value, _mean(both["excess"], both["date"]), np.nan),
        _coin(arm, horizon, both, own.value),
        Placebo("momentum", arm, horizon, own.value, _mean((trend * both["excess"])[known], both["date"][known]), np.nan, note),
    ]


def momentum(facts: Facts) -> pd.Series[Any]:
    """case_id -> +1 after a rise over 20 sessions, -1 after a fall, NaN without as many sessions of daily closes."""
    daily = facts.run.daily
    if not len(daily):
        return pd.Series(np.nan, index=facts.dates.index)
    daily = daily.sort_values("date")
    shares = daily["split"].fillna(1.0).groupby(daily["ticker"]).cumprod()
    worth = daily.assign(worth=daily["close"] * shares)
    closes = worth.pivot_table(index="date", columns="ticker", values="worth", aggfunc="last").sort_index()
    moves = closes.pct_change(LOOK_BACK, fill_method=None).stack()
    cases = facts.cells.drop_duplicates("case_id").set_index("case_id")[["date", "ticker"]]
    known = moves.reindex(pd.MultiIndex.from_frame(cases))
    return pd.Series(np.sign(known.to_numpy(dtype=float)), index=cases.index)


def _coin(arm: str, horizon: int, both: pd.DataFrame, own: float) -> Placebo:
    """The arm's own positions dealt to its cases at random: its buy rate without its judgement."""
    rng = np.random.default_rng(SEED)
    _, codes = np.unique(both["date"].to_numpy(), return_inverse=True)
    weights = 1 / np.bincount(codes)[codes] / (codes.max() + 1)
    gains = both["excess"].to_numpy() * weights
    dealt = rng.permuted(np.tile(both["held"].to_numpy(), (DRAWS, 1)), axis=1) @ gains
    low, high = np.quantile(dealt, [0.025, 0.975])
    middle = float(both["held"].mean() * gains.sum())
    dates = int(codes.max()) + 1
    drawn = Estimate(middle, float(low), float(high), len(both), dates, method=f"{DRAWS} random deals")
    return Placebo("coin", arm, horizon, own, drawn, float((dealt < own).mean()))


def _mean(values: pd.Series[Any], dates: pd.Series[Any]) -> Estimate:
    if not len(values):
        return estimate.unknown()
    by_date = values.groupby(dates).mean()
    return estimate.of_mean(means.of_dates(by_date.to_numpy()), len(values), len(by_date))
