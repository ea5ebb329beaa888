"""Ollama's native API through langchain-ollama: the context size on every call, and never a silent cut."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from agents.contract.answer import Answer
from agents.contract.lineup import Model, Server
from agents.contract.request import Request
from agents.llms.failures import TOO_LONG, failed
from agents.llms.messages import langchain_messages, tool_spec
from agents.llms.ollama_server import OllamaServer, Told
from agents.llms.ollama_stream import Heard
from agents.llms.provider import DEFAULT_CONTEXT_TOKENS, ServerReport, Turn, Warmth, no_wait, output_cap
from agents.llms.wire import Wire, hooks

KEEP_ALIVE = "30m"
"""Longer than any pause within an arm, and no model stays in the memory for ever after a crash."""
_RELOAD_S = 0.5
_OPTIONS = ("temperature", "top_p", "top_k", "seed")


class Ollama:
    """One Ollama server, as one event loop reaches it."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self._rest = OllamaServer(server)
        self._transport: Any = None
        self._chats: dict[str, Any] = {}
        self._told: dict[str, Told] = {}
        self._contexts: dict[tuple[str, int], int] = {}
        """(model, num_ctx asked for) -> what the server loaded it with, which may be less."""

    def context_window(self, model: Model) -> int:
        asked = self._num_ctx(model)
        return min(asked, self._contexts.get((model.name, asked)) or asked)

    def timeout_s(self, model: Model) -> float:
        return self.server.timeout_s

    async def prepare(self, model: Model) -> None:
        import langchain_ollama  # noqa: F401 - seconds that must not count as the first answer's

        if model.name not in self._told:
            self._told[model.name] = await self._rest.told(model.name)

    def turn(self, model: Model) -> Any:
        return no_wait()

    async def send(self, request: Request, turn: Turn, wire: Wire) -> Answer:
        heard = await self._listen(request, wire)
        if not heard.done:
            raise failed("cut_stream", "the stream ended before its last line", "NoLastLine", wire)
        is_known = (request.model.name, self._num_ctx(request.model)) in self._contexts
        if (heard.seconds("load_duration") or 0.0) > _RELOAD_S or not is_known:
            await self._verify_context(request.model)
        return heard.answer(request, self.context_window(request.model), self._told[request.model.name])

    async def probe(self, models: Sequence[Model]) -> ServerReport:
        return await self._rest.probe(models)

    async def warm(self, model: Model) -> Warmth:
        return await self._rest.warm(model.name, self._num_ctx(model), KEEP_ALIVE)

    async def release(self, model: Model, before: Warmth) -> None:
        await self._rest.release(model.name, self._num_ctx(model), before)

    async def aclose(self) -> None:
        await self._rest.aclose()
        if self._transport is not None:
            await self._transport.aclose()

    async def _listen(self, request: Request, wire: Wire) -> Heard:
        import ollama

        heard = Heard()
        try:
            async for chunk in self._chat(request).astream(self._messages(request), **self._arguments(request)):
                heard.add(chunk)
        except ollama.ResponseError as error:
            if wire.status is not None and wire.status >= 400:
                raise
            raise _stream_error(str(error.error), wire) from error
        except json.JSONDecodeError as error:
            if heard.chunks:
                raise failed("cut_stream", f"the stream ended within a line: {error}", "HalfLine", wire) from error
            raise
        return heard

    async def _verify_context(self, model: Model) -> None:
        if effective := await self._rest.effective_context(model.name):
            self._contexts[model.name, self._num_ctx(model)] = effective

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
        """One client per set of options: options given at call time would replace all of these, num_ctx too."""
        options = self._options(request)
        key = json.dumps(options, sort_keys=True)
        if key not in self._chats:
            self._chats[key] = self._build(options)
        return self._chats[key]

    def _options(self, request: Request) -> dict[str, Any]:
        params = request.model.params
        return {name: params[name] for name in _OPTIONS if params.get(name) is not None} | {
            "model": request.model.name,
            "num_ctx": self._num_ctx(request.model),
            "num_predict": output_cap(request) or self._num_ctx(request.model),
            "keep_alive": params.get("keep_alive", KEEP_ALIVE),
            "reasoning": self._think(request.model),
        }

    def _think(self, model: Model) -> bool | str | None:
        """As asked; a thinking model that nobody asked thinks all the same, and only a spoken True returns its thoughts."""
        asked: bool | str | None = model.params.get("think")
        thinks = "thinking" in self._told[model.name].capabilities
        return True if asked is None and thinks else asked

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
            from agents.llms.ollama_transport import uncut_transport

            self._transport = uncut_transport(secure=self._rest.url.startswith("https:"))
        return self._transport


def _stream_error(message: str, wire: Wire) -> Exception:
    """An error line within a stream that began with HTTP 200."""
    cause = "too_long" if any(phrase in message.lower() for phrase in TOO_LONG) else "server_error"
    return failed(cause, message, "StreamError", wire)
