"""The rating scale and the action that follows from each rating."""

from __future__ import annotations

from collections.abc import Mapping

SCORES: Mapping[str, int] = {"Buy": 2, "Overweight": 1, "Hold": 0, "Underweight": -1, "Sell": -2}
"""Rating -> score, the most bullish first."""

RATINGS: tuple[str, ...] = tuple(SCORES)

ACTIONS: Mapping[str, str] = {
    "Buy": "BUY",
    "Overweight": "BUY",
    "Hold": "HOLD",
    "Underweight": "SELL",
    "Sell": "SELL",
}
