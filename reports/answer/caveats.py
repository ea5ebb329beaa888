"""What a reader must know before believing any of it; each caveat with its number."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from reports import outcomes
from reports.figures import count

if TYPE_CHECKING:
    from reports.answer.found import Findings
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
    if found.best is not None:
        yield (
            f"Best of many: by mean excess return over {found.best.horizon} sessions in {found.best.windows} windows, "
            f"{', '.join(found.best.arms)} cannot be told from the best (Model Confidence Set, 90 %)."
        )


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
