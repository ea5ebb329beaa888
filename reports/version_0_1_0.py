"""What version 0.1.0 did not record in a run's manifest. Delete this module to drop the support of its run folders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def _roles(stage: str, *names: str, is_debater: bool = False, decides: bool = False) -> list[dict[str, Any]]:
    return [{"role": name, "stage": stage, "is_debater": is_debater, "decides": decides} for name in names]


ROLES: Sequence[Mapping[str, Any]] = (
    *_roles("analysis", "market_analyst", "sentiment_analyst", "news_analyst", "fundamentals_analyst"),
    *_roles("debate", "bull", "bear", is_debater=True),
    *_roles("plan", "research_manager", decides=True),
    *_roles("trade", "trader", decides=True),
    *_roles("risk", "aggressive", "conservative", "neutral", is_debater=True),
    *_roles("decision", "portfolio_manager", decides=True),
)
"""The roles of its pipeline, in the order of the flow."""
