"""The transport of Ollama's chat API, and the stream that it returns, assembled into an answer."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx

from agents.llms.messages import join
from agents.llms.ollama_server import LOAD_PARAMETERS, ModelDetails
from agents.llms.rating_probability import rating_probability
from agents.llms.tokens import estimate_request
from agents.llms.wire import note_sent, token_count
from agents.types import Answer, Request, Timing, ToolCall
from domain.usage import Usage


class UncutTransport(httpx.AsyncHTTPTransport):
    """Adds two options that langchain-ollama does not offer to every chat request.

    `truncate: false` makes an over-long prompt an error, and `shift: false` ends the answer when the context is full.
    Servers that do not know the options ignore them.
    """

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/api/chat"):
            request = _uncut(request)
        return await super().handle_async_request(request)


def uncut_transport(*, secure: bool) -> UncutTransport:
    """Without a connection limit of its own: admission counts the slots."""
    return UncutTransport(verify=secure, limits=httpx.Limits(max_connections=None, max_keepalive_connections=100))


def _uncut(request: httpx.Request) -> httpx.Request:
    body: dict[str, Any] = json.loads(request.content) | LOAD_PARAMETERS
    content = json.dumps(body).encode()
    note_sent(body)
    headers = [(name, value) for name, value in request.headers.raw if name.lower() != b"content-length"]
    return httpx.Request(
        request.method,
        request.url,
        headers=headers,
        content=content,
        extensions=request.extensions,
    )


_REPEATS = 30
"""Ollama ends a stream after some 31 equal pieces in a row (blanks around them ignored) without its last line."""


@dataclass
class Stream:
    """A stream as it arrives."""

    started: float = field(default_factory=time.perf_counter)
    ttft_s: float | None = None
    chunks: int = 0
    text: list[str] = field(default_factory=list)
    thoughts: list[str] = field(default_factory=list)
    tool_calls: list[ToolCall] = field(default_factory=list)
    tokens: list[Any] = field(default_factory=list)
    """With their log probabilities, if these were asked for."""
    last: Mapping[str, Any] = field(default_factory=dict)
    """The metadata of the final line."""
    _piece: str | None = None
    _repeats: int = 0

    @property
    def is_done(self) -> bool:
        return self.last.get("done") is True

    @property
    def is_stopped_loop(self) -> bool:
        """Whether the server ended the stream because the model repeats itself; every retry would loop again."""
        return not self.is_done and self._repeats >= _REPEATS

    def add(self, chunk: Any) -> None:
        self.chunks += 1
        text, thought = str(chunk.text), chunk.additional_kwargs.get("reasoning_content") or ""
        if self.ttft_s is None and (text or thought or chunk.tool_calls):
            self.ttft_s = time.perf_counter() - self.started
        self.text.append(text)
        self.thoughts.append(thought)
        self._count_repeats(text + thought)
        self.tool_calls += [
            ToolCall(call["id"] or "", call["name"], json.dumps(call["args"], ensure_ascii=False)) for call in chunk.tool_calls
        ]
        self.tokens += [token.model_dump() for token in chunk.response_metadata.get("logprobs") or ()]
        if chunk.response_metadata.get("done"):
            self.last = chunk.response_metadata

    def seconds(self, name: str) -> float | None:
        nanoseconds = self.last.get(name)
        return nanoseconds / 1e9 if isinstance(nanoseconds, (int, float)) else None

    def answer(self, request: Request, window: int, details: ModelDetails, version: str | None) -> Answer:
        prompt_tokens = token_count(self.last.get("prompt_eval_count"))
        finish_reason = "repeated" if self.is_stopped_loop else _finish_reason(self.last, bool(self.tool_calls))
        is_cut = finish_reason in ("length", "repeated") and not self._is_complete(request)
        return Answer(
            text="".join(self.text),
            reasoning="".join(self.thoughts) or None,
            tool_calls=tuple(self.tool_calls),
            finish_reason=finish_reason,
            truncated=is_cut or prompt_was_cut(prompt_tokens, window, request),
            usage=Usage(input_tokens=prompt_tokens or None, output_tokens=token_count(self.last.get("eval_count"))),
            timing=self._timing(),
            rating_probability=rating_probability(self.tokens),
            model_returned=self.last.get("model") or self.last.get("model_name"),
            model_digest=details.digest,
            server_version=version,
            context_window=window,
        )

    def _count_repeats(self, piece: str) -> None:
        if piece:
            self._repeats = self._repeats + 1 if piece.strip() == self._piece else 1
            self._piece = piece.strip()

    def _is_complete(self, request: Request) -> bool:
        """Ollama's grammar lets a model write blanks after the last brace up to the cap; such an answer is complete."""
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


def prompt_was_cut(prompt_tokens: int | None, window: int, request: Request) -> bool:
    """Whether the reported number of prompt tokens shows that the server cut the prompt.

    A cut leaves half the context plus two or three tokens, all of it (older servers), or drops whole messages. A number
    that our own estimate explains is a coincidence.
    """
    if not prompt_tokens:
        return False
    if prompt_tokens >= window - 1:
        return True
    estimated = estimate_request(request)
    if prompt_tokens in (window // 2 + 2, window // 2 + 3):
        return not prompt_tokens / 1.4 < estimated < prompt_tokens * 1.4
    return len(join(request.parts)) > 2 and estimated > prompt_tokens * 2.5


def _finish_reason(last: Mapping[str, Any], has_tool_calls: bool) -> str:
    reason = last.get("done_reason")
    if has_tool_calls and reason in ("stop", None, ""):
        return "tool_calls"
    return reason if reason in ("stop", "length") else "unknown"
