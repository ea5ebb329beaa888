"""The replayed prompts of a case: the input once, both outputs with their figures marked."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from markupsafe import Markup

from reports.grounding import of_run as grounding_of_run
from reports.grounding.origins import INVENTED, origins
from reports.page.prose import marks_of, prose
from reports.roles.judges import SOURCE, TARGET, TIE, Judgement, PairKey, judgements
from reports.roles.pairs import Pair, PromptAnswer, pairs
from reports.roles.replays import common_words, is_floor
from reports.tables import ARROW

if TYPE_CHECKING:
    from reports.load import Run
    from reports.run_roles import RunRoles

_ALIKE = 0.5
"""Share of common words from which two texts without a stance count as alike."""


@dataclass(frozen=True)
class Output:
    """One model's answer."""

    model: str
    text: Markup
    stance: str | None
    cost_usd: float | None
    seconds: float | None
    invented: int
    """Figures that are not in its prompt."""


@dataclass(frozen=True)
class Opinion:
    """One judge's opinion of a pair."""

    judge: str
    text: str
    """Whose answer it prefers, in words."""
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class ReplayedPrompt:
    """One prompt with both answers."""

    role: str
    round: int
    repeat: int
    parts: tuple[str, ...]
    """Ids of the prompt's parts, as in the other sections of the page."""
    source: Output
    target: Output
    differs: bool
    opinions: tuple[Opinion, ...] = ()

    @property
    def outputs(self) -> tuple[Output, Output]:
        return self.source, self.target

    @property
    def is_ungrounded(self) -> bool:
        return any(output.invented for output in self.outputs)


def replayed_prompts(run: Run, case_ids: Sequence[str]) -> dict[str, tuple[ReplayedPrompt, ...]]:
    """Return case_id -> its replayed prompts in pipeline order, one replay after the other."""
    prompts_by_case: dict[str, list[ReplayedPrompt]] = {}
    opinions: dict[PairKey, list[Judgement]] = {}
    for judgement in judgements(run, case_ids):
        opinions.setdefault(judgement.spot, []).append(judgement)
    for name, source, target in _sides(run):
        for pair in _ordered(run.roles, pairs(run, str(name), case_ids)):
            spot = (str(name), pair.case_id, pair.repeat, pair.role, pair.round)
            heard = tuple(_opinion(judgement, source, target) for judgement in opinions.get(spot, ()))
            prompts_by_case.setdefault(pair.case_id, []).append(_replayed_prompt(pair, source, target, heard))
    return {case_id: tuple(prompts) for case_id, prompts in prompts_by_case.items()}


def _sides(run: Run) -> list[tuple[str, str, str]]:
    """(replay, names of its two sides), replays with other models first."""
    names = [str(name) for name in dict.fromkeys(run.replays["arm"])]
    sides = [(name, *name.split(ARROW, 1)) for name in names]
    floors = {name for name, source, target in sides if is_floor(run, source, target)}
    named = [(name, source, f"{source}, asked again" if name in floors else target) for name, source, target in sides]
    return sorted(named, key=lambda side: side[0] in floors)


def _ordered(run_roles: RunRoles, unordered: Iterable[Pair]) -> list[Pair]:
    all_pairs = list(unordered)
    roles = run_roles.in_order(dict.fromkeys(pair.role for pair in all_pairs))
    return sorted(all_pairs, key=lambda pair: (pair.case_id, roles.index(pair.role), pair.round, pair.repeat))


def _opinion(judgement: Judgement, source: str, target: str) -> Opinion:
    verdict_text = {
        SOURCE: f"prefers {source} in both orders",
        TARGET: f"prefers {target} in both orders",
        TIE: "changes its mind with the order" if judgement.is_flipped else "has no winner in both orders",
        None: "gave no readable answer in one of the orders",
    }[judgement.winner]
    return Opinion(judgement.judge, verdict_text, tuple(dict.fromkeys(reason for reason in judgement.reasons if reason)))


def _replayed_prompt(pair: Pair, source: str, target: str, opinions: tuple[Opinion, ...]) -> ReplayedPrompt:
    source_output, target_output = _output(pair, pair.source, source), _output(pair, pair.target, target)
    stances = source_output.stance or target_output.stance
    differs = source_output.stance != target_output.stance if stances else (common_words(pair) or 0.0) < _ALIKE
    ids = tuple(name[:16] for name in pair.source.prompt)
    return ReplayedPrompt(pair.role, pair.round, pair.repeat, ids, source_output, target_output, differs, opinions)


def _output(pair: Pair, answer: PromptAnswer, model: str) -> Output:
    figure_origins = origins(answer.text, grounding_of_run.inputs_of(pair.prompt_texts))
    invented = sum(figure.label in INVENTED for figure in figure_origins)
    text = prose(answer.text, marks_of(figure_origins))
    return Output(model, text, answer.stance, answer.cost_usd, answer.seconds, invented)
