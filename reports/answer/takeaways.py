"""The takeaways: three to six sentences made from the numbers, each linked to its test."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from reports.answer import wording
from reports.answer.found import Takeaway

if TYPE_CHECKING:
    from reports.answer.found import Comparison, Findings, Row

MOST = 6
SHOWN_ARMS = 3
"""Arms that one sentence may name, or one more where that is all; the table has the others."""


def takeaways(found: Findings) -> tuple[Takeaway, ...]:
    """At most six sentences, in the order of the questions: money, usable decisions, similarity, returns, time, lean."""
    if found.baseline is None or len(found.arms) < 2:
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
    row: Row,
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


def _apart(row: Row, comparison: Comparison) -> str:
    """The difference with its interval, and its verdict in brief."""
    apart = wording.interval(row.metric, comparison.scale, comparison.estimate)
    given = comparison.verdict
    if given is None:
        return apart
    if given.word != "cannot tell" or given.detectable is None:
        return f"{apart}: {comparison.words}"
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


def _outcome_row(found: Findings) -> Row | None:
    """The declared outcome with a test, else the mean excess return of the middle horizon."""
    rows = [row for row in found.rows if row.metric.is_outcome and any(one.has_interval for one in row.comparisons.values())]
    declared = [row for row in rows if row.is_declared]
    plain = [row for row in rows if row.metric.name.startswith("excess_return")]
    return declared[0] if declared else plain[len(plain) // 2] if plain else None
