"""Illustrative strategy figures: the value of following an arm, its return and risk, in named conventions."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from reports.load import Run

ALWAYS_BUY = "always buy"
SEED = 11
DRAWN_NUMBERS = 4_000_000
"""Most positions of random trades, draws x sessions x lanes."""
DRAWS_AT_A_TIME = 40
"""Draws of random trades that are in memory at the same time."""
PERIODS = 252
"""Sessions in a year, as empyrical and quantstats count them."""
CONVENTIONS: Mapping[str, str] = {
    "value": "Equal cash per ticker at the first open, never rebalanced; marked at opens with splits and dividends; no costs.",
    "position": "BUY holds the ticker, SELL holds cash, HOLD changes nothing; filled at the next open; cash at first.",
    "repeats": "Repeats of a case share the ticker's cash.",
    "annual_return": "Compound, 252 sessions a year.",
    "sharpe": "Mean over standard deviation (ddof 1) of a session's simple returns, times the root of 252; no risk-free rate.",
    "sortino": "Mean over the root of the mean squared negative return (target 0), times the root of 252.",
    "sortino_stockbench": "Mean over standard deviation (ddof 1) of negative returns, a zero first return kept, per session.",
    "max_drawdown": "Deepest fall of the value below its highest so far.",
}
"""What each figure means: the default is empyrical's and quantstats'; others go by their name."""


@dataclass(frozen=True)
class Strategy:
    """One value series and its figures; NaN with too few sessions."""

    name: str
    value: pd.Series[Any]
    """Value per session, 1 at the start."""
    total_return: float
    annual_return: float
    sharpe: float
    sortino: float
    sortino_stockbench: float
    max_drawdown: float


def strategies(run: Run) -> tuple[Strategy, ...]:
    """One per arm, then always-buy and the benchmark; empty without daily prices."""
    moved = moves(run)
    if len(moved) < 2:
        return ()
    held = [(arm, positions(run, arm, moved)) for arm in run.arms]
    followed = [measure(arm, value(moved, position)) for arm, position in held if position is not None]
    always_buy = measure(ALWAYS_BUY, value(moved, pd.DataFrame(1.0, moved.index, moved.columns)))
    return (*followed, always_buy, *_benchmark(run, moved))


def moves(run: Run) -> pd.DataFrame:
    """Simple returns from open to open, splits and dividends included, sessions x tickers of the cells, from the first fill on.

    A missing bar keeps the last price.
    """
    return _moves_of(run, run.measured_cells["ticker"].unique())


def luck(run: Run, arm: str, draws: int = 400) -> tuple[list[float], list[float]]:
    """What 95 % of random trades with an arm's mix of BUY, HOLD and SELL are worth, per session: lower and upper edge.

    Each draw deals the arm's own decisions to its cases at random. Both are empty without prices or decisions.
    """
    moved = moves(run)
    orders = _orders(run, arm, moved) if len(moved) > 1 else None
    if orders is None or not len(orders):
        return [], []
    orders = orders.sort_values(["ticker", "repeat", "fill"], kind="stable")
    lanes, tickers = pd.factorize(orders["ticker"].astype(str) + "/" + orders["repeat"].astype(str))
    count = int(np.clip(DRAWN_NUMBERS // (len(moved) * len(tickers)), 40, draws))
    rng, wanted = np.random.default_rng(SEED), orders["wanted"].to_numpy(dtype=float)
    latest, worth = _latest(orders["fill"].to_numpy(), lanes, len(moved)), []
    for first in range(0, count, DRAWS_AT_A_TIME):
        dealt = np.array([rng.permutation(wanted) for _ in range(min(DRAWS_AT_A_TIME, count - first))])
        worth.append(_worth(_forward(dealt, lanes)[:, latest], orders, lanes, moved))
    low, high = np.quantile(np.vstack(worth), [0.025, 0.975], axis=0)
    return low.tolist(), high.tolist()


def _forward(wanted: Any, lanes: Any) -> Any:
    """Positions after each order (draws x orders, by lane): a HOLD keeps what its lane held, nothing at first.

    The last column is 0, for sessions before the first order.
    """
    is_first = np.r_[True, lanes[1:] != lanes[:-1]]
    is_set = ~np.isnan(wanted) | is_first
    last_set = np.maximum.accumulate(np.where(is_set, np.arange(wanted.shape[1]), 0), axis=1)
    positions = np.take_along_axis(np.nan_to_num(wanted), last_set, axis=1)
    return np.hstack([positions, np.zeros((len(wanted), 1))])


def _latest(fills: Any, lanes: Any, sessions: int) -> Any:
    """Index of the order that rules at each session, sessions x lanes; -1 before a lane's first."""
    latest = np.full((sessions, lanes.max() + 1), -1)
    latest[fills, lanes] = np.arange(len(fills))
    return np.maximum.accumulate(latest, axis=0)


