"""What went over the wire for one request, kept apart from what a client library makes of it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

_BULK = frozenset({"messages", "input", "tools", "prompt", "instructions"})


@dataclass
class Wire:
    """One request and its response, filled while they happen."""

    sent: Mapping[str, Any] | None = None
    """The JSON body that left, without the prompt and the tools."""
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    """None until it is read whole (never for a stream)."""

    @property
    def request_id(self) -> str | None:
        return self.headers.get("x-request-id")

    def json(self) -> Any:
        """The body as JSON, NaN and Infinity included; None when it is none."""
        try:
            return json.loads(self.body or b"")
        except (ValueError, RecursionError):
            return None


_CURRENT: ContextVar[Wire | None] = ContextVar("agents_llms_wire", default=None)


@contextmanager
def tapped() -> Iterator[Wire]:
    """Record the requests of this context through clients that carry `hooks`."""
    wire = Wire()
    token = _CURRENT.set(wire)
    try:
        yield wire
    finally:
        _CURRENT.reset(token)


def hooks(*, stream: bool) -> dict[str, list[Any]]:
    """Event hooks for an httpx client; a stream's body is left to its reader unless it is an error."""

    async def on_response(response: Any) -> None:
        if wire := _CURRENT.get():
            wire.status, wire.headers = response.status_code, response.headers
            if not stream or response.status_code >= 400:
                wire.body = await response.aread()

    return {"response": [on_response]}


def note_sent(body: Mapping[str, Any]) -> None:
    """Keep the parameters of a request body, right where it leaves, as those that this context really sends."""
    if wire := _CURRENT.get():
        wire.sent = {key: _short(key, value) for key, value in body.items() if key not in _BULK}


def _short(key: str, value: Any) -> Any:
    """A schema is told by its presence: the prompt says it in full."""
    if key in ("response_format", "format") and isinstance(value, dict):
        return "json_schema"
    if key == "text" and isinstance(value, dict) and isinstance(value.get("format"), dict):
        return value | {"format": value["format"].get("type")}
    return value
