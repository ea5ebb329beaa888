"""The names that an experiment may use, asked of the rooms that own them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import agents


@cache
def roles() -> tuple[str, ...]:
    return tuple(agents.role_names())


@cache
def analysts() -> tuple[str, ...]:
    return tuple(agents.analyst_names())


@cache
def deep_roles() -> frozenset[str]:
    return frozenset(agents.deep_roles())


@cache
def rules() -> tuple[str, ...]:
    return tuple(agents.rule_names())


@cache
def sources(kind: str) -> tuple[str, ...]:
    """Sources that give a kind of data."""
    return tuple(agents.source_names(kind))


def endpoints(horizons: Sequence[int]) -> tuple[str, ...]:
    """Endpoints that a comparison may declare, outcomes once per horizon."""
    from reports.metrics import catalog

    return catalog.metric_names(horizons)
