"""A lineup that answers from a script, and a gate that lets everything through and remembers it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from agents import Answer, Call, Lineup, Model, Permit, Place, Request, Server, Usage, WorstCase, role_names

Reply = Answer | str | Exception
Script = Callable[[Place, Request], Reply]

MODEL = Model(alias="scripted", provider="scripted", name="scripted-1", server="script")


def lineup() -> Lineup:
    return dict.fromkeys(role_names(), MODEL)


def fill(schema: Any) -> str:
    """A valid form for a schema."""
    made = {name: _value(name, kind) for name, kind in schema["properties"].items()}
    return json.dumps(made)


def obedient(place: Place, request: Request) -> Reply:
    """Fills in every form, and says who speaks otherwise."""
    if request.schema is not None:
        return fill(request.schema)
    return f"{place.role} in round {place.round} says that the close stands at 101.25."


def _value(name: str, kind: Any) -> Any:
    if "enum" in kind:
        return "Overweight" if "Overweight" in kind["enum"] else kind["enum"][0]
    if kind["type"] == "integer":
        return 60 if kind["maximum"] >= 60 else 3
    return 120.5 if kind["type"] == ["number", "null"] else f"{name} as text"


@dataclass
class OpenGate:
    """Admits at once; keeps every call."""

    calls: list[Call] = field(default_factory=list)
    discarded: list[Place] = field(default_factory=list)
    retries: int = 0
    halt_at: Callable[[Place], Exception | None] = lambda place: None
    journal: dict[str, Answer] = field(default_factory=dict)
    admitted: list[tuple[Place, Request]] = field(default_factory=list)

    async def recall(self, place: Place, request: Request) -> Answer | None:
        return self.journal.get(place.key)

    async def admit(self, place: Place, request: Request, worst_case: WorstCase) -> Permit:
        if error := self.halt_at(place):
            raise error
        self.admitted.append((place, request))
        return Permit(call_id=f"{place.key}#{len(self.calls)}")

    async def record(self, call: Call) -> float | None:
        self.calls.append(call)
        if call.answer is not None:
            return None
        self.retries -= 1
        return 0.0 if self.retries >= 0 else None

    async def discard(self, place: Place, permit: Permit) -> None:
        self.discarded.append(place)

    def asked(self, role: str) -> list[Request]:
        return [call.request for call in self.calls if call.place.role == role]


class ScriptedClients:
    """Stands where agents.Clients stands: every model answers by one script."""

    def __init__(
        self,
        gate: OpenGate,
        script: Script = obedient,
        delay_s: Callable[[Place], float] = lambda place: 0.0,
        window: int | None = None,
    ) -> None:
        self._gate, self._script, self._delay_s, self._window = gate, script, delay_s, window
        self.server = Server("script", "scripted")
        self.running = 0
        self.peak = 0

    def provider(self, model: Model) -> Any:
        return self

    def context_window(self, model: Model) -> int | None:
        return self._window

    async def prepare(self, model: Model) -> None:
        pass

    def timeout_s(self, model: Model) -> float:
        return 30.0

    @asynccontextmanager
    async def slot(self, model: Model) -> AsyncIterator[Any]:
        from agents.llms.provider import Slot

        yield Slot()

    async def send(self, request: Request, slot: Any, wire: Any) -> Answer:
        place = next(place for place, asked in reversed(self._gate.admitted) if asked is request)
        self.running += 1
        self.peak = max(self.peak, self.running)
        try:
            await asyncio.sleep(self._delay_s(place))
        finally:
            self.running -= 1
        reply = self._script(place, request)
        if isinstance(reply, Exception):
            raise reply
        answer = Answer(reply) if isinstance(reply, str) else reply
        return replace(answer, usage=Usage(input_tokens=10, output_tokens=5)) if answer.usage == Usage() else answer
