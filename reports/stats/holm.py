"""Holm's step-down correction over the declared endpoints."""

from __future__ import annotations

from collections.abc import Sequence


def adjusted(p_values: Sequence[float]) -> list[float]:
    """Holm-adjusted p-values in the order given."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    result, worst = [1.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        worst = max(worst, min(1.0, p_values[index] * (len(p_values) - rank)))
        result[index] = worst
    return result


def levels(p_values: Sequence[float], level: float) -> list[float]:
    """Level at which Holm tests each hypothesis; after the first that stands, all are tested at its level."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    result, current, stopped = [level] * len(p_values), level, False
    for rank, index in enumerate(order):
        if not stopped:
            current = level / (len(p_values) - rank)
            stopped = not p_values[index] <= current
        result[index] = current
    return result
