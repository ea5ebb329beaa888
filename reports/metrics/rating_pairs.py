"""How an arm's ratings differ from the baseline's: confusion matrix, same and opposite trade, lean, per ticker."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from domain.ratings import ACTIONS, RATINGS, SCORES
from reports.metrics.facts import Facts
from reports.stats import estimate, means
from reports.stats.estimate import Estimate

_SCORES = np.array([SCORES[rating] for rating in RATINGS], dtype=float)
_TRADES = np.array([ACTIONS[rating] for rating in RATINGS])
SAME = np.eye(len(RATINGS), dtype=bool)
SAME_TRADE = _TRADES[:, None] == _TRADES[None, :]
OPPOSITE_TRADE = np.sign(_SCORES)[:, None] * np.sign(_SCORES)[None, :] < 0
"""Which pairs of ratings (baseline's, arm's) are the same rating, the same trade, and a purchase against a sale."""


@dataclass(frozen=True)
class RatingPairs:
    """Pairs of one answer of the baseline and one of an arm to the same case; the baseline is paired with its own repeats."""

    arm: str
    table: tuple[tuple[float, ...], ...]
    """Share of cases by the baseline's rating (rows) and the arm's (columns), both from Buy to Sell; sums to 1."""
    cases: int
    """Cases that both decided."""
    same: Estimate
    same_trade: Estimate
    opposite_trade: Estimate
    lean: Estimate
    """Mean of the arm's score minus the baseline's: one notch is one step of the five ratings."""
    by_ticker: Mapping[str, tuple[float, int]]
    """ticker -> (share of the same rating, cases)."""

    def share(self, pairs: Any) -> float:
        """Share of the cases whose pair of ratings is one of these (a mask of the table)."""
        return float(np.asarray(self.table)[pairs].sum())


def rating_pairs(facts: Facts) -> dict[str, RatingPairs]:
    """arm -> its pairs with the baseline, for every arm that shares a decided case with it; empty without a baseline."""
    if facts.baseline is None:
        return {}
    tables_by_arm = {arm: facts.pair_tables(facts.baseline, arm) for arm in facts.arms}
    pairs = {arm: _pairs(facts, arm, tables) for arm, tables in tables_by_arm.items()}
    return {arm: of_arm for arm, of_arm in pairs.items() if of_arm is not None}


def _pairs(facts: Facts, arm: str, tables: Any) -> RatingPairs | None:
    is_known = ~np.isnan(tables).any(axis=(1, 2))
    if not is_known.any():
        return None
    tables, codes = tables[is_known], facts.date_codes[is_known]
    same = tables[:, SAME].sum(axis=1)
    leans = (tables * (_SCORES[None, None, :] - _SCORES[None, :, None])).sum(axis=(1, 2))
    tickers = facts.tickers[is_known]
    return RatingPairs(
        arm=arm,
        table=tuple(tuple(float(share) for share in row) for row in _of_dates(tables, codes).mean(axis=0)),
        cases=len(tables),
        same=_share(same, codes),
        same_trade=_share(tables[:, SAME_TRADE].sum(axis=1), codes),
        opposite_trade=_share(tables[:, OPPOSITE_TRADE].sum(axis=1), codes),
        lean=_mean(leans, codes),
        by_ticker={
            str(ticker): (float(same[tickers == ticker].mean()), int((tickers == ticker).sum()))
            for ticker in np.unique(tickers)
        },
    )


def _mean(values: Any, codes: Any) -> Estimate:
    by_date = _of_dates(values, codes)
    return estimate.of_mean(means.of_dates(by_date), len(values), len(by_date))


def _of_dates(values: Any, codes: Any) -> Any:
    """Mean of each date; every date counts the same, as in the metrics."""
    _, codes = np.unique(codes, return_inverse=True)
    sums = np.zeros((codes.max() + 1, *values.shape[1:]))
    np.add.at(sums, codes, values)
    return sums / np.bincount(codes).reshape(-1, *[1] * (values.ndim - 1))


def _share(values: Any, codes: Any) -> Estimate:
    measured = _mean(values, codes)
    return replace(measured, low=max(measured.low, 0.0), high=min(measured.high, 1.0))
