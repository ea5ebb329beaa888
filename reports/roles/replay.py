"""Replays compared: what a model answers to the very prompts that another arm's roles were sent, role by role."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from reports import estimate
from reports.estimate import Estimate
from reports.grounding import GROUNDED, trace
from reports.money.breakdown import flow
from reports.stats import means
from reports.tracing import run_grounding
from reports.tracing.given import Given

if TYPE_CHECKING:
    from reports.load import Run

ARROW = " > "
STANCES = ("rating", "action", "band")
"""Keys of a form that carry what a role decides."""
MOST_WORDS = 400
"""Words of a text that similarity looks at."""
_REFUSED = frozenset({"refused", "content_filter"})


@dataclass(frozen=True)
class Said:
    """One answer of one model to one prompt."""

    text: str
    form: Mapping[str, Any] | None
    """The typed object read from it."""
    is_refused: bool
    is_cut: bool
    cost_usd: float | None
    seconds: float | None
    prompt: tuple[str, ...]
    """Ids of the prompt's parts."""

    @property
    def stance(self) -> str | None:
        return next((str(self.form[key]) for key in STANCES if self.form.get(key)), None) if self.form else None

    @cached_property
    def words(self) -> tuple[str, ...]:
        return tuple(self.text.lower().split())


@dataclass(frozen=True)
class Pair:
    """One prompt with both answers."""

    case_id: str
    date: Any
    repeat: int
    role: str
    round: int
    asked: tuple[str, ...]
    """Texts of the prompt's parts, the same for both."""
    source: Said
    target: Said


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
class Role:
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
    floor: Role | None = None
    """The source's own model asked the same again: what differs by chance alone."""

    def aspect(self, name: str) -> Aspect | None:
        return next((one for one in self.aspects if one.name == name), None)


@dataclass(frozen=True)
class Replay:
    """One source arm replayed to one model."""

    source: str
    target: str
    roles: tuple[Role, ...]
    is_floor: bool
    """Whether the target is the model that played those roles in the source itself."""

    @property
    def name(self) -> str:
        return self.source + ARROW + self.target


def replays(run: Run) -> list[Replay]:
    """Every replay of a run, each role beside its noise floor where the source's own model was replayed too."""
    found = {name: _replay(run, name) for name in dict.fromkeys(run.replays["arm"])}
    floors = {one.source: {role.role: role for role in one.roles} for one in found.values() if one.is_floor}
    return [one if one.is_floor else _beside(one, floors.get(one.source, {})) for one in found.values()]


def pairs(run: Run, name: str, case_ids: Sequence[str] | None = None) -> Iterator[Pair]:
    """The prompts of one replay with both answers, in the order of the flow."""
    source_arm = name.partition(ARROW)[0]
    replayed = _of(run.replays, name, case_ids)
    sources = _of(run.cells, source_arm, case_ids)
    said = _answers(run, [*replayed["cell_id"], *sources["cell_id"]])
    messages = run_grounding.messages_of(run, {i for turns in said.values() for one in turns.values() for i in one.prompt})
    cell_of = {(c, int(r)): i for c, r, i in zip(sources["case_id"], sources["repeat"], sources["cell_id"], strict=True)}
    for row in replayed.sort_values(["date", "ticker", "repeat"]).to_dict("records"):
        first = said.get(cell_of.get((row["case_id"], int(row["repeat"])), ""), {})
        for (role, round_), target in said.get(row["cell_id"], {}).items():
            source = first.get((role, round_))
            if source is not None and source.prompt == target.prompt:
                asked = tuple(messages[i][1] for i in target.prompt if i in messages)
                yield Pair(row["case_id"], row["date"], int(row["repeat"]), role, round_, asked, source, target)


def _of(cells: Any, arm: str, case_ids: Sequence[str] | None) -> Any:
    mine = cells[cells["arm"] == arm]
    return mine if case_ids is None else mine[mine["case_id"].isin(list(case_ids))]


def _answers(run: Run, cell_ids: Sequence[str]) -> dict[str, dict[tuple[str, int], Said]]:
    """cell_id -> (role, round) -> its first answer."""
    columns = [
        "cell_id", "role", "round", "kind", "index", "outcome", "response", "parsed", "finish_reason", "truncated",
        "cost_usd", "duration_s", "message_ids", "started_at",
    ]  # fmt: skip
    calls = run.table("calls", columns, run_grounding.among(list(cell_ids)))
    calls = calls[(calls["outcome"] == "answered") & calls["kind"].isin(["primary", "replay"])].sort_values("started_at")
    found: dict[str, dict[tuple[str, int], Said]] = {}
    for call in calls.to_dict("records"):
        found.setdefault(call["cell_id"], {}).setdefault((call["role"], int(call["round"] or 0)), _said(call))
    return found


