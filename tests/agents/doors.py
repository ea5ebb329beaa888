"""A gate that admits everything and keeps what it is told, and shorthands for asking through the door."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from agents import Answer, Call, Clients, Model, ModelCallError, Part, Permit, Place, Request, Server, ask
from agents.contract.gate import WorstCase


@dataclass
class OpenGate:
    """Never waits, never refuses; asks again as often as `retries` says."""

    retries: int = 0
    answers: dict[str, Answer] = field(default_factory=dict)
    """Place key -> what the journal has."""
    calls: list[Call] = field(default_factory=list)
    admitted: list[WorstCase] = field(default_factory=list)
    discarded: list[str] = field(default_factory=list)

    async def recall(self, place: Place, request: Request) -> Answer | None:
        return self.answers.get(place.key)

    async def admit(self, place: Place, request: Request, worst_case: WorstCase) -> Permit:
        self.admitted.append(worst_case)
        return Permit(f"{place.key}#{len(self.admitted)}")

    async def record(self, call: Call) -> float | None:
        self.calls.append(call)
        self.retries -= 1
        return 0.0 if call.failure and self.retries >= 0 else None

    async def discard(self, place: Place, permit: Permit) -> None:
        self.discarded.append(permit.call_id)


RATING: Mapping[str, Any] = {
    "title": "Decision",
    "type": "object",
    "properties": {
        "rating": {"type": "string", "enum": ["Buy", "Hold", "Sell"]},
        "rationale": {"type": "string", "maxLength": 80},
        "confidence": {"type": "integer", "minimum": 0, "maximum": 100},
    },
    "required": ["rating", "rationale", "confidence"],
    "additionalProperties": False,
}


def question(model: Model, text: str = "Is AAPL a buy?", **more: Any) -> Request:
    return Request(model, (Part("system", "You are an analyst."), Part("user", text)), **more)


def asked(server: Server, request: Request, gate: OpenGate | None = None) -> Call:
    """One request through the door, answered or failed."""
    gate = gate or OpenGate()

    async def main() -> None:
        async with Clients({server.name: server}) as clients:
            with contextlib.suppress(ModelCallError):
                await ask(Place("trader"), request, gate, clients)

    asyncio.run(main())
    return gate.calls[-1]


def answered(server: Server, request: Request, gate: OpenGate | None = None) -> Answer:
    call = asked(server, request, gate)
    assert call.answer is not None, call.failure
    return call.answer


def cause(server: Server, request: Request) -> str:
    """Why it failed."""
    call = asked(server, request)
    assert call.failure is not None, call.answer
    return call.failure.cause
