"""llama.cpp: the machine's embedded small models, or a llama-server at an address of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from agents.llms.embedded_client import EmbeddedClient
from agents.llms.openai import OpenAI
from agents.llms.provider import DEFAULT_CONTEXT_TOKENS, ModelReport, ServerReport, Slot, Warmth, no_wait
from agents.llms.weights import INSTALL, WEIGHTS, missing_parts
from agents.llms.wire import Wire
from agents.types import Answer, Model, Request, Server

_FIX_PACKAGE = "pip install 'tradingagents-harness[tiny]', or pip install xllamacpp"
_FIX_LIBRARY = "install that system library; libgomp.so.1: apt install libgomp1 (Debian, Ubuntu), dnf install libgomp"


class LlamaCpp:
    """The embedded models, shared by all processes of the machine; one request computes at a time."""

    def __init__(self, server: Server, owner: str) -> None:
        self.server = server
        self._embedded = EmbeddedClient(owner)
        self._chats: dict[str, OpenAI] = {}

    def context_window(self, model: Model) -> int:
        requested = int(model.params.get("num_ctx") or DEFAULT_CONTEXT_TOKENS)
        weights = WEIGHTS.get(model.name)
        return min(requested, weights.context_length) if weights and not self.server.url else requested

    def timeout_s(self, model: Model) -> float:
        return self.server.timeout_s

    async def prepare(self, model: Model) -> None:
        import langchain_openai  # noqa: F401 - seconds that must not count as part of the first answer

    def slot(self, model: Model) -> Any:
        if self.server.url:
            return no_wait()
        return self._embedded.slot(model.name, self.context_window(model))

    async def send(self, request: Request, slot: Slot, wire: Wire) -> Answer:
        answer = await self._chat(slot.url or self.server.url or "").send(request, slot, wire)
        weights = WEIGHTS.get(request.model.name)
        digest = weights.sha256 if weights and slot.url else None
        return replace(answer, model_digest=digest, context_window=self.context_window(request.model))

    async def probe(self, models: Sequence[Model]) -> ServerReport:
        if self.server.url:
            return await self._chat(self.server.url).probe(models)
        try:
            import xllamacpp
        except ImportError as error:
            problem = f"the embedded model server cannot be loaded: {error}"
            fix = _FIX_PACKAGE if isinstance(error, ModuleNotFoundError) else _FIX_LIBRARY
            return ServerReport(self.server.name, False, problem=problem, fix=fix)

        reports = {model.alias: _report(model) for model in models}
        return ServerReport(self.server.name, True, f"xllamacpp {xllamacpp.__version__}", models=reports)

    async def warm(self, model: Model) -> Warmth:
        async with self.slot(model) as slot:
            return Warmth(load_s=slot.load_s, was_loaded=slot.load_s is None, context_window=self.context_window(model))

    async def release(self, model: Model, before: Warmth) -> None:
        return None

    async def aclose(self) -> None:
        chats, self._chats = list(self._chats.values()), {}
        for chat in chats:
            await chat.aclose()
        await self._embedded.aclose()

    def _chat(self, url: str) -> OpenAI:
        """One client per address: that of the embedded server changes with each model it loads."""
        if url not in self._chats:
            self._chats[url] = OpenAI(replace(self.server, url=url, api="chat"))
        return self._chats[url]


def connect(server: Server, owner: str) -> LlamaCpp:
    """Client of one server of this kind; `owner` names its user to other processes."""
    return LlamaCpp(server, owner)


def _report(model: Model) -> ModelReport:
    weights = WEIGHTS.get(model.name)
    if weights is None:
        known = ", ".join(sorted(WEIGHTS))
        return ModelReport(model.name, False, f"unknown embedded model {model.name!r}", f"name one of: {known}")
    if missing := missing_parts(model.name):
        problem = f"the weights of {model.name!r} are not installed (missing: {', '.join(missing)})"
        return ModelReport(model.name, False, problem, INSTALL)
    return ModelReport(
        model.name,
        True,
        digest=weights.sha256,
        quantisation=weights.quantisation,
        context_length=weights.context_length,
    )
