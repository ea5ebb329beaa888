"""Replay: each recorded prompt sent to another model, one call per role, so that only the model differs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from agents.decisions.forms import FORMS
from agents.errors import PipelineError
from agents.pipeline.context import Context
from agents.pipeline.decide import cell_result
from agents.pipeline.flow import Turn, TurnResult
from agents.pipeline.roles import all_roles
from agents.pipeline.turn import form_result, free_text, gather
from agents.types import Part, Result


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


async def replay(recorded: Sequence[Recorded], ctx: Context) -> Result:
    """Send every recorded prompt once. Raises Halt; roles whose call failed are named in `Result.error`."""
    return cell_result(*await gather([(prompt.role, _replay_turn(prompt, ctx)) for prompt in recorded]))


async def _replay_turn(prompt: Recorded, ctx: Context) -> TurnResult:
    turn = prompt.turn
    form = FORMS.get(turn.role.output)
    if form is None:
        return free_text(turn, await ctx.ask(prompt.role, prompt.parts, round=prompt.round, kind="replay"))
    reading = await ctx.ask(prompt.role, prompt.parts, form=form, round=prompt.round, kind="replay")
    return form_result(turn, form, reading, note="")
