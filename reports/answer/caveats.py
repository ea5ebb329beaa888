"""What a reader must know before believing the answer, and what would change it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from domain.shutdowns import VENDOR
from reports.answer import wording
from reports.format import count
from reports.metrics import outcomes
from reports.trust import shutdowns

if TYPE_CHECKING:
    from reports.answer.findings import Findings
    from reports.load import Run


def caveats(findings: Findings, run: Run) -> tuple[str, ...]:
    """What a reader must know before believing the findings, one sentence each, with its number."""
    return (
        *_size_caveats(findings),
        *_failure_caveats(findings, run),
        *_cost_caveats(run),
        *_leakage_caveats(findings),
        *_outcome_caveats(findings, run),
        *_shutdown_caveats(run),
    )


def _size_caveats(findings: Findings) -> Iterator[str]:
    if findings.is_interim:
        yield f"Interim: {findings.cases} complete cases so far; verdicts follow when the run is finished."
    if findings.dates == 1:
        yield f"{count(findings.cases, 'case')} on 1 date: cases of one date count as one, so nothing can be judged."
    elif 1 < findings.dates < 10:
        yield (
            f"{findings.cases} cases on only {findings.dates} dates: intervals are wide, "
            f"since cases of one date count together."
        )


def _shutdown_caveats(run: Run) -> Iterator[str]:
    """Models with a shutdown date, as recorded by the run or, for older runs, from the table."""
    for shutdown in shutdowns.of_run(run):
        days = shutdown.days_left(run.record.started_on) if run.record.started_on else None
        when = "" if days is None else f", {count(abs(days), 'day')} {'after' if days >= 0 else 'before'} this run began"
        yield f"{shutdown.model} is shut down by {VENDOR} on {shutdown.date}{when}; {shutdown.named()}."


def _failure_caveats(findings: Findings, run: Run) -> Iterator[str]:
    cells = run.measured_cells
    unusable = cells[(cells["status"] != "ok") | cells["rating"].isna()]
    for arm, broken in unusable["arm"].value_counts().items():
        ended = int((cells["arm"] == arm).sum())
        yield f"{arm}: {broken} of {ended} cells have no usable decision; they count against it, never as Hold."
    cases = {arm: frozenset(cells.loc[cells["arm"] == arm, "case_id"]) for arm in findings.arms}
    shared = frozenset.intersection(*cases.values()) if cases else frozenset()
    if any(mine != shared for mine in cases.values()):
        yield (
            f"The arms have different cases: {len(shared)} of {findings.cases} are common to all; "
            f"pairs use the cases of both arms."
        )


def _cost_caveats(run: Run) -> Iterator[str]:
    cells = run.measured_cells
    for arm, unpriced in cells.loc[cells["cost_usd"].isna(), "arm"].value_counts().items():
        ended = int((cells["arm"] == arm).sum())
        yield f"{arm}: the cost of {unpriced} of {ended} cells is unknown; unknown is never counted as $0."


def _leakage_caveats(findings: Findings) -> Iterator[str]:
    for arm, strata in findings.strata.items():
        early = strata.get("before", 0) + strata.get("grey", 0)
        cutoff = findings.cutoffs[arm].cutoff
        if early and cutoff is not None:
            yield (
                f"{arm}: {early} of {findings.cases} cases are before or within 90 days of the knowledge cutoff "
                f"of {cutoff.model} ({cutoff.cutoff}, {cutoff.certainty_words}); no return is claimed from them."
            )
        if strata.get("unknown"):
            unknown = ", ".join(findings.cutoffs[arm].unknown)
            yield (
                f"{arm}: the knowledge cutoff of {unknown} is unknown, so no return is claimed from its {findings.cases} cases."
            )


def _outcome_caveats(findings: Findings, run: Run) -> Iterator[str]:
    for horizon in run.settings.horizons:
        statuses = outcomes.statuses(run, horizon)
        waiting = {status: count for status, count in statuses.items() if status != "known" and count}
        if waiting:
            counts = ", ".join(f"{count} {status}" for status, count in waiting.items())
            yield f"Outcomes over {count(horizon, 'session')}: {counts}, of {count(sum(statuses.values()), 'case')}."
    named = outcomes.benchmark(run)
    if findings.cases and named is not None and named != (run.settings.benchmark or named):
        yield f"Excess returns are over {named}, since the declared benchmark is not in the data of all {findings.cases} cases."


def what_would_change(findings: Findings) -> tuple[str, ...]:
    """What would change the conclusion (prices, more cases, repeats, later cases), one sentence each, with its number."""
    if findings.is_interim:
        return ()
    return (*_price_changes(findings), *_case_changes(findings), *_floor_changes(findings), *_cutoff_changes(findings))


def _price_changes(findings: Findings) -> Iterator[str]:
    row = findings.row("cost")
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


def _case_changes(findings: Findings) -> Iterator[str]:
    for row in findings.judged:
        open_arms = {
            arm: comparison.verdict
            for arm, comparison in row.comparisons.items()
            if comparison.verdict and comparison.verdict.more_cases
        }
        if open_arms:
            needs = "; ".join(f"{arm} needs {wording.more_cases(verdict)}" for arm, verdict in open_arms.items())
            yield f"{row.metric.title.capitalize()}, to be settled: {needs}."


def _floor_changes(findings: Findings) -> Iterator[str]:
    row = findings.row("same_rating")
    if findings.baseline and not math.isfinite(row.values[findings.baseline].value):
        yield (
            f"How often {findings.baseline} agrees with itself is not known, since no case has two usable decisions of it: "
            f"set repeats: 3."
        )


def _cutoff_changes(findings: Findings) -> Iterator[str]:
    for arm, strata in findings.strata.items():
        cutoff = findings.cutoffs[arm].cutoff
        if cutoff is not None and not strata.get("after"):
            yield (
                f"Returns of {arm}: only cases later than 90 days after {cutoff.cutoff} ({cutoff.model}) can separate skill "
                f"from memory; this run has 0."
            )
