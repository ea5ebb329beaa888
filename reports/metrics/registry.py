"""The registry of metrics: what the decorated functions in builtin.py declare."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["mean", "share", "agreement", "rare", "quantile", "per_unit"]
Scale = Literal["difference", "ratio"]


@dataclass(frozen=True)
class Metric:
    """One metric; its table row, interval, comparison and footnote follow from these fields."""

    name: str
    title: str
    """Column heading."""
    group: str
    """money | time | tokens | reliability | agreement | decisions | debate | grounding | outcomes."""
    unit: str
    """usd | s | tokens | share | score | return | correlation | tokens_per_s."""
    better: Literal["higher", "lower"] | None
    """None if neither direction is better: such a metric has an interval but no verdict."""
    kind: Kind
    """mean (case values) | share (of 0 and 1, exact) | agreement (share of pairs of repeats) | rare (the same, of what seldom
    happens) | quantile (of cells) | per_unit (sum over sum)."""
    scale: Scale
    """How arms are compared."""
    footnote: str
    compute: Callable[..., Any]
    """(facts[, horizon]) -> frame cases x arms; cells' series for a quantile; two frames for per_unit."""
    q: float = 0.5
    horizon: int | None = None
    """Sessions held, for metrics of returns after the decision."""
    level: float = 0.04
    """One-sided level at which "not worse" is honest (simulated: benchmarks/statistics.py)."""

    @property
    def is_outcome(self) -> bool:
        return self.horizon is not None

    @property
    def range(self) -> tuple[float, float]:
        """The values that a figure can have."""
        return _RANGES.get(self.unit, (-math.inf, math.inf))

    @property
    def range_of_differences(self) -> tuple[float, float]:
        low, high = self.range
        return low - high, high - low


_RANGES = {
    "share": (0.0, 1.0),
    "correlation": (-1.0, 1.0),
    "score": (-4.0, 4.0),
    "usd": (0.0, math.inf),
    "s": (0.0, math.inf),
    "tokens": (0.0, math.inf),
    "tokens_per_s": (0.0, math.inf),
}


METRICS: dict[str, Metric] = {}
"""name -> metric, in the order of builtin.py, once it is imported."""


@contextmanager
def apart() -> Iterator[dict[str, Metric]]:
    """Collect the metrics that are declared in the block, and leave the registry as it was."""
    before, added = dict(METRICS), dict[str, Metric]()
    METRICS.clear()
    try:
        yield added
    finally:
        added |= METRICS
        METRICS.clear()
        METRICS.update(before)


def metric(
    title: str,
    *,
    group: str,
    unit: str,
    better: Literal["higher", "lower"] | None = None,
    kind: Kind = "mean",
    scale: Scale = "difference",
    q: float = 0.5,
    outcome: bool = False,
    level: float = 0.04,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register a function as a metric. Its docstring becomes the footnote; an outcome is repeated for each horizon."""

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        name = function.__name__
        footnote = " ".join(inspect.getdoc(function).split()) if function.__doc__ else ""  # type: ignore[union-attr]
        horizon = 0 if outcome else None
        METRICS[name] = Metric(name, title, group, unit, better, kind, scale, footnote, function, q, horizon, level)
        return function

    return register
