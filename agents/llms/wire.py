"""What went over the wire for one request, independent of what a client library makes of it."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from domain.text import decode_json

_OMITTED = frozenset({"messages", "input", "tools", "prompt", "instructions", "system"})


@dataclass
class Wire:
    """One request and its response, filled in while they happen."""

    sent: Mapping[str, Any] | None = None
    """The JSON body of the request, without the prompt and the tools."""
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    """What the server was not sent because it had refused it -> its message."""
    first_token: asyncio.Event | None = None
    """Set when the first token of a streamed answer arrives."""
    body: bytes | None = None
    """The complete response body; None until it is read, and always None for a stream."""

    ttft_at: float | None = None
    """When the first token arrived, on the clock of time.perf_counter."""

    def note_chunk(self, chunk: bytes) -> None:
        """Notice the first token in a piece of a streamed body."""
        if self.ttft_at is None and any(sign in chunk for sign in _SIGNS_OF_A_TOKEN):
            self.ttft_at = time.perf_counter()
            if self.first_token is not None:
                self.first_token.set()

    @property
    def request_id(self) -> str | None:
        return self.headers.get("x-request-id")

    def json(self) -> Any:
        """The body as JSON (NaN and Infinity allowed), or None if it is not JSON."""
        try:
            return decode_json(self.body or b"")
        except ValueError:
            return None


_CURRENT: ContextVar[Wire | None] = ContextVar("agents_llms_wire", default=None)


@contextmanager
def tapped() -> Iterator[Wire]:
    """Record the request that is sent within this context by a client that carries `hooks`."""
    wire = Wire()
    token = _CURRENT.set(wire)
    try:
        yield wire
    finally:
        _CURRENT.reset(token)


def hooks(*, stream: bool) -> dict[str, list[Any]]:
    """Event hooks for an httpx client. The body of a stream is left to its reader unless it is an error."""

    async def on_response(response: Any) -> None:
        if wire := _CURRENT.get():
            wire.status, wire.headers = response.status_code, response.headers
            if wire.first_token is not None and response.status_code < 400:
                response.stream = _watching(type(response.stream))(response.stream, wire)
            if not stream or response.status_code >= 400:
                wire.body = await response.aread()

    return {"response": [on_response]}


def _watching(stream_class: type) -> Any:
    """A streamed body that reports its first token while it is read whole; of the HTTP library that made this stream."""
    base: Any = next(each for each in stream_class.__mro__ if each.__name__ == "AsyncByteStream")

    class Watched(base):  # type: ignore[misc]
        def __init__(self, stream: Any, wire: Wire) -> None:
            self._stream, self._wire = stream, wire

        async def __aiter__(self) -> AsyncIterator[bytes]:
            async for chunk in self._stream:
                self._wire.note_chunk(chunk)
                yield chunk

        async def aclose(self) -> None:
            await self._stream.aclose()

    return Watched


_SIGNS_OF_A_TOKEN = (b"response.output_item.added", b"chat.completion.chunk", b"content_block_start")
"""In the events of a stream: a server sends the first of them once it has read the prompt."""


def note_sent(body: Mapping[str, Any]) -> None:
    """Record the parameters of a request body at the moment it is sent."""
    if wire := _CURRENT.get():
        wire.sent = sent_params(body)


def sent_params(body: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of a request body, without the prompt and the tools."""
    return {key: _abridged(key, value) for key, value in body.items() if key not in _OMITTED}


def token_count(value: Any) -> int | None:
    """A token count, or None for anything else (NaN, a negative number, a string)."""
    is_count = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and value >= 0
    return int(value) if is_count else None


def _abridged(key: str, value: Any) -> Any:
    """A schema is recorded only as present: the prompt contains it in full."""
    if key in ("response_format", "format") and isinstance(value, dict):
        return "json_schema"
    if key == "text" and isinstance(value, dict) and isinstance(value.get("format"), dict):
        return value | {"format": value["format"].get("type")}
    return value
