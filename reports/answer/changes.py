"""What would change the conclusion: prices, more cases, repeats, later cases; each with its number."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from reports.answer import wording

if TYPE_CHECKING:
    from reports.answer.found import Findings


def changes(found: Findings) -> tuple[str, ...]:
    """What would change the conclusion: prices, more cases, repeats, later cases; each with its number."""
    return (*_price_changes(found), *_case_changes(found), *_floor_changes(found), *_cutoff_changes(found))


def _price_changes(found: Findings) -> Iterator[str]:
    row = found.row("cost_per_usable")
    by_dear: dict[str, list[str]] = {}
    for arm, comparison in row.comparisons.items():
        if comparison.scale != "ratio" or not (comparison.has_interval and comparison.is_apart):
            continue
        dear, cheap = (comparison.baseline, arm) if comparison.estimate.value < 1 else (arm, comparison.baseline)
        by_dear.setdefault(dear, []).append(cheap)
    for dear, cheaper in by_dear.items():
        limits = "; ".join(f"less than {wording.figure('usd', row.values[arm].value)} that of {arm}" for arm in cheaper)
        now = wording.figure("usd", row.values[dear].value)
        yield f"The price of {dear}, {now} per usable decision: {limits.replace(' that', ' would end the advantage', 1)}."


def _case_changes(found: Findings) -> Iterator[str]:
    for row in found.declared:
        open_arms = {arm: one.verdict for arm, one in row.comparisons.items() if one.verdict and one.verdict.more_cases}
        if open_arms:
            told = "; ".join(f"{arm} needs {wording.more_cases(given)}" for arm, given in open_arms.items())
            yield f"{row.metric.title.capitalize()}, to be settled: {told}."


def _floor_changes(found: Findings) -> Iterator[str]:
    row = found.row("similarity")
    if found.baseline and not math.isfinite(row.values[found.baseline].value):
        yield (
            f"Repeats of {found.baseline} on 10 cases or more would tell similarity from noise; it has 0 cases with two usable "
            f"repeats."
        )


def _cutoff_changes(found: Findings) -> Iterator[str]:
    for arm, strata in found.strata.items():
        cutoff = found.cutoffs[arm].cutoff
        if cutoff is not None and not strata.get("after"):
            yield (
                f"Returns of {arm}: only cases later than 90 days after {cutoff.cutoff} ({cutoff.model}) can tell skill from "
                f"memory; this run has 0."
            )
