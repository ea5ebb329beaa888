"""The takeaways: three to six sentences made from the numbers, each linked to its test; what would change them; caveats."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from reports import outcomes, wording

if TYPE_CHECKING:
    from reports.findings import Comparison, Findings, Row
    from reports.load import Run

MOST = 6
SHOWN_ARMS = 3
"""Arms that one sentence may name; the table has the others."""


@dataclass(frozen=True)
class Takeaway:
    """One sentence and where its number stands."""

    text: str
    endpoint: str
    """Name of the endpoint whose row is the proof."""
    arm: str | None = None
    """The arm it is about; None where it names several."""


def takeaways(found: Findings) -> tuple[Takeaway, ...]:
    """At most six sentences, in the order of the questions: money, usable decisions, similarity, returns, time, lean."""
    if found.baseline is None or len(found.arms) < 2:
        return ()
    told = (_money, _usable, _similarity, _returns, _time, _lean)
    return tuple(sentence for topic in told if (sentence := topic(found)) is not None)[:MOST]


# --- one sentence per question ---------------------------------------------------------------------------------------


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

    return _sentence(found, row, f"From +2 (Buy) to −2 (Sell), against {found.baseline}", clause, _is_apart)


def _sentence(
    found: Findings,
    row: Row,
    lead: str,
    clause: Callable[[str, Comparison], str],
    is_told: Callable[[Comparison], bool] = lambda comparison: True,
) -> Takeaway | None:
    """Lead and one clause per arm that has models and an interval; nothing where no arm has one."""
    told = {arm: one for arm, one in row.comparisons.items() if _has_interval(one) and is_told(one) and arm not in found.rules}
    if not told:
        return None
    clauses = [clause(arm, comparison) for arm, comparison in list(told.items())[:SHOWN_ARMS]]
    rest = f" ({len(told) - SHOWN_ARMS} more arms in the table)" if len(told) > SHOWN_ARMS else ""
    return Takeaway(f"{lead}: {'; '.join(clauses)}{rest}.", row.metric.name, next(iter(told)) if len(told) == 1 else None)


def _apart(row: Row, comparison: Comparison) -> str:
    """The difference with its interval, and its verdict in brief."""
    apart = wording.interval(row.metric, comparison.scale, comparison.estimate)
    given = comparison.verdict
    if given is None:
        return apart
    if given.word != "cannot tell" or given.detectable is None:
        return f"{apart}: {comparison.words}"
    return f"{apart}: cannot tell, less than {wording.size(row.metric.unit, comparison.scale, given.detectable)} would not show"


def _less_or_more(comparison: Comparison) -> str:
    estimate = comparison.estimate
    if not _is_apart(comparison):
        low, high = (wording.difference("", "ratio", bound) for bound in (estimate.low, estimate.high))
        return f"no difference shown [{low} to {high}]"
    low_share, high_share = sorted(abs(bound - 1) * 100 for bound in (estimate.low, estimate.high))
    word = "less" if estimate.value < 1 else "more"
    return f"{abs(estimate.value - 1) * 100:,.0f} % {word} [{low_share:,.0f} to {high_share:,.0f} %]"


def _slower_or_faster(comparison: Comparison) -> str:
    estimate = comparison.estimate
    bounds = (estimate.value, estimate.low, estimate.high)
    if not _is_apart(comparison):
        return f"no difference shown [{estimate.low:.2g} to {estimate.high:.2g} times as long]"
    if estimate.value > 1:
        return "{:.2g} times as long [{:.2g} to {:.2g}]".format(*bounds)
    return "{0:.2g} times as fast [{2:.2g} to {1:.2g}]".format(*(1 / bound for bound in bounds))


def _has_interval(comparison: Comparison) -> bool:
    """Whether the matrix can carry a sentence: an interval, and more than one date behind it."""
    estimate = comparison.estimate
    return estimate.dates > 1 and math.isfinite(estimate.low) and math.isfinite(estimate.high)


def _is_apart(comparison: Comparison) -> bool:
    """Whether the 95 % interval leaves out `no difference`."""
    nothing = 1.0 if comparison.scale == "ratio" else 0.0
    return not comparison.estimate.low <= nothing <= comparison.estimate.high


def _outcome_row(found: Findings) -> Row | None:
    """The declared outcome with a test, else the mean excess return of the middle horizon."""
    rows = [row for row in found.rows if row.metric.is_outcome and any(map(_has_interval, row.comparisons.values()))]
    declared = [row for row in rows if row.is_declared]
    plain = [row for row in rows if row.metric.name.startswith("excess_return")]
    return declared[0] if declared else plain[len(plain) // 2] if plain else None


# --- what would change it --------------------------------------------------------------------------------------------


def changes(found: Findings) -> tuple[str, ...]:
    """What would change the conclusion: prices, more cases, repeats, later cases; each with its number."""
    return (*_price_changes(found), *_case_changes(found), *_floor_changes(found), *_cutoff_changes(found))


def _price_changes(found: Findings) -> Iterator[str]:
    row = found.row("cost_per_usable")
    for arm, comparison in row.comparisons.items():
        own, theirs = row.values[arm].value, row.values[comparison.baseline].value
        if comparison.scale != "ratio" or not (_has_interval(comparison) and _is_apart(comparison)):
            continue
        dear, cheap = (comparison.baseline, arm) if own < theirs else (arm, comparison.baseline)
        low, high = sorted((own, theirs))
        yield (
            f"A usable decision of {dear} for less than {wording.figure('usd', low)} instead of {wording.figure('usd', high)} "
            f"would end the advantage of {cheap}."
        )


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


# --- caveats ---------------------------------------------------------------------------------------------------------


def caveats(found: Findings, run: Run) -> tuple[str, ...]:
    """What a reader must know before believing any of it, each with its number."""
    return (
        *_size_caveats(found),
        *_best_caveats(found),
        *_failure_caveats(found, run),
        *_cost_caveats(run),
        *_leakage_caveats(found),
        *_outcome_caveats(found, run),
    )


def _size_caveats(found: Findings) -> Iterator[str]:
    if found.is_interim:
        yield f"Interim: {found.cases} whole cases so far; nothing is judged before the run is finished."
    if found.dates == 1:
        yield f"{found.cases} cases on 1 date: cases of one date count as one, so nothing can be judged."
    elif 1 < found.dates < 10:
        yield f"{found.cases} cases on only {found.dates} dates: intervals are wide, since cases of one date count together."
    if len(found.arms) > 2 and found.declared:
        yield (
            f"{len(found.arms) - 1} arms are held against one baseline; the correction is over the endpoints of each pair, not "
            f"over pairs."
        )


def _best_caveats(found: Findings) -> Iterator[str]:
    if found.best is not None:
        yield (
            f"Best of many: by mean excess return over {found.best.horizon} sessions in {found.best.windows} windows, "
            f"{', '.join(found.best.arms)} cannot be told from the best (Model Confidence Set, 90 %)."
        )


def _failure_caveats(found: Findings, run: Run) -> Iterator[str]:
    cells = run.judged
    unusable = cells[(cells["status"] != "ok") | cells["rating"].isna()]
    for arm, count in unusable["arm"].value_counts().items():
        ended = int((cells["arm"] == arm).sum())
        yield f"{arm}: {count} of {ended} cells brought no usable decision; they count against it, never as Hold."
    cases = {arm: frozenset(cells.loc[cells["arm"] == arm, "case_id"]) for arm in found.arms}
    shared = frozenset.intersection(*cases.values()) if cases else frozenset()
    if any(mine != shared for mine in cases.values()):
        yield f"The arms met different cases: {len(shared)} of {found.cases} were met by all; pairs use the cases of both."


def _cost_caveats(run: Run) -> Iterator[str]:
    cells = run.judged
    for arm, count in cells.loc[cells["cost_usd"].isna(), "arm"].value_counts().items():
        ended = int((cells["arm"] == arm).sum())
        yield f"{arm}: the cost of {count} of {ended} cells is unknown; unknown is never counted as $0."


def _leakage_caveats(found: Findings) -> Iterator[str]:
    for arm, strata in found.strata.items():
        early = strata.get("before", 0) + strata.get("grey", 0)
        cutoff = found.cutoffs[arm].cutoff
        if early and cutoff is not None:
            yield (
                f"{arm}: {early} of {found.cases} cases lie before or within 90 days of the knowledge cutoff of {cutoff.model} "
                f"({cutoff.cutoff}, {cutoff.certainty}); no return is claimed from them."
            )
        if strata.get("unknown"):
            unknown = ", ".join(found.cutoffs[arm].unknown)
            yield f"{arm}: the knowledge cutoff of {unknown} is unknown, so no return is claimed from its {found.cases} cases."


def _outcome_caveats(found: Findings, run: Run) -> Iterator[str]:
    for horizon in run.horizons:
        statuses = outcomes.statuses(run, horizon)
        waiting = {status: count for status, count in statuses.items() if status != "known" and count}
        if waiting:
            told = ", ".join(f"{count} {status}" for status, count in waiting.items())
            yield f"Outcomes over {horizon} sessions: {told}, of {sum(statuses.values())} cases."
    named = outcomes.benchmark(run)
    if found.cases and named is not None and named != (run.experiment.get("outcomes") or {}).get("benchmark", named):
        yield f"Excess returns are over {named}, since the declared benchmark is not in the data of all {found.cases} cases."
