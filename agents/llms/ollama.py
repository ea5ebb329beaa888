"""Ollama's native API through langchain-ollama: the context size in every call, and no silently truncated prompt."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Any

from agents.llms.failures import TOO_LONG, failed
from agents.llms.messages import langchain_messages, tool_spec
from agents.llms.ollama_server import KEEP_ALIVE, ModelDetails, OllamaServer
from agents.llms.ollama_stream import Stream, uncut_transport
from agents.llms.provider import DEFAULT_CONTEXT_TOKENS, ServerReport, Slot, Warmth, effective_params, no_wait, output_cap
from agents.llms.rating_probability import TOP_TOKENS
from agents.llms.wire import Wire, hooks
from agents.types import Answer, Model, Request, Server

_OPTIONS = ("temperature", "top_p", "top_k", "seed")


_SAMPLING_DEFAULTS = {"repeat_penalty": 1.1}
"""Not part of an identity: cells recorded under Ollama 0.17 were sampled like this. 0.32 has 1.0."""


class Ollama:
    """One Ollama server, as one event loop reaches it."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self._rest = OllamaServer(server)
        self._transport: Any = None
        self._chats: dict[str, Any] = {}
        self._details: dict[str, ModelDetails] = {}
        self._contexts: dict[tuple[str, int], int] = {}
        """(model, requested num_ctx) -> the context size that the server loaded it with, which may be smaller."""
        self._replaced: dict[str, str | None] = {}
        """Models that were another one after an answer -> the digest that they have now."""
        self._version: str | None = None
        """Of the server, at its last answer."""

    def context_window(self, model: Model) -> int:
        requested = self._num_ctx(model)
        return min(requested, self._contexts.get((model.name, requested)) or requested)

    def timeout_s(self, model: Model) -> float:
        return self.server.timeout_s

    async def prepare(self, model: Model) -> None:
        import langchain_ollama  # noqa: F401 - seconds that must not count as part of the first answer

        is_known = model.name in self._details and self._details[model.name].digest is not None
        if not is_known:
            self._details[model.name] = await self._rest.details(model.name)
        if model.name in self._replaced:
            self._replaced[model.name] = (await self._rest.details(model.name)).digest

    def slot(self, model: Model) -> Any:
        return no_wait()

    async def send(self, request: Request, slot: Slot, wire: Wire) -> Answer:
        name = request.model.name
        if replacement := self._replacement(request.model, self._replaced.get(name) or self._details[name].digest):
            raise failed("not_found", replacement, "ModelReplaced", wire)
        try:
            stream = await self._read_stream(request, wire)
        finally:
            self._rest.request_ended(request.model.name)
        if not stream.is_done and not stream.is_stopped_loop:
            raise failed("cut_stream", "the stream ended before its last line", "NoLastLine", wire)
        await self._verify_loaded(request.model, wire)
        return stream.answer(request, self.context_window(request.model), self._details[name], self._version)

    async def probe(self, models: Sequence[Model]) -> ServerReport:
        return await self._rest.probe(models)

    async def warm(self, model: Model) -> Warmth:
        return await self._rest.warm(model.name, self._num_ctx(model))

    async def release(self, model: Model, before: Warmth) -> None:
        await self._rest.release(model.name, self._num_ctx(model), before)

    async def aclose(self) -> None:
        await self._rest.aclose()
        if self._transport is not None:
            await self._transport.aclose()

    async def _read_stream(self, request: Request, wire: Wire) -> Stream:
        import ollama

        stream = Stream()
        try:
            async for chunk in self._chat(request).astream(self._messages(request), **self._arguments(request)):
                stream.add(chunk)
        except ollama.ResponseError as error:
            if wire.status is not None and wire.status >= 400:
                raise
            raise _stream_error(str(error.error), wire) from error
        except json.JSONDecodeError as error:
            if stream.chunks:
                raise failed("cut_stream", f"the stream ended within a line: {error}", "HalfLine", wire) from error
            raise
        return stream

    async def _verify_loaded(self, model: Model, wire: Wire) -> None:
        """Look at the model that answered. Raises CallFailed if its weights are not those of the run.

        Asked after every answer, so also at the end of a cell: no reported time tells a load of a small model for certain,
        and an answer of other weights must not be recorded. A model that was unloaded meanwhile is looked up by its name.
        """
        entry, self._version = await asyncio.gather(self._rest.loaded(model.name), self._rest.version())
        length = (entry or {}).get("context_length")
        if isinstance(length, int) and length > 0:
            self._contexts[model.name, self._num_ctx(model)] = length
        digest = entry.get("digest") if entry else (await self._rest.details(model.name)).digest
        if replacement := self._replacement(model, digest):
            self._replaced[model.name] = digest
            raise failed("not_found", replacement, "ModelReplaced", wire)

    def _replacement(self, model: Model, digest: Any) -> str | None:
        """Why this digest is not that of the run's model; an unknown digest is no reason."""
        expected = str(model.digest or self._details[model.name].digest or "").removeprefix("sha256:")
        digest = str(digest or "").removeprefix("sha256:")
        if not digest or not expected or digest == expected:
            return None
        return (
            f"{model.name} at {self._rest.url} is another model than the one of this run: its digest is {digest[:12]}, not "
            f"{expected[:12]}; put the old one back under that name and run the same command again, or start a new run with "
            "--fresh"
        )

    def _messages(self, request: Request) -> list[Any]:
        return langchain_messages(request.parts, parsed_arguments=True)

    def _arguments(self, request: Request) -> dict[str, Any]:
        arguments: dict[str, Any] = {}
        if request.schema is not None:
            arguments["format"] = dict(request.schema)
        if request.tools:
            arguments["tools"] = [tool_spec(tool) for tool in request.tools]
        return arguments

    def _chat(self, request: Request) -> Any:
        """One client per set of options: options passed with a call would replace all of them, num_ctx included."""
        options = self._options(request)
        key = json.dumps(options, sort_keys=True)
        if key not in self._chats:
            self._chats[key] = self._build(options)
        return self._chats[key]

    def _options(self, request: Request) -> dict[str, Any]:
        params = effective_params(request)
        declared = {name: params[name] for name in _OPTIONS if params.get(name) is not None}
        asks_tokens = params.get("rating_probability") and request.schema is not None
        return (
            self._sampling(request.model)
            | declared
            | {
                "model": request.model.name,
                "num_ctx": self._num_ctx(request.model),
                "num_predict": output_cap(request) or self._num_ctx(request.model),
                "keep_alive": KEEP_ALIVE,
                "reasoning": self._think(request.model),
            }
            | ({"logprobs": True, "top_logprobs": TOP_TOKENS} if asks_tokens else {})
        )

    def _sampling(self, model: Model) -> dict[str, Any]:
        """Sampling parameters whose default depends on the server's version: the model's own, else those of Ollama 0.17."""
        own = self._details[model.name].parameters
        return {name: own.get(name, default) for name, default in _SAMPLING_DEFAULTS.items()}

    def _think(self, model: Model) -> bool | str | None:
        """The `think` parameter. Without it a thinking model thinks anyway, but returns its thoughts only for True."""
        think: bool | str | None = model.params.get("think")
        can_think = "thinking" in self._details[model.name].capabilities
        return True if think is None and can_think else think

    def _num_ctx(self, model: Model) -> int:
        return int(model.params.get("num_ctx") or DEFAULT_CONTEXT_TOKENS)

    def _build(self, options: Mapping[str, Any]) -> Any:
        from langchain_ollama import ChatOllama

        headers = {"authorization": f"Bearer {self.server.api_key}"} if self.server.api_key else {}
        return ChatOllama(
            **options,
            base_url=self._rest.url,
            client_kwargs={"timeout": self.server.idle_timeout_s, "trust_env": False, "headers": headers, "verify": False},
            async_client_kwargs={"transport": self._shared_transport(), "event_hooks": hooks(stream=True)},
            cache=False,
        )

    def _shared_transport(self) -> Any:
        if self._transport is None:
            self._transport = uncut_transport(secure=self._rest.url.startswith("https:"))
        return self._transport


def connect(server: Server, owner: str) -> Ollama:
    """Client of one server of this kind; `owner` names its user to other processes."""
    return Ollama(server)


def _stream_error(message: str, wire: Wire) -> Exception:
    """The failure of a stream that began with HTTP 200 and contains an error line."""
    cause = "too_long" if any(phrase in message.lower() for phrase in TOO_LONG) else "server_error"
    return failed(cause, message, "StreamError", wire)
