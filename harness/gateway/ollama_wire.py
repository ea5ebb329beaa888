"""Ollama's native API, chat and generate: a program's request, and an answer as one object or as lines."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator, Mapping
from typing import Any

from agents import Answer, Part, ToolCall
from harness.gateway.asked import (
    Asked,
    Refused,
    arguments_object,
    dropped_of,
    message,
    need_model,
    refuse_if,
    sampling_of,
    tool,
)
from harness.gateway.chat_wire import pieces

_NANO = 1_000_000_000
_READ_OPTIONS = ("num_predict", "temperature", "top_p", "top_k", "seed")
VERSION = "0.17.0"
"""The version that the gateway reports; clients ask for it to know which fields they may send."""


def asked_chat(body: Any) -> Asked:
    """Read a request of /api/chat. Raises Refused."""
    model = need_model(body)
    if not isinstance(body.get("messages"), list) or not body["messages"]:
        raise Refused(400, "messages is a list with at least one message")
    return Asked(
        wire="ollama_chat",
        parts=tuple(_messages(body["messages"])),
        tools=tuple(tool(each.get("function") if isinstance(each, Mapping) else None) for each in body.get("tools") or ()),
        **_common(model, body),
    )


def asked_generate(body: Any) -> Asked:
    """Read a request of /api/generate. Raises Refused."""
    model = need_model(body)
    refuse_if(body, "images", "context", "raw", "suffix", "template")
    system = [message("system", body["system"])] if body.get("system") else []
    return Asked(wire="ollama_generate", parts=(*system, message("user", body.get("prompt"))), **_common(model, body))


def _common(model: str, body: Mapping[str, Any]) -> dict[str, Any]:
    options = body.get("options") or {}
    cap = options.get("num_predict")
    return {
        "model": model,
        "schema": _schema(body.get("format")),
        "max_output_tokens": cap if isinstance(cap, int) and cap > 0 else None,
        "sampling": sampling_of(options),
        "dropped": dropped_of(body, ("prompt", "system")) | dropped_of(options, _READ_OPTIONS),
        "stream": body.get("stream") is not False,
    }


def _schema(wanted: Any) -> Mapping[str, Any] | None:
    if wanted == "json":
        return {"type": "object"}
    return wanted if isinstance(wanted, Mapping) and wanted else None


def _messages(raw: list[Any]) -> Iterator[Part]:
    """Tool results refer to calls by their order or by the tool's name: Ollama's calls need no ids."""
    open_calls: list[ToolCall] = []
    for number, each in enumerate(raw):
        if not isinstance(each, Mapping):
            raise Refused(400, "a message is an object with role and content")
        if each.get("images"):
            raise Refused(400, "images are not carried; the gateway carries texts only", "unsupported")
        if each.get("role") == "tool":
            yield message("tool", each.get("content"), (), _answered(each, open_calls))
            continue
        calls = [_call(call, f"call_{number}_{index}") for index, call in enumerate(each.get("tool_calls") or ())]
        open_calls = list(calls)
        yield message(str(each.get("role")), each.get("content"), calls)


def _call(raw: Any, default_id: str) -> ToolCall:
    function = raw.get("function") if isinstance(raw, Mapping) else None
    if not isinstance(function, Mapping):
        raise Refused(400, "a tool call of an assistant's message needs a function")
    arguments = function.get("arguments")
    text = arguments if isinstance(arguments, str) else json.dumps(arguments or {})
    return ToolCall(str(raw.get("id") or default_id), str(function.get("name") or ""), text)


def _answered(raw: Mapping[str, Any], open_calls: list[ToolCall]) -> str | None:
    """The id of the call that this result answers, taken from the calls that wait for one."""
    name, given = raw.get("tool_name") or raw.get("name"), raw.get("tool_call_id")
    for call in open_calls:
        if given == call.id or (not given and name in (None, call.name)):
            open_calls.remove(call)
            return call.id
    return str(given) if given else None


def whole(asked: Asked, answer: Answer, answer_id: str) -> dict[str, Any]:
    """The answer as one object."""
    return _head(asked) | _said(asked, answer.text, answer) | _end(answer)


def lines(asked: Asked, answer: Answer, answer_id: str) -> Iterator[bytes]:
    """The answer as lines, the last one with the counts."""
    head = _head(asked)
    for piece in pieces(answer.reasoning or ""):
        yield line(head | _piece(asked, "", thinking=piece) | {"done": False})
    for piece in pieces(answer.text):
        yield line(head | _piece(asked, piece) | {"done": False})
    if answer.tool_calls:
        yield line(head | {"message": {"role": "assistant", "content": "", "tool_calls": _calls(answer)}, "done": False})
    yield line(head | _piece(asked, "") | _end(answer))


def waiting(asked: Asked) -> bytes:
    """A line that keeps a client waiting; an empty line would break its parser."""
    return line(_head(asked) | _piece(asked, "") | {"done": False})


def line(data: Any) -> bytes:
    # Some clients split lines at U+2028, too.
    return json.dumps(data).encode() + b"\n"


def _head(asked: Asked) -> dict[str, Any]:
    return {"model": asked.model, "created_at": dt.datetime.now(dt.UTC).isoformat().replace("+00:00", "Z")}


def _piece(asked: Asked, text: str, **more: Any) -> dict[str, Any]:
    if asked.wire == "ollama_generate":
        return {"response": text} | more
    return {"message": {"role": "assistant", "content": text} | more}


def _said(asked: Asked, text: str, answer: Answer) -> dict[str, Any]:
    more: dict[str, Any] = {"thinking": answer.reasoning} if answer.reasoning else {}
    if answer.tool_calls:
        more["tool_calls"] = _calls(answer)
    return _piece(asked, text, **more)


def _calls(answer: Answer) -> list[dict[str, Any]]:
    return [
        {"id": call.id, "function": {"index": index, "name": call.name, "arguments": arguments_object(call.arguments)}}
        for index, call in enumerate(answer.tool_calls)
    ]


def _end(answer: Answer) -> dict[str, Any]:
    timing, counted = answer.timing, answer.usage
    is_cut = answer.finish_reason in ("length", "repeated")
    return {
        "done": True,
        "done_reason": "length" if is_cut else "stop",
        "total_duration": _nano(timing.duration_s),
        "load_duration": _nano(timing.load_s),
        "prompt_eval_count": counted.input_tokens or 0,
        "prompt_eval_duration": _nano(timing.prefill_s),
        "eval_count": counted.output_tokens or 0,
        "eval_duration": _nano(timing.decode_s),
    }


def _nano(seconds: float | None) -> int:
    return round((seconds or 0.0) * _NANO)
