"""The decision ladder: a form filled in by a model, or an honest word on why there is none.

schema -> one repair request -> JSON found in the text -> labelled choice -> unparsed. Never a default.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace

from agents import prompts
from agents.contract.answer import Answer
from agents.contract.request import Part, Place, Request
from agents.contract.result import Decision
from agents.decisions import ladder
from agents.decisions.forms import Form, Value
from agents.errors import PromptTooLong

Ask = Callable[[Place, Request], Awaitable[Answer]]

RUNGS = ("schema", "repair", "json", "label", "none")
_QUOTED_CHARS = 4000
"""As much of a broken answer as the repair request shows again."""


@dataclass(frozen=True)
class Reading:
    """What could be read from a model's answers to one form."""

    status: str
    """typed | repaired | recovered | unparsed | truncated | refused | missing."""
    rung: str
    """The rung of the ladder that held, one of RUNGS."""
    text: str
    """The last answer, whole."""
    value: Value | None = None
    parsed: Mapping[str, str] = field(default_factory=dict)
    """Place.key -> JSON of the object read from that call's answer."""
    problem: str = ""
    """What was wrong with the first answer."""


async def fill_in(place: Place, request: Request, form: Form, ask: Ask) -> Reading:
    """Ask for a form, repair once, then read what the texts themselves give as their answer."""
    first = await ask(place, request)
    reading = read(place, first, form)
    if reading.status in ("typed", "truncated", "refused"):
        return reading
    again = replace(place, kind="repair")
    try:
        second = await ask(again, _repair(request, first, form, reading.problem))
    except PromptTooLong:
        return recover([(place, first)], form, reading.problem)
    repaired = read(again, second, form)
    if repaired.status == "typed":
        return replace(repaired, status="repaired", rung="repair", problem=reading.problem)
    return recover([(again, second), (place, first)], form, reading.problem)


def read(place: Place, answer: Answer, form: Form) -> Reading:
    """The first rung: the whole text is the form's object. An answer that was cut, refused or empty is none."""
    if status := unusable(answer):
        return Reading(status, "none", answer.text, problem="the answer was empty")
    value, problem = None, ""
    try:
        value, problem = form.read(ladder.decode(answer.text))
    except ValueError as error:
        problem = f"it is no JSON object ({str(error)[:120]})"
    if value is None:
        return Reading("unparsed", "none", answer.text, problem=problem)
    return Reading("typed", "schema", answer.text, value, {place.key: _dump(value)})


def recover(answers: list[tuple[Place, Answer]], form: Form, problem: str = "") -> Reading:
    """The lower rungs, newest answer first; answers that contradict each other are none."""
    usable = [(place, answer) for place, answer in answers if not unusable(answer)]
    found = [(place, answer, *hit) for place, answer in usable if (hit := _in_text(answer.text, form))]
    if not found or len({read.choice for *_, read in found}) > 1:
        return Reading(_hopeless(answers), "none", answers[0][1].text, problem=problem)
    place, answer, rung, read = found[0]
    value = form.salvage(read.raw, read.choice)
    return Reading("recovered", rung, answer.text, value, {place.key: _dump(value)}, problem)


def unusable(answer: Answer) -> str:
    """refused, truncated or missing; empty when there is a whole text to read."""
    if answer.finish_reason in ("refused", "content_filter"):
        return "refused"
    if answer.truncated or answer.finish_reason == "length":
        return "truncated"
    return "" if answer.text.strip() else "missing"


def decision_of(reading: Reading) -> Decision | None:
    """The typed decision of a reading of the portfolio manager's form, None where nothing could be read."""
    return None if reading.value is None else decision(reading.value, reading.text)


def decision(value: Value, text: str) -> Decision:
    """The portfolio manager's form as the typed decision; `text` stands for a rationale that could not be read."""
    told = [value.get("summary"), value.get("thesis")]
    confidence = value.get("confidence")
    return Decision(
        rating=value["rating"],
        rationale="\n\n".join(part for part in told if part) or text,
        confidence=None if confidence is None else confidence / 100,
        target_price=value.get("target_price"),
        horizon=value.get("horizon") or None,
    )


def _repair(request: Request, answer: Answer, form: Form, problem: str) -> Request:
    said = (Part("assistant", answer.text[:_QUOTED_CHARS]),) if answer.text.strip() else ()
    return replace(request, parts=(*request.parts, *said, prompts.repair(form, problem)))


def _in_text(text: str, form: Form) -> tuple[str, ladder.Found] | None:
    if hit := ladder.in_json(text, form.key, form.scale, form.labels):
        return "json", hit
    if not form.labels:
        return None
    choice = ladder.in_label(text, form.scale, form.labels)
    return ("label", ladder.Found(choice, {})) if choice else None


def _hopeless(answers: list[tuple[Place, Answer]]) -> str:
    """The status when no answer could be read: the last one's, or unparsed when any had a whole text."""
    states = [unusable(answer) for _, answer in answers]
    return states[0] if all(states) else "unparsed"


def _dump(value: Value) -> str:
    return json.dumps(value, ensure_ascii=False)
