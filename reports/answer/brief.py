"""The answer in brief: one sentence per arm on what it saves and whether it is as good, made from the verdicts."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from reports.answer import wording

if TYPE_CHECKING:
    from reports.answer.found import Comparison, Findings, Row

NOT_QUALITY = frozenset({"money", "time", "tokens"})
"""Groups of endpoints that say what a decision takes, not how good it is."""
MOST_NAMED = 3


@dataclass(frozen=True)
class Brief:
    """What a reader takes away of one arm."""

    arm: str
    word: str
    """worse | as good | cannot tell | not asked: over all declared endpoints of quality together."""
    text: str


def briefs(found: Findings) -> list[Brief]:
    """One per arm with models, in the order of the experiment; none of an unfinished run or without a baseline."""
    if found.baseline is None or found.is_interim:
        return []
    return [_brief(found, arm) for arm in found.arms if arm != found.baseline and arm not in found.rules]


def _brief(found: Findings, arm: str) -> Brief:
    told = [(row, one) for row in found.declared if (one := row.comparisons.get(arm)) and one.verdict]
    quality = [(row, one) for row, one in told if row.metric.group not in NOT_QUALITY]
    word, said = _quality(quality)
    return Brief(arm, word, f"{_cost(found, arm)}; {said}.")


def _cost(found: Findings, arm: str) -> str:
    row = found.row("cost_per_usable")
    one = row.comparisons.get(arm)
    if one is None or one.scale != "ratio" or not math.isfinite(one.estimate.value):
        return "what it costs beside the others is not known"
    word = "less" if one.estimate.value < 1 else "more"
    if not one.has_interval:
        return f"a usable decision cost {_times(one.estimate.value)} {word} here, on too little for an interval"
    if not one.is_apart:
        return f"what it costs cannot be told from {found.baseline}'s cost, {_interval(row, one)}"
    return f"costs {_times(one.estimate.value)} {word} per usable decision"


def _times(ratio: float) -> str:
    return f"{abs(ratio - 1) * 100:,.0f} %" if ratio < 3 else f"{ratio - 1:,.1f} times"


def _quality(told: list[tuple[Row, Comparison]]) -> tuple[str, str]:
    by_word: dict[str, list[tuple[Row, Comparison]]] = {}
    for row, one in told:
        by_word.setdefault(one.verdict.word if one.verdict else "", []).append((row, one))
    worse, better, unsure = (by_word.get(word, []) for word in ("worse", "better", "cannot tell"))
    settled = by_word.get("equivalent", []) + by_word.get("not worse", [])
    if not told:
        return "not asked", "the experiment asks nothing about how good it is"
    parts = (
        f"worse on {_joined(worse)}" if worse else "",
        f"better on {_joined(better)}" if better else "",
        f"as good within its margin on {_count(settled, told)}" if settled else "",
        f"cannot tell yet on {_count(unsure, told)}" if unsure else "",
    )
    return "worse" if worse else "cannot tell" if unsure else "as good", "; ".join(filter(None, parts))


def _count(some: list[tuple[Row, Comparison]], every: list[tuple[Row, Comparison]]) -> str:
    """The one by its name, several by their number."""
    if len(some) == 1:
        return _title(some[0][0])
    if len(some) == len(every):
        return f"{'both' if len(every) == 2 else f'all {len(every)}'} measures of quality"
    return f"{len(some)} of {len(every)} measures of quality"


def _title(row: Row) -> str:
    return row.metric.title.replace(", ", " over ") if row.metric.is_outcome else row.metric.title


def _joined(found: list[tuple[Row, Comparison]]) -> str:
    names = [f"{_title(row)} ({_interval(row, one)})" for row, one in found]
    if len(names) > MOST_NAMED:
        names = [*names[:MOST_NAMED], f"{len(names) - MOST_NAMED} more"]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _interval(row: Row, one: Comparison) -> str:
    return wording.interval(row.metric, one.scale, one.estimate)
