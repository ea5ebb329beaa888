"""Anthropic's Messages API, natively: breakpoints of its prompt cache, a budget or an effort of thinking, and whole usage."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from agents.llms.failures import failed
from agents.llms.hosted import HostedApi, installed, wire_decides
from agents.llms.messages import langchain_messages, tool_spec
from agents.llms.openai import response_format
from agents.llms.provider import Slot, effective_params, output_cap, takes_cache_marks
from agents.llms.wire import Wire, note_sent, token_count
from agents.types import Answer, Model, Request, Server, ToolCall
from domain.providers import MAX_OUTPUT_TOKENS, PROVIDERS
from domain.text import decode_json
from domain.usage import Usage

_MARKER = {"cache_control": {"type": "ephemeral"}}
_FINISH_REASONS = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "refused",
}


class Anthropic(HostedApi):
    """Anthropic as one event loop reaches it."""

    api_version = "v1"

    def build(self, model: Model) -> Any:
        installed(PROVIDERS["anthropic"])
        from langchain_anthropic import ChatAnthropic

        # Only for composing requests: they are sent by our own client, so that each answer is read from the wire.
        settings: dict[str, Any] = {"model": model.name, "api_key": "unused", "max_tokens": MAX_OUTPUT_TOKENS}
        return ChatAnthropic(**settings)

    def client(self) -> Any:
        import anthropic

        return anthropic.AsyncAnthropic(
            api_key=self.server.api_key or "none",
            base_url=self.url,
            max_retries=0,
            http_client=self.http_client(),
            timeout=None,
        )

    async def send(self, request: Request, slot: Slot, wire: Wire) -> Answer:
        import httpx2

        await self.prepare(request.model)
        marks = request.caching.marks if request.caching and takes_cache_marks(self.server, request.model) else ()
        wire.first_token = request.caching.first_token if request.caching else None
        messages = langchain_messages(request.parts, parsed_arguments=True, marks=marks, marker=_MARKER)
        body = self.chats[request.model.name]._get_request_payload(messages, **arguments(request))
        body |= body.pop("extra_body", None) or {}
        body = {name: value for name, value in body.items() if value is not None}
        note_sent(body)
        if wire.first_token is not None:
            body["stream"] = True
        with wire_decides(wire):
            await self.connection.post(f"/{self.api_version}/messages", cast_to=httpx2.Response, body=body)
        return answer(wire)

    def headers(self) -> dict[str, str]:
        return {"x-api-key": self.server.api_key or "none", "anthropic-version": "2023-06-01"}


def connect(server: Server, owner: str) -> Anthropic:
    """Client of one server of this kind."""
    return Anthropic(server)


def arguments(request: Request) -> dict[str, Any]:
    """Arguments besides the messages; thinking is off unless a budget or an effort is configured."""
    params = effective_params(request)
    budget = params.get("thinking_tokens")
    named = {name: params.get(name) for name in ("temperature", "top_p", "top_k")}
    given = named | {
        "max_tokens": output_cap(request),
        "response_format": response_format(_without_unions(request.schema)),
        "effort": params.get("reasoning_effort"),
        "thinking": {"type": "enabled", "budget_tokens": budget} if budget else None,
        "tools": [_tool(tool_spec(tool)["function"]) for tool in request.tools] or None,
        "tool_choice": _tool_choice(request),
    }
    return {name: value for name, value in given.items() if value is not None}


def _without_unions(schema: Any) -> Any:
    """A list of types as `anyOf`: the SDK refuses the short form."""
    if isinstance(schema, list):
        return [_without_unions(value) for value in schema]
    if not isinstance(schema, Mapping):
        return schema
    plain = {key: _without_unions(value) for key, value in schema.items()}
    if not isinstance(plain.get("type"), list):
        return plain
    return {"anyOf": [{"type": kind} for kind in plain.pop("type")]} | {
        key: value for key, value in plain.items() if key in ("description", "title")
    }


def _tool(function: Mapping[str, Any]) -> dict[str, Any]:
    return {"name": function["name"], "description": function["description"], "input_schema": function["parameters"]}


def _tool_choice(request: Request) -> dict[str, Any] | None:
    if not request.tools or (request.tool_choice is None and request.parallel_tool_calls is None):
        return None
    kinds = {"auto": "auto", "none": "none", "required": "any", None: "auto"}
    kind = kinds.get(request.tool_choice)
    choice: dict[str, Any] = {"type": kind} if kind else {"type": "tool", "name": request.tool_choice}
    if request.parallel_tool_calls is not None and choice["type"] != "none":
        choice["disable_parallel_tool_use"] = not request.parallel_tool_calls
    return choice


def answer(wire: Wire) -> Answer:
    """Read a Messages body, whole or streamed. Raises CallFailed if it is none."""
    body = _of_events(wire) if wire.headers.get("content-type", "").startswith("text/event-stream") else wire.json()
    if not isinstance(body, Mapping) or not isinstance(body.get("content"), list):
        raise failed("bad_answer", f"HTTP {wire.status}, but no content: {str(body)[:300]}", "NoContent", wire)
    blocks = [block for block in body["content"] if isinstance(block, Mapping)]
    finish_reason = _FINISH_REASONS.get(str(body.get("stop_reason")), "unknown")
    reported = body.get("usage") or {}
    return Answer(
        text="".join(str(block.get("text") or "") for block in blocks if block.get("type") == "text"),
        reasoning="\n\n".join(str(block.get("thinking") or "") for block in blocks if block.get("type") == "thinking") or None,
        tool_calls=tuple(_tool_calls(blocks)),
        finish_reason=finish_reason,
        truncated=finish_reason == "length",
        usage=usage(reported),
        model_returned=body.get("model"),
        service_tier=reported.get("service_tier") if isinstance(reported, Mapping) else None,
        request_id=wire.headers.get("request-id") or body.get("id"),
    )


def usage(reported: Any) -> Usage:
    """Anthropic counts what it read from the cache and wrote to it apart from `input_tokens`."""
    if not isinstance(reported, Mapping):
        return Usage()
    plain, read, written, output = (
        token_count(reported.get(name))
        for name in ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens", "output_tokens")
    )
    whole = None if plain is None else plain + (read or 0) + (written or 0)
    return Usage(whole or None, read, written, output)


def _tool_calls(blocks: Sequence[Mapping[str, Any]]) -> Iterator[ToolCall]:
    for block in blocks:
        if block.get("type") == "tool_use":
            yield ToolCall(str(block.get("id")), str(block.get("name")), json.dumps(block.get("input") or {}))


def _of_events(wire: Wire) -> dict[str, Any]:
    """The body of a stream. Raises CallFailed for a stream without its end."""
    whole: dict[str, Any] = {}
    blocks: list[dict[str, Any]] = []
    is_ended = False
    for event in _events(wire.body or b""):
        kind, delta = event.get("type"), event.get("delta") or {}
        if kind == "message_start":
            whole = dict(event["message"])
        elif kind == "content_block_start":
            blocks.append(dict(event["content_block"]) | {"json": ""})
        elif kind == "content_block_delta" and blocks:
            for name, key in (("text", "text"), ("thinking", "thinking"), ("partial_json", "json")):
                blocks[-1][key] = str(blocks[-1].get(key) or "") + str(delta.get(name) or "")
        elif kind == "message_delta":
            whole |= {name: value for name, value in delta.items() if value is not None}
            whole["usage"] = (whole.get("usage") or {}) | (event.get("usage") or {})
        is_ended = is_ended or kind == "message_stop"
    if not is_ended:
        raise failed("cut_stream", "the stream ended before its last event", "CutStream", wire)
    return whole | {"content": [_with_input(block) for block in blocks]}


def _with_input(block: dict[str, Any]) -> dict[str, Any]:
    text = block.pop("json")
    try:
        return block | ({"input": decode_json(text)} if text else {})
    except ValueError:
        return block


def _events(raw: bytes) -> Iterator[Mapping[str, Any]]:
    for line in raw.splitlines():
        try:
            event = decode_json(line[5:]) if line.startswith(b"data:") else None
        except ValueError:
            continue
        if isinstance(event, Mapping):
            yield event