def _worth(held: Any, orders: pd.DataFrame, lanes: Any, moved: pd.DataFrame) -> Any:
    """Value per draw and session of equal cash in every ticker; repeats share their ticker's cash."""
    column_of_lane = moved.columns.get_indexer(pd.Index(orders["ticker"].to_numpy()[np.r_[True, lanes[1:] != lanes[:-1]]]))
    share = np.zeros((held.shape[2], moved.shape[1]))
    share[np.arange(len(column_of_lane)), column_of_lane] = 1
    share /= np.maximum(share.sum(axis=0), 1)
    growth = 1 + moved.to_numpy()[None, 1:] * (held @ share)[:, :-1]
    return np.hstack([np.ones((len(held), 1)), growth.cumprod(axis=1).mean(axis=2)])


def _benchmark(run: Run, moved: pd.DataFrame) -> Iterator[Strategy]:
    """Holding the benchmark, where it is one ticker with daily prices and none of the cases."""
    for name in run.outcomes["benchmark"].dropna().unique():
        held = _moves_of(run, [name]).reindex(moved.index).fillna(0.0)
        if name in held and name not in moved:
            yield measure(str(name), value(held, pd.DataFrame(1.0, held.index, held.columns)))


def _moves_of(run: Run, tickers: Collection[str]) -> pd.DataFrame:
    daily = run.daily[run.daily["ticker"].isin(list(tickers))]
    if not len(daily) or not len(run.measured_cells):
        return pd.DataFrame()
    opens = _wide(daily, "open").ffill()
    opens = opens[opens.index > run.measured_cells["date"].min()].dropna(axis=1, how="all").bfill()
    splits, dividends = (_wide(daily, name).reindex_like(opens) for name in ("split", "dividend"))
    moved: pd.DataFrame = (opens + dividends.fillna(0.0)) * splits.fillna(1.0) / opens.shift(1) - 1
    return moved.fillna(0.0)


def positions(run: Run, arm: str, moved: pd.DataFrame) -> pd.DataFrame | None:
    """Share of each ticker's cash that an arm holds from each session's open on; None without a usable decision."""
    orders = _orders(run, arm, moved)
    return _held(orders, moved) if orders is not None else None


def _orders(run: Run, arm: str, moved: pd.DataFrame) -> pd.DataFrame | None:
    """The session at which each decision of an arm is filled, and the position that it wants; None without a decision."""
    cells = run.measured_cells[
        (run.measured_cells["arm"] == arm)
        & run.measured_cells["action"].notna()
        & run.measured_cells["ticker"].isin(moved.columns)
    ]
    if not len(cells):
        return None
    fills = np.searchsorted(moved.index.to_numpy(), cells["date"].to_numpy(), side="right")
    wanted = cells["action"].map({"BUY": 1.0, "SELL": 0.0})
    orders = pd.DataFrame({"fill": fills, "ticker": cells["ticker"], "repeat": cells["repeat"], "wanted": wanted})
    return orders[orders["fill"] < len(moved)]


def _held(orders: pd.DataFrame, moved: pd.DataFrame) -> pd.DataFrame:
    table = orders.pivot_table(index="fill", columns=["repeat", "ticker"], values="wanted", aggfunc="last", dropna=False)
    sessions = table.reindex(range(len(moved))).ffill().fillna(0.0)
    shares = sessions.T.groupby(level="ticker").mean().T.reindex(columns=moved.columns, fill_value=0.0)
    return shares.set_axis(moved.index)


def value(moved: pd.DataFrame, held: pd.DataFrame) -> pd.Series[Any]:
    """Value per session of equal cash in every ticker, 1 at the first session."""
    growth = 1 + moved * held.shift(1).fillna(0.0)
    return growth.cumprod().mean(axis=1)


def measure(name: str, values: pd.Series[Any]) -> Strategy:
    """All figures of a value series."""
    start = float(values.iloc[0])
    returns = values.pct_change().iloc[1:].to_numpy()
    total = float(values.iloc[-1]) / start - 1
    return Strategy(
        name=name,
        value=values / start,
        total_return=total,
        annual_return=(1 + total) ** (PERIODS / len(returns)) - 1 if len(returns) else math.nan,
        sharpe=sharpe(returns),
        sortino=sortino(returns),
        sortino_stockbench=sortino_stockbench(returns),
        max_drawdown=float((values / values.cummax() - 1).min()),
    )


def sharpe(returns: Any) -> float:
    """Annualised; NaN without variation."""
    spread = np.std(returns, ddof=1) if len(returns) > 1 else 0.0
    return float(np.mean(returns) / spread * math.sqrt(PERIODS)) if spread > 0 else math.nan


def sortino(returns: Any) -> float:
    """Annualised, target 0; NaN without a loss."""
    downside = math.sqrt(np.mean(np.minimum(returns, 0.0) ** 2)) if len(returns) else 0.0
    return float(np.mean(returns) / downside * math.sqrt(PERIODS)) if downside > 0 else math.nan


def sortino_stockbench(returns: Any) -> float:
    """StockBench's: per session, over the standard deviation of losses, with the zero return of the first session."""
    with_first = np.concatenate([[0.0], returns])
    losses = with_first[with_first < 0]
    spread = np.std(losses, ddof=1) if len(losses) > 1 else 0.0
    return float(np.mean(with_first) / spread) if spread > 0 else math.nan


def _wide(daily: pd.DataFrame, column: str) -> pd.DataFrame:
    wide: pd.DataFrame = daily.pivot_table(index="date", columns="ticker", values=column, aggfunc="last", dropna=False)
    return wide.sort_index()
