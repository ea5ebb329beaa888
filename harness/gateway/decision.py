"""The decision of an attached program, read from its calls first: its exit code and its own word prove nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import agents
from agents import Answer, CallSite, Decision
from domain import scales
from harness.experiment.attached import Attached
from harness.gateway.conversation import Exchange

_TEXTS = ("executive_summary", "investment_thesis", "rationale", "reasoning", "summary", "thesis")
_LINES_READ = 200


@dataclass(frozen=True)
class Read:
    """The decision and where it comes from."""

    decision: Decision | None
    status: str
    """One of agents.DECISION_STATUSES."""
    source: str
    """forced tool | last JSON line | text of ROLE | none."""
    word: str | None = None
    """The decision in the program's own words, as it printed it."""


def read(program: Attached, exchanges: Sequence[Exchange], stdout: str) -> Read:
    """Forced tool's arguments, else the last JSON line of the output, else the final text of the deciding role.

    A cut or refused answer of the deciding role is no decision, whatever the program made of it; nor is a Hold that the
    program prints although its deciding role gave no rating that can be read.
    """
    stated = last_json(stdout)
    word, rating = scales.decision_in(stated, program.result.get("field")) or (None, None) if stated else (None, None)
    deciding = _last_of_each(_deciding(program, exchanges))
    for exchange in reversed(deciding):
        if unusable := _unusable(exchange):
            return Read(None, unusable, "none", word)
    for exchange in reversed(deciding):
        if decision := _of_forced_call(program, exchange):
            return Read(decision, "typed", "forced tool", word)
    if stated and rating:
        if rating == "Hold" and (why := _default_hold(deciding, exchanges)):
            return Read(None, why, "none", word)
        return Read(Decision(rating, **_details(stated)), "typed", "last JSON line", word)
    return _of_texts(deciding or _last_of_each(exchanges)[-1:], word)


def last_json(stdout: str) -> Mapping[str, Any] | None:
    """The last line that is a JSON object; else the whole output, if it ends as one."""
    lines = stdout.strip().splitlines()
    candidates = [line for line in reversed(lines[-_LINES_READ:]) if line.startswith("{") and line.rstrip().endswith("}")]
    openings = [number for number, line in enumerate(lines) if line.rstrip() == "{"][-3:]
    for text in (*candidates, *("\n".join(lines[number:]) for number in openings)):
        try:
            value = json.loads(text)
        except ValueError:
            continue
        if isinstance(value, dict):
            return value
    return None


def answered(exchange: Exchange) -> Answer | None:
    """The answer as the program got it; None while there is none, or if its call failed."""
    if not exchange.task.done() or exchange.task.cancelled() or exchange.task.exception() is not None:
        return None
    return exchange.answer()


def text_of(exchange: Exchange) -> str:
    """What a role answered: its text, or the arguments of the tool that it was forced to call."""
    answer = answered(exchange)
    if answer is None:
        return ""
    return answer.text or (answer.tool_calls[0].arguments if exchange.asked.forced_tool and answer.tool_calls else "")


def rated(exchange: Exchange) -> str | None:
    """JSON of the arguments of a forced tool, with the rating on our scale, where they state one."""
    answer, rating = answered(exchange), stage_rating(exchange)
    stated = _arguments(answer) if answer and rating else None
    return json.dumps({**stated, "rating": rating}, ensure_ascii=False) if stated else None


def stage_rating(exchange: Exchange) -> str | None:
    """The rating that a role gave with a forced tool, if it gave one."""
    answer = answered(exchange)
    stated = _arguments(answer) if answer and exchange.asked.forced_tool else None
    read_here = scales.decision_in(stated) if stated else None
    return read_here[1] if read_here else None


def _deciding(program: Attached, exchanges: Sequence[Exchange]) -> list[Exchange]:
    role, tool = program.result.get("role"), program.result.get("tool")
    if tool and any(exchange.asked.forced_tool == tool for exchange in exchanges):
        return [exchange for exchange in exchanges if exchange.asked.forced_tool == tool]
    roles = {role} if role else program.roles.deciders
    return [exchange for exchange in exchanges if exchange.role in roles]


def _last_of_each(exchanges: Sequence[Exchange]) -> list[Exchange]:
    """The last answered request of each role, in order."""
    last = {exchange.role: exchange for exchange in exchanges if answered(exchange) is not None}
    return [exchange for exchange in exchanges if last.get(exchange.role) is exchange]


def _unusable(exchange: Exchange) -> str:
    answer = answered(exchange)
    if answer is None:
        return "missing"
    if answer.finish_reason in ("refused", "content_filter"):
        return "refused"
    return "truncated" if answer.truncated or answer.finish_reason == "length" else ""


def _default_hold(deciding: Sequence[Exchange], exchanges: Sequence[Exchange]) -> str:
    """Why a Hold cannot be distinguished from the program's default; empty if it can."""
    if not deciding:
        return "truncated" if any(_unusable(exchange) for exchange in exchanges) else ""
    ratings = {_of_texts([exchange], None).decision for exchange in deciding}
    return "" if any(decision and decision.rating == "Hold" for decision in ratings) else "unparsed"


def _of_forced_call(program: Attached, exchange: Exchange) -> Decision | None:
    answer = answered(exchange)
    stated = _arguments(answer) if answer and exchange.asked.forced_tool else None
    read_here = scales.decision_in(stated, program.result.get("field")) if stated else None
    return Decision(read_here[1], **_details(stated)) if read_here and stated else None


def _arguments(answer: Answer) -> Mapping[str, Any] | None:
    if not answer.tool_calls:
        return None
    try:
        value = json.loads(answer.tool_calls[0].arguments)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _details(stated: Mapping[str, Any]) -> dict[str, Any]:
    percent = scales.percent_of(stated.get("confidence"))
    price = stated.get("price_target", stated.get("target_price"))
    horizon = stated.get("time_horizon", stated.get("horizon"))
    texts = [stated[name] for name in _TEXTS if isinstance(stated.get(name), str)]
    return {
        "rationale": "\n\n".join(texts),
        "confidence": None if percent is None else percent / 100,
        "target_price": float(price) if isinstance(price, (int, float)) and not isinstance(price, bool) else None,
        "horizon": horizon if isinstance(horizon, str) else None,
    }


def _of_texts(exchanges: Sequence[Exchange], word: str | None) -> Read:
    """The newest text from which a rating can be read."""
    status = "missing"
    for exchange in reversed(exchanges):
        answer = answered(exchange)
        if answer is None:
            continue
        reading = agents.read_answer(CallSite(exchange.role), answer, agents.DECISION)
        if decision := agents.decision_of(reading):
            return Read(decision, "recovered", f"text of {exchange.role}", word)
        if rating := scales.rating_of(answer.text):
            return Read(Decision(rating, rationale=answer.text), "recovered", f"text of {exchange.role}", word)
        status = reading.status
    return Read(None, status, "none", word)
