"""The answer in sentences: one brief per arm, the headline over all arms, and the takeaways."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from reports.answer import wording
from reports.verdict import GOOD_ENOUGH, NOT_GOOD_ENOUGH, UNDECIDED

if TYPE_CHECKING:
    from reports.answer.findings import Comparison, Findings, MetricRow
    from reports.verdict import GoodEnough

MOST_NAMED = 3


@dataclass(frozen=True)
class Brief:
    """One sentence about an arm."""

    arm: str
    word: str
    """Of GoodEnough: good enough | not good enough | undecided."""
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
    row = findings.row("cost")
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
    by_word = {
        word: [brief.arm for brief in arm_briefs if brief.word == word] for word in (GOOD_ENOUGH, NOT_GOOD_ENOUGH, UNDECIDED)
    }
    unsure = len(by_word[UNDECIDED])
    cases = f"{findings.cases:,} {'case' if findings.cases == 1 else 'cases'}"
    not_settled = f"{cases} {'does' if findings.cases == 1 else 'do'} not settle yet whether any is good enough"
    parts = (
        f"good enough: {_named(by_word[GOOD_ENOUGH])}" if by_word[GOOD_ENOUGH] else "",
        f"not good enough: {_named(by_word[NOT_GOOD_ENOUGH])}" if by_word[NOT_GOOD_ENOUGH] else "",
        not_settled
        if unsure == len(arm_briefs)
        else f"undecided after {cases}: {_named(by_word[UNDECIDED])}"
        if unsure
        else "",
    )
    return "; ".join(filter(None, parts))


def _some_of(some: int, every: int) -> str:
    return f"{'Both' if every == 2 else f'All {every}'} arms" if some == every else f"{some} of {every} arms"


def _named(names: list[str]) -> str:
    if len(names) > MOST_NAMED:
        names = [*names[:MOST_NAMED], f"{len(names) - MOST_NAMED} more"]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _brief(findings: Findings, arm: str) -> Brief:
    good_enough = findings.good_enough[arm]
    return Brief(arm, good_enough.word, f"{_cost(findings, arm)}; {_quality(findings, good_enough)}.")


def _cost(findings: Findings, arm: str) -> str:
    row = findings.row("cost")
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


def _quality(findings: Findings, good_enough: GoodEnough) -> str:
    """The word, then the metrics that it rests on, each with its bound."""
    if good_enough.word == NOT_GOOD_ENOUGH:
        rows = [findings.row(name) for name in good_enough.failing]
        return f"{NOT_GOOD_ENOUGH}: worse on {_listed([_lost(row, row.comparisons[good_enough.arm]) for row in rows])}"
    if good_enough.word == GOOD_ENOUGH:
        return f"{GOOD_ENOUGH}: {_listed(_bounds(findings, good_enough, tuple(good_enough.verdicts)))}"
    bounds = _listed(_bounds(findings, good_enough, good_enough.undecided))
    return f"{UNDECIDED} whether it is good enough: {bounds}" if bounds else f"{UNDECIDED} whether it is good enough"


def _lost(row: MetricRow, comparison: Comparison) -> str:
    return f"{row.metric.title} ({_interval(row, comparison)})"


def _bounds(findings: Findings, good_enough: GoodEnough, metrics: tuple[str, ...]) -> list[str]:
    texts = []
    for name in metrics:
        row, verdict = findings.row(name), good_enough.verdicts[name]
        scale = row.comparisons[good_enough.arm].scale
        sentence = wording.bound_sentence(good_enough.arm, str(findings.baseline), row.metric, scale, verdict)
        texts.append(sentence or f"{row.metric.title} is not measured")
    return texts


def _listed(texts: list[str]) -> str:
    return "; ".join(texts) if len(texts) > 2 else " and ".join(texts)


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
    """At most six sentences, in the order of the questions: money, usable decisions, same rating, returns, time, lean."""
    if findings.is_interim or findings.baseline is None or len(findings.arms) < 2:
        return ()
    topics = (_money, _usable, _same_rating, _returns, _time, _lean)
    return tuple(sentence for topic in topics if (sentence := topic(findings)) is not None)[:MOST]


def _money(findings: Findings) -> Takeaway | None:
    row = findings.row("cost")
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


def _same_rating(findings: Findings) -> Takeaway | None:
    row = findings.row("same_rating")

    def clause(arm: str, comparison: Comparison) -> str:
        return f"{arm} gives it in {wording.figure('share', comparison.own.value)}, {_apart(row, comparison)}"

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
    if verdict.word != UNDECIDED:
        return f"{apart}: {wording.verdict(row.metric, comparison.scale, verdict)}"
    return f"{apart}: {UNDECIDED}; {verdict.reason or wording.bound(row.metric, comparison.scale, verdict)}"


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
