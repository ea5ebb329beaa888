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


def caveats(found: Findings, run: Run) -> tuple[str, ...]:
    """What a reader must know before believing any of it, each with its number."""
    return (
        *_size_caveats(found),
        *_failure_caveats(found, run),
        *_cost_caveats(run),
        *_leakage_caveats(found),
        *_outcome_caveats(found, run),
        *_many_caveats(found),
        *_shutdown_caveats(run),
    )


def _size_caveats(found: Findings) -> Iterator[str]:
    if found.is_interim:
        yield f"Interim: {found.cases} whole cases so far; nothing is judged before the run is finished."
    if found.dates == 1:
        yield f"{count(found.cases, 'case')} on 1 date: cases of one date count as one, so nothing can be judged."
    elif 1 < found.dates < 10:
        yield f"{found.cases} cases on only {found.dates} dates: intervals are wide, since cases of one date count together."


def _many_caveats(found: Findings) -> Iterator[str]:
    if len(found.arms) > 2 and found.declared:
        yield (
            f"{len(found.arms) - 1} arms are held against one baseline; the correction is over the endpoints of each pair, not "
            f"over pairs."
        )


def _shutdown_caveats(run: Run) -> Iterator[str]:
    """Models that cannot be asked again for long, as the run recorded it; of older runs, as the table says."""
    for shutdown in shutdowns.of_run(run):
        days = shutdown.days_left(run.started_on) if run.started_on else None
        when = "" if days is None else f", {count(abs(days), 'day')} {'after' if days >= 0 else 'before'} this run began"
        yield f"{shutdown.model} is shut down by {VENDOR} on {shutdown.date}{when}; {shutdown.named()}."


def _failure_caveats(found: Findings, run: Run) -> Iterator[str]:
    cells = run.judged
    unusable = cells[(cells["status"] != "ok") | cells["rating"].isna()]
    for arm, broken in unusable["arm"].value_counts().items():
        ended = int((cells["arm"] == arm).sum())
        yield f"{arm}: {broken} of {ended} cells brought no usable decision; they count against it, never as Hold."
    cases = {arm: frozenset(cells.loc[cells["arm"] == arm, "case_id"]) for arm in found.arms}
    shared = frozenset.intersection(*cases.values()) if cases else frozenset()
    if any(mine != shared for mine in cases.values()):
        yield f"The arms met different cases: {len(shared)} of {found.cases} were met by all; pairs use the cases of both."


def _cost_caveats(run: Run) -> Iterator[str]:
    cells = run.judged
    for arm, unpriced in cells.loc[cells["cost_usd"].isna(), "arm"].value_counts().items():
        ended = int((cells["arm"] == arm).sum())
        yield f"{arm}: the cost of {unpriced} of {ended} cells is unknown; unknown is never counted as $0."


def _leakage_caveats(found: Findings) -> Iterator[str]:
    for arm, strata in found.strata.items():
        early = strata.get("before", 0) + strata.get("grey", 0)
        cutoff = found.cutoffs[arm].cutoff
        if early and cutoff is not None:
            yield (
                f"{arm}: {early} of {found.cases} cases lie before or within 90 days of the knowledge cutoff of {cutoff.model} "
                f"({cutoff.cutoff}, {cutoff.certainty_words}); no return is claimed from them."
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
            yield f"Outcomes over {count(horizon, 'session')}: {told}, of {count(sum(statuses.values()), 'case')}."
    named = outcomes.benchmark(run)
    if found.cases and named is not None and named != (run.experiment.get("outcomes") or {}).get("benchmark", named):
        yield f"Excess returns are over {named}, since the declared benchmark is not in the data of all {found.cases} cases."


def what_would_change(found: Findings) -> tuple[str, ...]:
    """What would change the conclusion: prices, more cases, repeats, later cases; each with its number."""
    if found.is_interim:
        return ()
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
