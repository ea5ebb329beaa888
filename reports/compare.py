"""What the experiment declared before the run: the baseline, the endpoints of the verdict and their margins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from domain import units


@dataclass(frozen=True)
class Declared:
    """Terms of the comparison."""

    baseline: str | None
    """Arm that the others are held against; the first one unless said."""
    margins: Mapping[str, float | None]
    """Declared endpoint -> difference that does not matter (a fraction: 2pp is 0.02), None without one."""


def declared(experiment: Mapping[str, Any], arms: Sequence[str]) -> Declared:
    """The terms of a resolved experiment. Raises ValueError on a margin that is none."""
    said = experiment.get("compare") or {}
    baseline = said.get("baseline") or (arms[0] if arms else None)
    endpoints = said.get("endpoints") or {}
    return Declared(baseline, {name: margin((terms or {}).get("margin")) for name, terms in endpoints.items()})


def margin(value: Any) -> float | None:
    """2pp, 5%, 20bp or a plain fraction -> fraction; None stays None. Raises ValueError on anything else."""
    return units.share(str(value)) if value is not None else None
