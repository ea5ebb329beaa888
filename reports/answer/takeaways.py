"""The answer in sentences: one brief per arm, the headline over all arms, and the takeaways."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from reports.answer import wording

if TYPE_CHECKING:
    from reports.answer.findings import Comparison, Findings, MetricRow

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
        f"{_some_of(len(less), len(told))} {'costs' if len(less) == 1 else 'cost'} less per usable decision "
        f"than {found.baseline} at {_usd(row, str(found.baseline))}, by {' to '.join(ends)} %"
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


def _some_of(some: int, every: int) -> str:
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


def _usd(row: MetricRow, arm: str) -> str:
    """What a usable decision costs an arm; empty where it is not known."""
    value = row.values[arm].value
    return wording.figure("usd", value) if math.isfinite(value) else ""


def _word(one: Comparison) -> str:
    return "less" if one.estimate.value < 1 else "more"


def _times(ratio: float) -> str:
    return f"{abs(ratio - 1) * 100:,.0f} %" if ratio < 3 else f"{ratio - 1:,.1f} times"


def _quality(told: list[tuple[MetricRow, Comparison]]) -> tuple[str, str]:
    by_word: dict[str, list[tuple[MetricRow, Comparison]]] = {}
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


def _open(unsure: list[tuple[MetricRow, Comparison]], told: list[tuple[MetricRow, Comparison]]) -> str:
    if len(unsure) == len(told):
        return f"cannot tell yet whether it is as good ({_count(unsure, told)} open)"
    return f"cannot tell yet on {_count(unsure, told)}" if unsure else ""


def _count(some: list[tuple[MetricRow, Comparison]], every: list[tuple[MetricRow, Comparison]]) -> str:
    """The one by its name, several by their number."""
    if len(some) == 1:
        return _title(some[0][0])
    if len(some) == len(every):
        return f"{'both' if len(every) == 2 else f'all {len(every)}'} measures of quality"
    return f"{len(some)} of {len(every)} measures of quality"


def _title(row: MetricRow) -> str:
    return row.metric.title.replace(", ", " over ") if row.metric.is_outcome else row.metric.title


def _joined(found: list[tuple[MetricRow, Comparison]]) -> str:
    return _named([f"{_title(row)} ({_interval(row, one)})" for row, one in found])


def _interval(row: MetricRow, one: Comparison) -> str:
    return wording.interval(row.metric, one.scale, one.estimate)


MOST = 6
SHOWN_ARMS = 3
"""Arms that one sentence may name, or one more where that is all; the table has the others."""


@dataclass(frozen=True)
class Takeaway:
    """One sentence and where its number stands."""

    lead: str
    """What is measured, with the baseline's own figure."""
    clauses: tuple[str, ...]
    """What is found of each arm."""
    endpoint: str
    """Name of the endpoint whose row is the proof."""
    arm: str | None = None
    """The arm it is about; None where it names several."""

    @property
    def text(self) -> str:
        return f"{self.lead}: {'; '.join(self.clauses)}."


def takeaways(found: Findings) -> tuple[Takeaway, ...]:
    """At most six sentences, in the order of the questions: money, usable decisions, similarity, returns, time, lean."""
    if found.is_interim or found.baseline is None or len(found.arms) < 2:
        return ()
    told = (_money, _usable, _similarity, _returns, _time, _lean)
    return tuple(sentence for topic in told if (sentence := topic(found)) is not None)[:MOST]


def _money(found: Findings) -> Takeaway | None:
    row = found.row("cost_per_usable")
    own = row.values[str(found.baseline)].value

    def clause(arm: str, comparison: Comparison) -> str:
        return f"{arm} {wording.figure('usd', row.values[arm].value)}, {_less_or_more(comparison)}"

    lead = f"A usable decision costs {wording.figure('usd', own)} with {found.baseline}"
    return _sentence(found, row, lead, clause)


def _usable(found: Findings) -> Takeaway | None:
    row = found.row("usable")

    def clause(arm: str, comparison: Comparison) -> str:
        return f"{arm} in {wording.figure('share', row.values[arm].value)}, {_apart(row, comparison)}"

    own = wording.figure("share", row.values[str(found.baseline)].value)
    return _sentence(found, row, f"{found.baseline} decides usably in {own} of cases", clause)


def _similarity(found: Findings) -> Takeaway | None:
    row = found.row("similarity")

    def clause(arm: str, comparison: Comparison) -> str:
        return f"{arm} gives it in {wording.figure('share', row.values[arm].value)}, {_apart(row, comparison)}"

    own = wording.figure("share", row.values[str(found.baseline)].value)
    lead = f"{found.baseline} gives its own rating again in {own} of repeats (the noise floor)"
    return _sentence(found, row, lead, clause)