def _said(call: Mapping[Any, Any]) -> Said:
    ids = call["message_ids"]
    return Said(
        text=call["response"] or "",
        form=_form(call["parsed"]),
        is_refused=call["finish_reason"] in _REFUSED,
        is_cut=bool(call["truncated"]) or call["finish_reason"] == "length",
        cost_usd=_known(call["cost_usd"]),
        seconds=_known(call["duration_s"]),
        prompt=() if ids is None else tuple(str(one) for one in ids),
    )


def _form(raw: Any) -> Mapping[str, Any] | None:
    try:
        found = json.loads(raw) if isinstance(raw, str) else None
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _known(value: Any) -> float | None:
    return None if value is None or value != value else float(value)


def _replay(run: Run, name: str) -> Replay:
    source, _, target = name.partition(ARROW)
    by_role: dict[str, list[Pair]] = {}
    for pair in pairs(run, name):
        by_role.setdefault(pair.role, []).append(pair)
    roles = tuple(compare(role, by_role[role]) for role in flow(by_role))
    return Replay(source, target, roles, _is_floor(run, source, target))


def _is_floor(run: Run, source: str, target: str) -> bool:
    lineup = (run.experiment.get("arms") or {}).get(source) or {"all": source}
    aliases = {alias for key, alias in lineup.items() if key not in ("pipeline", "rule") and isinstance(alias, str)}
    return aliases == {target}


def _beside(one: Replay, floors: Mapping[str, Role]) -> Replay:
    return replace(one, roles=tuple(replace(role, floor=floors.get(role.role)) for role in one.roles))


def compare(role: str, found: Sequence[Pair]) -> Role:
    """One role's pairs as figures; intervals are t on date means, repeats and rounds averaged inside their case."""
    takes_stance = any(one.stance for pair in found for one in (pair.source, pair.target))
    aspects = [
        _aspect(name, title, unit, found, measure) for name, title, unit, measure in ASPECTS if name != "valid" or takes_stance
    ]
    return Role(
        role,
        len(found),
        len({pair.case_id for pair in found}),
        len(found) / max(len({(pair.case_id, pair.repeat) for pair in found}), 1),
        _mean(found, _alike if takes_stance else _nothing),
        _mean(found, _fields if takes_stance else _nothing),
        _mean(found, similarity),
        tuple(aspects),
    )


Measure = Callable[[Pair, Said], float | None]


def _aspect(name: str, title: str, unit: str, found: Sequence[Pair], measure: Measure) -> Aspect:
    both = [(pair, measure(pair, pair.source), measure(pair, pair.target)) for pair in found]
    return Aspect(
        name,
        title,
        unit,
        _of_values((pair, one) for pair, one, _ in both),
        _of_values((pair, two) for pair, _, two in both),
        _of_values((pair, None if one is None or two is None else two - one) for pair, one, two in both),
    )


def _mean(found: Sequence[Pair], measure: Callable[[Pair], float | None]) -> Estimate:
    return _of_values((pair, measure(pair)) for pair in found)


def _of_values(values: Any) -> Estimate:
    """The mean over cases with t on date means; what is not known is left out and counted."""
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


def similarity(pair: Pair) -> float | None:
    """Words in common over all words (Jaccard) of the two answers."""
    one, two = set(pair.source.words[:MOST_WORDS]), set(pair.target.words[:MOST_WORDS])
    return len(one & two) / len(one | two) if one | two else None


def _grounded(pair: Pair, said: Said) -> float | None:
    """Share of a text's figures that stand in its prompt or follow from it; None without figures."""
    found = trace(said.text, _given(pair.asked))
    return float(np.mean([one.label in GROUNDED for one in found])) if found else None


def _given(asked: tuple[str, ...]) -> Given:
    return run_grounding.given_of(asked)


ASPECTS: tuple[tuple[str, str, str, Measure], ...] = (
    ("valid", "answers in the asked form", "share", lambda pair, said: float(said.stance is not None)),
    ("grounded", "figures that rest on the prompt", "share", _grounded),
    ("refused", "refusals", "share", lambda pair, said: float(said.is_refused)),
    ("cut", "answers cut at the cap", "share", lambda pair, said: float(said.is_cut)),
    ("words", "length", "words", lambda pair, said: float(len(said.words))),
    ("cost_usd", "cost of the answer", "usd", lambda pair, said: said.cost_usd),
    ("seconds", "time of the answer", "s", lambda pair, said: said.seconds),
)
