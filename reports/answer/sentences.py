"""The answer in sentences: one on decisions, one on returns, and at most three takeaways that the table cannot show."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from scipy import special

from reports import grid
from reports.answer import table
from reports.answer.table import PER, loss_points, usd
from reports.format import count, known
from reports.verdict import GOOD_ENOUGH, NOT_GOOD_ENOUGH, POWER, UNDECIDED

if TYPE_CHECKING:
    from reports.answer.findings import Comparison, Findings, MetricRow
    from reports.load import Run
    from reports.verdict import GoodEnough

MOST_NAMED = 3
MOST_TAKEAWAYS = 3


@dataclass(frozen=True)
class Sentence:
    """A sentence of which some parts matter most."""

    parts: tuple[tuple[str, bool], ...]
    """(text, whether it is set in bold)."""

    @property
    def text(self) -> str:
        return "".join(text for text, _ in self.parts)


@dataclass(frozen=True)
class Takeaway:
    """Something that the table cannot show."""

    lead: str
    text: str
    anchor: str
    """Section of the page with the evidence."""


class _Writer:
    """Collects plain and bold parts."""

    def __init__(self) -> None:
        self._parts: list[tuple[str, bool]] = []

    def __call__(self, text: str, strong: bool = False) -> _Writer:
        if text:
            self._parts.append((text, strong))
        return self

    def sentence(self) -> Sentence:
        return Sentence(tuple(self._parts))


class Decisions:
    """Writes the sentence on decisions."""

    def __init__(self, findings: Findings) -> None:
        self.findings, self.base = findings, str(findings.baseline)

    def sentence(self) -> Sentence:
        """How far the best arm may be from the baseline, what it costs, and what the others do."""
        judged = self.findings.good_enough
        if not judged:
            return self._nothing()
        good = self._good
        write = _Writer()
        if good:
            self._best(write, good[0], is_good=True)
            self._named(write, good[1:], "also good enough")
        else:
            write("no arm is shown to be good enough", True)
            write(f" to replace {self.base}; ")
            self._closest(write)
        best = good[0] if good else self._best_undecided
        self._others(write, [judged[arm] for arm in judged if arm not in good and arm != best])
        return write(".").sentence()

    def _nothing(self) -> Sentence:
        if self.findings.baseline is None or len(self.findings.arms) < 2:
            return _Writer()("one arm alone has nothing to be compared with.").sentence()
        return _Writer()("only rules without a model were run against the baseline; the table has their figures.").sentence()

    @cached_property
    def _good(self) -> list[str]:
        """Good arms, the pick first, then by cost."""
        good = [arm for arm, judged in self.findings.good_enough.items() if judged.word == GOOD_ENOUGH]
        pick = self.findings.pick.arm if self.findings.pick else None
        return sorted(good, key=lambda arm: (arm != pick, self._cost(arm)))

    @cached_property
    def _best_undecided(self) -> str | None:
        """The arm whose possible loss in same rating is smallest."""
        judged = self.findings.good_enough
        tested = [arm for arm in judged if judged[arm].word == UNDECIDED and known(self._loss_of(arm))]
        return min(tested, key=self._loss_of, default=None)

    def _loss_of(self, arm: str) -> float:
        verdict = self.findings.good_enough[arm].verdicts.get("same_rating")
        return verdict.loss if verdict else math.nan

    def _cost(self, arm: str) -> float:
        value = self.findings.row("cost").values[arm].value
        return value if known(value) else math.inf

    def _best(self, write: _Writer, arm: str, *, is_good: bool) -> None:
        verdict = self.findings.good_enough[arm].verdicts["same_rating"]
        how = f"at most {loss_points(verdict)} less often" if verdict.loss else "no less often"
        write(f"{arm} agrees with {self.base} ")(how, True)(f" than {self.base} agrees with itself")
        self._price(write, arm)
        pick = self.findings.pick
        if is_good and pick and pick.arm is None and len(self.findings.good_enough) > 1:
            write(f" (shown for this arm alone, not as a choice among {len(self.findings.good_enough)})")

    def _price(self, write: _Writer, arm: str) -> None:
        comparison = self.findings.row("cost").comparisons.get(arm)
        if comparison is None or not (known(comparison.own.value) and known(comparison.base.value)):
            write("; what it costs is not known")
            return
        own, base = (usd(value * PER) for value in (comparison.own.value, comparison.base.value))
        write(", and costs ")(f"{own} instead of {base}", True)(f" per {PER:,} decisions")

    def _closest(self, write: _Writer) -> None:
        arm = self._best_undecided
        judged = self.findings.good_enough
        if arm is not None:
            write("the closest, ")
            self._best(write, arm, is_good=False)
            if "same_rating" not in judged[arm].undecided:
                others = [table.NAMES[name] for name in judged[arm].undecided]
                write(f" (still open: {_listed(others, len(others))})")
            return
        reasons = dict.fromkeys(
            verdict.reason for one in judged.values() if (verdict := one.verdicts.get("same_rating")) and verdict.reason
        )
        if not self.findings.counts[self.base].usable:
            write(f"no decision of {self.base} could be used")
        elif all(one.word == NOT_GOOD_ENOUGH for one in judged.values()):
            write("all are shown to lose more than the margins allow")
        else:
            write(next(iter(reasons), "too little was measured"))

    def _named(self, write: _Writer, arms: Sequence[str], what: str) -> None:
        if not arms:
            return
        shown = [f"{arm} ({self._in_short(arm)})" for arm in arms[:MOST_NAMED]]
        write(f"; {what}: {_listed(shown, len(arms))}")

    def _in_short(self, arm: str) -> str:
        judged = self.findings.good_enough[arm]
        metric = judged.failing[0] if judged.failing else "same_rating"
        words = table.gap_words(judged, metric) if self.findings.counts[arm].usable else table.NO_USABLE
        cost = self._cost(arm)
        return f"{words}, {usd(cost * PER)}" if math.isfinite(cost) else words

    def _others(self, write: _Writer, others: Sequence[GoodEnough]) -> None:
        worse = [one.arm for one in others if one.word == NOT_GOOD_ENOUGH]
        dropped = [one.arm for one in others if one.arm in self.findings.screened_out]
        self._named(write, [one.arm for one in others if one.arm not in (*worse, *dropped)], "undecided")
        self._named(write, worse, "not good enough")
        if dropped:
            write(f"; {table.DROPPED}: {_listed(dropped[:MOST_NAMED], len(dropped))}")


def decisions(findings: Findings) -> Sentence:
    """The sentence on decisions; for a finished run."""
    return Decisions(findings).sentence()


def returns(findings: Findings) -> Sentence:
    """The sentence on returns: an interval for the arm that matters most, and the gap that such a run could show."""
    row = _returns_row(findings)
    if row is None:
        return _Writer()(_why_no_returns(findings)).sentence()
    write = _Writer()
    apart = [one for one in row.comparisons.values() if one.has_interval and one.is_apart]
    shown = apart or [_shown(findings, row)]
    horizon = count(row.metric.horizon, "session")
    if not apart and not (shown[0].estimate.low or shown[0].estimate.high):
        return write(f"a decision of {shown[0].arm} earned the same as one of {findings.baseline} in every case.").sentence()
    if not apart:
        write("no gap shown: ")
    for at, one in enumerate(shown[:2]):
        write("; and " if at else "")
        write(f"over the next {horizon} a decision of {one.arm} earned ")(_earned(one), True)
        write(f" than one of {findings.baseline}")
    first = shown[0].estimate
    write(f" ({count(first.cases, 'case')} on {count(first.dates, 'date')} that no model can have read about)")
    smallest = _smallest_gap(shown[0])
    return write(f"; a run of this size shows only gaps above {smallest * 100:.2f}\u202f%." if smallest else ".").sentence()


def _returns_row(findings: Findings) -> MetricRow | None:
    """The declared mean excess return that has intervals, else the one of the middle horizon."""
    rows = [
        row
        for row in findings.rows
        if row.metric.is_outcome and row.metric.unit == "return" and any(one.has_interval for one in row.comparisons.values())
    ]
    declared = [row for row in rows if row.is_declared]
    return declared[0] if declared else rows[len(rows) // 2] if rows else None


def _why_no_returns(findings: Findings) -> str:
    rows = [row for row in findings.rows if row.metric.is_outcome and row.metric.unit == "return"]
    if any(known(one.estimate.value) for row in rows for one in row.comparisons.values()):
        return "not measured: too few dates for an interval."
    notes = dict.fromkeys(one.note for row in rows for one in row.comparisons.values() if one.note)
    return f"not measured ({next(iter(notes))})." if notes else "not measured in this run."


def _shown(findings: Findings, row: MetricRow) -> Comparison:
    """The pick's comparison, else that of the most precise one."""
    pick = findings.pick.arm if findings.pick else None
    there = {arm: one for arm, one in row.comparisons.items() if one.has_interval}
    if pick in there:
        return there[str(pick)]
    candidates = [one for arm, one in there.items() if arm not in findings.rules] or list(there.values())
    return min(candidates, key=lambda one: one.estimate.high - one.estimate.low)


