"""A server that speaks one of OpenAI's two APIs: Responses at the real endpoint, Chat Completions at compatible servers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from agents.contract.answer import Answer
from agents.contract.lineup import Model, Server
from agents.contract.request import Request
from agents.llms.bodies import chat_answer, responses_answer
from agents.llms.openai_probe import probe_models
from agents.llms.openai_requests import chat_body, responses_body
from agents.llms.posting import Poster
from agents.llms.provider import ServerReport, Turn, Warmth, no_wait
from agents.llms.wire import Wire

URL = "https://api.openai.com/v1"
FLEX_TIMEOUT_S = 900.0


class OpenAI:
    """One server as one event loop reaches it."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self._url = base_url(server)
        self._responses = uses_responses(server)
        self._poster = Poster(self._url, server.api_key)

    def context_window(self, model: Model) -> int | None:
        return model.params.get("num_ctx")

    def timeout_s(self, model: Model) -> float:
        flex = model.params.get("service_tier") == "flex"
        return max(self.server.timeout_s, FLEX_TIMEOUT_S) if flex else self.server.timeout_s

    async def prepare(self, model: Model) -> None:
        await self._poster.open()

    def turn(self, model: Model) -> Any:
        return no_wait()

    async def send(self, request: Request, turn: Turn, wire: Wire) -> Answer:
        timeout_s = self.timeout_s(request.model)
        if self._responses:
            await self._poster.post("/responses", responses_body(request), wire, timeout_s)
            return responses_answer(wire)
        await self._poster.post("/chat/completions", chat_body(request), wire, timeout_s)
        return chat_answer(wire)

    async def probe(self, models: Sequence[Model]) -> ServerReport:
        return await probe_models(self.server, self._url, models)

    async def warm(self, model: Model) -> Warmth:
        return Warmth()

    async def release(self, model: Model, before: Warmth) -> None:
        return None

    async def aclose(self) -> None:
        await self._poster.aclose()


def base_url(server: Server) -> str:
    """The address to use, always explicit so that OPENAI_BASE_URL never matters; /v1 is added to a bare host."""
    if not server.url:
        return URL
    url = server.url.rstrip("/")
    return url if urlsplit(url).path.strip("/") else f"{url}/v1"


def uses_responses(server: Server) -> bool:
    """Whether the Responses API is spoken: at the real endpoint, or where the server's `api` says so."""
    if server.api:
        return server.api == "responses"
    return server.provider == "openai" and urlsplit(base_url(server)).hostname == urlsplit(URL).hostname
