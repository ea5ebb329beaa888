"""The answer in sentences: one brief per arm, the headline over all arms, and the takeaways."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from reports.answer import wording
from reports.verdict import UNDECIDED

if TYPE_CHECKING:
    from reports.answer.findings import Comparison, Findings, MetricRow

NOT_QUALITY = frozenset({"money", "time", "tokens"})
"""Groups of metrics about what a decision costs, not about its quality."""
MOST_NAMED = 3


@dataclass(frozen=True)
class Brief:
    """One sentence about an arm."""

    arm: str
    word: str
    """worse | as good | UNDECIDED | not asked, over all declared metrics of quality."""
    text: str


def briefs(findings: Findings) -> list[Brief]:
    """One brief per arm with models, in the order of the experiment; none for an unfinished run or without a baseline."""
    if findings.baseline is None or findings.is_interim:
        return []
    return [_brief(findings, arm) for arm in findings.arms if arm != findings.baseline and arm not in findings.rules]


def headline(findings: Findings) -> str:
    """The answer over all arms in one sentence; empty for a single arm, whose brief is the answer."""
    arm_briefs = briefs(findings)
    return f"{_all_costs(findings, arm_briefs)}; {_all_quality(findings, arm_briefs)}." if len(arm_briefs) > 1 else ""


def _all_costs(findings: Findings, arm_briefs: list[Brief]) -> str:
    row = findings.row("cost_per_usable")
    pairs = [
        comparison for brief in arm_briefs if (comparison := row.comparisons.get(brief.arm)) and comparison.scale == "ratio"
    ]
    apart = [comparison for comparison in pairs if comparison.has_interval and comparison.is_apart]
    less = sorted(1 - comparison.estimate.value for comparison in apart if comparison.estimate.value < 1)
    if not pairs:
        return f"What the arms cost compared with {findings.baseline} is not known"
    if not less:
        return (
            f"No arm is shown to cost less per usable decision than {findings.baseline} at {_usd(row, str(findings.baseline))}"
        )
    ends = dict.fromkeys(f"{share * 100:.0f}" for share in (less[0], less[-1]))
    return (
        f"{_some_of(len(less), len(arm_briefs))} {'costs' if len(less) == 1 else 'cost'} less per usable decision "
        f"than {findings.baseline} at {_usd(row, str(findings.baseline))}, by {' to '.join(ends)} %"
    )


def _all_quality(findings: Findings, arm_briefs: list[Brief]) -> str:
    by_word = {word: [brief.arm for brief in arm_briefs if brief.word == word] for word in ("as good", "worse", UNDECIDED)}
    unsure = len(by_word[UNDECIDED])
    cases = f"{findings.cases:,} {'case' if findings.cases == 1 else 'cases'}"
    not_settled = f"{cases} {'does' if findings.cases == 1 else 'do'} not settle yet whether any is as good"
    parts = (
        f"as good within the margins: {_named(by_word['as good'])}" if by_word["as good"] else "",
        f"worse: {_named(by_word['worse'])}" if by_word["worse"] else "",
        not_settled
        if unsure == len(arm_briefs)
        else f"undecided after {cases}: {_named(by_word[UNDECIDED])}"
        if unsure
        else "",
    )
    return "; ".join(filter(None, parts)) or "the experiment asks nothing about how good they are"


def _some_of(some: int, every: int) -> str:
    return f"{'Both' if every == 2 else f'All {every}'} arms" if some == every else f"{some} of {every} arms"


def _named(names: list[str]) -> str:
    if len(names) > MOST_NAMED:
        names = [*names[:MOST_NAMED], f"{len(names) - MOST_NAMED} more"]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _brief(findings: Findings, arm: str) -> Brief:
    judged = [(row, comparison) for row in findings.declared if (comparison := row.comparisons.get(arm)) and comparison.verdict]
    quality = [(row, comparison) for row, comparison in judged if row.metric.group not in NOT_QUALITY]
    word, sentence = _quality(quality)
    return Brief(arm, word, f"{_cost(findings, arm)}; {sentence}.")


def _cost(findings: Findings, arm: str) -> str:
    row = findings.row("cost_per_usable")
    comparison = row.comparisons.get(arm)
    arm_usd, baseline_usd = (_usd(row, name) for name in (arm, str(findings.baseline)))
    if comparison is None or comparison.scale != "ratio" or not math.isfinite(comparison.estimate.value):
        both = f"costs {arm_usd} per usable decision, {findings.baseline} {baseline_usd}" if arm_usd and baseline_usd else ""
        return both or f"what it costs compared with {findings.baseline} is not known"
    baseline_clause = f" than {findings.baseline} at {baseline_usd}" if len(findings.arms) - len(findings.rules) == 2 else ""
    sentence = f"costs {arm_usd} per usable decision, {_times(comparison.estimate.value)} {_word(comparison)}{baseline_clause}"
    if not comparison.has_interval:
        return f"{sentence}, on too little for an interval"
    if not comparison.is_apart:
        return (
            f"costs {arm_usd} per usable decision, not distinguishable from {findings.baseline}'s {baseline_usd}, "
            f"{_interval(row, comparison)}"
        )
    return sentence


def _usd(row: MetricRow, arm: str) -> str:
    """Cost of a usable decision; empty if unknown."""
    value = row.values[arm].value
    return wording.figure("usd", value) if math.isfinite(value) else ""


def _word(comparison: Comparison) -> str:
    return "less" if comparison.estimate.value < 1 else "more"


def _times(ratio: float) -> str:
    return f"{abs(ratio - 1) * 100:,.0f} %" if ratio < 3 else f"{ratio - 1:,.1f} times"


def _quality(judged: list[tuple[MetricRow, Comparison]]) -> tuple[str, str]:
    by_word: dict[str, list[tuple[MetricRow, Comparison]]] = {}
    for row, comparison in judged:
        by_word.setdefault(comparison.verdict.word if comparison.verdict else "", []).append((row, comparison))
    worse, better, unsure = (by_word.get(word, []) for word in ("worse", "better", UNDECIDED))
    settled = by_word.get("equivalent", []) + by_word.get("not worse", [])
    if not judged:
        return "not asked", "the experiment asks nothing about how good it is"
    parts = (
        f"worse on {_joined(worse)}" if worse else "",
        f"better on {_joined(better)}" if better else "",
        f"as good within its margin on {_count(settled, judged)}" if settled else "",
        _open(unsure, judged),
    )
    return "worse" if worse else UNDECIDED if unsure else "as good", "; ".join(filter(None, parts))


def _open(unsure: list[tuple[MetricRow, Comparison]], judged: list[tuple[MetricRow, Comparison]]) -> str:
    if len(unsure) == len(judged):
        return f"undecided whether it is as good ({_count(unsure, judged)} open)"
    return f"undecided on {_count(unsure, judged)}" if unsure else ""


def _count(some: list[tuple[MetricRow, Comparison]], every: list[tuple[MetricRow, Comparison]]) -> str:
    """A single metric by name, several by number."""
    if len(some) == 1:
        return _title(some[0][0])
    if len(some) == len(every):
        return f"{'both' if len(every) == 2 else f'all {len(every)}'} measures of quality"
    return f"{len(some)} of {len(every)} measures of quality"


def _title(row: MetricRow) -> str:
    return row.metric.title.replace(", ", " over ") if row.metric.is_outcome else row.metric.title


def _joined(judged: list[tuple[MetricRow, Comparison]]) -> str:
    return _named([f"{_title(row)} ({_interval(row, comparison)})" for row, comparison in judged])


def _interval(row: MetricRow, comparison: Comparison) -> str:
    return wording.interval(row.metric, comparison.scale, comparison.estimate)


MOST = 6
SHOWN_ARMS = 3
"""Arms named in one sentence, or one more if that is all of them; the table has the others."""


@dataclass(frozen=True)
class Takeaway:
    """One sentence and the metric that supports it."""

    lead: str
    """What is measured, with the baseline's figure."""
    clauses: tuple[str, ...]
    """The result of each arm."""
    metric: str
    """Name of the metric that supports it."""
    arm: str | None = None
    """The arm it is about; None for several."""

    @property
    def text(self) -> str:
        return f"{self.lead}: {'; '.join(self.clauses)}."


