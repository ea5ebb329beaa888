"""An admission that admits every request and records it, and shorthands for asking a model."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from agents import Answer, Call, CallSite, Clients, Model, ModelCallError, Part, Permit, Request, Server, ask
from agents.admission import WorstCase


@dataclass
class OpenAdmission:
    """Never waits, never refuses; asks again as often as `retries` says."""

    retries: int = 0
    answers: dict[str, Answer] = field(default_factory=dict)
    """CallSite key -> what the journal has."""
    calls: list[Call] = field(default_factory=list)
    admitted: list[WorstCase] = field(default_factory=list)
    discarded: list[str] = field(default_factory=list)

    async def recall(self, site: CallSite, request: Request) -> Answer | None:
        return self.answers.get(site.key)

    async def admit(self, site: CallSite, request: Request, worst_case: WorstCase) -> Permit:
        self.admitted.append(worst_case)
        return Permit(f"{site.key}#{len(self.admitted)}")

    async def record(self, call: Call) -> float | None:
        self.calls.append(call)
        self.retries -= 1
        return 0.0 if call.failure and self.retries >= 0 else None

    async def discard(self, site: CallSite, permit: Permit) -> None:
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


def asked(server: Server, request: Request, admission: OpenAdmission | None = None) -> Call:
    """One request through `ask`, answered or failed."""
    admission = admission or OpenAdmission()

    async def main() -> None:
        async with Clients({server.name: server}) as clients:
            with contextlib.suppress(ModelCallError):
                await ask(CallSite("trader"), request, admission, clients)

    asyncio.run(main())
    return admission.calls[-1]


def answered(server: Server, request: Request, admission: OpenAdmission | None = None) -> Answer:
    call = asked(server, request, admission)
    assert call.answer is not None, call.failure
    return call.answer


def cause(server: Server, request: Request) -> str:
    """Why it failed."""
    call = asked(server, request)
    assert call.failure is not None, call.answer
    return call.failure.cause
