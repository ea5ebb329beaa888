"""The connection to Ollama, which forbids in every chat request the silent cut that langchain-ollama cannot forbid."""

from __future__ import annotations

import json
from typing import Any

import httpx

from agents.llms.wire import note_sent


class UncutTransport(httpx.AsyncHTTPTransport):
    """Adds `truncate: false` (an over-long prompt is an error) and `shift: false` (a full context ends the answer).
    Servers that do not know the two ignore them."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/api/chat"):
            request = _uncut(request)
        return await super().handle_async_request(request)


def uncut_transport(*, secure: bool) -> UncutTransport:
    """Without a limit of its own: the gate counts the slots."""
    return UncutTransport(verify=secure, limits=httpx.Limits(max_connections=None, max_keepalive_connections=100))


def _uncut(request: httpx.Request) -> httpx.Request:
    body: dict[str, Any] = json.loads(request.content) | {"truncate": False, "shift": False}
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
