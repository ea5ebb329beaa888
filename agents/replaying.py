"""Replay: each recorded prompt asked again of another model, one call per role, so that only the model differs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agents import prompts, side_by_side
from agents.contract.answer import Answer
from agents.contract.gate import Gate
from agents.contract.lineup import Lineup
from agents.contract.pipeline import Pipeline
from agents.contract.request import Part, Place, Request
from agents.contract.result import Result
from agents.deciding import result
from agents.decisions import decision
from agents.decisions.forms import FORMS
from agents.errors import PipelineError
from agents.flow import Seat
from agents.roles import all_roles
from agents.statement import Statement
from agents.turn import free

if TYPE_CHECKING:
    from agents.llms import Clients


@dataclass(frozen=True)
class Recorded:
    """What one role was sent in a finished cell, exactly."""

    role: str
    round: int
    parts: tuple[Part, ...]

    @property
    def seat(self) -> Seat:
        if self.role not in all_roles():
            raise PipelineError(f"the recorded run knows a role {self.role!r} that this version does not")
        return Seat(all_roles()[self.role], self.round)


async def replay(recorded: Sequence[Recorded], lineup: Lineup, pipeline: Pipeline, gate: Gate, clients: Clients) -> Result:
    """Ask every recorded prompt once. Raises Halt; a role that could not be asked is named in Result.error."""
    said, error = await side_by_side.gather([(one.role, _again(one, lineup, pipeline, gate, clients)) for one in recorded])
    return result(said, error)


async def _again(one: Recorded, lineup: Lineup, pipeline: Pipeline, gate: Gate, clients: Clients) -> Statement:
    from agents.llms import ask

    place = Place(one.role, one.round, "replay")
    cap = pipeline.output_cap(one.role, lineup[one.role])
    form = FORMS.get(one.seat.role.output)
    request = Request(
        model=lineup[one.role],
        parts=one.parts,
        schema=form.schema(cap) if form else None,
        max_output_tokens=cap,
        cache_key=prompts.cache_key(one.parts),
    )
    return _statement(one.seat, place, await ask(place, request, gate, clients))


def _statement(seat: Seat, place: Place, answer: Answer) -> Statement:
    """One call and no repair: what the first answer gives, or honestly nothing."""
    form = FORMS.get(seat.role.output)
    if form is None:
        return free(seat, answer)
    reading = decision.read(place, answer, form)
    if reading.status == "unparsed":
        reading = decision.recover([(place, answer)], form, reading.problem)
    text = form.show(reading.value) if reading.value and reading.status != "recovered" else reading.text
    return Statement(seat, text, "", reading.status, reading.value, reading.parsed)
