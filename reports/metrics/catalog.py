"""All metrics: what builtin.py declares, outcomes once per horizon, and one metric's figure of each arm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from domain.defaults import HORIZONS
from reports.metrics import builtin as _declared  # noqa: F401 - importing the file fills the registry
from reports.metrics import registry
from reports.metrics.facts import Facts
from reports.metrics.registry import Metric

if TYPE_CHECKING:
    from reports.load import Run
    from reports.stats.estimate import Estimate


def all_metrics(horizons: Sequence[int] = HORIZONS) -> tuple[Metric, ...]:
    """All metrics in the order of builtin.py, outcomes once per horizon."""
    return tuple(metric for declared in registry.METRICS.values() for metric in _per_horizon(declared, horizons))


def metric_names(horizons: Sequence[int] = HORIZONS) -> tuple[str, ...]:
    """Names of the metrics that an experiment may declare: those with a better direction."""
    return tuple(metric.name for metric in all_metrics(horizons) if metric.better)


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


def figures_by_arm(run: Run, name: str) -> dict[str, Estimate]:
    """Return arm -> figure of one metric, for metrics without a horizon; empty before the first complete case."""
    facts = Facts(run)
    if not len(facts.cells):
        return {}
    # Here, because every experiment's names pass through this file and SciPy takes a tenth of a second to import.
    from reports.metrics.measure import MetricData

    measured = MetricData(facts, registry.METRICS[name])
    return {arm: measured.value(arm) for arm in facts.arms}
