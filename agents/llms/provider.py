"""What a provider is to the door: the contract that each file of this folder fulfils for its kind of server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

from agents.contract.answer import Answer
from agents.contract.lineup import Model, Server
from agents.contract.request import Request
from agents.llms.wire import Wire

UNCAPPED_OUTPUT_TOKENS = 128_000
"""The most that any hosted model writes when nothing caps it."""
DEFAULT_CONTEXT_TOKENS = 8192


@dataclass(frozen=True)
class Turn:
    """Leave of a shared server to compute now."""

    waited_s: float = 0.0
    """Spent waiting for others, not for an answer."""
    load_s: float | None = None
    """Spent on loading the model for this request."""
    url: str | None = None
    """Where the model answers now, for a server whose address changes."""


@dataclass(frozen=True)
class Warmth:
    """What `warm` found and did; `release` needs it to leave the server as it was."""

    load_s: float | None = None
    """Seconds of loading; None where the server needs none or does not tell."""
    was_loaded: bool = False
    keep_alive: int | str | None = None
    """What the model's remaining keep-alive was before: seconds, or -1 for ever."""
    context_window: int | None = None
    size_bytes: int | None = None
    size_vram_bytes: int | None = None


@dataclass(frozen=True)
class ModelReport:
    """What a server says about one model."""

    name: str
    present: bool
    problem: str | None = None
    mend: str | None = None
    digest: str | None = None
    quantisation: str | None = None
    context_length: int | None = None
    """The longest context that the model was trained for."""
    capabilities: tuple[str, ...] = ()
    """tools, thinking, ... as the server names them."""
    size_bytes: int | None = None
    size_vram_bytes: int | None = None
    """Below size_bytes, a part of the model computes on the CPU; None while it is not loaded."""


@dataclass(frozen=True)
class ServerReport:
    """What a server says about itself and the models that are asked of it."""

    name: str
    reachable: bool
    version: str | None = None
    problem: str | None = None
    mend: str | None = None
    models: Mapping[str, ModelReport] = field(default_factory=dict)
    """By the model's alias."""


class Provider(Protocol):
    """One server as one process reaches it."""

    server: Server

    def context_window(self, model: Model) -> int | None:
        """Tokens of prompt and answer together, where it is known."""

    def timeout_s(self, model: Model) -> float:
        """The longest that one request may take."""

    async def prepare(self, model: Model) -> None:
        """Import and build what a request needs, outside of its timing."""

    def turn(self, model: Model) -> Any:
        """Async context manager that yields a Turn: wait here for what must not count as the answer's time."""

    async def send(self, request: Request, turn: Turn, wire: Wire) -> Answer:
        """Ask once. Raises whatever the client raises, or CallFailed."""

    async def probe(self, models: Sequence[Model]) -> ServerReport:
        """What the server says; never raises for a server that is away."""

    async def warm(self, model: Model) -> Warmth:
        """Load the model outside of any timing."""

    async def release(self, model: Model, before: Warmth) -> None:
        """Leave the model loaded just as long as it would have been."""

    async def aclose(self) -> None:
        """Free the connections."""


@asynccontextmanager
async def no_wait() -> AsyncIterator[Turn]:
    """The turn of a server that queues by itself."""
    yield Turn()


def output_cap(request: Request) -> int | None:
    """The cap on one answer: the request's own, else its model's."""
    return request.max_output_tokens or request.model.params.get("max_output_tokens")
