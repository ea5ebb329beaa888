"""Answers read from the wire bodies of OpenAI's two APIs, as billed and before any client library judged them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from agents.contract.answer import Answer, Timing
from agents.contract.request import ToolCall
from agents.llms.failures import failed
from agents.llms.wire import Wire
from domain.usage import Usage

_FINISH = {
    "stop": "stop",
    "length": "length",
    "max_tokens": "length",
    "abort": "length",
    "error": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
}
"""Finish reasons of Chat Completions; a server that gave up half way (vLLM's abort, a gateway's error) left a cut answer."""
_FAILED_CAUSES = {
    "rate_limit_exceeded": "rate_limited",
    "insufficient_quota": "quota",
    "invalid_prompt": "bad_request",
    "bio_policy": "bad_request",
    "misalignment_policy_violation": "bad_request",
    "data_residency_mismatch": "bad_request",
}
"""By the code of a failed response; every other one is the server's own fault and worth asking again."""


def chat_answer(wire: Wire) -> Answer:
    """The answer of a Chat Completions body. Raises CallFailed when the body is not one."""
    body = _object(wire)
    choices = body.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    if not isinstance(choice, Mapping) or not isinstance(choice.get("message"), Mapping):
        raise failed("bad_answer", f"HTTP {wire.status}, but no choices: {str(body)[:300]}", "NoChoices", wire)
    message = choice["message"]
    refusal = _text(message.get("refusal"))
    finish = "refused" if refusal else _FINISH.get(str(choice.get("finish_reason")), "unknown")
    return Answer(
        text=refusal or _text(message.get("content")),
        reasoning=_text(message.get("reasoning_content") or message.get("reasoning")) or None,
        tool_calls=tuple(_chat_tool_calls(message.get("tool_calls"))),
        finish_reason=finish,
        truncated=finish == "length",
        usage=usage(body.get("usage"), "prompt", "completion"),
        timing=_llama_timing(body.get("timings")),
        model_returned=_text(body.get("model")) or None,
        service_tier=_text(body.get("service_tier")) or None,
        request_id=wire.request_id or _text(body.get("id")) or None,
    )


def responses_answer(wire: Wire) -> Answer:
    """The answer of a Responses body. Raises CallFailed when the response failed or is none."""
    body = _object(wire)
    if body.get("error") or body.get("status") in ("failed", "cancelled"):
        raise _response_failed(body.get("error") or f"status {body['status']}, without a reason", wire)
    items = body.get("output")
    if not isinstance(items, list):
        raise failed("bad_answer", f"HTTP {wire.status}, but no output: {str(body)[:300]}", "NoOutput", wire)
    refusal = "".join(_contents(items, "refusal", "refusal"))
    calls = tuple(_response_tool_calls(items))
    finish = _response_finish(body, refusal, calls)
    return Answer(
        text=refusal or "".join(_contents(items, "output_text", "text")),
        reasoning="\n\n".join(_summaries(items)) or None,
        tool_calls=calls,
        finish_reason=finish,
        truncated=finish == "length",
        usage=usage(body.get("usage"), "input", "output"),
        model_returned=_text(body.get("model")) or None,
        service_tier=_text(body.get("service_tier")) or None,
        request_id=wire.request_id or _text(body.get("id")) or None,
    )


def usage(told: Any, before: str, after: str) -> Usage:
    """Token counts under the names of either API (`prompt`/`completion` or `input`/`output`)."""
    told = told if isinstance(told, Mapping) else {}
    read, written = _details(told, before), _details(told, after)
    return Usage(
        input_tokens=count(told.get(f"{before}_tokens")),
        cached_tokens=count(read.get("cached_tokens")),
        cache_write_tokens=count(read.get("cache_write_tokens")),
        output_tokens=count(told.get(f"{after}_tokens")),
        reasoning_tokens=count(written.get("reasoning_tokens")),
    )


def count(value: Any) -> int | None:
    """A token count, or None for what is none (NaN, a negative number, a text)."""
    real = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and value >= 0
    return int(value) if real else None


def clean(text: str) -> str:
    """Half a surrogate pair, which JSON can carry and UTF-8 cannot, becomes a question mark."""
    return text.encode("utf-8", "replace").decode()


def _object(wire: Wire) -> Mapping[str, Any]:
    body = wire.json()
    if isinstance(body, Mapping):
        return body
    seen = (wire.body or b"")[:300].decode("utf-8", "replace")
    raise failed("bad_answer", f"HTTP {wire.status} whose body is no JSON object: {seen!r}", "NoJson", wire)


def _chat_tool_calls(calls: Any) -> Iterator[ToolCall]:
    for call in calls if isinstance(calls, list) else ():
        function = call.get("function") if isinstance(call, Mapping) else None
        if isinstance(function, Mapping):
            yield ToolCall(_text(call.get("id")), _text(function.get("name")), _text(function.get("arguments")))


def _response_tool_calls(items: list[Any]) -> Iterator[ToolCall]:
    for item in _of_type(items, "function_call"):
        yield ToolCall(_text(item.get("call_id")), _text(item.get("name")), _text(item.get("arguments")))


def _response_finish(body: Mapping[str, Any], refusal: str, calls: tuple[ToolCall, ...]) -> str:
    if body.get("status") == "incomplete":
        # Whatever stopped it, an incomplete answer is a cut one.
        filtered = _mapping(body.get("incomplete_details")).get("reason") == "content_filter"
        return "content_filter" if filtered else "length"
    if refusal:
        return "refused"
    if calls:
        return "tool_calls"
    return "stop" if body.get("status") == "completed" else "unknown"


def _response_failed(error: Any, wire: Wire) -> Exception:
    code = str(_mapping(error).get("code") or "failed")
    message = f"the response failed: {_mapping(error).get('message') or error}"
    return failed(_FAILED_CAUSES.get(code, "server_error"), message, code, wire)


def _contents(items: list[Any], kind: str, key: str) -> Iterator[str]:
    for item in _of_type(items, "message"):
        content = item.get("content")
        for block in _of_type(content if isinstance(content, list) else [], kind):
            yield _text(block.get(key))


def _summaries(items: list[Any]) -> Iterator[str]:
    for item in _of_type(items, "reasoning"):
        summary = item.get("summary")
        for block in _of_type(summary if isinstance(summary, list) else [], "summary_text"):
            yield _text(block.get("text"))


def _of_type(items: list[Any], kind: str) -> Iterator[Mapping[str, Any]]:
    return (item for item in items if isinstance(item, Mapping) and item.get("type") == kind)


def _llama_timing(told: Any) -> Timing:
    """llama.cpp's own clock, in milliseconds."""
    told = _mapping(told)
    prefill, decode = _seconds(told.get("prompt_ms")), _seconds(told.get("predicted_ms"))
    return Timing(prefill_s=prefill, decode_s=decode)


def _seconds(millis: Any) -> float | None:
    real = isinstance(millis, (int, float)) and math.isfinite(millis) and millis >= 0
    return millis / 1000 if real else None


def _details(told: Mapping[str, Any], side: str) -> Mapping[str, Any]:
    return _mapping(told.get(f"{side}_tokens_details"))


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _text(value: Any) -> str:
    """A text, the texts of a list of blocks joined, or nothing."""
    if isinstance(value, list):
        return "".join(_text(_mapping(block).get("text")) for block in value)
    return clean(value) if isinstance(value, str) else ""
