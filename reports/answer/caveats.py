"""What could spoil the answer: at most five warnings, worst first, each with its numbers and the fix."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from domain.shutdowns import VENDOR
from reports import grid
from reports.format import count, percent_text
from reports.metrics import outcomes
from reports.money import economics
from reports.trust import shutdowns

if TYPE_CHECKING:
    from reports.answer.findings import Findings
    from reports.load import Run

MOST = 5
MANY = 0.05
"""Share of answers from which cutting and repairing comes first."""
FEW_DATES = 10


@dataclass(frozen=True)
class Caveat:
    """One thing to know before relying on the answer."""

    rank: int
    """Worst first: 0 spoils the answer, 4 is good to know."""
    lead: str
    text: str
    details: str

    @property
    def sentence(self) -> str:
        return f"{self.lead} {self.text}".strip()


def caveats(run: Run, findings: Findings) -> tuple[Caveat, ...]:
    """At most five, ranked."""
    found = [
        *_size(findings),
        *_cut(run),
        *_repaired(run),
        *_constant(run, findings),
        *_unusable(run, findings),
        *_no_repeats(findings),
        *_unknown_costs(run, findings),
        *_other_cases(run, findings),
        *_memory(findings),
        *_pending(run, findings),
        *_shutdowns(run),
        *_caches(run, findings),
        *_many_arms(findings),
    ]
    return tuple(sorted(found, key=lambda caveat: caveat.rank)[:MOST])


def _size(findings: Findings) -> Iterator[Caveat]:
    cases = count(findings.cases, "case")
    if findings.is_interim:
        yield Caveat(
            0,
            f"The run is not finished: {findings.cases:,} complete {'case' if findings.cases == 1 else 'cases'} so far.",
            "Verdicts follow at the end.",
            "The same command continues the run; every figure here is of the complete cases only.",
        )
    if findings.dates == 1:
        yield Caveat(
            0,
            f"{cases} on 1 date: nothing can be judged.",
            "Cases of one date move together and count as one.",
            "Add dates: twelve or more, with two or three tickers each, is the cheapest design.",
        )
    elif 1 < findings.dates < FEW_DATES:
        yield Caveat(
            2,
            f"Only {findings.dates} dates ({cases}):",
            "intervals are wide, since cases of one date move together.",
            "More dates narrow them faster than more tickers on the same dates.",
        )


def _cut(run: Run) -> Iterator[Caveat]:
    calls = run.pipeline_calls[["arm", "role", "outcome", "truncated"]]
    answered = calls[calls["outcome"] == "answered"]
    is_cut = answered["truncated"].fillna(False).astype(bool)
    if not is_cut.any():
        return
    share = is_cut.mean()
    rows = Counter(f"{arm} {str(role).replace('_', ' ')}" for arm, role in answered.loc[is_cut, ["arm", "role"]].to_numpy())
    yield Caveat(
        0 if share >= MANY else 3,
        f"{int(is_cut.sum()):,} of {len(answered):,} answers were cut at the token limit.",
        "A cut answer may lack its rating, and its figures.",
        f"Most often: {_most(rows)}. Raise max_output_tokens of these models, or num_ctx if the "
        "prompt was cut, then run again.",
    )


def _repaired(run: Run) -> Iterator[Caveat]:
    calls = run.pipeline_calls[["arm", "kind", "cost_usd"]]
    repairs = calls[calls["kind"] == "repair"]
    if repairs.empty:
        return
    first = calls[calls["kind"] == "primary"]
    known_usd = repairs["cost_usd"].dropna().sum()
    yield Caveat(
        1 if len(repairs) / max(len(first), 1) >= MANY else 3,
        f"{count(len(repairs), 'answer')} could not be read and {'was' if len(repairs) == 1 else 'were'} asked for again.",
        "The second answer counts.",
        f"By arm: {_most(Counter(map(str, repairs['arm'])))}. They cost ${known_usd:,.4f}, which is in every figure of cost. "
        "A server that is held to the form (format: json_schema) needs fewer.",
    )


def _constant(run: Run, findings: Findings) -> Iterator[Caveat]:
    """Arms whose every decision is the same: agreement between them is by construction."""
    rows = grid.rows(run)
    constants: dict[str, list[str]] = {}
    for arm in findings.arms:
        words = grid.distribution(rows, arm)
        if len(words) == 1 and sum(words.values()) >= 3 and arm not in findings.rules:
            word = next(iter(words))
            if findings.counts[arm].usable:
                constants.setdefault(word, []).append(arm)
    for word, arms in constants.items():
        named = _listed(arms)
        yield Caveat(
            0,
            f"{named} decided {word} in every case.",
            "Agreement with such an arm, and its returns, say nothing about skill."
            if len(arms) == 1
            else "Their agreement follows from that and shows no likeness.",
            "Cases with an obvious decision, or a prompt that the model does not follow, look like this: read some cases.",
        )


def _unusable(run: Run, findings: Findings) -> Iterator[Caveat]:
    broken = {arm: counts for arm, counts in findings.counts.items() if counts.unusable}
    if not broken:
        return
    worst = sorted(broken, key=lambda arm: broken[arm].unusable / broken[arm].ended, reverse=True)
    named = [f"{broken[arm].unusable:,} of {broken[arm].ended:,} decisions of {arm}" for arm in worst[:2]]
    more = f", and some of {len(worst) - 2} more arms" if len(worst) > 2 else ""
    cells = run.measured_cells
    bad = cells[(cells["status"] != "ok") | cells["rating"].isna()]
    words = Counter(
        (str(arm), grid.mark(None, status, decision).word)
        for arm, status, decision in bad[["arm", "status", "decision_status"]].to_numpy()
    )
    share = broken[worst[0]].unusable / broken[worst[0]].ended
    ends = f"How they ended: {'; '.join(f'{arm}: {n:,} {word}' for (arm, word), n in words.most_common(4))}."
    if run.settings.is_metered:
        yield Caveat(
            3,
            f"{' and '.join(named)}{more} were not found in the answers.",
            "What they used is complete all the same.",
            f"{ends} A decision is read from the last answer of a case; a service that makes none needs none.",
        )
        return
    yield Caveat(
        1 if share >= MANY else 3,
        f"{' and '.join(named)}{more} could not be used.",
        "They count against the arm and are never turned into Hold.",
        f"{ends} To ask only these again: python -m harness retry.",
    )


def _no_repeats(findings: Findings) -> Iterator[Caveat]:
    base = findings.baseline
    if base is None or len(findings.arms) < 2 or not findings.counts[base].usable:
        return
    if findings.row("same_rating").values[base].cases:
        return
    yield Caveat(
        0,
        f"{base} was asked once per case,",
        "so how often it agrees with itself is not known, and no arm can be judged against that.",
        "Set repeats: 3; answers that are there already are reused.",
    )


def _unknown_costs(run: Run, findings: Findings) -> Iterator[Caveat]:
    cells = run.measured_cells
    unknown = cells.loc[cells["cost_usd"].isna(), "arm"].value_counts()
    if unknown.empty:
        return
    parts = [f"{n:,} of {findings.counts[str(arm)].ended:,} of {arm}" for arm, n in unknown.items()]
    yield Caveat(
        2,
        f"The cost of {_listed(parts)} is unknown,",
        "and unknown is never counted as $0.",
        "A local model has a price once servers.yaml has the cost of its machine; a hosted one once the price table lists it.",
    )


def _other_cases(run: Run, findings: Findings) -> Iterator[Caveat]:
    cells = run.measured_cells
    arms = [arm for arm in findings.arms if arm not in findings.screened_out]
    cases = {arm: frozenset(cells.loc[cells["arm"] == arm, "case_id"]) for arm in arms}
    shared = frozenset.intersection(*cases.values()) if cases else frozenset()
    if any(mine != shared for mine in cases.values()):
        yield Caveat(
            1,
            f"The arms have different cases: {len(shared)} of {findings.cases} are common to all.",
            "Each comparison uses the cases of both its arms.",
            ", ".join(f"{arm} has {len(mine):,}" for arm, mine in cases.items()) + ".",
        )


def _memory(findings: Findings) -> Iterator[Caveat]:
    """Cases that models may remember: returns leave them out."""
    early = {
        arm: strata.get("before", 0) + strata.get("grey", 0)
        for arm, strata in findings.strata.items()
        if findings.cutoffs[arm].cutoff is not None
    }
    early = {arm: cases for arm, cases in early.items() if cases}
    unknown = [arm for arm, strata in findings.strata.items() if strata.get("unknown") and arm not in findings.screened_out]
    if early:
        ends = dict.fromkeys((min(early.values()), max(early.values())))
        cutoffs = {str(cutoff.model): cutoff for arm in early if (cutoff := findings.cutoffs[arm].cutoff) is not None}
        yield Caveat(
            2,
            f"{' to '.join(f'{n:,}' for n in ends)} of {count(findings.cases, 'case')} may be in what the models have read:",
            "before their knowledge ends, or within 90 days of that; no return is claimed from them.",
            f"Knowledge ends: {'; '.join(f'{name} {c.cutoff} ({c.certainty_words})' for name, c in cutoffs.items())}.",
        )
    if unknown:
        models = dict.fromkeys(model for arm in unknown for model in findings.cutoffs[arm].unknown)
        yield Caveat(
            3,
            f"Up to which day {_listed(list(models))} read the news is not known,",
            f"so no return is claimed for {_listed(unknown)}.",
            "Their makers name no day that this package knows; returns of models with a known day are judged.",
        )


def _pending(run: Run, findings: Findings) -> Iterator[Caveat]:
    """Outcomes that are not known yet."""
    parts = []
    for horizon in run.settings.horizons:
        statuses = outcomes.statuses(run, horizon)
        waiting = {status: n for status, n in statuses.items() if status != "known" and n}
        if waiting:
            counted = ", ".join(f"{n} {status}" for status, n in waiting.items())
            parts.append(f"{count(horizon, 'session')}: {counted} of {sum(statuses.values())}")
    if parts:
        yield Caveat(3, "Some returns are not known yet.", "They are left out.", f"After {'; after '.join(parts)}.")
    named = outcomes.benchmark(run)
    if findings.cases and named is not None and named != (run.settings.benchmark or named):
        yield Caveat(
            3,
            f"Excess returns are over {named},",
            "since the declared benchmark is not in the data of all cases.",
            f"Declared: {run.settings.benchmark}; cases: {findings.cases}.",
        )


def _shutdowns(run: Run) -> Iterator[Caveat]:
    """Models with a shutdown date."""
    for shutdown in shutdowns.of_run(run):
        days = shutdown.days_left(run.record.started_on) if run.record.started_on else None
        when = "" if days is None else f", {count(abs(days), 'day')} {'after' if days >= 0 else 'before'} this run began"
        replacement = shutdown.named()
        yield Caveat(
            2,
            f"{shutdown.model} is shut down by {VENDOR} on {shutdown.date}{when}.",
            "The answer holds until then.",
            f"{replacement[0].upper()}{replacement[1:]}.",
        )


def _caches(run: Run, findings: Findings) -> Iterator[Caveat]:
    base = findings.baseline
    costs = economics.by_arm(run)
    if base not in costs:
        return
    saved, billed = costs[base].saved_by_caching, costs[base].billed.value
    if saved and billed and saved / billed >= MANY:
        yield Caveat(
            3,
            f"Warm caches made {base} {percent_text(saved / (billed + saved))} cheaper.",
            "A single decision in production may not find them.",
            "Repeats of a case and arms that share a model read what others wrote to the cache; see the section on true cost.",
        )


def _many_arms(findings: Findings) -> Iterator[Caveat]:
    compared = len(findings.good_enough.keys() - findings.screened_out)
    if compared > 1:
        yield Caveat(
            4,
            f"{compared} arms, {compared} chances:",
            f"each verdict is luck in up to 4 of 100 runs, so with {compared} arms one of them may be.",
            "The choice of the cheapest good arm is corrected for that (Holm over the arms); the other verdicts are not.",
        )


def _most(counts: Counter[str]) -> str:
    shown = [f"{name} {n:,}" for name, n in counts.most_common(4)]
    return ", ".join([*shown, *([f"{len(counts) - 4} more"] if len(counts) > 4 else [])])


def _listed(names: Sequence[str]) -> str:
    shown = list(names[:3]) + ([f"{len(names) - 3} more"] if len(names) > 3 else [])
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"
