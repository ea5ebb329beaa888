"""One role's turn: its prompt, its model's answer, and what is read from the answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from typing import TypeVar

from agents.decisions.forms import FORMS, Form
from agents.decisions.reading import Reading, unusable
from agents.errors import AgentsError, PromptTooLong
from agents.pipeline.context import Context, first_halt
from agents.pipeline.flow import Turn, TurnResult
from agents.types import Answer, Caching, Part, ToolSkill

NOTES = {
    "truncated": "Attention: this was cut off before its end; what is missing is unknown.",
    "refused": "The model declined to answer; there is nothing from this role.",
    "missing": "The model answered nothing; there is nothing from this role.",
    "unparsed": "Attention: this is not in the required form; no typed value could be read from it.",
    "recovered": "This was read from a free text, not from the required form.",
}
"""Status of a turn -> the caveat that later prompts carry."""

T = TypeVar("T")


async def conclude(
    ctx: Context,
    turn: Turn,
    parts: Sequence[Part],
    skill: ToolSkill = ToolSkill(),  # noqa: B008
    caching: Caching | None = None,
) -> TurnResult:
    """Ask for the turn's form or free text with a complete prompt, and read the answer."""
    form = FORMS.get(turn.role.output)
    if form is None:
        return free_text(turn, await ctx.ask(turn.role.name, parts, round=turn.round, caching=caching), skill)
    reading = await ctx.ask(turn.role.name, parts, form=form, round=turn.round, caching=caching)
    return form_result(turn, form, reading, NOTES.get(reading.status, ""), skill)


def free_text(turn: Turn, answer: Answer, skill: ToolSkill = ToolSkill()) -> TurnResult:  # noqa: B008
    """The result of a turn that writes a report or an argument."""
    status = unusable(answer) or "typed"
    return TurnResult(turn, answer.text, NOTES.get(status, ""), status, skill=skill)


def form_result(turn: Turn, form: Form, reading: Reading, note: str, skill: ToolSkill = ToolSkill()) -> TurnResult:  # noqa: B008
    """The result of a turn that fills in a form. A recovered value keeps the text that it was read from."""
    text = form.show(reading.value) if reading.value and reading.status != "recovered" else reading.text
    return TurnResult(turn, text, note, reading.status, reading.value, reading.parsed, skill)


async def gather(calls: Sequence[tuple[str, Awaitable[T]]]) -> tuple[list[T], Exception | None]:
    """Await independent (role, call) pairs concurrently: the answers in order, and one error that names the failed roles.

    Raises Halt.
    """
    outcomes = await asyncio.gather(*(call for _, call in calls), return_exceptions=True)
    if halt := first_halt(outcomes):
        raise halt
    failures = [(name, end) for (name, _), end in zip(calls, outcomes, strict=True) if isinstance(end, Exception)]
    return [outcome for outcome in outcomes if not isinstance(outcome, BaseException)], _combined_error(failures)


def _combined_error(failures: Sequence[tuple[str, Exception]]) -> Exception | None:
    if not failures:
        return None
    first = failures[0][1]
    if len(failures) == 1 and not isinstance(first, PromptTooLong):
        return first
    message = "; ".join(dict.fromkeys(f"{name}: {error}" for name, error in failures))
    return PromptTooLong(message) if isinstance(first, PromptTooLong) else AgentsError(message)
