"""How the words of other rating scales read on ours."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_STRONG_PERCENT = 70.0
"""From this confidence on, a bullish or bearish signal is a full rating."""

_WORDS: Mapping[str, str] = {
    **dict.fromkeys(("buy", "strong buy", "strongly buy", "accumulate", "long", "买入", "买进", "强烈买入"), "Buy"),
    **dict.fromkeys(("overweight", "outperform", "moderate buy", "weak buy", "add", "增持"), "Overweight"),
    **dict.fromkeys(("hold", "neutral", "market perform", "equal weight", "wait", "持有", "观望", "中性"), "Hold"),
    **dict.fromkeys(("underweight", "underperform", "moderate sell", "weak sell", "reduce", "减持"), "Underweight"),
    **dict.fromkeys(("sell", "strong sell", "strongly sell", "short", "卖出", "强烈卖出"), "Sell"),
}
"""Word in small letters -> rating."""
_SIGNALS: Mapping[str, tuple[str, str]] = {
    **dict.fromkeys(("bullish", "positive", "看涨", "看多"), ("Buy", "Overweight")),
    **dict.fromkeys(("bearish", "negative", "看跌", "看空"), ("Sell", "Underweight")),
}
"""Signal -> rating when it is sure, and when it is not."""
_KEYS = ("rating", "final_rating", "decision", "final_decision", "action", "recommendation", "signal", "verdict", "view")
"""Keys under which programs state their decision, the most explicit first."""


def rating_of(word: Any, confidence: Any = None) -> str | None:
    """The rating for a word of another scale, or None. `confidence`: 0 to 1, or 0 to 100; it grades bullish and bearish."""
    plain = re.sub(r"[\s_\-*`'\".!]+", " ", str(word)).strip().lower() if isinstance(word, str) else ""
    if plain in _WORDS:
        return _WORDS[plain]
    if plain not in _SIGNALS:
        return None
    percent = percent_of(confidence)
    return _SIGNALS[plain][0 if percent is None or percent >= _STRONG_PERCENT else 1]


def percent_of(confidence: Any) -> float | None:
    """A stated confidence in percent; None if there is none within 0 to 100."""
    if isinstance(confidence, bool) or not isinstance(confidence, (int, float)):
        return None
    percent = float(confidence) * 100 if 0 <= confidence <= 1 else float(confidence)
    return percent if 0 <= percent <= 100 else None


def decision_in(stated: Mapping[str, Any], key: str | None = None) -> tuple[str, str] | None:
    """(word, rating) of an object that states a decision, also one level down; None if it states none of any scale."""
    for name in (key,) if key else _KEYS:
        value = stated.get(name)
        if isinstance(value, Mapping) and (inner := decision_in(value)):
            return inner
        if isinstance(value, str) and (rating := rating_of(value, stated.get("confidence"))):
            return value, rating
    return None
