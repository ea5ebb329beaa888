"""Anthropic's Messages API and Google's generateContent, as their servers write them."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

from tests.fakes.composing import Composed
from tests.fakes.marked_cache import Block
from tests.fakes.script import Behaviour

Body = Mapping[str, Any]


def blocks(body: Body) -> list[Block]:
    """The content blocks of a request to Anthropic, with their breakpoints."""
    found = [Block("tools", json.dumps(body["tools"]))] if body.get("tools") else []
    system = body.get("system") or []
    for block in [{"type": "text", "text": system}] if isinstance(system, str) else system:
        found.append(_block("system", block))
    for message in body["messages"]:
        content = message["content"]
        for block in [{"type": "text", "text": content}] if isinstance(content, str) else content:
            found.append(_block(message["role"], block))
    return found


def complaint(body: Body) -> str | None:
    """Why Anthropic refuses a request, None for one in order."""
    if not isinstance(body.get("max_tokens"), int):
        return "max_tokens: Field required"
    if sum(block.ttl is not None for block in blocks(body)) > 4:
        return "A maximum of 4 blocks with cache_control may be provided."
    thinking = body.get("thinking") or {}
    if thinking.get("type") == "enabled" and not 1024 <= thinking.get("budget_tokens", 0) < body["max_tokens"]:
        return "`max_tokens` must be greater than `thinking.budget_tokens`, which must be at least 1024"
    if thinking.get("type") == "enabled" and body.get("temperature", 1) != 1:
        return "`temperature` may only be set to 1 when thinking is enabled."
    return None


def schema(body: Body) -> Mapping[str, Any] | None:
    form = (body.get("output_config") or {}).get("format") or {}
    return form["schema"] if form.get("type") == "json_schema" else None


def message(body: Body, behaviour: Behaviour, composed: Composed) -> dict[str, Any]:
    content: list[dict[str, Any]] = []
    if behaviour.thinking:
        content.append({"type": "thinking", "thinking": behaviour.thinking, "signature": "sig"})
    if composed.text:
        content.append({"type": "text", "text": composed.text})
    for call in behaviour.tool_calls:
        made = json.loads(call.get("arguments", "{}"))
        content.append({"type": "tool_use", "id": f"toolu_{uuid.uuid4().hex[:20]}", "name": call["name"], "input": made})
    reason = "max_tokens" if composed.length else "tool_use" if behaviour.tool_calls else "end_turn"
    return {
        "id": f"msg_{uuid.uuid4().hex[:24]}",
        "type": "message",
        "role": "assistant",
        "model": behaviour.model or body["model"],
        "content": content,
        "stop_reason": behaviour.finish or reason,
        "stop_sequence": None,
        "usage": _usage(composed) if behaviour.usage else None,
    }


def events(body: Body, behaviour: Behaviour, composed: Composed) -> Iterator[str]:
    whole = message(body, behaviour, composed)
    usage = whole["usage"] or {}
    yield _event("message_start", message=whole | {"content": [], "stop_reason": None, "usage": usage | {"output_tokens": 1}})
    for index, block in enumerate(whole["content"]):
        kind, text = _streamed(block)
        empty: dict[str, Any] = {"input": {}} if block["type"] == "tool_use" else {block["type"]: ""}
        yield _event("content_block_start", index=index, content_block={**block, **empty})
        for at in range(0, len(text), 4 * behaviour.chunk_tokens):
            piece = text[at : at + 4 * behaviour.chunk_tokens]
            key = "partial_json" if kind == "input_json_delta" else kind.removesuffix("_delta")
            yield _event("content_block_delta", index=index, delta={"type": kind, key: piece})
        yield _event("content_block_stop", index=index)
    delta = {"stop_reason": whole["stop_reason"], "stop_sequence": None}
    yield _event("message_delta", delta=delta, usage={"output_tokens": usage.get("output_tokens")})
    yield _event("message_stop")


def google_messages(body: Body) -> list[tuple[str, str]]:
    """(role, text) of each message of a request to Google."""
    system = [("system", _google_text(body["systemInstruction"]))] if body.get("systemInstruction") else []
    return [*system, *((content.get("role", "user"), _google_text(content)) for content in body["contents"])]


def google_schema(body: Body) -> Mapping[str, Any] | None:
    config = body.get("generationConfig") or {}
    found: Mapping[str, Any] | None = config.get("responseJsonSchema") or config.get("responseSchema")
    return found


def google_body(model: str, behaviour: Behaviour, composed: Composed) -> dict[str, Any]:
    parts: list[dict[str, Any]] = [{"text": behaviour.thinking, "thought": True}] if behaviour.thinking else []
    parts += [{"text": composed.text}] if composed.text else []
    parts += [
        {"functionCall": {"name": call["name"], "args": json.loads(call.get("arguments", "{}"))}}
        for call in behaviour.tool_calls
    ]
    usage = {
        "promptTokenCount": composed.input_tokens,
        "cachedContentTokenCount": composed.cached_tokens,
        "candidatesTokenCount": composed.output_tokens - composed.reasoning_tokens,
        "thoughtsTokenCount": composed.reasoning_tokens,
        "totalTokenCount": composed.input_tokens + composed.output_tokens,
    }
    reason = behaviour.finish or ("MAX_TOKENS" if composed.length else "STOP")
    return {
        "candidates": [{"content": {"role": "model", "parts": parts}, "finishReason": reason, "index": 0}],
        "modelVersion": behaviour.model or model,
        "responseId": uuid.uuid4().hex,
    } | ({"usageMetadata": usage} if behaviour.usage else {})


def _block(role: str, block: Mapping[str, Any]) -> Block:
    text = block.get("text") or block.get("content") or json.dumps(block.get("input") or "")
    if isinstance(text, list):
        text = "".join(part.get("text", "") for part in text)
    control = block.get("cache_control")
    if not control:
        inner = block.get("content")
        control = (
            next((part["cache_control"] for part in inner if part.get("cache_control")), None)
            if isinstance(inner, list)
            else None
        )
    return Block(role, str(text), control.get("ttl", "5m") if control else None)


def _usage(composed: Composed) -> dict[str, Any]:
    written = composed.cache_write_tokens or 0
    return {
        "input_tokens": composed.input_tokens - composed.cached_tokens - written,
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": composed.cached_tokens,
        "output_tokens": composed.output_tokens,
        "service_tier": "standard",
    }


def _streamed(block: Mapping[str, Any]) -> tuple[str, str]:
    if block["type"] == "tool_use":
        return "input_json_delta", json.dumps(block["input"])
    return f"{block['type']}_delta", block[block["type"]]


def _google_text(content: Mapping[str, Any]) -> str:
    return "".join(
        part.get("text") or json.dumps(part.get("functionCall") or part.get("functionResponse")) for part in content["parts"]
    )


def _event(kind: str, **data: Any) -> str:
    return f"event: {kind}\ndata: {json.dumps({'type': kind} | data)}\n\n"