def _earned(one: Comparison) -> str:
    low, high = one.estimate.low, one.estimate.high
    ends = [f"{abs(end) * 100:.2f}" for end in (low, high)]
    if low > 0:
        return f"{ends[0]} to {ends[1]}\u202f% more"
    if high < 0:
        return f"{ends[1]} to {ends[0]}\u202f% less"
    return f"between {ends[0]}\u202f% less and {ends[1]}\u202f% more"


def _smallest_gap(one: Comparison) -> float | None:
    """The true gap that 80 of 100 such runs would show, from the width of the interval."""
    estimate = one.estimate
    df = estimate.dates - 1
    if df < 1 or estimate.method == "exact":
        return None
    reach = float(special.stdtrit(df, 0.975))
    return (estimate.high - estimate.low) / 2 * (reach + float(special.stdtrit(df, POWER))) / reach


# --- takeaways -----------------------------------------------------------------------------------------------------------


def takeaways(run: Run, findings: Findings, likeness: Sequence[str] = ()) -> tuple[Takeaway, ...]:
    """At most three; none for an unfinished run. `likeness`: sentences on models that were asked the same prompts."""
    if findings.is_interim or findings.baseline is None:
        return ()
    found = [Takeaway("Asked the same prompts.", text, "roles") for text in likeness]
    found += [*_lean(run, findings), *_texts(findings), *_front(findings)]
    return tuple(found[:MOST_TAKEAWAYS])


