"""One role's turn: its prompt, its model's answer, and what is read from the answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from agents.decisions.forms import FORMS, Form
from agents.decisions.reading import Reading, read, recover, unusable
from agents.errors import AgentsError, Halt, PipelineError, PromptTooLong
from agents.inputs.snapshot import Snapshot
from agents.llms import Clients, ask
from agents.pipeline import prompts
from agents.pipeline.flow import Turn, TurnResult
from agents.types import Admission, Answer, CallSite, Lineup, Model, Part, Pipeline, Request, ToolSkill

NOTES = {
    "truncated": "Attention: this was cut off before its end; what is missing is unknown.",
    "refused": "The model declined to answer; there is nothing from this role.",
    "missing": "The model answered nothing; there is nothing from this role.",
    "unparsed": "Attention: this is not in the required form; no typed value could be read from it.",
    "recovered": "This was read from a free text, not from the required form.",
}
"""Status of a turn -> the caveat that later prompts carry."""
_EXCERPT_CHARS = 4000
"""Length of a broken answer's excerpt in the repair request."""

Ask = Callable[[CallSite, Request], Awaitable[Answer]]
T = TypeVar("T")


@dataclass(frozen=True)
class Context:
    """What all turns of one cell share."""

    snapshot: Snapshot
    lineup: Lineup
    pipeline: Pipeline
    admission: Admission
    clients: Clients

    async def ask(self, site: CallSite, request: Request) -> Answer:
        """Ask the request's model. Raises what `agents.ask` raises."""
        return await ask(site, request, self.admission, self.clients)

    def model(self, role: str) -> Model:
        """The model that plays a role. Raises PipelineError if the lineup names none."""
        if role not in self.lineup:
            raise PipelineError(f"the lineup names no model for role {role!r}; it names: {', '.join(sorted(self.lineup))}")
        return self.lineup[role]

    def output_cap(self, role: str) -> int | None:
        """Most output tokens of one answer of a role."""
        return self.pipeline.output_cap(role, self.model(role))


async def conclude(ctx: Context, turn: Turn, parts: Sequence[Part], skill: ToolSkill = ToolSkill()) -> TurnResult:  # noqa: B008
    """Ask for the turn's form or free text with a complete prompt, and read the answer."""
    form = FORMS.get(turn.role.output)
    site = CallSite(turn.role.name, turn.round)
    request = question(ctx, turn, parts, form)
    if form is None:
        return free_text(turn, await ctx.ask(site, request), skill)
    reading = await fill_in(site, request, form, ctx.ask)
    return form_result(turn, form, reading, NOTES.get(reading.status, ""), skill)


def question(ctx: Context, turn: Turn, parts: Sequence[Part], form: Form | None) -> Request:
    cap = ctx.output_cap(turn.role.name)
    return Request(
        model=ctx.model(turn.role.name),
        parts=tuple(parts),
        schema=form.schema(cap) if form else None,
        max_output_tokens=cap,
        cache_key=prompts.cache_key(parts),
    )


def free_text(turn: Turn, answer: Answer, skill: ToolSkill = ToolSkill()) -> TurnResult:  # noqa: B008
    """The result of a turn that writes a report or an argument."""
    status = unusable(answer) or "typed"
    return TurnResult(turn, answer.text, NOTES.get(status, ""), status, skill=skill)


def form_result(turn: Turn, form: Form, reading: Reading, note: str, skill: ToolSkill = ToolSkill()) -> TurnResult:  # noqa: B008
    """The result of a turn that fills in a form. A recovered value keeps the text that it was read from."""
    text = form.show(reading.value) if reading.value and reading.status != "recovered" else reading.text
    return TurnResult(turn, text, note, reading.status, reading.value, reading.parsed, skill)


async def fill_in(site: CallSite, request: Request, form: Form, ask: Ask) -> Reading:
    """Ask for a form and repair it once if necessary; else read the choice from the answers. Raises what `ask` raises."""
    first = await ask(site, request)
    reading = read(site, first, form)
    if reading.status in ("typed", "truncated", "refused"):
        return reading
    repair_site = replace(site, kind="repair")
    try:
        second = await ask(repair_site, _repair_request(request, first, form, reading.problem))
    except PromptTooLong:
        return recover([(site, first)], form, reading.problem)
    repaired = read(repair_site, second, form)
    if repaired.status == "typed":
        return replace(repaired, status="repaired", rung="repair", problem=reading.problem)
    return recover([(repair_site, second), (site, first)], form, reading.problem)


def _repair_request(request: Request, answer: Answer, form: Form, problem: str) -> Request:
    excerpt = (Part("assistant", answer.text[:_EXCERPT_CHARS]),) if answer.text.strip() else ()
    return replace(request, parts=(*request.parts, *excerpt, prompts.repair(form, problem)))


async def gather(calls: Sequence[tuple[str, Awaitable[T]]]) -> tuple[list[T], Exception | None]:
    """Await independent (role, call) pairs concurrently: the answers in order, and one error that names the failed roles.

    Raises Halt.
    """
    outcomes = await asyncio.gather(*(call for _, call in calls), return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, BaseException) and (isinstance(outcome, Halt) or not isinstance(outcome, Exception)):
            raise outcome
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
