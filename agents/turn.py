"""One turn: a seat reads its prompt, asks its model through the one door, and leaves a statement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from agents import prompts
from agents.contract.answer import Answer
from agents.contract.gate import Gate
from agents.contract.lineup import Lineup, Model
from agents.contract.pipeline import Pipeline
from agents.contract.request import Part, Place, Request
from agents.contract.result import ToolSkill
from agents.decisions import decision
from agents.decisions.forms import FORMS, Form
from agents.decisions.plain import sound
from agents.errors import PipelineError
from agents.flow import Seat
from agents.inputs.snapshot import Snapshot
from agents.llms import Clients, ask
from agents.statement import Statement

NOTES = {
    "truncated": "Attention: this was cut off before its end; what is missing is unknown.",
    "refused": "The model declined to answer; there is nothing from this role.",
    "missing": "The model answered nothing; there is nothing from this role.",
    "unparsed": "Attention: this is not in the required form; no typed value could be read from it.",
    "recovered": "This was read from a free text, not from the required form.",
}


@dataclass(frozen=True)
class Hearing:
    """What every turn of one cell shares."""

    snapshot: Snapshot
    lineup: Lineup
    pipeline: Pipeline
    gate: Gate
    clients: Clients

    async def ask(self, place: Place, request: Request) -> Answer:
        """Raises what the door raises; the text is sound for files and for later requests."""
        answer = await ask(place, request, self.gate, self.clients)
        calls = tuple(replace(call, name=sound(call.name), arguments=sound(call.arguments)) for call in answer.tool_calls)
        return replace(answer, text=sound(answer.text), tool_calls=calls)

    def model(self, role: str) -> Model:
        if role not in self.lineup:
            raise PipelineError(f"the lineup names no model for role {role!r}; it names: {', '.join(sorted(self.lineup))}")
        return self.lineup[role]

    def cap(self, role: str) -> int | None:
        return self.pipeline.output_cap(role, self.model(role))


async def conclude(hearing: Hearing, seat: Seat, parts: Sequence[Part], skill: ToolSkill = ToolSkill()) -> Statement:  # noqa: B008
    """The turn's own answer to a whole prompt: a form through the ladder, or free text."""
    form = FORMS.get(seat.role.output)
    place = Place(seat.role.name, seat.round)
    request = question(hearing, seat, parts, form)
    if form is None:
        return free(seat, await hearing.ask(place, request), skill)
    reading = await decision.fill_in(place, request, form, hearing.ask)
    text = form.show(reading.value) if reading.value and reading.status != "recovered" else reading.text
    return Statement(seat, text, NOTES.get(reading.status, ""), reading.status, reading.value, reading.parsed, skill)


def question(hearing: Hearing, seat: Seat, parts: Sequence[Part], form: Form | None) -> Request:
    cap = hearing.cap(seat.role.name)
    return Request(
        model=hearing.model(seat.role.name),
        parts=tuple(parts),
        schema=form.schema(cap) if form else None,
        max_output_tokens=cap,
        cache_key=prompts.cache_key(parts),
    )


def free(seat: Seat, answer: Answer, skill: ToolSkill = ToolSkill()) -> Statement:  # noqa: B008
    """A report or an argument, with what must be said about it."""
    status = decision.unusable(answer) or "typed"
    return Statement(seat, answer.text, NOTES.get(status, ""), status, skill=skill)
