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


def headline(found: Findings) -> str:
    """The answer over all arms in one sentence; empty where there is one arm, whose brief is the answer."""
    told = briefs(found)
    return f"{_all_costs(found, told)}; {_all_quality(found, told)}." if len(told) > 1 else ""


def _all_costs(found: Findings, told: list[Brief]) -> str:
    row = found.row("cost_per_usable")
    pairs = [one for brief in told if (one := row.comparisons.get(brief.arm)) and one.scale == "ratio"]
    apart = [one for one in pairs if one.has_interval and one.is_apart]
    less = sorted(1 - one.estimate.value for one in apart if one.estimate.value < 1)
    if not pairs:
        return f"What the arms cost beside {found.baseline} is not known"
    if not less:
        return f"No arm is shown to cost less per usable decision than {found.baseline} at {_usd(row, str(found.baseline))}"
    ends = dict.fromkeys(f"{share * 100:.0f}" for share in (less[0], less[-1]))
    return (
        f"{_of(len(less), len(told))} {'costs' if len(less) == 1 else 'cost'} less per usable decision than {found.baseline} "
        f"at {_usd(row, str(found.baseline))}, by {' to '.join(ends)} %"
    )


def _all_quality(found: Findings, told: list[Brief]) -> str:
    by_word = {word: [one.arm for one in told if one.word == word] for word in ("as good", "worse", "cannot tell")}
    unsure = len(by_word["cannot tell"])
    cases = f"{found.cases:,} {'case does' if found.cases == 1 else 'cases do'} not tell yet"
    parts = (
        f"as good within the margins: {_named(by_word['as good'])}" if by_word["as good"] else "",
        f"worse: {_named(by_word['worse'])}" if by_word["worse"] else "",
        f"{cases} whether any is as good" if unsure == len(told) else f"for {unsure} {cases}" if unsure else "",
    )
    return "; ".join(filter(None, parts)) or "the experiment asks nothing about how good they are"


def _of(some: int, every: int) -> str:
    return f"{'Both' if every == 2 else f'All {every}'} arms" if some == every else f"{some} of {every} arms"


def _named(names: list[str]) -> str:
    if len(names) > MOST_NAMED:
        names = [*names[:MOST_NAMED], f"{len(names) - MOST_NAMED} more"]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _brief(found: Findings, arm: str) -> Brief:
    told = [(row, one) for row in found.declared if (one := row.comparisons.get(arm)) and one.verdict]
    quality = [(row, one) for row, one in told if row.metric.group not in NOT_QUALITY]
    word, said = _quality(quality)
    return Brief(arm, word, f"{_cost(found, arm)}; {said}.")


def _cost(found: Findings, arm: str) -> str:
    row = found.row("cost_per_usable")
    one = row.comparisons.get(arm)
    own, theirs = (_usd(row, name) for name in (arm, str(found.baseline)))
    if one is None or one.scale != "ratio" or not math.isfinite(one.estimate.value):
        both = f"costs {own} per usable decision, {found.baseline} {theirs}" if own and theirs else ""
        return both or f"what it costs beside {found.baseline} is not known"
    than = f" than {found.baseline} at {theirs}" if len(found.arms) - len(found.rules) == 2 else ""
    said = f"costs {own} per usable decision, {_times(one.estimate.value)} {_word(one)}{than}"
    if not one.has_interval:
        return f"{said}, on too little for an interval"
    if not one.is_apart:
        return f"costs {own} per usable decision, which cannot be told from {found.baseline}'s {theirs}, {_interval(row, one)}"
    return said


def _usd(row: Row, arm: str) -> str:
    """What a usable decision costs an arm; empty where it is not known."""
    value = row.values[arm].value
    return wording.figure("usd", value) if math.isfinite(value) else ""


def _word(one: Comparison) -> str:
    return "less" if one.estimate.value < 1 else "more"


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
        _open(unsure, told),
    )
    return "worse" if worse else "cannot tell" if unsure else "as good", "; ".join(filter(None, parts))


def _open(unsure: list[tuple[Row, Comparison]], told: list[tuple[Row, Comparison]]) -> str:
    if len(unsure) == len(told):
        return f"cannot tell yet whether it is as good ({_count(unsure, told)} open)"
    return f"cannot tell yet on {_count(unsure, told)}" if unsure else ""


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
    return _named([f"{_title(row)} ({_interval(row, one)})" for row, one in found])


def _interval(row: Row, one: Comparison) -> str:
    return wording.interval(row.metric, one.scale, one.estimate)
