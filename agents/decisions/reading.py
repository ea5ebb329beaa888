"""The decision ladder: read a form from a model's answers, or report why that is impossible.

schema -> one repair request -> JSON within the text -> labelled choice -> unparsed. There is no default value.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from agents.decisions import ladder
from agents.decisions.forms import Form, Value
from agents.types import Answer, CallSite, Decision


@dataclass(frozen=True)
class Reading:
    """The form as read from a model's answers."""

    status: str
    """typed | repaired | recovered | unparsed | truncated | refused | missing."""
    rung: str
    """The step of the ladder that succeeded: schema | repair | json | label | none."""
    text: str
    """The last answer, complete."""
    value: Value | None = None
    parsed: Mapping[str, str] = field(default_factory=dict)
    """CallSite.key -> JSON of the object read from that call's answer."""
    problem: str = ""
    """What was wrong with the first answer."""


def read(site: CallSite, answer: Answer, form: Form) -> Reading:
    """The first step: the whole text is the form's object. A cut, refused or empty answer has no value."""
    if status := unusable(answer):
        return Reading(status, "none", answer.text, problem="the answer was empty")
    value, problem = None, ""
    try:
        value, problem = form.read(ladder.decode(answer.text))
    except ValueError as error:
        problem = f"it is no JSON object ({str(error)[:120]})"
    if value is None:
        return Reading("unparsed", "none", answer.text, problem=problem)
    return Reading("typed", "schema", answer.text, value, {site.key: _dump(value)})


def read_answer(site: CallSite, answer: Answer, form: Form) -> Reading:
    """Read a form from one answer by every step of the ladder that needs no further request."""
    first = read(site, answer, form)
    return recover([(site, answer)], form, first.problem) if first.status == "unparsed" else first


def recover(answers: list[tuple[CallSite, Answer]], form: Form, problem: str = "") -> Reading:
    """The later steps, newest answer first. Answers that contradict each other have no value."""
    usable = [(site, answer) for site, answer in answers if not unusable(answer)]
    choices = [
        (site, answer, *rung_and_choice) for site, answer in usable if (rung_and_choice := _choice_in(answer.text, form))
    ]
    if not choices or len({choice.choice for *_, choice in choices}) > 1:
        return Reading(_final_status(answers), "none", answers[0][1].text, problem=problem)
    site, answer, rung, choice = choices[0]
    value = form.salvage(choice.raw, choice.choice)
    return Reading("recovered", rung, answer.text, value, {site.key: _dump(value)}, problem)


def unusable(answer: Answer) -> str:
    """refused, truncated or missing; an empty string if there is a complete text to read."""
    if answer.finish_reason in ("refused", "content_filter"):
        return "refused"
    if answer.truncated or answer.finish_reason == "length":
        return "truncated"
    return "" if answer.text.strip() else "missing"


def decision_of(reading: Reading) -> Decision | None:
    """The typed decision from the portfolio manager's form, or None if nothing could be read."""
    return None if reading.value is None else decision(reading.value, reading.text)


def decision(value: Value, text: str) -> Decision:
    """The portfolio manager's form as a typed decision; `text` replaces a rationale that could not be read."""
    rationale = [value.get("summary"), value.get("thesis")]
    confidence = value.get("confidence")
    return Decision(
        rating=value["rating"],
        rationale="\n\n".join(part for part in rationale if part) or text,
        confidence=None if confidence is None else confidence / 100,
        target_price=value.get("target_price"),
        horizon=value.get("horizon") or None,
    )


def _choice_in(text: str, form: Form) -> tuple[str, ladder.TextChoice] | None:
    if from_json := ladder.in_json(text, form.key, form.scale, form.labels):
        return "json", from_json
    if not form.labels:
        return None
    choice = ladder.in_label(text, form.scale, form.labels)
    return ("label", ladder.TextChoice(choice, {})) if choice else None


def _final_status(answers: list[tuple[CallSite, Answer]]) -> str:
    """The status if no answer could be read: the newest one's, or unparsed if any had a complete text."""
    states = [unusable(answer) for _, answer in answers]
    return states[0] if all(states) else "unparsed"


def _dump(value: Value) -> str:
    return json.dumps(value, ensure_ascii=False)
