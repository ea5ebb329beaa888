"""LLM judges of replays: each pair in both orders, summed up per role and judge, with agreement, bias and cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from domain.text import decode_json
from reports.load import among
from reports.money.breakdown import Total
from reports.roles.pairs import pairs
from reports.roles.replays import mean_by_date
from reports.stats import agreement, exact
from reports.stats.estimate import Estimate
from reports.tables import ARROW, judge_of

if TYPE_CHECKING:
    from reports.load import Run
    from reports.run_roles import RunRoles

SOURCE, TIE, TARGET = "source", "tie", "target"
OUTCOMES = (SOURCE, TIE, TARGET)
_LETTERS: tuple[Mapping[str, str], ...] = (
    {"A": SOURCE, "tie": TIE, "B": TARGET},
    {"A": TARGET, "tie": TIE, "B": SOURCE},
)
"""Meaning of a letter, by the order of the answers."""

PairKey = tuple[str, str, int, str, int]
"""(replay, case_id, repeat, role, round): one pair."""


@dataclass(frozen=True)
class Judgement:
    """One pair, judged by one judge in both orders."""

    judge: str
    replay: str
    case_id: str
    date: Any
    repeat: int
    role: str
    round: int
    preferred: tuple[str | None, str | None]
    """Preference with the source's answer first, then with the target's first; None if unreadable."""
    reasons: tuple[str, str]
    costs: tuple[float | None, ...]
    """Cost of each request, failed ones included; None if unknown."""

    @property
    def spot(self) -> PairKey:
        return self.replay, self.case_id, self.repeat, self.role, self.round

    @property
    def is_broken(self) -> bool:
        return None in self.preferred

    @property
    def is_flipped(self) -> bool:
        """Whether the winner changed with the order."""
        return set(self.preferred) == {SOURCE, TARGET}

    @property
    def winner(self) -> str | None:
        """Preferred in both orders, else a tie; None if an answer is unreadable."""
        if self.is_broken:
            return None
        return self.preferred[0] if self.preferred[0] == self.preferred[1] else TIE

    @property
    def for_target(self) -> float | None:
        """1 for the target, 0 for the source, a half for a tie."""
        return None if self.winner is None else OUTCOMES.index(self.winner) / 2

    @property
    def for_first(self) -> list[float]:
        """1 for each preference for the answer shown first, 0 for the second."""
        return [
            float(winner == first)
            for winner, first in zip(self.preferred, (SOURCE, TARGET), strict=True)
            if winner in (SOURCE, TARGET)
        ]


def judgements(run: Run, case_ids: Sequence[str] | None = None) -> list[Judgement]:
    """Every judged pair, in the order of cases."""
    cells = run.judgements
    cells = cells if case_ids is None else cells[cells["case_id"].isin(list(case_ids))]
    if cells.empty:
        return []
    columns = ["cell_id", "role", "round", "kind", "index", "outcome", "parsed", "cost_usd"]
    calls = run.table("calls", columns, among([str(judgement) for judgement in cells["cell_id"]]))
    calls_by_cell = {str(name): group.to_dict("records") for name, group in calls.groupby("cell_id")}
    rows = cells.sort_values(["date", "ticker", "repeat"], kind="stable").to_dict("records")
    return [judgement for row in rows for judgement in _of_cell(row, calls_by_cell.get(str(row["cell_id"]), []))]


def _of_cell(cell: Mapping[Any, Any], calls: Sequence[Mapping[Any, Any]]) -> list[Judgement]:
    by_call_site: dict[tuple[str, int], list[Mapping[Any, Any]]] = {}
    for call in calls:
        by_call_site.setdefault((str(call["role"]), int(call["round"] or 0)), []).append(call)
    return [_judgement(cell, *call_site, site_calls) for call_site, site_calls in by_call_site.items()]


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
        preferred=(_LETTERS[0].get(str(forms[0].get("verdict"))), _LETTERS[1].get(str(forms[1].get("verdict")))),
        reasons=(str(forms[0].get("reason") or ""), str(forms[1].get("reason") or "")),
        costs=tuple(None if call["cost_usd"] != call["cost_usd"] else call["cost_usd"] for call in calls),
    )


def _form(calls: Sequence[Mapping[Any, Any]], order: int) -> Mapping[str, Any]:
    """The parsed answer in this order; empty if unreadable."""
    raw = next((call["parsed"] for call in calls if call["index"] == order and isinstance(call["parsed"], str)), "{}")
    try:
        form = decode_json(raw)
    except ValueError:
        return {}
    return form if isinstance(form, dict) else {}


@dataclass(frozen=True)
class JudgedRole:
    """One judge's judgements on one role."""

    role: str
    judge: str
    pairs: int
    wins: Counter[str]
    """source, tie or target -> pairs; preferred in both orders, else a tie."""
    flipped: int
    """Ties whose winner changed with the order."""
    broken: int
    """Pairs with an unreadable answer; they are in no share."""
    rate: Estimate
    """Share for the target (a tie counts half), t on date means."""
    p: float
    """Two-sided sign test over dates that this share is a half."""


@dataclass(frozen=True)
class JudgeSummary:
    """One judge of one replay."""

    name: str
    roles: tuple[JudgedRole, ...]
    first: Estimate
    """Share of preferences for the answer shown first: one half without position bias."""
    longer: Estimate
    """Share of winners that are the longer answer: a known bias if far above one half."""
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
    """Cohen's kappa on source, tie, target; NaN if both always agree on one value."""


