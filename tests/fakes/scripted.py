"""A lineup that answers from a script, and an admission that admits everything and records it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from agents import Answer, Call, CallSite, Lineup, Model, Permit, Request, Server, Usage, WorstCase, role_names
from domain.models import has_marked_cache

Reply = Answer | str | Exception
Script = Callable[[CallSite, Request], Reply]

MODEL = Model(alias="scripted", provider="scripted", name="scripted-1", server="script")


def lineup() -> Lineup:
    return dict.fromkeys(role_names(), MODEL)


def fill(schema: Any) -> str:
    """A valid form for a schema."""
    made = {name: _value(name, kind) for name, kind in schema["properties"].items()}
    return json.dumps(made)


def obedient(site: CallSite, request: Request) -> Reply:
    """Fills in every form, and says who speaks otherwise."""
    if request.schema is not None:
        return fill(request.schema)
    return f"{site.role} in round {site.round} says that the close stands at 101.25."


def _value(name: str, kind: Any) -> Any:
    if "enum" in kind:
        return "Overweight" if "Overweight" in kind["enum"] else kind["enum"][0]
    if kind["type"] == "integer":
        return 60 if kind["maximum"] >= 60 else 3
    return 120.5 if kind["type"] == ["number", "null"] else f"{name} as text"


@dataclass
class OpenAdmission:
    """Admits at once; keeps every call."""

    calls: list[Call] = field(default_factory=list)
    discarded: list[CallSite] = field(default_factory=list)
    retries: int = 0
    halt_at: Callable[[CallSite], Exception | None] = lambda site: None
    journal: dict[str, Answer] = field(default_factory=dict)
    admitted: list[tuple[CallSite, Request]] = field(default_factory=list)

    async def recall(self, site: CallSite, request: Request) -> Answer | None:
        return self.journal.get(site.key)

    async def admit(self, site: CallSite, request: Request, worst_case: WorstCase) -> Permit:
        if error := self.halt_at(site):
            raise error
        self.admitted.append((site, request))
        return Permit(call_id=f"{site.key}#{len(self.calls)}")

    async def record(self, call: Call) -> float | None:
        self.calls.append(call)
        if call.answer is not None:
            return None
        self.retries -= 1
        return 0.0 if self.retries >= 0 else None

    async def discard(self, site: CallSite, permit: Permit) -> None:
        self.discarded.append(site)

    def asked(self, role: str) -> list[Request]:
        return [call.request for call in self.calls if call.site.role == role]


class ScriptedClients:
    """Stands where agents.Clients stands: every model answers by one script."""

    def __init__(
        self,
        admission: OpenAdmission,
        script: Script = obedient,
        delay_s: Callable[[CallSite], float] = lambda site: 0.0,
        window: int | None = None,
    ) -> None:
        self._gate, self._script, self._delay_s, self._window = admission, script, delay_s, window
        self.server = Server("script", "scripted")
        self.running = 0
        self.peak = 0

    def takes_cache_marks(self, model: Model) -> bool:
        return has_marked_cache(model.name)

    def provider(self, model: Model) -> Any:
        return self

    def checked(self, request: Request, answer: Answer) -> Answer:
        return answer

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
        site = next(site for site, asked in reversed(self._gate.admitted) if asked is request)
        self.running += 1
        self.peak = max(self.peak, self.running)
        try:
            await asyncio.sleep(self._delay_s(site))
        finally:
            self.running -= 1
        reply = self._script(site, request)
        if isinstance(reply, Exception):
            raise reply
        answer = Answer(reply) if isinstance(reply, str) else reply
        return replace(answer, usage=Usage(input_tokens=10, output_tokens=5)) if answer.usage == Usage() else answer
