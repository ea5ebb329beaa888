"""Judges summed up: which answers they prefer role by role, how far to trust them, and what they cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from reports.estimate import Estimate
from reports.money.breakdown import Total, flow
from reports.roles.aspects import of_values
from reports.roles.pairs import pairs
from reports.roles.replay import models_of
from reports.roles.verdicts import OUTCOMES, SOURCE, TARGET, Spot, Verdict, verdicts
from reports.stats import agreement, exact
from reports.tables import ARROW

if TYPE_CHECKING:
    from reports.load import Run


@dataclass(frozen=True)
class Role:
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
class Judge:
    """One judge of one replay."""

    name: str
    roles: tuple[Role, ...]
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
class Judged:
    """One replay as its judges see it."""

    source: str
    target: str
    judges: tuple[Judge, ...]
    agreements: tuple[Agreement, ...]

    @property
    def roles(self) -> list[tuple[str, list[Role]]]:
        """Role by role, the judges one under the other."""
        by_role: dict[str, list[Role]] = {}
        for judge in self.judges:
            for one in judge.roles:
                by_role.setdefault(one.role, []).append(one)
        return [(role, by_role[role]) for role in flow(by_role)]


def judged(run: Run) -> list[Judged]:
    """Every replay that somebody judged."""
    by_replay: dict[str, list[Verdict]] = {}
    for one in verdicts(run):
        by_replay.setdefault(one.replay, []).append(one)
    return [_judged(run, name, found) for name, found in by_replay.items()]


def _judged(run: Run, name: str, found: Sequence[Verdict]) -> Judged:
    source, _, target = name.partition(ARROW)
    by_judge: dict[str, list[Verdict]] = {}
    for one in found:
        by_judge.setdefault(one.judge, []).append(one)
    words = _longer(run, name)
    parties = models_of(run, source) | {target}
    judges = tuple(_judge(judge, mine, words, is_party=judge in parties) for judge, mine in by_judge.items())
    return Judged(source, target, judges, tuple(_agree(one, two, by_judge) for one, two in combinations(by_judge, 2)))


def _longer(run: Run, name: str) -> dict[Spot, str]:
    """Pair -> whose answer has more words; pairs of one length are left out."""
    found = {}
    for pair in pairs(run, name):
        apart = len(pair.target.words) - len(pair.source.words)
        if apart:
            found[name, pair.case_id, pair.repeat, pair.role, pair.round] = TARGET if apart > 0 else SOURCE
    return found


def _judge(name: str, found: Sequence[Verdict], longer: dict[Spot, str], *, is_party: bool) -> Judge:
    roles = flow(dict.fromkeys(one.role for one in found))
    decided = [one for one in found if one.winner in (SOURCE, TARGET) and one.spot in longer]
    costs = [cost for one in found for cost in one.costs]
    known = [cost for cost in costs if cost is not None]
    return Judge(
        name=name,
        roles=tuple(_role(role, name, [one for one in found if one.role == role]) for role in roles),
        first=_share((one, first) for one in found for first in one.for_first),
        longer=_share((one, float(one.winner == longer[one.spot])) for one in decided),
        broken=sum(one.is_broken for one in found),
        pairs=len(found),
        cost=Total(sum(known) if known else None, len(costs) - len(known), len(costs)),
        is_party=is_party,
    )


def _role(role: str, judge: str, found: Sequence[Verdict]) -> Role:
    return Role(
        role=role,
        judge=judge,
        pairs=len(found),
        wins=Counter(one.winner for one in found if one.winner is not None),
        flipped=sum(one.is_flipped for one in found),
        broken=sum(one.is_broken for one in found),
        rate=_share((one, one.for_target) for one in found),
        p=_sign_test(found),
    )


def _share(values: Iterable[tuple[Verdict, float | None]]) -> Estimate:
    """A share with its interval, which ends where shares end."""
    found = of_values(values)
    return replace(found, low=max(found.low, 0.0), high=min(found.high, 1.0)) if found.low == found.low else found


def _sign_test(found: Sequence[Verdict]) -> float:
    """Dates are the units: cases of one date share their market."""
    by_date: dict[Any, list[float]] = {}
    for one in found:
        if one.for_target is not None:
            by_date.setdefault(one.date, []).append(one.for_target - 0.5)
    means = [float(np.mean(values)) for values in by_date.values()]
    return exact.sign_test(sum(mean > 0 for mean in means), sum(mean < 0 for mean in means))


def _agree(one: str, two: str, by_judge: dict[str, list[Verdict]]) -> Agreement:
    first, second = ({v.spot: v.winner for v in by_judge[name] if v.winner is not None} for name in (one, two))
    both = [(first[spot], second[spot]) for spot in first if spot in second]
    table = np.zeros((len(OUTCOMES), len(OUTCOMES)))
    for left, right in both:
        table[OUTCOMES.index(left), OUTCOMES.index(right)] += 1
    same = float(np.trace(table) / len(both)) if both else float("nan")
    return Agreement((one, two), len(both), same, agreement.kappa(table))
