"""Replays: what a model answers to the prompts recorded for another arm, compared role by role."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from reports.grounding import of_run as grounding_of_run
from reports.grounding.language import is_english
from reports.grounding.origins import GROUNDED, origins
from reports.metrics.measure import ByDate
from reports.money.breakdown import Total, total
from reports.roles.pairs import STANCES, Pair, PromptAnswer, pairs
from reports.stats import estimate, exact, means
from reports.stats.estimate import Estimate
from reports.tables import ARROW, ITSELF

if TYPE_CHECKING:
    from reports.load import Run

MOST_WORDS = 400
"""Words of a text that are compared."""


@dataclass(frozen=True)
class Aspect:
    """One measure over the pairs of one role, with its paired difference."""

    name: str
    title: str
    unit: str
    """share | words | usd | s."""
    source: Estimate
    target: Estimate
    apart: Estimate
    """Target minus source, paired by case."""


@dataclass(frozen=True)
class Stance:
    """Same stances of one role over the prompts that both models were asked: own - floor is the difference."""

    own: Estimate
    """How often the target takes the recorded stance."""
    floor: Estimate
    """How often the source's own model takes it when asked again."""
    apart: Estimate


@dataclass(frozen=True)
class RoleComparison:
    """One role of a replay."""

    role: str
    pairs: int
    cases: int
    turns: float
    """Prompts of this role per cell."""
    alike: Estimate
    """Share of prompts with the same stance; unknown for roles without a stance."""
    fields: Estimate
    """Share of equal values among the form's other choices and numbers."""
    similarity: Estimate
    """Common words over all words (Jaccard); only a hint."""
    aspects: tuple[Aspect, ...]
    floor: RoleComparison | None = None
    """The source's own model on the same prompts: what differs by chance."""
    stance: Stance | None = None
    """None for a role without a stance, and without a noise floor on two dates: then it is not measured."""

    def aspect(self, name: str) -> Aspect | None:
        return next((candidate for candidate in self.aspects if candidate.name == name), None)


def compare(role: str, pairs_of_role: Sequence[Pair]) -> RoleComparison:
    """The measures of one role's pairs; t on date means, repeats and rounds averaged within their case."""
    takes_stance = any(answer.stance for pair in pairs_of_role for answer in (pair.source, pair.target))
    aspects = [
        _aspect(name, title, unit, pairs_of_role, measure)
        for name, title, unit, measure in ASPECTS
        if name != "valid" or takes_stance
    ]
    return RoleComparison(
        role,
        len(pairs_of_role),
        len({pair.case_id for pair in pairs_of_role}),
        len(pairs_of_role) / max(len({(pair.case_id, pair.repeat) for pair in pairs_of_role}), 1),
        _mean(pairs_of_role, _alike if takes_stance else _nothing),
        _mean(pairs_of_role, _fields if takes_stance else _nothing),
        _mean(pairs_of_role, common_words),
        tuple(aspects),
    )


Measure = Callable[[Pair, PromptAnswer], float | None]


def _aspect(name: str, title: str, unit: str, pairs_of_role: Sequence[Pair], measure: Measure) -> Aspect:
    every = [(pair, measure(pair, pair.source), measure(pair, pair.target)) for pair in pairs_of_role]
    shared = [(pair, source, target) for pair, source, target in every if source is not None and target is not None]
    # All three figures are over the same pairs, so that they fit; without any shared one there is no difference either.
    both = shared or every
    return Aspect(
        name,
        title,
        unit,
        mean_by_date((pair, source_value) for pair, source_value, _ in both),
        mean_by_date((pair, target_value) for pair, _, target_value in both),
        mean_by_date(
            (pair, None if source_value is None or target_value is None else target_value - source_value)
            for pair, source_value, target_value in both
        ),
    )


def _mean(pairs_of_role: Sequence[Pair], measure: Callable[[Pair], float | None]) -> Estimate:
    return mean_by_date((pair, measure(pair)) for pair in pairs_of_role)


def mean_by_date(values: Iterable[tuple[Any, float | None]]) -> Estimate:
    """The mean over cases with t on date means; unknown values are left out and counted.

    Each value comes with an object that has a case_id and a date."""
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
    for case_id, known_values in by_case.items():
        by_date.setdefault(dates[case_id], []).append(float(np.mean(known_values)))
    sample = means.of_dates([float(np.mean(known_values)) for known_values in by_date.values()])
    return estimate.of_mean(sample, len(by_case), len(by_date), missing=len(missing))


def _nothing(pair: Pair) -> None:
    return None


def _alike(pair: Pair) -> float:
    """An unreadable stance equals no other."""
    return float(pair.source.stance is not None and pair.source.stance == pair.target.stance)


def _fields(pair: Pair) -> float | None:
    source_form, target_form = pair.source.form, pair.target.form
    if not source_form or not target_form:
        return None
    plain = [key for key, value in source_form.items() if key not in STANCES and not isinstance(value, str)]
    return float(np.mean([_same(source_form[key], target_form.get(key)) for key in plain])) if plain else None


def _same(first: Any, second: Any) -> bool:
    """Equal, or numbers within 5 %."""
    if isinstance(first, int | float) and isinstance(second, int | float):
        return abs(first - second) <= 0.05 * max(abs(first), abs(second))
    return bool(first == second)


