"""Verdicts of judges: each pair of a replay as one judge saw it, in both orders."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from reports.load import among, flow
from reports.money.breakdown import Total
from reports.roles.pairs import pairs
from reports.roles.replays import mean_by_date, models_of
from reports.stats import agreement, exact
from reports.stats.estimate import Estimate
from reports.tables import ARROW, judge_of

if TYPE_CHECKING:
    from reports.load import Run

SOURCE, TIE, TARGET = "source", "tie", "target"
OUTCOMES = (SOURCE, TIE, TARGET)
_LETTERS: tuple[Mapping[str, str], ...] = (
    {"A": SOURCE, "tie": TIE, "B": TARGET},
    {"A": TARGET, "tie": TIE, "B": SOURCE},
)
"""What a letter means, by the order in which the answers stood."""

PairKey = tuple[str, str, int, str, int]
"""(replay, case_id, repeat, role, round): one pair."""


@dataclass(frozen=True)
class Judgement:
    """One pair by one judge."""

    judge: str
    replay: str
    case_id: str
    date: Any
    repeat: int
    role: str
    round: int
    said: tuple[str | None, str | None]
    """What the judge preferred with the source's answer first, and with the target's; None where that cannot be read."""
    reasons: tuple[str, str]
    costs: tuple[float | None, ...]
    """Of each request that was sent for it, failed ones included; None where a price is unknown."""

    @property
    def spot(self) -> PairKey:
        return self.replay, self.case_id, self.repeat, self.role, self.round

    @property
    def is_broken(self) -> bool:
        return None in self.said

    @property
    def is_flipped(self) -> bool:
        """Whether another order gave another winner."""
        return set(self.said) == {SOURCE, TARGET}

    @property
    def winner(self) -> str | None:
        """Preferred in both orders, else a tie; None when a verdict is broken."""
        if self.is_broken:
            return None
        return self.said[0] if self.said[0] == self.said[1] else TIE

    @property
    def for_target(self) -> float | None:
        """1 for the target, 0 for the source, a half for a tie."""
        return None if self.winner is None else OUTCOMES.index(self.winner) / 2

    @property
    def for_first(self) -> list[float]:
        """1 for each decided verdict that went to the answer shown first, 0 for each that went to the second."""
        return [float(one == first) for one, first in zip(self.said, (SOURCE, TARGET), strict=True) if one in (SOURCE, TARGET)]


def judgements(run: Run, case_ids: Sequence[str] | None = None) -> list[Judgement]:
    """Every pair that a judge was asked about, in the order of cases; nothing where nobody judged."""
    cells = run.judgements
    cells = cells if case_ids is None else cells[cells["case_id"].isin(list(case_ids))]
    if cells.empty:
        return []
    columns = ["cell_id", "role", "round", "kind", "index", "outcome", "parsed", "cost_usd"]
    calls = run.table("calls", columns, among([str(one) for one in cells["cell_id"]]))
    asked = {str(name): group.to_dict("records") for name, group in calls.groupby("cell_id")}
    rows = cells.sort_values(["date", "ticker", "repeat"], kind="stable").to_dict("records")
    return [one for row in rows for one in _of_cell(row, asked.get(str(row["cell_id"]), []))]


def _of_cell(cell: Mapping[Any, Any], calls: Sequence[Mapping[Any, Any]]) -> list[Judgement]:
    by_place: dict[tuple[str, int], list[Mapping[Any, Any]]] = {}
    for call in calls:
        by_place.setdefault((str(call["role"]), int(call["round"] or 0)), []).append(call)
    return [_judgement(cell, *place, asked) for place, asked in by_place.items()]


def _judgement(cell: Mapping[Any, Any], role: str, round_: int, calls: Sequence[Mapping[Any, Any]]) -> Judgement:
    judge, replay = judge_of(str(cell["arm"]))
    forms = [_form(calls, order) for order in (0, 1)]
    return Judgement(
        judge=judge,
        replay=replay,
        case_id=str(cell["case_id"]),
        date=cell["date"],
        repeat=int(cell["repeat"]),
        role=role,
        round=round_,
        said=(_LETTERS[0].get(str(forms[0].get("verdict"))), _LETTERS[1].get(str(forms[1].get("verdict")))),
        reasons=(str(forms[0].get("reason") or ""), str(forms[1].get("reason") or "")),
        costs=tuple(None if call["cost_usd"] != call["cost_usd"] else call["cost_usd"] for call in calls),
    )


def _form(calls: Sequence[Mapping[Any, Any]], order: int) -> Mapping[str, Any]:
    """What was read of the answer in this order; empty where nothing was."""
    raw = next((call["parsed"] for call in calls if call["index"] == order and isinstance(call["parsed"], str)), "{}")
    try:
        found = json.loads(raw)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


@dataclass(frozen=True)
class JudgedRole:
    """One judge's verdicts on one role."""

    role: str
    judge: str
    pairs: int
    wins: Counter[str]
    """source, tie, target: preferred in both orders, else a tie."""
    flipped: int
    """Ties that are none: another winner in the other order."""
    broken: int
    """Pairs with a verdict that cannot be read; they are in no share."""
    rate: Estimate
    """Share for the target, ties by halves, t on date means."""
    p: float
    """Two-sided sign test over dates that this share is a half."""


