"""The clients of one process: one provider per server, built when first asked, all on one event loop."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from agents.contract.lineup import Model, Server
from agents.errors import Unsupported
from agents.llms.provider import Provider, ServerReport, Warmth


def _openai(server: Server, owner: str) -> Provider:
    from agents.llms.openai import OpenAI

    return OpenAI(server)


def _ollama(server: Server, owner: str) -> Provider:
    from agents.llms.ollama import Ollama

    return Ollama(server)


def _llamacpp(server: Server, owner: str) -> Provider:
    from agents.llms.llamacpp import LlamaCpp

    return LlamaCpp(server, owner)


PROVIDERS: Mapping[str, Callable[[Server, str], Provider]] = {
    "openai": _openai,
    "openai_compatible": _openai,
    "ollama": _ollama,
    "llamacpp": _llamacpp,
}
"""The one table of providers: name in an experiment -> how a server of that kind is reached."""


class Clients:
    """The servers that a process reaches; belongs to the event loop that first asks through it."""

    def __init__(self, servers: Mapping[str, Server], owner: str = "") -> None:
        """`owner` names this user of the machine's embedded model to others who wait for it (a run, a worker)."""
        self._servers = dict(servers)
        self._owner = owner
        self._providers: dict[str, Provider] = {}
        _trace_nothing()

    def provider(self, model: Model) -> Provider:
        """Where a model answers. Raises Unsupported for an unknown server or provider."""
        server = self._server(model)
        if server.name not in self._providers:
            self._providers[server.name] = _build(server, self._owner)
        return self._providers[server.name]

    async def warm(self, model: Model) -> Warmth:
        """Load a model outside of any timing; hand the result to `release` at the end of its arm."""
        return await self.provider(model).warm(model)

    async def release(self, model: Model, before: Warmth) -> None:
        """Give a model's memory back as it was found; other users of the server keep what they had."""
        await self.provider(model).release(model, before)

    async def aclose(self) -> None:
        """Free all connections; the embedded model goes away with its last user."""
        providers, self._providers = list(self._providers.values()), {}
        for provider in providers:
            await provider.aclose()

    async def __aenter__(self) -> Clients:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def _server(self, model: Model) -> Server:
        if model.server in self._servers:
            return self._servers[model.server]
        if model.server:
            known = ", ".join(sorted(self._servers)) or "none"
            raise Unsupported(f"model {model.alias!r} names server {model.server!r}; known: {known}")
        return next((one for one in self._servers.values() if one.provider == model.provider), _default(model))


async def probe(server: Server, models: Sequence[Model]) -> ServerReport:
    """What a server says about itself and these models; a server that is away is reported, not raised."""
    provider = _build(server, "probe")
    try:
        return await provider.probe(models)
    finally:
        await provider.aclose()


def _build(server: Server, owner: str) -> Provider:
    if server.provider not in PROVIDERS:
        known = ", ".join(sorted(PROVIDERS))
        raise Unsupported(f"unknown provider {server.provider!r} of server {server.name!r}; known: {known}")
    return PROVIDERS[server.provider](server, owner)


def _default(model: Model) -> Server:
    return Server(name=model.provider, provider=model.provider)


def _trace_nothing() -> None:
    """LANGSMITH_* in the environment would send prompts away, and hold the process while the endpoint is dead."""
    import langsmith

    settings: dict[str, Any] = {"enabled": False}
    langsmith.configure(**settings)
