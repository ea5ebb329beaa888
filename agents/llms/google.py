"""Google's Gemini API, natively: its schema, its thinking and its usage; its prompt cache works by itself."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from agents.llms.failures import failed
from agents.llms.hosted import HostedApi, installed, wire_decides
from agents.llms.messages import langchain_messages, tool_spec
from agents.llms.openai import response_format
from agents.llms.provider import Slot, effective_params, output_cap
from agents.llms.wire import Wire, note_sent, token_count
from agents.types import Answer, Model, Request, Server, ToolCall
from domain.providers import PROVIDERS
from domain.usage import Usage

_FINISH_REASONS = {"STOP": "stop", "MAX_TOKENS": "length"}
_REFUSED = frozenset({"SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII"})


class Google(HostedApi):
    """Google as one event loop reaches it."""

    api_version = "v1beta"
    """The SDK's default, v1, knows no JSON schema."""

    def build(self, model: Model) -> Any:
        installed(PROVIDERS["google"])
        from langchain_google_genai import ChatGoogleGenerativeAI

        # Only for composing requests: they are sent by our own client, so that each answer is read from the wire.
        return ChatGoogleGenerativeAI(model=model.name, google_api_key="unused", vertexai=False)

    def client(self) -> Any:
        from google.genai import Client
        from google.genai.types import HttpOptions

        options = HttpOptions(base_url=self.url, api_version=self.api_version, httpx_async_client=self.http_client())
        return Client(api_key=self.server.api_key or "none", vertexai=False, http_options=options).aio

    async def send(self, request: Request, slot: Slot, wire: Wire) -> Answer:
        await self.prepare(request.model)
        messages = langchain_messages(request.parts, parsed_arguments=True)
        composed = self.chats[request.model.name]._prepare_request(messages, **arguments(request))
        config = composed["config"].model_copy(update={"http_options": None})
        note_sent(_named(config))
        with wire_decides(wire):
            await self.connection.models.generate_content(**composed | {"config": config})
        return answer(wire)

    def headers(self) -> dict[str, str]:
        return {"x-goog-api-key": self.server.api_key or "none"}


def connect(server: Server, owner: str) -> Google:
    """Client of one server of this kind."""
    return Google(server)


def arguments(request: Request) -> dict[str, Any]:
    """Arguments besides the messages."""
    params = effective_params(request)
    given = {name: params.get(name) for name in ("temperature", "top_p", "top_k", "seed")} | {
        "max_output_tokens": output_cap(request),
        "thinking_budget": params.get("thinking_tokens"),
        "thinking_level": params.get("reasoning_effort"),
        "response_format": response_format(request.schema),
        "tools": [tool_spec(tool) for tool in request.tools] or None,
        "tool_choice": {"required": "any"}.get(request.tool_choice or "", request.tool_choice) if request.tools else None,
    }
    return {name: value for name, value in given.items() if value is not None}


def _named(config: Any) -> dict[str, Any]:
    """The parameters as they are sent, without prompt and tools; a schema only as present."""
    sent: dict[str, Any] = config.model_dump(mode="json", exclude_none=True, exclude={"system_instruction", "tools"})
    return sent | ({"response_json_schema": "json_schema"} if "response_json_schema" in sent else {})


def answer(wire: Wire) -> Answer:
    """Read a generateContent body. Raises CallFailed if it is none."""
    read = wire.json()
    body: Mapping[str, Any] = read if isinstance(read, Mapping) else {}
    candidates = body.get("candidates")
    if (body.get("promptFeedback") or {}).get("blockReason"):
        candidates = [{"finishReason": "SAFETY"}]
    if not isinstance(candidates, list) or not candidates or not isinstance(candidates[0], Mapping):
        raise failed("bad_answer", f"HTTP {wire.status}, but no candidates: {str(read)[:300]}", "NoCandidates", wire)
    candidate = candidates[0]
    parts = [part for part in (candidate.get("content") or {}).get("parts") or () if isinstance(part, Mapping)]
    calls = tuple(_tool_calls(parts))
    reason = str(candidate.get("finishReason"))
    finish_reason = "refused" if reason in _REFUSED else _FINISH_REASONS.get(reason, "unknown")
    finish_reason = "tool_calls" if calls and finish_reason == "stop" else finish_reason
    return Answer(
        text="".join(str(part.get("text") or "") for part in parts if not part.get("thought")),
        reasoning="\n\n".join(str(part["text"]) for part in parts if part.get("thought") and part.get("text")) or None,
        tool_calls=calls,
        finish_reason=finish_reason,
        truncated=finish_reason == "length",
        usage=usage(body.get("usageMetadata")),
        model_returned=body.get("modelVersion"),
        request_id=body.get("responseId"),
    )


def usage(reported: Any) -> Usage:
    """Google counts thinking apart from the answer."""
    if not isinstance(reported, Mapping):
        return Usage()
    whole, cached, answered, thought, tool_use = (
        token_count(reported.get(f"{name}TokenCount"))
        for name in ("prompt", "cachedContent", "candidates", "thoughts", "toolUsePrompt")
    )
    is_counted = answered is not None or thought is not None
    return Usage(
        input_tokens=(whole + (tool_use or 0)) if whole else None,
        cached_tokens=cached if whole is None else cached or 0,
        output_tokens=(answered or 0) + (thought or 0) if is_counted else None,
        reasoning_tokens=thought,
    )


def _tool_calls(parts: Sequence[Mapping[str, Any]]) -> Iterator[ToolCall]:
    for at, part in enumerate(parts):
        if isinstance(call := part.get("functionCall"), Mapping):
            yield ToolCall(str(call.get("id") or f"call_{at}"), str(call.get("name")), json.dumps(call.get("args") or {}))
