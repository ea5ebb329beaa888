"""Replay: each recorded prompt sent to another model, one call per role, so that only the model differs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agents.decisions.forms import FORMS
from agents.decisions.reading import read, recover
from agents.errors import PipelineError
from agents.pipeline import prompts
from agents.pipeline.decide import cell_result
from agents.pipeline.flow import Turn, TurnResult
from agents.pipeline.roles import all_roles
from agents.pipeline.turn import form_result, free_text, gather
from agents.types import Admission, Answer, CallSite, Lineup, Part, Pipeline, Request, Result

if TYPE_CHECKING:
    from agents.llms import Clients


@dataclass(frozen=True)
class Recorded:
    """The exact prompt of one role in a finished cell."""

    role: str
    round: int
    parts: tuple[Part, ...]

    @property
    def turn(self) -> Turn:
        if self.role not in all_roles():
            raise PipelineError(f"the recorded run knows a role {self.role!r} that this version does not")
        return Turn(all_roles()[self.role], self.round)


async def replay(
    recorded: Sequence[Recorded], lineup: Lineup, pipeline: Pipeline, admission: Admission, clients: Clients
) -> Result:
    """Send every recorded prompt once. Raises Halt; roles whose call failed are named in `Result.error`."""
    calls = [(prompt.role, _replay_turn(prompt, lineup, pipeline, admission, clients)) for prompt in recorded]
    return cell_result(*await gather(calls))


async def _replay_turn(
    prompt: Recorded, lineup: Lineup, pipeline: Pipeline, admission: Admission, clients: Clients
) -> TurnResult:
    from agents.llms import ask

    site = CallSite(prompt.role, prompt.round, "replay")
    cap = pipeline.output_cap(prompt.role, lineup[prompt.role])
    form = FORMS.get(prompt.turn.role.output)
    request = Request(
        model=lineup[prompt.role],
        parts=prompt.parts,
        schema=form.schema(cap) if form else None,
        max_output_tokens=cap,
        cache_key=prompts.cache_key(prompt.parts),
    )
    return _turn_result(prompt.turn, site, await ask(site, request, admission, clients))


def _turn_result(turn: Turn, site: CallSite, answer: Answer) -> TurnResult:
    """Read from one answer, without a repair request."""
    form = FORMS.get(turn.role.output)
    if form is None:
        return free_text(turn, answer)
    reading = read(site, answer, form)
    if reading.status == "unparsed":
        reading = recover([(site, answer)], form, reading.problem)
    return form_result(turn, form, reading, note="")
