"""Placebo strategies on the same cases: always buying, the arm's own positions shuffled, and momentum."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from reports.stats import estimate, means
from reports.stats.estimate import Estimate

if TYPE_CHECKING:
    from reports.metrics.facts import Facts

DRAWS = 1000
SEED = 11
SAME = 1e-12
"""Deals that differ by less are all alike: an arm with one answer cannot beat its own."""
LOOK_BACK = 20
"""Sessions over which momentum looks back."""


@dataclass(frozen=True)
class Placebo:
    """Mean excess return of a placebo on some cases of an arm."""

    name: str
    """always buy | coin | momentum."""
    arm: str
    horizon: int
    estimate: Estimate
    """For the coin, low and high enclose 95 % of its draws."""
    beaten_share: float
    """Share of the coin's draws that the arm beat; NaN for the others."""
    note: str = ""


def placebos(facts: Facts, horizon: int, cases: Mapping[str, Any]) -> tuple[Placebo, ...]:
    """Three per arm with usable decisions on its cases (arm -> mask); none without a case."""
    excess = facts.excess(horizon)
    held, trend = facts.by_case(facts.position), momentum(facts)
    all_placebos: list[Placebo] = []
    for arm, keep in cases.items():
        both = pd.DataFrame({"held": held[arm], "excess": excess, "date": facts.dates}).loc[keep].dropna()
        if len(both):
            all_placebos += _of_arm(arm, horizon, both, trend.reindex(both.index))
    return tuple(all_placebos)


def known(facts: Facts, horizon: int) -> pd.DataFrame:
    """Cases x arms: whether the arm decided and the outcome is known."""
    return facts.by_case(facts.position).notna().mul(facts.excess(horizon).notna(), axis=0)


def _of_arm(arm: str, horizon: int, both: pd.DataFrame, trend: pd.Series[Any]) -> list[Placebo]:
    is_known = trend.notna()
    note = (
        ""
        if is_known.all()
        else f"known for {int(is_known.sum())} of {len(both)} cases: daily prices begin too late for the others"
    )
    return [
        Placebo("always buy", arm, horizon, _mean(both["excess"], both["date"]), np.nan),
        _coin(arm, horizon, both),
        Placebo(
            "momentum",
            arm,
            horizon,
            _mean((trend * both["excess"])[is_known], both["date"][is_known]),
            np.nan,
            note,
        ),
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
    signs_of_cases = moves.reindex(pd.MultiIndex.from_frame(cases))
    return pd.Series(np.sign(signs_of_cases.to_numpy(dtype=float)), index=cases.index)


def _coin(arm: str, horizon: int, both: pd.DataFrame) -> Placebo:
    """The arm's positions assigned to its cases at random: its buy rate without its choices."""
    rng = np.random.default_rng(SEED)
    _, codes = np.unique(both["date"].to_numpy(), return_inverse=True)
    weights = 1 / np.bincount(codes)[codes] / (codes.max() + 1)
    gains = both["excess"].to_numpy() * weights
    dealt = rng.permuted(np.tile(both["held"].to_numpy(), (DRAWS, 1)), axis=1) @ gains
    low, high = np.quantile(dealt, [0.025, 0.975])
    middle = float(both["held"].mean() * gains.sum())
    dates = int(codes.max()) + 1
    drawn = Estimate(middle, float(low), float(high), len(both), dates, method=f"{DRAWS} random deals")
    earned = _mean(both["held"] * both["excess"], both["date"]).value
    beaten = float((dealt < earned).mean()) if np.ptp(dealt) > SAME else np.nan
    return Placebo("coin", arm, horizon, drawn, beaten)


def _mean(values: pd.Series[Any], dates: pd.Series[Any]) -> Estimate:
    if not len(values):
        return estimate.unknown()
    by_date = values.groupby(dates).mean()
    return estimate.of_mean(means.of_dates(by_date.to_numpy()), len(values), len(by_date))
