"""What one decision costs in each arm, by where its models answer: a small hosted model can be cheaper than a local one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from harness.planning.forecast import HOSTED, LOCAL, MIXED
from reports.format import usd_text

if TYPE_CHECKING:
    from harness.planning.forecast import ArmForecast


def per_decision(arms: Mapping[str, ArmForecast]) -> Iterator[str]:
    """A line for each place, its arms from dear to cheap, then which hosted arms undercut a local one; nothing for one arm."""
    asking = {name: arm for name, arm in arms.items() if arm.calls}
    if len(asking) < 2:
        return
    for place in (HOSTED, LOCAL, MIXED):
        there = sorted((item for item in asking.items() if item[1].place == place), key=lambda item: -(item[1].cost.mid or 0.0))
        if there:
            yield f"{place}: " + ", ".join(f"{name} {_each(arm)}" for name, arm in there)
    yield from _undercut(asking)


def _each(arm: ArmForecast) -> str:
    """Unknown stays unknown; what the hosted part bills is known also where the local one is not."""
    if arm.cost.mid is not None:
        return usd_text(arm.cost.mid / arm.cells)
    if arm.place == MIXED and arm.api_cost.mid is not None:
        return f"{usd_text(arm.api_cost.mid / arm.cells)} hosted, the local part unknown"
    return "unknown"


def _undercut(arms: Mapping[str, ArmForecast]) -> Iterator[str]:
    """Hosted arms whose whole interval lies below a local arm's."""
    for name, local in arms.items():
        least = local.cost.low
        if local.place != LOCAL or least is None:
            continue
        cheaper = [
            other
            for other, hosted in arms.items()
            if hosted.place == HOSTED and hosted.cost.high is not None and hosted.cost.high / hosted.cells < least / local.cells
        ]
        if cheaper:
            yield f"cheaper than {name} on its machine, although hosted: {', '.join(cheaper)}"
