"""Answers read from the response bodies of OpenAI's two APIs: as billed, before a client library interprets them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from agents.llms.failures import failed
from agents.llms.rating_probability import rating_probability
from agents.llms.wire import Wire, token_count
from agents.types import Answer, Timing, ToolCall
from domain.usage import Usage

_FINISH_REASONS = {
    "stop": "stop",
    "length": "length",
    "max_tokens": "length",
    "abort": "length",
    "error": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
}
"""Finish reasons of Chat Completions; after vLLM's `abort` or a gateway's `error` the answer is cut."""
_LOOP = re.compile(r"(.{1,30}?)\1{29}\s*\Z", re.DOTALL)
_LOOP_CHARS = 2000
_RESPONSE_ERROR_CAUSES = {
    "rate_limit_exceeded": "rate_limited",
    "insufficient_quota": "quota",
    "invalid_prompt": "bad_request",
    "bio_policy": "bad_request",
    "misalignment_policy_violation": "bad_request",
    "data_residency_mismatch": "bad_request",
}
"""Error code of a failed response -> cause; every other code is a server error and may be retried."""


def chat_answer(wire: Wire) -> Answer:
    """Read a Chat Completions body. Raises CallFailed if the body is not one."""
    body = _json_object(wire)
    choices = body.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    if not isinstance(choice, dict) or not isinstance(choice.get("message"), dict):
        raise failed("bad_answer", f"HTTP {wire.status}, but no choices: {str(body)[:300]}", "NoChoices", wire)
    message = choice["message"]
    refusal, text = _text(message.get("refusal")), _text(message.get("content"))
    finish_reason = "refused" if refusal else _FINISH_REASONS.get(str(choice.get("finish_reason")), "unknown")
    if choice.get("finish_reason") is None and _is_loop(text):
        finish_reason = "repeated"
    return Answer(
        text=refusal or text,
        reasoning=_text(message.get("reasoning_content") or message.get("reasoning")) or None,
        tool_calls=tuple(_chat_tool_calls(message.get("tool_calls"))),
        finish_reason=finish_reason,
        truncated=finish_reason in ("length", "repeated"),
        usage=usage(body.get("usage"), "prompt", "completion"),
        rating_probability=rating_probability(_mapping(choice.get("logprobs")).get("content")),
        timing=_llamacpp_timing(body.get("timings")),
        model_returned=_text(body.get("model")) or None,
        service_tier=_text(body.get("service_tier")) or None,
        request_id=wire.request_id or _text(body.get("id")) or None,
        billed_usd=billed_usd(body.get("usage")),
    )


def responses_answer(wire: Wire) -> Answer:
    """Read a Responses body. Raises CallFailed if the response failed or the body is not one."""
    body = _json_object(wire)
    if body.get("error") or body.get("status") in ("failed", "cancelled"):
        raise _response_failed(body.get("error") or f"status {body['status']}, without a reason", wire)
    items = body.get("output")
    if not isinstance(items, list):
        raise failed("bad_answer", f"HTTP {wire.status}, but no output: {str(body)[:300]}", "NoOutput", wire)
    refusal = "".join(_contents(items, "refusal", "refusal"))
    calls = tuple(_response_tool_calls(items))
    finish_reason = _response_finish_reason(body, refusal, calls)
    return Answer(
        text=refusal or "".join(_contents(items, "output_text", "text")),
        reasoning="\n\n".join(_summaries(items)) or None,
        tool_calls=calls,
        finish_reason=finish_reason,
        truncated=finish_reason == "length",
        usage=usage(body.get("usage"), "input", "output"),
        model_returned=_text(body.get("model")) or None,
        service_tier=_text(body.get("service_tier")) or None,
        request_id=wire.request_id or _text(body.get("id")) or None,
    )


def usage(reported: Any, prompt: str, completion: str) -> Usage:
    """Token counts under the names of either API (`prompt`/`completion` or `input`/`output`)."""
    counts = _mapping(reported)
    prompt_details = _mapping(counts.get(f"{prompt}_tokens_details"))
    completion_details = _mapping(counts.get(f"{completion}_tokens_details"))
    input_tokens, output_tokens = (token_count(counts.get(f"{kind}_tokens")) for kind in (prompt, completion))
    is_counted = bool(input_tokens)
    return Usage(
        # Some servers report 0 for what they did not count; no prompt is empty.
        input_tokens=input_tokens or None,
        cached_tokens=token_count(prompt_details.get("cached_tokens")),
        cache_write_tokens=token_count(prompt_details.get("cache_write_tokens")),
        output_tokens=output_tokens if is_counted else output_tokens or None,
        reasoning_tokens=token_count(completion_details.get("reasoning_tokens")),
    )


def billed_usd(reported: Any) -> float | None:
    """OpenRouter's bill, with what it passes on for a key of your own; None where there is none."""
    counts = _mapping(reported)
    parts = [counts.get("cost")]
    if counts.get("is_byok"):
        parts.append(_mapping(counts.get("cost_details")).get("upstream_inference_cost"))
    amounts = [part for part in parts if isinstance(part, (int, float)) and not isinstance(part, bool)]
    is_complete = len(amounts) == len(parts) and all(math.isfinite(amount) and amount >= 0 for amount in amounts)
    return float(sum(amounts)) if is_complete else None