def _returns(found: Findings) -> Takeaway | None:
    row = _outcome_row(found)
    if row is None:
        return None

    def clause(arm: str, comparison: Comparison) -> str:
        return f"{arm} {_apart(row, comparison)}"

    windows = max(comparison.estimate.dates for comparison in row.comparisons.values())
    lead = f"{row.metric.title.capitalize()}, against {found.baseline} over {windows} windows that do not overlap"
    return _sentence(found, row, lead, clause)


def _time(found: Findings) -> Takeaway | None:
    row = found.row("service_p50")
    own = row.values[str(found.baseline)]

    def clause(arm: str, comparison: Comparison) -> str:
        return f"{arm} {wording.figure('s', row.values[arm].value)}, {_slower_or_faster(comparison)}"

    lead = f"Half of the cells of {found.baseline} are served within {wording.figure('s', own.value)}"
    return _sentence(found, row, lead, clause)


def _lean(found: Findings) -> Takeaway | None:
    row = found.row("score")

    def clause(arm: str, comparison: Comparison) -> str:
        way = "more bullish" if comparison.estimate.value > 0 else "more bearish"
        return f"{arm} is {way} by {wording.interval(row.metric, comparison.scale, comparison.estimate)}"

    return _sentence(found, row, f"From +2 (Buy) to −2 (Sell), against {found.baseline}", clause, lambda one: one.is_apart)


def _sentence(
    found: Findings,
    row: MetricRow,
    lead: str,
    clause: Callable[[str, Comparison], str],
    is_told: Callable[[Comparison], bool] = lambda comparison: True,
) -> Takeaway | None:
    """Lead and one clause per arm that has models and an interval; nothing where no arm has one."""
    told = {arm: one for arm, one in row.comparisons.items() if one.has_interval and is_told(one) and arm not in found.rules}
    if not told:
        return None
    # "1 more" would take the room of the one itself.
    shown = len(told) if len(told) == SHOWN_ARMS + 1 else SHOWN_ARMS
    clauses = [clause(arm, comparison) for arm, comparison in list(told.items())[:shown]]
    if len(told) > shown:
        clauses.append(f"{len(told) - shown} more in the table")
    return Takeaway(lead, tuple(clauses), row.metric.name, next(iter(told)) if len(told) == 1 else None)


def _apart(row: MetricRow, comparison: Comparison) -> str:
    """The difference with its interval, and its verdict in brief."""
    apart = wording.interval(row.metric, comparison.scale, comparison.estimate)
    given = comparison.verdict
    if given is None:
        return apart
    if given.word != "cannot tell" or given.detectable is None:
        return f"{apart}: {wording.verdict(row.metric, comparison.scale, given)}"
    least = wording.detectable(row.metric, comparison.scale, given)
    return f"{apart}: cannot tell; {f'detectable from {least}' if least else 'too few cases for any difference'}"


def _less_or_more(comparison: Comparison) -> str:
    estimate = comparison.estimate
    if not comparison.is_apart:
        low, high = (wording.difference("", "ratio", bound) for bound in (estimate.low, estimate.high))
        return f"no difference shown [{low} to {high}]"
    low_share, high_share = sorted(abs(bound - 1) * 100 for bound in (estimate.low, estimate.high))
    word = "less" if estimate.value < 1 else "more"
    return f"{abs(estimate.value - 1) * 100:,.0f} % {word} [{low_share:,.0f} to {high_share:,.0f} %]"


def _slower_or_faster(comparison: Comparison) -> str:
    estimate = comparison.estimate
    bounds = (estimate.value, estimate.low, estimate.high)
    if not comparison.is_apart:
        return f"no difference shown [{estimate.low:.2g} to {estimate.high:.2g} times as long]"
    if estimate.value > 1:
        return "{:.2g} times as long [{:.2g} to {:.2g}]".format(*bounds)
    return "{0:.2g} times as fast [{2:.2g} to {1:.2g}]".format(*(1 / bound for bound in bounds))


def _outcome_row(found: Findings) -> MetricRow | None:
    """The declared outcome with a test, else the mean excess return of the middle horizon."""
    rows = [row for row in found.rows if row.metric.is_outcome and any(one.has_interval for one in row.comparisons.values())]
    declared = [row for row in rows if row.is_declared]
    plain = [row for row in rows if row.metric.name.startswith("excess_return")]
    return declared[0] if declared else plain[len(plain) // 2] if plain else None
