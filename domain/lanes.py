"""Lanes: when the answers of a hosted model are fetched, and at what price. Never part of an identity."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Lane:
    """One lane, as OpenAI sells it (2026-11)."""

    name: str
    service_tier: str | None
    """Sent with a request; None for deferred lanes, which are processed at the standard tier."""
    price_tier: str
    """Under which price tables list it."""
    share: float
    """Price against `now`; used where a table lists no price of its own for a background lane."""
    is_deferred: bool = False
    """Whether the answer is fetched later, and the cell is suspended until then."""
    window: str = ""
    """Completion window that is requested of the provider."""
    window_s: float = 0.0
    """The same in seconds."""


LANES: Mapping[str, Lane] = {
    lane.name: lane
    for lane in (
        Lane("now", "default", "default", 1.0),
        Lane("fast", "fast", "fast", 2.0),
        Lane("flex", "flex", "flex", 0.5),
        Lane("background_2h", None, "background_2h", 0.7, is_deferred=True, window="2h", window_s=2 * 3600.0),
        Lane("background_8h", None, "background_8h", 0.6, is_deferred=True, window="8h", window_s=8 * 3600.0),
        Lane("batch", None, "batch", 0.5, is_deferred=True, window="24h", window_s=24 * 3600.0),
    )
}
ALL_LANES = frozenset(LANES)
_OF_TIER = {"default": "now", "standard": "now", "auto": "now", "flex": "flex", "priority": "fast", "fast": "fast"}


def lane_of(params: Mapping[str, object]) -> Lane:
    """The lane that a model's parameters ask for. Default: now."""
    return LANES[str(params.get("lane") or "now")]


def lane_of_tier(service_tier: str | None) -> str | None:
    """The lane that a service tier is called today; None for an unknown tier."""
    return _OF_TIER.get(service_tier or "default")


def lane_served(lane: Lane, service_tier: str | None) -> str:
    """The lane in which a request was served: a server may answer a flex request at the standard tier, and reports that."""
    if lane.is_deferred or not service_tier:
        return lane.name
    return lane_of_tier(service_tier) or lane.name


def price_tier(lane: Lane, service_tier: str | None) -> str:
    """The tier to price a request by: what came back, else what was asked for."""
    if lane.is_deferred or not service_tier:
        return lane.price_tier
    return service_tier
