"""OpenAI's two wire formats, as their server writes them: whole bodies, and the same as server-sent events."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

from tests.fakes.composing import Composed
from tests.fakes.script import Behaviour


def chat_messages(body: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(role, text) of each message, tool calls included."""
    return [(m["role"], _content(m.get("content")) + _called(m.get("tool_calls"))) for m in body["messages"]]


def responses_messages(body: Mapping[str, Any]) -> list[tuple[str, str]]:
    items = body["input"]
    if isinstance(items, str):
        return [("user", items)]
    return [(item.get("role", item.get("type", "")), _item_text(item)) for item in items]


def chat_schema(body: Mapping[str, Any]) -> Mapping[str, Any] | None:
    form = body.get("response_format") or {}
    return form["json_schema"]["schema"] if form.get("type") == "json_schema" else None


def responses_schema(body: Mapping[str, Any]) -> Mapping[str, Any] | None:
    form = (body.get("text") or {}).get("format") or {}
    return form["schema"] if form.get("type") == "json_schema" else None


def error_body(behaviour: Behaviour) -> dict[str, Any]:
    return {
        "error": {
            "message": behaviour.error,
            "type": behaviour.error_type,
            "param": None,
            "code": behaviour.error_code,
        }
    }


def chat_body(body: Mapping[str, Any], behaviour: Behaviour, composed: Composed) -> dict[str, Any]:
    message: dict[str, Any] = {
        "role": "assistant",
        "content": None if behaviour.refusal or (behaviour.tool_calls and not composed.text) else composed.text,
        "refusal": behaviour.refusal,
        "annotations": [],
    }
    if behaviour.thinking:
        message["reasoning_content"] = behaviour.thinking
    if behaviour.tool_calls:
        message["tool_calls"] = [
            {"id": f"call_{uuid.uuid4().hex[:24]}", "type": "function", "function": _function(call)}
            for call in behaviour.tool_calls
        ]
    tokens = {"content": behaviour.logprobs} if body.get("logprobs") and behaviour.logprobs else None
    told: dict[str, Any] = {
        "id": f"chatcmpl-{uuid.uuid4().hex[:29]}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": behaviour.model or body["model"],
        "choices": [{"index": 0, "message": message, "logprobs": tokens, "finish_reason": chat_finish(behaviour, composed)}],
        "service_tier": behaviour.service_tier or body.get("service_tier") or "default",
        "system_fingerprint": "fp_fake",
    }
    return told | ({"usage": chat_usage(composed)} if behaviour.usage else {})


def chat_finish(behaviour: Behaviour, composed: Composed) -> str:
    return behaviour.finish or ("length" if composed.length else "tool_calls" if behaviour.tool_calls else "stop")


