"""Inputs by tools: analysts ask for the parts of the frozen snapshot, and how well they do is counted."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from agents import prompts
from agents.contract.answer import Answer
from agents.contract.request import Part, Place, Request, ToolCall
from agents.contract.result import ToolSkill
from agents.decisions.forms import FORMS
from agents.errors import ModelCallError, PipelineError, Unsupported
from agents.flow import Seat
from agents.llms import estimate_tokens
from agents.statement import Statement
from agents.toolkit import spec, toolkit
from agents.turn import Hearing, conclude, free, question

if TYPE_CHECKING:
    from langchain_core.tools import BaseTool

_MOST_CALLS = 16
"""Calls of one answer that are run; a model that asks for more is told so."""
_RESULT_TOKENS = 3000
"""Of one call."""
_ALL_RESULTS_TOKENS = 12_000
"""Of one analyst's whole conversation, unless budget_tokens says otherwise for its fields."""


@dataclass(frozen=True)
class _Talk:
    """A tool conversation so far."""

    parts: tuple[Part, ...]
    left: int
    """Tokens of tool results that may still be shown."""
    skill: ToolSkill = field(default_factory=ToolSkill)


async def research(hearing: Hearing, seat: Seat, said: Sequence[Statement]) -> Statement:
    """An analyst's turn with tools: rounds of calls, then its report. Raises Unsupported for a model without tools."""
    kit = toolkit(hearing.snapshot, seat.role.data)
    talk = _Talk(_opening(hearing, seat), _budget(hearing, seat))
    for index in range(hearing.pipeline.tool_rounds):
        place = Place(seat.role.name, seat.round, "tool_round", index)
        answer = await _ask(hearing, place, _request(hearing, seat, talk, kit))
        if not answer.tool_calls:
            return await _report(hearing, seat, talk, answer)
        talk = _answered(talk, answer, kit)
    spent = Part("user", "# Tools\nNo more calls: write your answer now, from what you have.")
    capped = replace(talk.skill, capped_rounds=talk.skill.capped_rounds + 1)
    return await conclude(hearing, seat, (*talk.parts, spent), capped)


async def _ask(hearing: Hearing, place: Place, request: Request) -> Answer:
    try:
        return await hearing.ask(place, request)
    except ModelCallError as error:
        if error.cause != "unsupported":
            raise
        model = request.model
        mend = "inputs: prefetch for this arm, or a model with tools"
        raise Unsupported(f"{model.alias} ({model.name}) cannot call tools: {error}; mend: {mend}") from error


def run(call: ToolCall, kit: Mapping[str, BaseTool]) -> tuple[str, ToolSkill]:
    """What a call brings, and how it counts; a wrong one brings the mend."""
    if call.name not in kit:
        return f"unknown tool {call.name[:60]!r}; known: {', '.join(kit)}", ToolSkill(calls=1, unknown_tool=1)
    try:
        arguments = _arguments(call.arguments)
        text = str(kit[call.name].invoke(arguments))
    except (ValueError, PipelineError) as error:
        return f"wrong arguments for {call.name}: {_short(error)}", ToolSkill(calls=1, bad_arguments=1)
    return text, ToolSkill(calls=1, valid=1)


def _budget(hearing: Hearing, seat: Seat) -> int:
    said = [hearing.pipeline.budget_tokens.get(name) for name in seat.role.data]
    return sum(tokens for tokens in said if tokens) or _ALL_RESULTS_TOKENS


def _opening(hearing: Hearing, seat: Seat) -> tuple[Part, ...]:
    """Hearing and case as always; the task names the tools instead of the material."""
    cap = hearing.cap(seat.role.name)
    how = Part("user", "# Material\nNothing is shown here: fetch what you need with the tools, then write your answer.")
    desk_part, case = prompts.desk(), prompts.case(hearing.snapshot)
    return (desk_part, case, how, prompts.instruction(seat, cap))


def _request(hearing: Hearing, seat: Seat, talk: _Talk, kit: Mapping[str, BaseTool]) -> Request:
    return replace(question(hearing, seat, talk.parts, None), tools=tuple(map(spec, kit.values())))


async def _report(hearing: Hearing, seat: Seat, talk: _Talk, answer: Answer) -> Statement:
    """Free text is the report; a form is asked for once more, with its schema and without tools."""
    if seat.role.output not in FORMS:
        return free(seat, answer, talk.skill)
    said = (Part("assistant", answer.text),) if answer.text.strip() else ()
    now = Part("user", "# Tools\nThat was the research. Give your answer now, in the form asked for.")
    return await conclude(hearing, seat, (*talk.parts, *said, now), talk.skill)


def _answered(talk: _Talk, answer: Answer, kit: Mapping[str, BaseTool]) -> _Talk:
    parts: list[Part] = [Part("assistant", answer.text, tool_calls=answer.tool_calls)]
    skill, left = talk.skill, talk.left
    for position, call in enumerate(answer.tool_calls):
        text, counted = run(call, kit) if position < _MOST_CALLS else (_TOO_MANY, ToolSkill(calls=1, bad_arguments=1))
        shown = prompts.shorten(text, min(left, _RESULT_TOKENS)) if left > 0 else _NOTHING_LEFT
        left -= estimate_tokens(shown)
        parts.append(Part("tool", shown, tool_call_id=call.id))
        skill = add(skill, counted)
    return _Talk((*talk.parts, *parts), left, skill)


_NOTHING_LEFT = "not shown: the token budget of tool results is used up; write your answer from what you have"
_TOO_MANY = f"not run: at most {_MOST_CALLS} calls in one answer"


def add(one: ToolSkill, other: ToolSkill) -> ToolSkill:
    return ToolSkill(
        calls=one.calls + other.calls,
        valid=one.valid + other.valid,
        unknown_tool=one.unknown_tool + other.unknown_tool,
        bad_arguments=one.bad_arguments + other.bad_arguments,
        capped_rounds=one.capped_rounds + other.capped_rounds,
    )


def _arguments(text: str) -> dict[str, Any]:
    try:
        made = json.loads(text or "{}")
    except (ValueError, RecursionError) as error:
        raise ValueError("the arguments are no JSON object") from error
    if not isinstance(made, dict):
        raise ValueError("the arguments are no JSON object")
    return made


def _short(error: Exception) -> str:
    """One line of an error; pydantic's name the argument on their own lines."""
    details = getattr(error, "errors", None)
    if callable(details):
        return "; ".join(f"{'.'.join(map(str, one['loc'])) or 'arguments'}: {one['msg']}" for one in details())[:400]
    return str(error)[:400]
