"""The verdicts of a search, whose levels count every look, in place of those of a fixed design."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace

from reports import verdict
from reports.finding import ArmLook, Finding
from reports.stats import sequential
from reports.verdict import GoodEnough, Pick, Verdict

FixedVerdict = Callable[[str, str], Verdict | None]
"""(metric, arm) -> the verdict of a fixed design."""


def good_enough(found: Finding, fixed: FixedVerdict) -> dict[str, GoodEnough]:
    """Arm -> whether it is good enough after the last look."""
    return {arm: _good_enough(fixed, found, arm, shown) for arm, shown in found.looks[-1].arms.items()}


def pick(found: Finding, good: Mapping[str, GoodEnough]) -> Pick:
    """The arm that the search picked, and those that it may be picked from, the cheapest first."""
    looked = found.looks[-1].arms
    claimed = [arm for arm, shown in looked.items() if shown.is_claimed]
    by_cost = sorted(claimed, key=lambda arm: (looked[arm].usd_per_decision is None, looked[arm].usd_per_decision or 0.0))
    return Pick(found.pick, tuple(by_cost), {arm: judged.p for arm, judged in good.items()})


def _good_enough(fixed: FixedVerdict, found: Finding, arm: str, shown: ArmLook) -> GoodEnough:
    gate = found.design.gate
    number = max(found.looks_of(arm), 1)
    verdicts = {
        name: _verdict(fixed(name, arm), shown, place, gate.margins[place], gate.levels[place], number, found.design.looks)
        for place, name in enumerate(gate.metrics)
    }
    failing = tuple(name for name, shown_verdict in verdicts.items() if shown_verdict.word == verdict.WORSE)
    undecided = tuple(name for place, name in enumerate(gate.metrics) if not shown.flags[place] and name not in failing)
    word = verdict.GOOD_ENOUGH if shown.is_good else verdict.NOT_GOOD_ENOUGH if failing else verdict.UNDECIDED
    weights = (gate.pick_level / level for level in gate.levels)
    p = max(smallest * weight for smallest, weight in zip(shown.smallest_p, weights, strict=True))
    return GoodEnough(arm, word, verdicts, failing, undecided, min(p, 1.0))


def _verdict(
    fixed: Verdict | None, shown: ArmLook, place: int, margin: float, level: float, number: int, looks: int
) -> Verdict:
    """The verdict of a fixed design with bound, level and word of the last look."""
    low, high = max(shown.at_least[place], -1.0), min(shown.at_most[place], 1.0)
    if fixed is None or math.isnan(low):
        return Verdict(verdict.UNDECIDED, margin, reason="no case has a known value of both arms")
    nominal = sequential.look_levels(level, looks)[number - 1]
    word = verdict.NOT_WORSE if shown.flags[place] else verdict.WORSE if high < -margin else verdict.UNDECIDED
    return replace(
        fixed, word=word, margin=margin, bound=low, loss=max(-low, 0.0), level=nominal, low=low, high=high,
        confidence=1 - 2 * nominal, p=shown.p[place],
    )  # fmt: skip
