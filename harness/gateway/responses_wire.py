"""OpenAI's Responses API with function tools: a program's request, and an answer as whole body or as a stream."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from typing import Any

from agents import Answer, Part, ToolCall
from harness.gateway.asked import (
    Asked,
    Refused,
    cap_of,
    dropped_of,
    message,
    need_model,
    plain_text,
    refuse_if,
    sampling_of,
    tool,
)
from harness.gateway.chat_wire import pieces


def asked(body: Any) -> Asked:
    """Read a request. Raises Refused for what the gateway does not carry."""
    model = need_model(body)
    refuse_if(body, "previous_response_id", "conversation", "background", "prompt", "top_logprobs")
    return Asked(
        wire="responses",
        model=model,
        parts=tuple(_parts(body)),
        tools=tuple(_tool(each) for each in body.get("tools") or ()),
        tool_choice=_choice(body),
        parallel_tool_calls=body.get("parallel_tool_calls") if body.get("tools") else None,
        schema=_schema(body.get("text")),
        max_output_tokens=cap_of(body, "max_output_tokens"),
        sampling=sampling_of(body),
        dropped=dropped_of(body, ("max_output_tokens",)) | _verbosity(body.get("text")),
        stream=bool(body.get("stream")),
    )


def _parts(body: Mapping[str, Any]) -> Iterator[Part]:
    if body.get("instructions"):
        yield message("system", body["instructions"])
    given = body.get("input")
    items = [{"role": "user", "content": given}] if isinstance(given, str) else given
    if not isinstance(items, list) or not items:
        raise Refused(400, "input is a text, or a list with at least one item")
    said, calls = "", list[ToolCall]()
    is_open = False
    for item in items:
        kind = item.get("type") or "message" if isinstance(item, Mapping) else None
        if kind == "reasoning":
            continue
        if kind == "function_call":
            calls.append(
                ToolCall(str(item.get("call_id") or ""), str(item.get("name") or ""), str(item.get("arguments") or ""))
            )
            is_open = True
            continue
        # Function calls in a row, and a text before them, are one message of the assistant.
        if is_open:
            yield message("assistant", said, calls)
            said, calls, is_open = "", [], False
        if kind == "message" and item.get("role") == "assistant":
            said, is_open = plain_text(item.get("content")), True
        elif kind == "message":
            yield message(str(item.get("role")), item.get("content"))
        elif kind == "function_call_output":
            yield message("tool", item.get("output"), (), str(item.get("call_id") or ""))
        else:
            raise Refused(400, f"input items of type {kind!r} are not carried", "unsupported")
    if is_open:
        yield message("assistant", said, calls)


def _tool(raw: Any) -> Any:
    kind = raw.get("type") if isinstance(raw, Mapping) else None
    if kind != "function":
        what = f"the built-in tool {kind!r} is not carried: it fetches data that no record holds"
        raise Refused(400, f"{what}; turn it off in the program, or offer a tool of type 'function'", "unsupported")
    return tool(raw)


def _choice(body: Mapping[str, Any]) -> str | None:
    choice = body.get("tool_choice")
    if not body.get("tools") or choice is None:
        return None
    if isinstance(choice, Mapping):
        return str(choice["name"]) if choice.get("type") == "function" and choice.get("name") else None
    return str(choice)


def _schema(text: Any) -> Mapping[str, Any] | None:
    form = text.get("format") if isinstance(text, Mapping) else None
    kind = form.get("type") if isinstance(form, Mapping) else None
    if kind == "json_object":
        return {"type": "object"}
    return {"title": form.get("name") or "answer", **(form.get("schema") or {})} if kind == "json_schema" and form else None


def _verbosity(text: Any) -> dict[str, Any]:
    verbosity = text.get("verbosity") if isinstance(text, Mapping) else None
    return {"verbosity": verbosity} if verbosity else {}


def whole(asked: Asked, answer: Answer, answer_id: str) -> dict[str, Any]:
    """The body of an answer."""
    reason = {"length": "max_output_tokens", "repeated": "max_output_tokens", "content_filter": "content_filter"}.get(
        answer.finish_reason
    )
    status = "incomplete" if reason else "completed"
    return _head(asked, answer_id) | {
        "status": status,
        "incomplete_details": {"reason": reason} if reason else None,
        "output": list(_output(answer, answer_id, status)),
        "usage": _usage(answer),
    }


def _head(asked: Asked, answer_id: str) -> dict[str, Any]:
    format_ = {"type": "json_schema", "name": asked.schema.get("title", "answer"), "schema": dict(asked.schema)} if (
        asked.schema
    ) else {"type": "text"}  # fmt: skip
    return {
        "id": f"resp_{answer_id}",
        "object": "response",
        "created_at": int(time.time()),
        "status": "in_progress",
        "background": False,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "max_output_tokens": asked.max_output_tokens,
        "max_tool_calls": None,
        "metadata": {},
        "model": asked.model,
        "output": [],
        "parallel_tool_calls": asked.parallel_tool_calls is not False,
        "previous_response_id": None,
        "reasoning": {"effort": None, "summary": None},
        "service_tier": "default",
        "store": False,
        "temperature": asked.sampling.get("temperature", 1.0),
        "text": {"format": format_, "verbosity": "medium"},
        "tool_choice": {"type": "function", "name": asked.forced_tool} if asked.forced_tool else asked.tool_choice or "auto",
        "tools": [
            {"type": "function", "name": tool.name, "description": tool.description, "parameters": dict(tool.parameters),
             "strict": False}
            for tool in asked.tools
        ],
        "top_logprobs": 0,
        "top_p": asked.sampling.get("top_p", 1.0),
        "truncation": "disabled",
        "usage": None,
        "user": None,
    }  # fmt: skip


def _output(answer: Answer, answer_id: str, status: str) -> Iterator[dict[str, Any]]:
    if answer.reasoning:
        summary = [{"type": "summary_text", "text": answer.reasoning}]
        yield {"id": f"rs_{answer_id}", "type": "reasoning", "summary": summary}
    head = {"id": f"msg_{answer_id}", "type": "message", "status": status, "role": "assistant"}
    if answer.finish_reason == "refused":
        yield head | {"content": [{"type": "refusal", "refusal": answer.text}]}
    elif answer.text or not (answer.tool_calls or status == "incomplete"):
        yield head | {"content": [{"type": "output_text", "annotations": [], "logprobs": [], "text": answer.text}]}
    for index, call in enumerate(answer.tool_calls):
        yield {
            "id": f"fc_{answer_id}{index}",
            "type": "function_call",
            "status": "completed",
            "call_id": call.id,
            "name": call.name,
            "arguments": call.arguments,
        }


def _usage(answer: Answer) -> dict[str, Any]:
    counted = answer.usage
    input_tokens, output_tokens = counted.input_tokens or 0, counted.output_tokens or 0
    return {
        "input_tokens": input_tokens,
        "input_tokens_details": {"cached_tokens": counted.cached_tokens or 0},
        "output_tokens": output_tokens,
        "output_tokens_details": {"reasoning_tokens": counted.reasoning_tokens or 0},
        "total_tokens": input_tokens + output_tokens,
    }


class Events:
    """Server-sent events with their running number."""

    def __init__(self) -> None:
        self._number = 0

    def event(self, kind: str, **fields: Any) -> bytes:
        data = {"type": kind, "sequence_number": self._number, **fields}
        self._number += 1
        return f"event: {kind}\ndata: {json.dumps(data, separators=(',', ':'))}\n\n".encode()


def events(asked: Asked, answer: Answer, answer_id: str) -> Iterator[bytes]:
    """The answer as server-sent events."""
    body, started, stream = whole(asked, answer, answer_id), _head(asked, answer_id), Events()
    yield stream.event("response.created", response=started)
    yield stream.event("response.in_progress", response=started)
    for index, item in enumerate(body["output"]):
        yield from _item_events(stream, index, item)
    end = "response.completed" if body["status"] == "completed" else "response.incomplete"
    yield stream.event(end, response=body)


def _item_events(stream: Events, index: int, item: dict[str, Any]) -> Iterator[bytes]:
    empty: dict[str, dict[str, Any]] = {
        "message": {"content": [], "status": "in_progress"},
        "function_call": {"arguments": "", "status": "in_progress"},
    }
    yield stream.event("response.output_item.added", output_index=index, item=item | empty.get(item["type"], {}))
    at = {"item_id": item["id"], "output_index": index}
    if item["type"] == "function_call":
        yield stream.event("response.function_call_arguments.delta", **at, delta=item["arguments"])
        yield stream.event(
            "response.function_call_arguments.done", **at, name=item["name"], arguments=item["arguments"]
        )  # fmt: skip
    if item["type"] == "message":
        yield from _content_events(stream, at | {"content_index": 0}, item["content"][0])
    yield stream.event("response.output_item.done", output_index=index, item=item)


def _content_events(stream: Events, at: dict[str, Any], part: dict[str, Any]) -> Iterator[bytes]:
    kind, key = ("refusal", "refusal") if part["type"] == "refusal" else ("output_text", "text")
    more: dict[str, Any] = {} if kind == "refusal" else {"logprobs": []}
    yield stream.event("response.content_part.added", **at, part=part | {key: ""})
    for piece in pieces(part[key]):
        yield stream.event(f"response.{kind}.delta", **at, delta=piece, **more)
    yield stream.event(f"response.{kind}.done", **at, **{key: part[key]}, **more)
    yield stream.event("response.content_part.done", **at, part=part)
