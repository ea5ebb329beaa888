"""What is compared in the pairs of one role: each measure of both sides with their paired difference."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from reports.grounding import of_run as grounding_of_run
from reports.grounding.origins import GROUNDED, origins
from reports.load import flow
from reports.money.breakdown import Total, total
from reports.roles.pairs import STANCES, Pair, PromptAnswer, pairs
from reports.stats import estimate, means
from reports.stats.estimate import Estimate
from reports.tables import ARROW, ITSELF

if TYPE_CHECKING:
    from reports.load import Run

MOST_WORDS = 400
"""Words of a text that similarity looks at."""


@dataclass(frozen=True)
class Aspect:
    """One thing that is compared, over the pairs of one role."""

    name: str
    title: str
    unit: str
    """share | words | usd | s."""
    source: Estimate
    target: Estimate
    apart: Estimate
    """Target minus source, paired by case."""


@dataclass(frozen=True)
class RoleComparison:
    """One role of a replay."""

    role: str
    pairs: int
    cases: int
    turns: float
    """Prompts of this role per cell."""
    alike: Estimate
    """Share of prompts to which both take the same stance; unknown for roles that take none."""
    fields: Estimate
    """Share of a form's other choices and numbers that are the same."""
    similarity: Estimate
    """Words in common over all words (Jaccard): a hint only."""
    aspects: tuple[Aspect, ...]
    floor: RoleComparison | None = None
    """The source's own model asked the same again: what differs by chance alone."""

    def aspect(self, name: str) -> Aspect | None:
        return next((one for one in self.aspects if one.name == name), None)


def compare(role: str, found: Sequence[Pair]) -> RoleComparison:
    """One role's pairs as figures; intervals are t on date means, repeats and rounds averaged inside their case."""
    takes_stance = any(one.stance for pair in found for one in (pair.source, pair.target))
    aspects = [
        _aspect(name, title, unit, found, measure) for name, title, unit, measure in ASPECTS if name != "valid" or takes_stance
    ]
    return RoleComparison(
        role,
        len(found),
        len({pair.case_id for pair in found}),
        len(found) / max(len({(pair.case_id, pair.repeat) for pair in found}), 1),
        _mean(found, _alike if takes_stance else _nothing),
        _mean(found, _fields if takes_stance else _nothing),
        _mean(found, common_words),
        tuple(aspects),
    )


Measure = Callable[[Pair, PromptAnswer], float | None]


def _aspect(name: str, title: str, unit: str, found: Sequence[Pair], measure: Measure) -> Aspect:
    both = [(pair, measure(pair, pair.source), measure(pair, pair.target)) for pair in found]
    return Aspect(
        name,
        title,
        unit,
        mean_by_date((pair, one) for pair, one, _ in both),
        mean_by_date((pair, two) for pair, _, two in both),
        mean_by_date((pair, None if one is None or two is None else two - one) for pair, one, two in both),
    )


def _mean(found: Sequence[Pair], measure: Callable[[Pair], float | None]) -> Estimate:
    return mean_by_date((pair, measure(pair)) for pair in found)


def mean_by_date(values: Iterable[tuple[Any, float | None]]) -> Estimate:
    """The mean over cases with t on date means; what is not known is left out and counted.

    Each value comes with what it was measured on, which has a case_id and a date."""
    by_case: dict[str, list[float]] = {}
    dates: dict[str, Any] = {}
    missing: set[str] = set()
    for pair, value in values:
        dates[pair.case_id] = pair.date
        if value is None:
            missing.add(pair.case_id)
        else:
            by_case.setdefault(pair.case_id, []).append(value)
    missing -= set(by_case)
    if not by_case:
        return estimate.unknown(len(missing))
    by_date: dict[Any, list[float]] = {}
    for case_id, known in by_case.items():
        by_date.setdefault(dates[case_id], []).append(float(np.mean(known)))
    sample = means.of_dates([float(np.mean(known)) for known in by_date.values()])
    return estimate.of_mean(sample, len(by_case), len(by_date), missing=len(missing))


def _nothing(pair: Pair) -> None:
    return None


