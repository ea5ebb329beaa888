"""The prompts a case will send, before any model spoke: stand-ins take the place of what is still unsaid."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from agents import flow, prompts
from agents.contract.pipeline import Pipeline
from agents.contract.request import Part, Place
from agents.decisions.forms import FORMS
from agents.flow import Seat
from agents.inputs.snapshot import Snapshot
from agents.statement import Statement

_TOKENS_PER_WORD = 1.4
_STAND_IN = "word "
_STANDS_IN = re.compile(f"(?:{_STAND_IN}){{3,}}")


@dataclass(frozen=True)
class PlannedPrompt:
    """One request of the flow as far as it can be known before."""

    place: Place
    parts: tuple[Part, ...]
    output_tokens: int
    """What the role is asked to write, in tokens; its cap where that is lower."""
    output_cap: int | None
    """The pipeline's cap on this answer; None leaves it to the model's own."""
    cacheable_parts: int
    """How many leading parts an earlier request of the cell sent too."""
    handed_tokens: int
    """Tokens of the prompt that stand in for what earlier roles will have said."""


def prompts_of(snapshot: Snapshot, pipeline: Pipeline) -> tuple[PlannedPrompt, ...]:
    """The requests of one cell without repairs or tool rounds; none for a rule or an own pipeline, whose flow is unknown."""
    if pipeline.rule or pipeline.entry:
        return ()
    said: list[Statement] = []
    planned: list[PlannedPrompt] = []
    for step in flow.steps(pipeline):
        made = [_plan(snapshot, pipeline, seat, said, planned) for seat in step]
        planned += made
        said += [Statement(seat, _STAND_IN * one.output_tokens) for seat, one in zip(step, made, strict=True)]
    return tuple(planned)


def _plan(
    snapshot: Snapshot, pipeline: Pipeline, seat: Seat, said: Sequence[Statement], before: Sequence[PlannedPrompt]
) -> PlannedPrompt:
    cap = pipeline.output_cap(seat.role.name)
    parts = prompts.prompt(snapshot, pipeline, seat, said, cap)
    told = int(seat.role.words * _TOKENS_PER_WORD) + (60 if seat.role.output in FORMS else 0)
    shared = max((_common(parts, one.parts) for one in before), default=0)
    handed = sum(len(match) // len(_STAND_IN) for part in parts for match in _STANDS_IN.findall(part.text))
    return PlannedPrompt(Place(seat.role.name, seat.round), parts, min(told, cap or told), cap, shared, handed)


def _common(parts: Sequence[Part], others: Sequence[Part]) -> int:
    count = 0
    for part, other in zip(parts, others, strict=False):
        if part != other:
            break
        count += 1
    return count
