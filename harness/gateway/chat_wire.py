"""Chat Completions: a program's request, and an answer as whole body or as a stream."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from typing import Any

from agents import Answer, ToolCall, Usage
from harness.gateway.asked import (
    Asked,
    Refused,
    cap_of,
    dropped_of,
    message,
    need_model,
    refuse_if,
    sampling_of,
    tool,
)

_FINISH = {
    "length": "length",
    "repeated": "length",
    "tool_calls": "tool_calls",
    "content_filter": "content_filter",
}
PIECE_CHARS = 2000


def asked(body: Any) -> Asked:
    """Read a request. Raises Refused for what the gateway does not carry."""
    model = need_model(body)
    refuse_if(body, "logprobs", "top_logprobs", "audio", "functions", "function_call", "prediction")
    # An empty object turns the search on.
    refuse_if({"web_search_options": body.get("web_search_options") is not None}, "web_search_options")
    if body.get("n") not in (None, 1):
        raise Refused(400, f"n={body['n']} is not carried: one answer a request; ask several times, with n=1", "unsupported")
    if body.get("modalities") not in (None, ["text"]):
        raise Refused(400, "only the modality text is carried", "unsupported")
    if not isinstance(body.get("messages"), list) or not body["messages"]:
        raise Refused(400, "messages is a list with at least one message")
    options = body.get("stream_options") or {}
    return Asked(
        wire="chat",
        model=model,
        parts=tuple(map(_message, body["messages"])),
        tools=tuple(_tool(each) for each in body.get("tools") or ()),
        tool_choice=_choice(body),
        parallel_tool_calls=body.get("parallel_tool_calls") if body.get("tools") else None,
        schema=_schema(body.get("response_format")),
        max_output_tokens=cap_of(body, "max_completion_tokens", "max_tokens"),
        sampling=sampling_of(body),
        dropped=dropped_of(body, ("max_completion_tokens", "max_tokens", "modalities")),
        stream=bool(body.get("stream")),
        include_usage=bool(isinstance(options, Mapping) and options.get("include_usage")),
    )


def _message(raw: Any) -> Any:
    if not isinstance(raw, Mapping):
        raise Refused(400, "a message is an object with role and content")
    calls = [_call(call) for call in raw.get("tool_calls") or ()]
    return message(str(raw.get("role")), raw.get("content"), calls, raw.get("tool_call_id") or raw.get("name") or None
                   if raw.get("role") in ("tool", "function") else None)  # fmt: skip


def _call(raw: Any) -> ToolCall:
    function = raw.get("function") if isinstance(raw, Mapping) else None
    if not isinstance(function, Mapping):
        raise Refused(400, "a tool call of an assistant's message needs id and function")
    return ToolCall(str(raw.get("id") or ""), str(function.get("name") or ""), str(function.get("arguments") or ""))


def _tool(raw: Any) -> Any:
    kind = raw.get("type") if isinstance(raw, Mapping) else None
    if kind != "function":
        what = f"tools of type {kind!r} are not carried: they fetch data that no record holds; offer a tool of type 'function'"
        raise Refused(400, what, "unsupported")
    return tool(raw.get("function"))


def _choice(body: Mapping[str, Any]) -> str | None:
    choice = body.get("tool_choice")
    if not body.get("tools") or choice is None:
        return None
    if isinstance(choice, Mapping):
        function = choice.get("function")
        name = function.get("name") if isinstance(function, Mapping) else choice.get("name")
        return str(name) if name else None
    return "required" if choice == "any" else str(choice)


def _schema(wanted: Any) -> Mapping[str, Any] | None:
    kind = wanted.get("type") if isinstance(wanted, Mapping) else None
    if kind == "json_object":
        return {"type": "object"}
    if kind != "json_schema":
        return None
    form = wanted.get("json_schema") or {}
    return {"title": form.get("name") or "answer", **(form.get("schema") or {})}


def whole(asked: Asked, answer: Answer, answer_id: str) -> dict[str, Any]:
    """The body of an answer."""
    said: dict[str, Any] = {"role": "assistant", "content": _content(answer), "refusal": _refusal(answer), "annotations": []}
    if answer.reasoning:
        said["reasoning_content"] = answer.reasoning
    if answer.tool_calls:
        said["tool_calls"] = [plain_call(call) for call in answer.tool_calls]
    choice = {"index": 0, "message": said, "logprobs": None, "finish_reason": _finish(answer)}
    return _head(asked, answer_id, "chat.completion") | {"choices": [choice], "usage": usage(answer.usage)}


def events(asked: Asked, answer: Answer, answer_id: str) -> Iterator[bytes]:
    """The same as server-sent events."""
    head = _head(asked, answer_id, "chat.completion.chunk")

    def event(delta: dict[str, Any], finish: str | None = None) -> bytes:
        return sse(head | {"choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}]})

    yield event({"role": "assistant", "content": "", "refusal": None})
    if answer.reasoning:
        yield event({"reasoning_content": answer.reasoning})
    for piece in pieces(_content(answer) or ""):
        yield event({"content": piece})
    if refusal := _refusal(answer):
        yield event({"refusal": refusal})
    for index, call in enumerate(answer.tool_calls):
        named = plain_call(call) | {"index": index, "function": {"name": call.name, "arguments": ""}}
        yield event({"tool_calls": [named]})
        yield event({"tool_calls": [{"index": index, "function": {"arguments": call.arguments}}]})
    yield event({}, _finish(answer))
    if asked.include_usage:
        yield sse(head | {"choices": [], "usage": usage(answer.usage)})
    yield b"data: [DONE]\n\n"


def plain_call(call: ToolCall) -> dict[str, Any]:
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}


def pieces(text: str) -> Iterator[str]:
    return (text[at : at + PIECE_CHARS] for at in range(0, len(text), PIECE_CHARS))


def sse(data: Any) -> bytes:
    return b"data: " + json.dumps(data, separators=(",", ":")).encode() + b"\n\n"


def usage(counted: Usage) -> dict[str, Any]:
    """Token counts; unknown is 0 towards a program, and NULL in the record."""
    prompt, completion = counted.input_tokens or 0, counted.output_tokens or 0
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": counted.cached_tokens or 0, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": counted.reasoning_tokens or 0,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def error(status: int, message: str, code: str | None = None) -> dict[str, Any]:
    """An error in the format of both of OpenAI's APIs."""
    kind = "invalid_request_error" if status < 500 else "server_error"
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def _head(asked: Asked, answer_id: str, kind: str) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{answer_id}",
        "object": kind,
        "created": int(time.time()),
        "model": asked.model,
        "service_tier": "default",
        "system_fingerprint": None,
    }


def _content(answer: Answer) -> str | None:
    if answer.finish_reason == "refused":
        return None
    return answer.text or (None if answer.tool_calls else "")


def _refusal(answer: Answer) -> str | None:
    return answer.text if answer.finish_reason == "refused" else None


def _finish(answer: Answer) -> str:
    default = "tool_calls" if answer.tool_calls else "stop"
    return _FINISH.get(answer.finish_reason, default)
