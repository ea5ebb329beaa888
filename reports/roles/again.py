"""A case's replayed prompts: the input once, both outputs with their figures marked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from markupsafe import Markup

from reports.grounding import INVENTED, trace
from reports.money.breakdown import flow
from reports.roles.replay import Pair, Said, pairs, similarity
from reports.tracing import run_grounding
from reports.tracing.marked import marked, of_traced

if TYPE_CHECKING:
    from reports.load import Run

_ALIKE = 0.5
"""Words in common from which two texts without a stance count as alike."""


@dataclass(frozen=True)
class Output:
    """One model's answer."""

    model: str
    text: Markup
    stance: str | None
    cost_usd: float | None
    seconds: float | None
    invented: int
    """Figures that its prompt does not give."""


@dataclass(frozen=True)
class Again:
    """One prompt with both answers."""

    role: str
    round: int
    repeat: int
    parts: tuple[str, ...]
    """Ids of the prompt's parts, as the page's other sections show them."""
    source: Output
    target: Output
    differs: bool

    @property
    def outputs(self) -> tuple[Output, Output]:
        return self.source, self.target

    @property
    def is_ungrounded(self) -> bool:
        return any(one.invented for one in self.outputs)


def of_cases(run: Run, case_ids: Sequence[str]) -> dict[str, tuple[Again, ...]]:
    """case_id -> its replayed prompts in the order of the flow, one replay after the other."""
    found: dict[str, list[Again]] = {}
    for name in dict.fromkeys(run.replays["arm"]):
        source, _, target = str(name).partition(" > ")
        for case_id, one in _ordered(pairs(run, str(name), case_ids), source, target):
            found.setdefault(case_id, []).append(one)
    return {case_id: tuple(ones) for case_id, ones in found.items()}


def _ordered(found: Iterator[Pair], source: str, target: str) -> Iterator[tuple[str, Again]]:
    every = list(found)
    roles = flow(dict.fromkeys(pair.role for pair in every))
    for pair in sorted(every, key=lambda pair: (pair.case_id, roles.index(pair.role), pair.round, pair.repeat)):
        yield pair.case_id, _again(pair, source, target)


def _again(pair: Pair, source: str, target: str) -> Again:
    one, two = (
        _output(pair, pair.source, source),
        _output(pair, pair.target, target if target != source else f"{target}, asked again"),
    )
    stances = one.stance or two.stance
    differs = one.stance != two.stance if stances else (similarity(pair) or 0.0) < _ALIKE
    ids = tuple(name[:16] for name in pair.source.prompt)
    return Again(pair.role, pair.round, pair.repeat, ids, one, two, differs)


def _output(pair: Pair, said: Said, model: str) -> Output:
    traced = trace(said.text, run_grounding.given_of(pair.asked))
    invented = sum(figure.label in INVENTED for figure in traced)
    return Output(model, marked(said.text, of_traced(traced)), said.stance, said.cost_usd, said.seconds, invented)
