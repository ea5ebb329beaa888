"""Judging: two answers to one recorded prompt put before a further model, in both orders and without who wrote them."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agents import prompts, roles, side_by_side
from agents.anonymous import anonymous
from agents.contract.gate import Gate
from agents.contract.lineup import Lineup
from agents.contract.pipeline import Pipeline
from agents.contract.request import Part, Place, Request
from agents.contract.result import Result
from agents.decisions import decision
from agents.decisions.decision import Reading
from agents.decisions.forms import FORMS, Field, Form

if TYPE_CHECKING:
    from agents.llms import Clients

VERDICTS = ("A", "B", "tie")
FORM = Form(
    "judgement",
    (
        Field("reason", "text", "what makes the difference, in one or two sentences", most=400),
        Field("verdict", "choice", "the better answer", choices=VERDICTS),
    ),
    key="verdict",
)
"""Without labels: a verdict is read from an object only, never from prose in which A is also an article."""
ORDERS = (0, 1)
"""Index of a judging request: 0 shows the source's answer first, 1 the target's."""


@dataclass(frozen=True)
class Entry:
    """One of the two answers."""

    text: str
    parsed: str | None = None
    """JSON of the form that was read from it, where its role fills one in."""


@dataclass(frozen=True)
class Contest:
    """One prompt with both answers."""

    role: str
    round: int
    asked: tuple[Part, ...]
    """The recorded prompt."""
    source: Entry
    target: Entry


@dataclass(frozen=True)
class Hidden:
    """What the judge must not learn, and what stays."""

    names: Collection[str] = ()
    keep: Collection[str] = ()


async def judge(
    contests: Sequence[Contest], hidden: Hidden, lineup: Lineup, pipeline: Pipeline, gate: Gate, clients: Clients
) -> Result:
    """Ask for every contest in both orders, once each. Raises Halt; a verdict that cannot be read is none, never a tie."""
    asked = [
        (f"{one.role} ({'AB'[order]} first)", _verdict(one, order, hidden, lineup, pipeline, gate, clients))
        for one in contests
        for order in ORDERS
    ]
    readings, error = await side_by_side.gather(asked)
    parsed = {key: text for reading in readings for key, text in reading.parsed.items()}
    return Result(None, "missing", parsed=parsed, error=error)


async def _verdict(
    one: Contest, order: int, hidden: Hidden, lineup: Lineup, pipeline: Pipeline, gate: Gate, clients: Clients
) -> Reading:
    from agents.llms import ask

    model = lineup[one.role]
    cap = pipeline.output_cap("judge", model)
    parts = tuple(question(one, order, hidden, pipeline))
    place = Place(one.role, one.round, "judge", order)
    request = Request(model, parts, FORM.schema(cap), max_output_tokens=cap, cache_key=prompts.cache_key(parts))
    answer = await ask(place, request, gate, clients)
    reading = decision.read(place, answer, FORM)
    return decision.recover([(place, answer)], FORM, reading.problem) if reading.status == "unparsed" else reading


def question(one: Contest, order: int, hidden: Hidden, pipeline: Pipeline) -> Iterator[Part]:
    """What both were asked, their answers in this order, and the question; both orders share all but the answers."""
    yield Part("system", roles.snippet("_judge_desk"))
    yield from (part for part in one.asked if part.role == "user")
    entries = (one.source, one.target) if order == 0 else (one.target, one.source)
    for letter, entry in zip(VERDICTS, entries, strict=False):
        shown = anonymous(_text(one.role, entry), hidden.names, hidden.keep)
        yield Part("user", f"# Answer {letter}\n{prompts.shorten(shown, pipeline.report_tokens) or '(nothing)'}")
    yield prompts.verdict(FORM)


def _text(role: str, entry: Entry) -> str:
    """A filled form as later roles read it, so that no one is known by its braces."""
    known = roles.all_roles().get(role)
    form = FORMS.get(known.output) if known else None
    return form.show(json.loads(entry.parsed)) if form and entry.parsed else entry.text
