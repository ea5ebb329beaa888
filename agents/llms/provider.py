"""The protocol that each provider implements for its kind of server, and what providers report."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from agents.admission import ComposedRequest
from agents.llms.wire import Wire
from agents.types import Answer, Model, Request, Server
from domain import hosting
from domain.providers import PROVIDERS

UNCAPPED_OUTPUT_TOKENS = 128_000
"""The longest answer of any hosted model without a cap."""
DEFAULT_CONTEXT_TOKENS = 8192


@dataclass(frozen=True)
class Slot:
    """Permission of a shared server to send one request now."""

    waited_s: float = 0.0
    """Time spent waiting for other users of the server."""
    load_s: float | None = None
    """Time spent loading the model for this request."""
    url: str | None = None
    """Current address of the model, for a server whose address changes."""


@dataclass(frozen=True)
class Warmth:
    """Result of `warm`; `release` needs it to leave the server in its earlier state."""

    load_s: float | None = None
    """Seconds of loading; None if the server loads nothing or does not report it."""
    was_loaded: bool = False
    keep_alive: int | str | None = None
    """Remaining keep-alive of the model before: seconds, or -1 for no limit."""
    context_window: int | None = None
    size_bytes: int | None = None
    size_vram_bytes: int | None = None


@dataclass(frozen=True)
class ModelReport:
    """What a server reports about one model."""

    name: str
    present: bool
    problem: str | None = None
    fix: str | None = None
    digest: str | None = None
    quantisation: str | None = None
    context_length: int | None = None
    """The longest context that the model was trained for."""
    capabilities: tuple[str, ...] = ()
    """tools, thinking, ... as the server names them."""
    size_bytes: int | None = None
    size_vram_bytes: int | None = None
    """If below size_bytes, part of the model runs on the CPU; None while it is not loaded."""
    lists_shutdowns: bool = False
    """Whether its server's list of models has a field for the day of its shutdown."""
    shutdown_date: dt.date | None = None


@dataclass(frozen=True)
class ServerReport:
    """What a server reports about itself and the requested models."""

    name: str
    reachable: bool
    version: str | None = None
    """A run goes on only with the version that it started with."""
    problem: str | None = None
    fix: str | None = None
    warning: str | None = None
    """What works, but badly; `fix` names what is better."""
    models: Mapping[str, ModelReport] = field(default_factory=dict)
    """Model alias -> report."""
    software: str | None = None
    """Program and version behind a general API; no run depends on it."""
    slots: int | None = None
    """Requests that it answers at a time, if it reports that."""


@runtime_checkable
class ComposingProvider(Protocol):
    """A provider with deferred lanes."""

    async def compose(self, request: Request) -> ComposedRequest:
        """The request as `send` would send it. Raises Unsupported."""


class ServerClient(Protocol):
    """One server as one process reaches it."""

    server: Server

    def context_window(self, model: Model) -> int | None:
        """Limit on the tokens of prompt and answer together, if known."""

    def timeout_s(self, model: Model) -> float:
        """The longest that one request may take."""

    async def prepare(self, model: Model) -> None:
        """Import and build what a request needs, outside its timing."""

    def slot(self, model: Model) -> Any:
        """Async context manager that yields a Slot; time spent waiting in it does not count as the answer's."""

    async def send(self, request: Request, slot: Slot, wire: Wire) -> Answer:
        """Send one request. Raises what the client raises, or CallFailed."""

    async def probe(self, models: Sequence[Model]) -> ServerReport:
        """Report on the server; an unreachable server is reported, not raised."""

    async def warm(self, model: Model) -> Warmth:
        """Load the model outside any timing."""

    async def release(self, model: Model, before: Warmth) -> None:
        """Restore the model's keep-alive from before `warm`."""

    async def aclose(self) -> None:
        """Close the connections."""


def takes_cache_marks(server: Server, model: Model) -> bool:
    """Whether the prompt cache of this server keeps prefixes of this model's prompts where a request marks them."""
    provider = PROVIDERS.get(server.provider)
    return provider is not None and hosting.takes_cache_marks(provider, server.url, server.cache_marks, model.name)


@asynccontextmanager
async def no_wait() -> AsyncIterator[Slot]:
    """The slot of a server that queues requests itself."""
    yield Slot()


def effective_params(request: Request) -> Mapping[str, Any]:
    """The model's parameters, and the requested sampling where the model leaves it open."""
    if not request.sampling:
        return request.model.params
    return dict(request.sampling) | {name: value for name, value in request.model.params.items() if value is not None}


def output_cap(request: Request) -> int | None:
    """The cap on the answer in tokens: the request's, else its model's."""
    return request.max_output_tokens or request.model.params.get("max_output_tokens")
