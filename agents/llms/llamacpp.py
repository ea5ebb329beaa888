"""llama.cpp: the machine's embedded tiny models, or a llama-server at an address of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from agents.contract.answer import Answer
from agents.contract.lineup import Model, Server
from agents.contract.request import Request
from agents.llms.lease import Lease
from agents.llms.openai import OpenAI
from agents.llms.provider import DEFAULT_CONTEXT_TOKENS, ModelReport, ServerReport, Turn, Warmth, no_wait
from agents.llms.weights import INSTALL, WEIGHTS, missing_parts
from agents.llms.wire import Wire

_NO_PACKAGE = "pip install 'xllamacpp>=2026.10'"
_NO_LIBRARY = "install that system library; libgomp.so.1: apt install libgomp1 (Debian, Ubuntu), dnf install libgomp"


class LlamaCpp:
    """The embedded models, shared by all processes of the machine, one computing at a time."""

    def __init__(self, server: Server, owner: str) -> None:
        self.server = server
        self._lease = Lease(owner)
        self._chats: dict[str, OpenAI] = {}

    def context_window(self, model: Model) -> int:
        asked = int(model.params.get("num_ctx") or DEFAULT_CONTEXT_TOKENS)
        weights = WEIGHTS.get(model.name)
        return min(asked, weights.context_length) if weights and not self.server.url else asked

    def timeout_s(self, model: Model) -> float:
        return self.server.timeout_s

    async def prepare(self, model: Model) -> None:
        import langchain_openai  # noqa: F401 - seconds that must not count as the first answer's

    def turn(self, model: Model) -> Any:
        if self.server.url:
            return no_wait()
        return self._lease.turn(model.name, self.context_window(model))

    async def send(self, request: Request, turn: Turn, wire: Wire) -> Answer:
        answer = await self._chat(turn.url or self.server.url or "").send(request, turn, wire)
        weights = WEIGHTS.get(request.model.name)
        digest = weights.sha256 if weights and turn.url else None
        return replace(answer, model_digest=digest, context_window=self.context_window(request.model))

    async def probe(self, models: Sequence[Model]) -> ServerReport:
        if self.server.url:
            return await self._chat(self.server.url).probe(models)
        try:
            import xllamacpp
        except ImportError as error:
            problem = f"the embedded model server cannot be loaded: {error}"
            mend = _NO_PACKAGE if isinstance(error, ModuleNotFoundError) else _NO_LIBRARY
            return ServerReport(self.server.name, False, problem=problem, mend=mend)

        reports = {model.alias: _report(model) for model in models}
        return ServerReport(self.server.name, True, f"xllamacpp {xllamacpp.__version__}", models=reports)

    async def warm(self, model: Model) -> Warmth:
        async with self.turn(model) as turn:
            return Warmth(load_s=turn.load_s, was_loaded=turn.load_s is None, context_window=self.context_window(model))

    async def release(self, model: Model, before: Warmth) -> None:
        return None

    async def aclose(self) -> None:
        chats, self._chats = list(self._chats.values()), {}
        for chat in chats:
            await chat.aclose()
        await self._lease.aclose()

    def _chat(self, url: str) -> OpenAI:
        """The embedded server's address changes with each model that it loads."""
        if url not in self._chats:
            self._chats[url] = OpenAI(replace(self.server, url=url, api="chat"))
        return self._chats[url]


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