def takeaways(findings: Findings) -> tuple[Takeaway, ...]:
    """At most six sentences, in the order of the questions: money, usable decisions, similarity, returns, time, lean."""
    if findings.is_interim or findings.baseline is None or len(findings.arms) < 2:
        return ()
    topics = (_money, _usable, _similarity, _returns, _time, _lean)
    return tuple(sentence for topic in topics if (sentence := topic(findings)) is not None)[:MOST]


def _money(findings: Findings) -> Takeaway | None:
    row = findings.row("cost_per_usable")
    baseline_usd = row.values[str(findings.baseline)].value

    def clause(arm: str, comparison: Comparison) -> str:
        return f"{arm} {wording.figure('usd', row.values[arm].value)}, {_less_or_more(comparison)}"

    lead = f"A usable decision costs {wording.figure('usd', baseline_usd)} with {findings.baseline}"
    return _sentence(findings, row, lead, clause)


def _usable(findings: Findings) -> Takeaway | None:
    row = findings.row("usable")

    def clause(arm: str, comparison: Comparison) -> str:
        return f"{arm} in {wording.figure('share', row.values[arm].value)}, {_apart(row, comparison)}"

    baseline_share = wording.figure("share", row.values[str(findings.baseline)].value)
    return _sentence(findings, row, f"{findings.baseline} decides usably in {baseline_share} of cases", clause)