def _is_loop(text: str) -> bool:
    """Whether a text ends in 30 equal pieces, after which an Ollama server stops a model without a finish reason."""
    loop = _LOOP.search(text[-_LOOP_CHARS:])
    return loop is not None and bool(loop[1].strip())


def _json_object(wire: Wire) -> Mapping[str, Any]:
    body = wire.json()
    if isinstance(body, dict):
        return body
    start = (wire.body or b"")[:300].decode("utf-8", "replace")
    raise failed("bad_answer", f"HTTP {wire.status} with a body that is not a JSON object: {start!r}", "NoJson", wire)


def _chat_tool_calls(calls: Any) -> Iterator[ToolCall]:
    for call in calls if isinstance(calls, list) else ():
        function = call.get("function") if isinstance(call, Mapping) else None
        if isinstance(function, Mapping):
            yield ToolCall(_text(call.get("id")), _text(function.get("name")), _text(function.get("arguments")))


def _response_tool_calls(items: list[Any]) -> Iterator[ToolCall]:
    for item in _of_type(items, "function_call"):
        yield ToolCall(_text(item.get("call_id")), _text(item.get("name")), _text(item.get("arguments")))


def _response_finish_reason(body: Mapping[str, Any], refusal: str, calls: tuple[ToolCall, ...]) -> str:
    if body.get("status") == "incomplete":
        # An incomplete answer is a cut one, whatever the reason.
        is_filtered = _mapping(body.get("incomplete_details")).get("reason") == "content_filter"
        return "content_filter" if is_filtered else "length"
    if refusal:
        return "refused"
    if calls:
        return "tool_calls"
    return "stop" if body.get("status") == "completed" else "unknown"


def _response_failed(error: Any, wire: Wire) -> Exception:
    code = str(_mapping(error).get("code") or "failed")
    message = f"the response failed: {_mapping(error).get('message') or error}"
    return failed(_RESPONSE_ERROR_CAUSES.get(code, "server_error"), message, code, wire)


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


def _llamacpp_timing(timings: Any) -> Timing:
    """llama.cpp's own measurement, which it reports in milliseconds."""
    reported = _mapping(timings)
    return Timing(prefill_s=_seconds(reported.get("prompt_ms")), decode_s=_seconds(reported.get("predicted_ms")))


def _seconds(milliseconds: Any) -> float | None:
    is_duration = isinstance(milliseconds, (int, float)) and math.isfinite(milliseconds) and milliseconds >= 0
    return milliseconds / 1000 if is_duration else None


def _mapping(value: Any) -> Mapping[str, Any]:
    # Decoded JSON; asking for the abstract Mapping takes ten times as long.
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str:
    """A string, the joined texts of a list of blocks, or an empty string."""
    if isinstance(value, list):
        return "".join(_text(_mapping(block).get("text")) for block in value)
    return value if isinstance(value, str) else ""