def _lean(run: Run, findings: Findings) -> Iterator[Takeaway]:
    """The arm whose ratings are furthest from the baseline's."""
    row = findings.row("score")
    apart = [one for arm, one in row.comparisons.items() if one.has_interval and one.is_apart and arm not in findings.rules]
    if not apart:
        return
    one = max(apart, key=lambda comparison: abs(comparison.estimate.value))
    way, words = ("Buy", ("Buy", "Overweight")) if one.estimate.value > 0 else ("Sell", ("Sell", "Underweight"))
    case_rows = grid.rows(run)
    shares = [_share_of(grid.distribution(case_rows, arm), words) for arm in (one.arm, str(findings.baseline))]
    yield Takeaway(
        f"{one.arm} leans to {way}.",
        f"{shares[0]} of its decisions are {words[0]} or {words[1]}, against {shares[1]} of {findings.baseline}'s; it rates "
        f"{abs(one.estimate.value):.2f} notches {'higher' if one.estimate.value > 0 else 'lower'} (Sell −2 to Buy +2).",
        "decisions",
    )


def _share_of(counts: Mapping[str, int], words: Sequence[str]) -> str:
    whole = sum(counts.values())
    return f"{sum(counts.get(word, 0) for word in words):,} of {whole:,}"


def _texts(findings: Findings) -> Iterator[Takeaway]:
    """Which arm's texts carry more invented figures than the baseline's, by a shown difference."""
    row = findings.row("grounding")
    apart = [one for one in row.comparisons.values() if one.has_interval and one.is_apart and one.estimate.value < 0]
    if not apart:
        return
    pick = findings.pick.arm if findings.pick else None
    one = next((one for one in apart if one.arm == pick), min(apart, key=lambda one: one.estimate.value))
    carried = findings.row("invented").values[one.arm].value
    reach = f"; {carried * 100:.0f}\u202f% of its decisions carry one" if known(carried) else ""
    yield Takeaway(
        f"What {one.arm} gives up is in the texts.",
        f"Figures that its inputs do not support rise from {(1 - one.base.value) * 100:.1f} to "
        f"{(1 - one.own.value) * 100:.1f}\u202f%{reach}.",
        "roles",
    )


def _front(findings: Findings) -> Iterator[Takeaway]:
    """Arms that another one beats in both cost and likeness."""
    cost, same = findings.row("cost").values, findings.row("same_rating")
    alike = {arm: one.own.value for arm, one in same.comparisons.items() if known(one.own.value) and known(cost[arm].value)}
    alike = {arm: value for arm, value in alike.items() if arm not in findings.rules}
    beaten = {
        arm: better
        for arm in alike
        if (better := next((o for o in alike if cost[o].value < cost[arm].value and alike[o] > alike[arm]), None))
    }
    if len(alike) < 3 or not beaten:
        return
    arm = max(beaten, key=lambda name: cost[name].value)
    other = beaten[arm]
    yield Takeaway(
        f"{arm} is not worth its price here.",
        f"{other} costs {usd(cost[other].value * PER)} per {PER:,} decisions instead of {usd(cost[arm].value * PER)} and is "
        f"{(alike[other] - alike[arm]) * 100:.1f} points more alike.",
        "likeness",
    )


def _listed(names: Sequence[str], every: int) -> str:
    more = [f"{every - len(names)} more"] if every > len(names) else []
    every_name = [*names, *more]
    return every_name[0] if len(every_name) == 1 else f"{', '.join(every_name[:-1])} and {every_name[-1]}"
