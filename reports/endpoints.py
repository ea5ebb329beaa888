"""All endpoints: what metrics.py declares, outcomes once per horizon."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from domain.defaults import HORIZONS
from reports import metrics as _declared  # noqa: F401 - importing the file fills the registry
from reports import registry
from reports.registry import Metric


def every(horizons: Sequence[int] = HORIZONS) -> tuple[Metric, ...]:
    """All endpoints in the order of the file, outcomes once per horizon."""
    return tuple(one for declared in registry.DECLARED.values() for one in _per_horizon(declared, horizons))


def names(horizons: Sequence[int] = HORIZONS) -> tuple[str, ...]:
    """Every endpoint that an experiment may declare: those with a better direction."""
    return tuple(one.name for one in every(horizons) if one.better)


def _per_horizon(declared: Metric, horizons: Sequence[int]) -> list[Metric]:
    if not declared.is_outcome:
        return [declared]
    plural = {1: "1 session"}
    return [
        replace(
            declared,
            name=f"{declared.name}_{horizon}",
            title=f"{declared.title}, {plural.get(horizon, f'{horizon} sessions')}",
            horizon=horizon,
        )
        for horizon in horizons
    ]
