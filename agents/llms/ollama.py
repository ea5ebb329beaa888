"""Ollama's native API through langchain-ollama: the context size on every call, and never a silent cut."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from agents.llms.bodies import clean, count
from agents.llms.failures import TOO_LONG, failed
from agents.llms.messages import join, langchain_messages, tool_spec
from agents.llms.ollama_server import OllamaServer, Told
from agents.llms.provider import DEFAULT_CONTEXT_TOKENS, ServerReport, Turn, Warmth, no_wait, output_cap
from agents.llms.tokens import estimate_request
from agents.llms.wire import Wire, hooks
from agents.types import Answer, Model, Request, Server, Timing, ToolCall, Usage

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


@dataclass
class Heard:
    """A stream as it arrives."""

    started: float = field(default_factory=time.perf_counter)
    ttft_s: float | None = None
    chunks: int = 0
    text: list[str] = field(default_factory=list)
    thoughts: list[str] = field(default_factory=list)
    tool_calls: list[ToolCall] = field(default_factory=list)
    last: Mapping[str, Any] = field(default_factory=dict)
    """The metadata of the line that says done."""

    @property
    def done(self) -> bool:
        return self.last.get("done") is True

    def add(self, chunk: Any) -> None:
        self.chunks += 1
        text, thought = str(chunk.text), chunk.additional_kwargs.get("reasoning_content") or ""
        if self.ttft_s is None and (text or thought or chunk.tool_calls):
            self.ttft_s = time.perf_counter() - self.started
        self.text.append(text)
        self.thoughts.append(thought)
        self.tool_calls += [
            ToolCall(call["id"] or "", call["name"], json.dumps(call["args"], ensure_ascii=False)) for call in chunk.tool_calls
        ]
        if chunk.response_metadata.get("done"):
            self.last = chunk.response_metadata

    def seconds(self, name: str) -> float | None:
        nanoseconds = self.last.get(name)
        return nanoseconds / 1e9 if isinstance(nanoseconds, (int, float)) else None

    def answer(self, request: Request, window: int, told: Told) -> Answer:
        read = count(self.last.get("prompt_eval_count"))
        finish = _finish(self.last.get("done_reason"), bool(self.tool_calls))
        return Answer(
            text=clean("".join(self.text)),
            reasoning=clean("".join(self.thoughts)) or None,
            tool_calls=tuple(self.tool_calls),
            finish_reason=finish,
            truncated=(finish == "length" and not self._is_whole(request)) or prompt_was_cut(read, window, request),
            usage=Usage(input_tokens=read or None, output_tokens=count(self.last.get("eval_count"))),
            timing=self._timing(),
            model_returned=self.last.get("model") or self.last.get("model_name"),
            model_digest=told.digest,
            context_window=window,
        )

    def _is_whole(self, request: Request) -> bool:
        """Ollama's grammar lets a model write blanks after the last brace up to the cap; nothing is missing then."""
        if request.schema is None:
            return False
        try:
            return isinstance(json.loads("".join(self.text)), dict)
        except ValueError:
            return False

    def _timing(self) -> Timing:
        return Timing(
            ttft_s=self.ttft_s,
            load_s=self.seconds("load_duration"),
            prefill_s=self.seconds("prompt_eval_duration"),
            decode_s=self.seconds("eval_duration"),
        )


def prompt_was_cut(read: int | None, window: int, request: Request) -> bool:
    """Whether the count of prompt tokens is one that only a cut leaves behind: half the context and two or three more,
    or the whole of it (older servers); or whole messages are missing from it. A count that our own estimate explains is
    a coincidence."""
    if not read:
        return False
    if read >= window - 1:
        return True
    estimated = estimate_request(request)
    if read in (window // 2 + 2, window // 2 + 3):
        return not read / 1.4 < estimated < read * 1.4
    return len(join(request.parts)) > 2 and estimated > read * 2.5


def _finish(reason: Any, has_tool_calls: bool) -> str:
    if has_tool_calls and reason in ("stop", None, ""):
        return "tool_calls"
    return reason if reason in ("stop", "length") else "unknown"


def _stream_error(message: str, wire: Wire) -> Exception:
    """An error line within a stream that began with HTTP 200."""
    cause = "too_long" if any(phrase in message.lower() for phrase in TOO_LONG) else "server_error"
    return failed(cause, message, "StreamError", wire)