@dataclass(frozen=True)
class JudgeSummary:
    """One judge of one replay."""

    name: str
    roles: tuple[JudgedRole, ...]
    first: Estimate
    """Share of decided verdicts for the answer that stood first: a half without position bias."""
    longer: Estimate
    """Share of winners that are the longer answer: a known bias, where it is far above a half."""
    broken: int
    pairs: int
    cost: Total
    is_party: bool
    """Whether it wrote some of the answers itself."""


@dataclass(frozen=True)
class Agreement:
    """Two judges on the same pairs."""

    judges: tuple[str, str]
    pairs: int
    same: float
    kappa: float
    """Cohen's kappa on source, tie, target; NaN where both always say one thing."""


@dataclass(frozen=True)
class JudgedReplay:
    """One replay as its judges see it."""

    source: str
    target: str
    judges: tuple[JudgeSummary, ...]
    agreements: tuple[Agreement, ...]

    @property
    def roles(self) -> list[tuple[str, list[JudgedRole]]]:
        """Role by role, the judges one under the other."""
        by_role: dict[str, list[JudgedRole]] = {}
        for judge in self.judges:
            for one in judge.roles:
                by_role.setdefault(one.role, []).append(one)
        return [(role, by_role[role]) for role in flow(by_role)]


def judged_replays(run: Run) -> list[JudgedReplay]:
    """Every replay that somebody judged."""
    by_replay: dict[str, list[Judgement]] = {}
    for one in judgements(run):
        by_replay.setdefault(one.replay, []).append(one)
    return [_judged_replay(run, name, found) for name, found in by_replay.items()]


def _judged_replay(run: Run, name: str, found: Sequence[Judgement]) -> JudgedReplay:
    source, _, target = name.partition(ARROW)
    by_judge: dict[str, list[Judgement]] = {}
    for one in found:
        by_judge.setdefault(one.judge, []).append(one)
    words = _longer_answers(run, name)
    parties = models_of(run, source) | {target}
    judges = tuple(_summary(judge, mine, words, is_party=judge in parties) for judge, mine in by_judge.items())
    return JudgedReplay(source, target, judges, tuple(_agreement(one, two, by_judge) for one, two in combinations(by_judge, 2)))


def _longer_answers(run: Run, name: str) -> dict[PairKey, str]:
    """Pair -> whose answer has more words; pairs of one length are left out."""
    found = {}
    for pair in pairs(run, name):
        apart = len(pair.target.words) - len(pair.source.words)
        if apart:
            found[name, pair.case_id, pair.repeat, pair.role, pair.round] = TARGET if apart > 0 else SOURCE
    return found


def _summary(name: str, found: Sequence[Judgement], longer: dict[PairKey, str], *, is_party: bool) -> JudgeSummary:
    roles = flow(dict.fromkeys(one.role for one in found))
    decided = [one for one in found if one.winner in (SOURCE, TARGET) and one.spot in longer]
    costs = [cost for one in found for cost in one.costs]
    known = [cost for cost in costs if cost is not None]
    return JudgeSummary(
        name=name,
        roles=tuple(_judged_role(role, name, [one for one in found if one.role == role]) for role in roles),
        first=_share((one, first) for one in found for first in one.for_first),
        longer=_share((one, float(one.winner == longer[one.spot])) for one in decided),
        broken=sum(one.is_broken for one in found),
        pairs=len(found),
        cost=Total(sum(known) if known else None, len(costs) - len(known), len(costs)),
        is_party=is_party,
    )


def _judged_role(role: str, judge: str, found: Sequence[Judgement]) -> JudgedRole:
    return JudgedRole(
        role=role,
        judge=judge,
        pairs=len(found),
        wins=Counter(one.winner for one in found if one.winner is not None),
        flipped=sum(one.is_flipped for one in found),
        broken=sum(one.is_broken for one in found),
        rate=_share((one, one.for_target) for one in found),
        p=_sign_test(found),
    )


def _share(values: Iterable[tuple[Judgement, float | None]]) -> Estimate:
    """A share with its interval, which ends where shares end."""
    found = mean_by_date(values)
    return replace(found, low=max(found.low, 0.0), high=min(found.high, 1.0)) if found.low == found.low else found


def _sign_test(found: Sequence[Judgement]) -> float:
    """Dates are the units: cases of one date share their market."""
    by_date: dict[Any, list[float]] = {}
    for one in found:
        if one.for_target is not None:
            by_date.setdefault(one.date, []).append(one.for_target - 0.5)
    means = [float(np.mean(values)) for values in by_date.values()]
    return exact.sign_test(sum(mean > 0 for mean in means), sum(mean < 0 for mean in means))


def _agreement(one: str, two: str, by_judge: dict[str, list[Judgement]]) -> Agreement:
    first, second = ({v.spot: v.winner for v in by_judge[name] if v.winner is not None} for name in (one, two))
    both = [(first[spot], second[spot]) for spot in first if spot in second]
    table = np.zeros((len(OUTCOMES), len(OUTCOMES)))
    for left, right in both:
        table[OUTCOMES.index(left), OUTCOMES.index(right)] += 1
    same = float(np.trace(table) / len(both)) if both else float("nan")
    return Agreement((one, two), len(both), same, agreement.kappa(table))
