"""Server-sent events of OpenAI's two APIs, put together into the body that the same request has without a stream."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from agents.llms.failures import failed
from agents.llms.wire import Wire
from domain.text import decode_json

_ENDS = frozenset({"response.completed", "response.incomplete", "response.failed"})


def whole_body(wire: Wire) -> bytes:
    """The body of a streamed answer. Raises CallFailed for a stream without its end."""
    raw = wire.body or b""
    if not wire.headers.get("content-type", "").startswith("text/event-stream"):
        return raw
    events = list(_events(raw))
    whole = next((event["response"] for event in events if event.get("type") in _ENDS), None)
    if whole is None:
        whole = _of_chunks([event for event in events if event.get("object") == "chat.completion.chunk"], raw)
    if whole is None:
        raise failed("cut_stream", "the stream ended before its last event", "CutStream", wire)
    return json.dumps(whole).encode()


def _events(raw: bytes) -> Iterator[Mapping[str, Any]]:
    for line in raw.splitlines():
        if not line.startswith(b"data:"):
            continue
        try:
            event = decode_json(line[len(b"data:") :])
        except ValueError:
            continue
        if isinstance(event, Mapping):
            yield event


def _of_chunks(chunks: list[Mapping[str, Any]], raw: bytes) -> dict[str, Any] | None:
    """A Chat Completions body; None if the stream was cut."""
    if not chunks or b"[DONE]" not in raw[-100:]:
        return None
    message: dict[str, Any] = {"role": "assistant", "content": ""}
    finish_reason = None
    for chunk in chunks:
        for choice in chunk.get("choices") or ():
            _add(message, choice.get("delta") or {})
            finish_reason = choice.get("finish_reason") or finish_reason
    last = {key: value for chunk in chunks for key, value in chunk.items() if value is not None and key != "choices"}
    return {**last, "choices": [{"index": 0, "message": message, "finish_reason": finish_reason}]}


def _add(message: dict[str, Any], delta: Mapping[str, Any]) -> None:
    for name in ("content", "refusal", "reasoning", "reasoning_content"):
        if delta.get(name):
            message[name] = (message.get(name) or "") + delta[name]
    for call in delta.get("tool_calls") or ():
        calls = message.setdefault("tool_calls", [])
        while len(calls) <= call.get("index", 0):
            calls.append({"id": "", "type": "function", "function": {"name": "", "arguments": ""}})
        target, function = calls[call.get("index", 0)], call.get("function") or {}
        target["id"] = call.get("id") or target["id"]
        for name in ("name", "arguments"):
            target["function"][name] += function.get(name) or ""
