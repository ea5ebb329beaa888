"""What is compared in the pairs of one role: each measure of both sides with their paired difference."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from reports import estimate
from reports.estimate import Estimate
from reports.grounding import GROUNDED, trace
from reports.roles.pairs import STANCES, Pair, Said
from reports.stats import means
from reports.tracing import run_grounding

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
        of_values((pair, one) for pair, one, _ in both),
        of_values((pair, two) for pair, _, two in both),
        of_values((pair, None if one is None or two is None else two - one) for pair, one, two in both),
    )


def _mean(found: Sequence[Pair], measure: Callable[[Pair], float | None]) -> Estimate:
    return of_values((pair, measure(pair)) for pair in found)


def of_values(values: Iterable[tuple[Any, float | None]]) -> Estimate:
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


def similarity(pair: Pair) -> float | None:
    """Words in common over all words (Jaccard) of the two answers."""
    one, two = set(pair.source.words[:MOST_WORDS]), set(pair.target.words[:MOST_WORDS])
    return len(one & two) / len(one | two) if one | two else None


def _grounded(pair: Pair, said: Said) -> float | None:
    """Share of a text's figures that stand in its prompt or follow from it; None without figures."""
    found = trace(said.text, run_grounding.given_of(pair.asked))
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