@dataclass(frozen=True)
class JudgedReplay:
    """One replay and its judges."""

    source: str
    target: str
    judges: tuple[JudgeSummary, ...]
    agreements: tuple[Agreement, ...]
    run_roles: RunRoles

    @property
    def roles(self) -> list[tuple[str, list[JudgedRole]]]:
        """(role, one entry per judge)."""
        by_role: dict[str, list[JudgedRole]] = {}
        for judge in self.judges:
            for judged_role in judge.roles:
                by_role.setdefault(judged_role.role, []).append(judged_role)
        return [(role, by_role[role]) for role in self.run_roles.in_order(by_role)]


def judged_replays(run: Run) -> list[JudgedReplay]:
    """Every judged replay."""
    by_replay: dict[str, list[Judgement]] = {}
    for judgement in judgements(run):
        by_replay.setdefault(judgement.replay, []).append(judgement)
    return [_judged_replay(run, name, of_replay) for name, of_replay in by_replay.items()]


def _judged_replay(run: Run, name: str, all_judgements: Sequence[Judgement]) -> JudgedReplay:
    source, _, target = name.partition(ARROW)
    by_judge: dict[str, list[Judgement]] = {}
    for judgement in all_judgements:
        by_judge.setdefault(judgement.judge, []).append(judgement)
    words = _longer_answers(run, name)
    parties = {*run.settings.arm(source).aliases, target}
    judges = tuple(_summary(judge, mine, words, run.roles, is_party=judge in parties) for judge, mine in by_judge.items())
    agreements = tuple(_agreement(first, second, by_judge) for first, second in combinations(by_judge, 2))
    return JudgedReplay(source, target, judges, agreements, run.roles)


def _longer_answers(run: Run, name: str) -> dict[PairKey, str]:
    """Return pair -> whose answer has more words, without pairs of equal length."""
    longer = {}
    for pair in pairs(run, name):
        apart = len(pair.target.words) - len(pair.source.words)
        if apart:
            longer[name, pair.case_id, pair.repeat, pair.role, pair.round] = TARGET if apart > 0 else SOURCE
    return longer


def _summary(
    name: str, all_judgements: Sequence[Judgement], longer: dict[PairKey, str], run_roles: RunRoles, *, is_party: bool
) -> JudgeSummary:
    roles = run_roles.in_order(dict.fromkeys(judgement.role for judgement in all_judgements))
    decided = [judgement for judgement in all_judgements if judgement.winner in (SOURCE, TARGET) and judgement.spot in longer]
    costs = [cost for judgement in all_judgements for cost in judgement.costs]
    known_costs = [cost for cost in costs if cost is not None]
    return JudgeSummary(
        name=name,
        roles=tuple(
            _judged_role(role, name, [judgement for judgement in all_judgements if judgement.role == role]) for role in roles
        ),
        first=_share((judgement, first) for judgement in all_judgements for first in judgement.for_first),
        longer=_share((judgement, float(judgement.winner == longer[judgement.spot])) for judgement in decided),
        broken=sum(judgement.is_broken for judgement in all_judgements),
        pairs=len(all_judgements),
        cost=Total(sum(known_costs) if known_costs else None, len(costs) - len(known_costs), len(costs)),
        is_party=is_party,
    )


def _judged_role(role: str, judge: str, all_judgements: Sequence[Judgement]) -> JudgedRole:
    return JudgedRole(
        role=role,
        judge=judge,
        pairs=len(all_judgements),
        wins=Counter(judgement.winner for judgement in all_judgements if judgement.winner is not None),
        flipped=sum(judgement.is_flipped for judgement in all_judgements),
        broken=sum(judgement.is_broken for judgement in all_judgements),
        rate=_share((judgement, judgement.for_target) for judgement in all_judgements),
        p=_sign_test(all_judgements),
    )


def _share(values: Iterable[tuple[Judgement, float | None]]) -> Estimate:
    """A share with its interval, limited to 0 to 1."""
    mean = mean_by_date(values)
    return replace(mean, low=max(mean.low, 0.0), high=min(mean.high, 1.0)) if mean.low == mean.low else mean


def _sign_test(all_judgements: Sequence[Judgement]) -> float:
    """Dates are the units: cases of one date share their market."""
    by_date: dict[Any, list[float]] = {}
    for judgement in all_judgements:
        if judgement.for_target is not None:
            by_date.setdefault(judgement.date, []).append(judgement.for_target - 0.5)
    means = [float(np.mean(values)) for values in by_date.values()]
    return exact.sign_test(sum(mean > 0 for mean in means), sum(mean < 0 for mean in means))


def _agreement(first_judge: str, second_judge: str, by_judge: dict[str, list[Judgement]]) -> Agreement:
    first, second = ({v.spot: v.winner for v in by_judge[name] if v.winner is not None} for name in (first_judge, second_judge))
    both = [(first[spot], second[spot]) for spot in first if spot in second]
    table = np.zeros((len(OUTCOMES), len(OUTCOMES)))
    for left, right in both:
        table[OUTCOMES.index(left), OUTCOMES.index(right)] += 1
    same = float(np.trace(table) / len(both)) if both else float("nan")
    return Agreement((first_judge, second_judge), len(both), same, agreement.kappa(table))