def _alike(pair: Pair) -> float:
    """A stance that cannot be read is like no other."""
    return float(pair.source.stance is not None and pair.source.stance == pair.target.stance)


def _fields(pair: Pair) -> float | None:
    one, two = pair.source.form, pair.target.form
    if not one or not two:
        return None
    plain = [key for key, value in one.items() if key not in STANCES and not isinstance(value, str)]
    return float(np.mean([_same(one[key], two.get(key)) for key in plain])) if plain else None


def _same(one: Any, two: Any) -> bool:
    """Equal, or numbers within 5 %."""
    if isinstance(one, int | float) and isinstance(two, int | float):
        return abs(one - two) <= 0.05 * max(abs(one), abs(two))
    return bool(one == two)


def common_words(pair: Pair) -> float | None:
    """Words in common over all words (Jaccard) of the two answers."""
    one, two = set(pair.source.words[:MOST_WORDS]), set(pair.target.words[:MOST_WORDS])
    return len(one & two) / len(one | two) if one | two else None


def _grounded(pair: Pair, said: PromptAnswer) -> float | None:
    """Share of a text's figures that stand in its prompt or follow from it; None without figures."""
    found = origins(said.text, grounding_of_run.inputs_of(pair.asked))
    return float(np.mean([one.label in GROUNDED for one in found])) if found else None


ASPECTS: tuple[tuple[str, str, str, Measure], ...] = (
    ("valid", "answers in the asked form", "share", lambda pair, said: float(said.stance is not None)),
    ("grounded", "figures that rest on the prompt", "share", _grounded),
    ("refused", "refusals", "share", lambda pair, said: float(said.is_refused)),
    ("cut", "answers cut at the cap", "share", lambda pair, said: float(said.is_cut)),
    ("words", "length", "words", lambda pair, said: float(len(said.words))),
    ("cost_usd", "cost of the answer", "usd", lambda pair, said: said.cost_usd),
    ("seconds", "time of the answer", "s", lambda pair, said: said.seconds),
)


@dataclass(frozen=True)
class ReplayResult:
    """One source arm replayed to one model."""

    source: str
    target: str
    roles: tuple[RoleComparison, ...]
    is_floor: bool
    """Whether the target is the model that played those roles in the source itself."""
    calls: int
    """Requests that were sent for it, failed ones included."""
    cost: Total

    @property
    def name(self) -> str:
        return self.source + ARROW + self.target


def replays(run: Run) -> list[ReplayResult]:
    """Every replay of a run, each role beside its noise floor where the source's own model was replayed too."""
    found = {name: _replay(run, name) for name in dict.fromkeys(run.replays["arm"])}
    floors = {one.source: {role.role: role for role in one.roles} for one in found.values() if one.is_floor}
    return [one if one.is_floor else _with_floors(one, floors.get(one.source, {})) for one in found.values()]


def _replay(run: Run, name: str) -> ReplayResult:
    source, _, target = name.partition(ARROW)
    by_role: dict[str, list[Pair]] = {}
    for pair in pairs(run, name):
        by_role.setdefault(pair.role, []).append(pair)
    roles = tuple(compare(role, by_role[role]) for role in flow(by_role))
    sent = run.calls[run.calls["arm"] == name]
    return ReplayResult(source, target, roles, is_floor(run, source, target), len(sent), total(sent["cost_usd"]))


def is_floor(run: Run, source: str, target: str) -> bool:
    """Whether a replay asks the source's own models again: what differs then is chance."""
    return target == ITSELF or models_of(run, source) == {target}


def models_of(run: Run, arm: str) -> set[str]:
    """The models that play an arm, by their names in the experiment."""
    lineup: Mapping[str, Any] = (run.experiment.get("arms") or {}).get(arm) or {"all": arm}
    return {alias for key, alias in lineup.items() if key not in ("pipeline", "rule") and isinstance(alias, str)}


def _with_floors(one: ReplayResult, floors: Mapping[str, RoleComparison]) -> ReplayResult:
    return replace(one, roles=tuple(replace(role, floor=floors.get(role.role)) for role in one.roles))