def chat_usage(composed: Composed) -> dict[str, Any]:
    written = {} if composed.cache_write_tokens is None else {"cache_write_tokens": composed.cache_write_tokens}
    return {
        "prompt_tokens": composed.input_tokens,
        "completion_tokens": composed.output_tokens,
        "total_tokens": composed.input_tokens + composed.output_tokens,
        "prompt_tokens_details": {"cached_tokens": composed.cached_tokens, "audio_tokens": 0} | written,
        "completion_tokens_details": {
            "reasoning_tokens": composed.reasoning_tokens,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def chat_events(body: Mapping[str, Any], behaviour: Behaviour, composed: Composed) -> Iterator[str]:
    whole = chat_body(body, behaviour, composed)
    base = {key: whole[key] for key in ("id", "created", "model", "service_tier", "system_fingerprint")}
    base["object"] = "chat.completion.chunk"
    message = whole["choices"][0]["message"]

    def event(delta: dict[str, Any], finish: str | None = None) -> str:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return _sse(base | {"choices": [choice]})

    yield event({"role": "assistant", "content": "", "refusal": None})
    if behaviour.thinking:
        yield event({"reasoning_content": behaviour.thinking})
    for piece in pieces(message["content"] or "", behaviour.chunk_tokens):
        yield event({"content": piece})
    for index, call in enumerate(message.get("tool_calls", [])):
        yield event({"tool_calls": [{"index": index} | call]})
    yield event({}, whole["choices"][0]["finish_reason"])
    if (body.get("stream_options") or {}).get("include_usage"):
        yield _sse(base | {"choices": [], "usage": chat_usage(composed)})
    yield "data: [DONE]\n\n"


def responses_body(body: Mapping[str, Any], behaviour: Behaviour, composed: Composed) -> dict[str, Any]:
    why = behaviour.finish or ("max_output_tokens" if composed.length else None)
    is_whole = why in (None, "stop")
    text = dict(body.get("text") or {})
    return {
        "id": f"resp_{uuid.uuid4().hex}",
        "object": "response",
        "created_at": int(time.time()),
        "status": "completed" if is_whole else "incomplete",
        "background": False,
        "error": None,
        "incomplete_details": None if is_whole else {"reason": why},
        "instructions": None,
        "max_output_tokens": body.get("max_output_tokens"),
        "max_tool_calls": None,
        "model": behaviour.model or body["model"],
        "output": list(_output(behaviour, composed, "completed" if is_whole else "incomplete")),
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "prompt_cache_key": body.get("prompt_cache_key"),
        "reasoning": {"effort": (body.get("reasoning") or {}).get("effort"), "summary": None},
        "safety_identifier": None,
        "service_tier": behaviour.service_tier or body.get("service_tier") or "default",
        "store": body.get("store", True),
        "temperature": body.get("temperature", 1.0),
        "text": {"format": text.get("format", {"type": "text"}), "verbosity": text.get("verbosity", "medium")},
        "tool_choice": "auto",
        "tools": body.get("tools", []),
        "top_logprobs": 0,
        "top_p": body.get("top_p", 1.0),
        "truncation": "disabled",
        "usage": responses_usage(composed) if behaviour.usage else None,
        "user": None,
        "metadata": {},
    }


def responses_usage(composed: Composed) -> dict[str, Any]:
    written = {} if composed.cache_write_tokens is None else {"cache_write_tokens": composed.cache_write_tokens}
    return {
        "input_tokens": composed.input_tokens,
        "input_tokens_details": {"cached_tokens": composed.cached_tokens} | written,
        "output_tokens": composed.output_tokens,
        "output_tokens_details": {"reasoning_tokens": composed.reasoning_tokens},
        "total_tokens": composed.input_tokens + composed.output_tokens,
    }


def responses_events(body: Mapping[str, Any], behaviour: Behaviour, composed: Composed) -> Iterator[str]:
    whole = responses_body(body, behaviour, composed)
    started = whole | {"status": "in_progress", "output": [], "usage": None}
    counter = iter(range(1 << 30))

    def event(kind: str, **told: Any) -> str:
        return f"event: {kind}\n" + _sse({"type": kind, "sequence_number": next(counter)} | told)

    yield event("response.created", response=started)
    yield event("response.in_progress", response=started)
    for index, item in enumerate(whole["output"]):
        bare = item | ({"content": []} if item["type"] == "message" else {})
        yield event("response.output_item.added", output_index=index, item=bare)
        if item["type"] == "message":
            yield from _content_events(event, index, item, behaviour.chunk_tokens)
        yield event("response.output_item.done", output_index=index, item=item)
    end = "response.completed" if whole["status"] == "completed" else "response.incomplete"
    yield event(end, response=whole)


def pieces(text: str, chunk_tokens: int) -> Iterator[str]:
    step = max(1, chunk_tokens) * 4
    return (text[at : at + step] for at in range(0, len(text), step))


def _content_events(event: Any, index: int, item: Mapping[str, Any], chunk_tokens: int) -> Iterator[str]:
    part = item["content"][0]
    at = {"item_id": item["id"], "output_index": index, "content_index": 0}
    empty = {"type": "output_text", "annotations": [], "logprobs": [], "text": ""}
    yield event("response.content_part.added", **at, part=empty)
    for piece in pieces(part.get("text", ""), chunk_tokens):
        yield event("response.output_text.delta", **at, delta=piece, logprobs=[])
    yield event("response.output_text.done", **at, text=part.get("text", ""), logprobs=[])
    yield event("response.content_part.done", **at, part=part)


def _output(behaviour: Behaviour, composed: Composed, status: str) -> Iterator[dict[str, Any]]:
    if composed.reasoning_tokens:
        summary = [{"type": "summary_text", "text": behaviour.thinking}] if behaviour.thinking else []
        yield {"id": f"rs_{uuid.uuid4().hex}", "type": "reasoning", "summary": summary}
    if behaviour.refusal:
        yield _message([{"type": "refusal", "refusal": behaviour.refusal}], status)
    elif composed.text or not (behaviour.tool_calls or status == "incomplete"):
        said = {"type": "output_text", "annotations": [], "logprobs": [], "text": composed.text}
        yield _message([said], status)
    for call in behaviour.tool_calls:
        ids = {"id": f"fc_{uuid.uuid4().hex}", "call_id": f"call_{uuid.uuid4().hex[:24]}"}
        yield ids | {"type": "function_call", "status": "completed"} | _function(call)


def _message(content: list[dict[str, Any]], status: str) -> dict[str, Any]:
    return {"id": f"msg_{uuid.uuid4().hex}", "type": "message", "status": status, "role": "assistant", "content": content}


def _function(call: Mapping[str, Any]) -> dict[str, str]:
    return {"name": call["name"], "arguments": call.get("arguments", "{}")}


def _content(content: Any) -> str:
    if isinstance(content, list):
        return "".join(part.get("text", "") for part in content)
    return content or ""


def _called(calls: Any) -> str:
    return "".join(call["function"]["name"] + call["function"]["arguments"] for call in calls or [])


def _item_text(item: Mapping[str, Any]) -> str:
    if item.get("type") == "function_call":
        return f"{item['name']}{item['arguments']}"
    if item.get("type") == "function_call_output":
        return _content(item["output"])
    return _content(item.get("content"))


def _sse(data: Mapping[str, Any]) -> str:
    return f"data: {json.dumps(data, separators=(',', ':'))}\n\n"
