"""A case's replayed prompts: the input once, both outputs with their figures marked."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from markupsafe import Markup

from reports.grounding import of_run as grounding_of_run
from reports.grounding.origins import INVENTED, origins
from reports.load import flow
from reports.page.stages import marked, marks_of
from reports.roles.judges import SOURCE, TARGET, TIE, Judgement, PairKey, judgements
from reports.roles.pairs import Pair, PromptAnswer, pairs
from reports.roles.replays import common_words, is_floor
from reports.tables import ARROW

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
class Opinion:
    """What one judge made of a pair."""

    judge: str
    said: str
    """Whose answer it prefers, in words."""
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class ReplayedPrompt:
    """One prompt with both answers."""

    role: str
    round: int
    repeat: int
    parts: tuple[str, ...]
    """Ids of the prompt's parts, as the page's other sections show them."""
    source: Output
    target: Output
    differs: bool
    opinions: tuple[Opinion, ...] = ()

    @property
    def outputs(self) -> tuple[Output, Output]:
        return self.source, self.target

    @property
    def is_ungrounded(self) -> bool:
        return any(one.invented for one in self.outputs)


def replayed_prompts(run: Run, case_ids: Sequence[str]) -> dict[str, tuple[ReplayedPrompt, ...]]:
    """case_id -> its replayed prompts in the order of the flow, one replay after the other."""
    found: dict[str, list[ReplayedPrompt]] = {}
    opinions: dict[PairKey, list[Judgement]] = {}
    for one in judgements(run, case_ids):
        opinions.setdefault(one.spot, []).append(one)
    for name, source, target in _sides(run):
        for pair in _ordered(pairs(run, str(name), case_ids)):
            spot = (str(name), pair.case_id, pair.repeat, pair.role, pair.round)
            heard = tuple(_opinion(one, source, target) for one in opinions.get(spot, ()))
            found.setdefault(pair.case_id, []).append(_replayed_prompt(pair, source, target, heard))
    return {case_id: tuple(ones) for case_id, ones in found.items()}


def _sides(run: Run) -> list[tuple[str, str, str]]:
    """Replays with what their two sides are called, those to other models first."""
    names = [str(name) for name in dict.fromkeys(run.replays["arm"])]
    sides = [(name, *name.split(ARROW, 1)) for name in names]
    own = {name for name, source, target in sides if is_floor(run, source, target)}
    told = [(name, source, f"{source}, asked again" if name in own else target) for name, source, target in sides]
    return sorted(told, key=lambda one: one[0] in own)


def _ordered(found: Iterable[Pair]) -> list[Pair]:
    every = list(found)
    roles = flow(dict.fromkeys(pair.role for pair in every))
    return sorted(every, key=lambda pair: (pair.case_id, roles.index(pair.role), pair.round, pair.repeat))


def _opinion(one: Judgement, source: str, target: str) -> Opinion:
    said = {
        SOURCE: f"prefers {source} in both orders",
        TARGET: f"prefers {target} in both orders",
        TIE: "changes its mind with the order" if one.is_flipped else "sees no winner that holds in both orders",
        None: "gave no verdict that can be read in one of the orders",
    }[one.winner]
    return Opinion(one.judge, said, tuple(dict.fromkeys(reason for reason in one.reasons if reason)))


def _replayed_prompt(pair: Pair, source: str, target: str, opinions: tuple[Opinion, ...]) -> ReplayedPrompt:
    one, two = _output(pair, pair.source, source), _output(pair, pair.target, target)
    stances = one.stance or two.stance
    differs = one.stance != two.stance if stances else (common_words(pair) or 0.0) < _ALIKE
    ids = tuple(name[:16] for name in pair.source.prompt)
    return ReplayedPrompt(pair.role, pair.round, pair.repeat, ids, one, two, differs, opinions)


def _output(pair: Pair, said: PromptAnswer, model: str) -> Output:
    traced = origins(said.text, grounding_of_run.inputs_of(pair.asked))
    invented = sum(figure.label in INVENTED for figure in traced)
    return Output(model, marked(said.text, marks_of(traced)), said.stance, said.cost_usd, said.seconds, invented)