def _similarity(findings: Findings) -> Takeaway | None:
    row = findings.row("similarity")

    def clause(arm: str, comparison: Comparison) -> str:
        return f"{arm} gives it in {wording.figure('share', row.values[arm].value)}, {_apart(row, comparison)}"

    baseline_share = wording.figure("share", row.values[str(findings.baseline)].value)
    lead = f"{findings.baseline} gives its own rating again in {baseline_share} of repeats (the noise floor)"
    return _sentence(findings, row, lead, clause)


def _returns(findings: Findings) -> Takeaway | None:
    row = _outcome_row(findings)
    if row is None:
        return None

    def clause(arm: str, comparison: Comparison) -> str:
        return f"{arm} {_apart(row, comparison)}"

    windows = max(comparison.estimate.dates for comparison in row.comparisons.values())
    lead = f"{row.metric.title.capitalize()}, against {findings.baseline} over {windows} windows that do not overlap"
    return _sentence(findings, row, lead, clause)


def _time(findings: Findings) -> Takeaway | None:
    row = findings.row("service_p50")
    baseline_time = row.values[str(findings.baseline)]

    def clause(arm: str, comparison: Comparison) -> str:
        return f"{arm} {wording.figure('s', row.values[arm].value)}, {_slower_or_faster(comparison)}"

    lead = f"Half of the cells of {findings.baseline} are served within {wording.figure('s', baseline_time.value)}"
    return _sentence(findings, row, lead, clause)


def _lean(findings: Findings) -> Takeaway | None:
    row = findings.row("score")

    def clause(arm: str, comparison: Comparison) -> str:
        way = "more bullish" if comparison.estimate.value > 0 else "more bearish"
        return f"{arm} is {way} by {wording.interval(row.metric, comparison.scale, comparison.estimate)}"

    return _sentence(
        findings,
        row,
        f"From +2 (Buy) to −2 (Sell), against {findings.baseline}",
        clause,
        lambda comparison: comparison.is_apart,
    )


def _sentence(
    findings: Findings,
    row: MetricRow,
    lead: str,
    clause: Callable[[str, Comparison], str],
    is_included: Callable[[Comparison], bool] = lambda comparison: True,
) -> Takeaway | None:
    """Lead and one clause per arm that has models and an interval; None without such an arm."""
    comparisons = {
        arm: comparison
        for arm, comparison in row.comparisons.items()
        if comparison.has_interval and is_included(comparison) and arm not in findings.rules
    }
    if not comparisons:
        return None
    # "1 more" would be as long as the clause that it replaces.
    shown = len(comparisons) if len(comparisons) == SHOWN_ARMS + 1 else SHOWN_ARMS
    clauses = [clause(arm, comparison) for arm, comparison in list(comparisons.items())[:shown]]
    if len(comparisons) > shown:
        clauses.append(f"{len(comparisons) - shown} more in the table")
    return Takeaway(lead, tuple(clauses), row.metric.name, next(iter(comparisons)) if len(comparisons) == 1 else None)


def _apart(row: MetricRow, comparison: Comparison) -> str:
    """The difference with its interval, and its verdict in brief."""
    apart = wording.interval(row.metric, comparison.scale, comparison.estimate)
    verdict = comparison.verdict
    if verdict is None:
        return apart
    if verdict.word != UNDECIDED or verdict.detectable is None:
        return f"{apart}: {wording.verdict(row.metric, comparison.scale, verdict)}"
    least = wording.detectable(row.metric, comparison.scale, verdict)
    return f"{apart}: {UNDECIDED}; {f'detectable from {least}' if least else 'too few cases for any difference'}"


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


def _outcome_row(findings: Findings) -> MetricRow | None:
    """The declared outcome with a test, else the mean excess return of the middle horizon."""
    rows = [
        row
        for row in findings.rows
        if row.metric.is_outcome and any(comparison.has_interval for comparison in row.comparisons.values())
    ]
    declared = [row for row in rows if row.is_declared]
    plain = [row for row in rows if row.metric.name.startswith("excess_return")]
    return declared[0] if declared else plain[len(plain) // 2] if plain else None