def common_words(pair: Pair) -> float | None:
    """Words in common over all words (Jaccard) of the two answers."""
    source_words, target_words = set(pair.source.words[:MOST_WORDS]), set(pair.target.words[:MOST_WORDS])
    return len(source_words & target_words) / len(source_words | target_words) if source_words | target_words else None


def _grounded(pair: Pair, answer: PromptAnswer) -> float | None:
    """Share of a text's figures that are in its prompt or follow from it; None without figures, or in another language."""
    if not is_english(answer.text):
        return None
    figure_origins = origins(answer.text, grounding_of_run.inputs_of(pair.prompt_texts))
    return float(np.mean([origin.label in GROUNDED for origin in figure_origins])) if figure_origins else None


ASPECTS: tuple[tuple[str, str, str, Measure], ...] = (
    ("valid", "answers in the asked form", "share", lambda pair, said: float(said.stance is not None)),
    ("grounded", "figures that rest on the prompt", "share", _grounded),
    ("refused", "refusals", "share", lambda pair, said: float(said.is_refused)),
    ("cut", "answers cut at the cap", "share", lambda pair, said: float(said.is_cut)),
    ("words", "length", "words", lambda pair, said: float(len(said.words))),
    ("cost_usd", "cost of the answer", "usd", lambda pair, said: said.cost_usd),
    ("seconds", "time of the answer", "s", lambda pair, said: said.seconds if pair.is_same_lane else None),
)


@dataclass(frozen=True)
class ReplayResult:
    """One source arm replayed to one model."""

    source: str
    target: str
    roles: tuple[RoleComparison, ...]
    is_floor: bool
    """Whether the target is the model of those roles in the source itself."""
    calls: int
    """Requests sent, failed ones included."""
    cost: Total

    @property
    def name(self) -> str:
        return self.source + ARROW + self.target


def replays(run: Run) -> list[ReplayResult]:
    """Every replay of a run, each role with its noise floor if the source's own model was replayed too."""
    names = dict.fromkeys(run.replays["arm"])
    pairs_by_name = {name: _by_role(run, name) for name in names}
    results = {name: _replay(run, name, pairs_by_name[name]) for name in names}
    floors = {result.source: {role.role: role for role in result.roles} for result in results.values() if result.is_floor}
    floor_pairs = {result.source: pairs_by_name[name] for name, result in results.items() if result.is_floor}
    return [
        result
        if result.is_floor
        else _with_floors(result, floors.get(result.source, {}), pairs_by_name[name], floor_pairs.get(result.source, {}))
        for name, result in results.items()
    ]


def _by_role(run: Run, name: str) -> dict[str, list[Pair]]:
    by_role: dict[str, list[Pair]] = {}
    for pair in pairs(run, name):
        by_role.setdefault(pair.role, []).append(pair)
    return by_role


def stance(pairs_of_role: Sequence[Pair], floor_of_role: Sequence[Pair]) -> Stance | None:
    """Same stances of the target against the own model's, over the prompts of both; None below two dates."""
    own_model = {_key(pair): _alike(pair) for pair in floor_of_role}
    shared = [pair for pair in pairs_of_role if _key(pair) in own_model]
    if len({pair.date for pair in shared}) < 2:
        return None
    frame = pd.DataFrame(
        {
            "case": [pair.case_id for pair in shared],
            "date": [str(pair.date) for pair in shared],
            "own": [_alike(pair) for pair in shared],
            "floor": [own_model[_key(pair)] for pair in shared],
        }
    )
    by_case = frame.groupby(["date", "case"], as_index=False)[["own", "floor"]].mean()
    codes = pd.factorize(by_case["date"])[0]
    own, floor = (ByDate(by_case[name].to_numpy(), codes) for name in ("own", "floor"))
    apart = ByDate((by_case["own"] - by_case["floor"]).to_numpy(), codes)
    return Stance(_share(own), _share(floor), estimate.of_mean(apart.paired(), apart.cases, apart.dates))


def _share(by_date: ByDate) -> Estimate:
    return estimate.of_mean(exact.share(by_date.sums, by_date.counts), by_date.cases, by_date.dates)


def _key(pair: Pair) -> tuple[str, int, str, int]:
    return pair.case_id, pair.repeat, pair.role, pair.round


def _replay(run: Run, name: str, by_role: Mapping[str, list[Pair]]) -> ReplayResult:
    source, _, target = name.partition(ARROW)
    roles = tuple(compare(role, by_role[role]) for role in run.roles.in_order(by_role))
    sent = run.calls[run.calls["arm"] == name]
    return ReplayResult(source, target, roles, is_floor(run, source, target), len(sent), total(sent["cost_usd"]))


def is_floor(run: Run, source: str, target: str) -> bool:
    """Whether a replay uses the source's own models, so that only chance differs."""
    return target == ITSELF or run.settings.arm(source).aliases == (target,)


def _with_floors(
    result: ReplayResult,
    floors: Mapping[str, RoleComparison],
    by_role: Mapping[str, list[Pair]],
    floor_by_role: Mapping[str, list[Pair]],
) -> ReplayResult:
    def with_floor(role: RoleComparison) -> RoleComparison:
        takes_stance = role.aspect("valid") is not None
        measured = stance(by_role[role.role], floor_by_role.get(role.role, [])) if takes_stance else None
        return replace(role, floor=floors.get(role.role), stance=measured)

    return replace(result, roles=tuple(map(with_floor, result.roles)))
