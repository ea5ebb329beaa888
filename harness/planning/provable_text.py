"""What a matrix can prove, in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    # Its statistics take a second to import, which a run with invalid input never needs.
    from harness.planning.provable import Provable


def proves(one: Provable) -> str:
    """One endpoint: from which difference on, and whether equality within its margin can be shown."""
    if one.dates < 2:
        return "nothing: one date proves nothing"
    design = f"{one.cases:,} cases on {one.dates:,} dates that count"
    if one.difference is None:
        return f"nothing: {design} are too few for any difference{_margin(one)}"
    return f"differences from {_size(one, one.difference)} on ({design}){_margin(one)}"


def advices(detectable: Mapping[str, Provable]) -> Iterator[str]:
    """Dates or repeats, once for all endpoints for which it is the same."""
    by_advice: dict[str, list[str]] = {}
    for name, one in detectable.items():
        if one.difference is not None:
            by_advice.setdefault(one.spend_on, []).append(name)
    for advice, names in by_advice.items():
        yield advice if len(by_advice) == 1 else f"{', '.join(names)}: {advice}"


def _margin(one: Provable) -> str:
    if one.margin is None:
        return ""
    if one.can_prove:
        return f"; it can show that two arms are equal within {_size(one, one.margin)}"
    needed = "" if one.cases_needed is None else f": {one.cases_needed:,} cases would"
    return f"; it cannot show that two arms are equal within {_size(one, one.margin)}{needed}"


def _size(one: Provable, size: float) -> str:
    if one.unit == "ratio":
        return f"{size:.0%}" if size >= 0.1 else f"{size:.1%}"
    if one.measure == "share":
        return f"{100 * size:.3g} points"
    if one.measure == "return":
        return f"{1e4 * size:,.0f} bp"
    return f"{size:.2g} {one.measure}"
