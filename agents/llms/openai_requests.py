"""The bodies of requests to OpenAI's two APIs; everything that changes an answer is explicit in them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from agents.contract.request import Part, Request, ToolCall
from agents.llms.messages import join, tool_spec
from agents.llms.provider import output_cap


def responses_body(request: Request) -> dict[str, Any]:
    """For the Responses API. Tools are said to be enforced by nothing: it would make them strict by itself, and an arm's skill
    with tools would not compare."""
    params = request.model.params
    body = _given(params, "service_tier", "top_p") | {
        "model": request.model.name,
        "input": [item for part in join(request.parts) for item in _items(part)],
        "store": False,
        "stream": False,
        "max_output_tokens": output_cap(request),
        "prompt_cache_key": request.cache_key or None,
        "text": _text(request),
        "tools": [{"type": "function", **tool_spec(tool)["function"], "strict": False} for tool in request.tools] or None,
    }
    if effort := params.get("reasoning_effort"):
        body["reasoning"] = {"effort": effort} | _given(params, summary="reasoning_summary")
    if _takes_temperature(request.model.name, effort):
        body["temperature"] = params.get("temperature")
    return _present(body)


def chat_body(request: Request) -> dict[str, Any]:
    """For Chat Completions."""
    params = request.model.params
    given = _given(params, "reasoning_effort", "verbosity", "service_tier", "temperature", "top_p", "seed", "top_k")
    cap = "max_completion_tokens" if params.get("reasoning_effort") else "max_tokens"
    return _present(
        given
        | {
            "model": request.model.name,
            "messages": [_message(part, request.model.name) for part in join(request.parts)],
            "stream": False,
            cap: output_cap(request),
            "response_format": response_format(request.schema),
            "tools": [tool_spec(tool) for tool in request.tools] or None,
        }
    )


def response_format(schema: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The schema as Chat Completions takes it; strict where it fulfils what strict demands."""
    if schema is None:
        return None
    name = re.sub(r"[^A-Za-z0-9_-]", "_", str(schema.get("title") or "answer"))[:64]
    return {"type": "json_schema", "json_schema": {"name": name, "schema": dict(schema), "strict": is_strict(schema)}}


def is_strict(schema: Any) -> bool:
    """Whether every object of the schema is closed and requires all its properties."""
    if isinstance(schema, Mapping):
        properties = schema.get("properties")
        if isinstance(properties, Mapping) and (
            schema.get("additionalProperties") is not False or set(schema.get("required", ())) != set(properties)
        ):
            return False
        return all(is_strict(value) for value in schema.values())
    return all(is_strict(value) for value in schema) if isinstance(schema, (list, tuple)) else True


def _takes_temperature(model: str, effort: str | None) -> bool:
    """GPT-5 answers 400 to a temperature unless it does not reason."""
    return not model.startswith("gpt-5") or "chat" in model or effort == "none"


def _text(request: Request) -> dict[str, Any] | None:
    """Verbosity, and the schema as the Responses API takes it."""
    text = _given(request.model.params, "verbosity")
    if form := response_format(_without_lengths(request.schema)):
        text["format"] = {"type": "json_schema", **form["json_schema"]}
    return text or None


def _without_lengths(schema: Any) -> Any:
    """OpenAI's own API answers 400 to a strict schema that bounds the length of strings; the output cap does it there."""
    if not isinstance(schema, Mapping):
        return schema
    return {key: _without_lengths(value) for key, value in schema.items() if key not in ("maxLength", "minLength")}


def _items(part: Part) -> Iterator[dict[str, Any]]:
    """A message as the Responses API takes it: calls of tools are items of their own."""
    if part.role == "tool":
        yield {"type": "function_call_output", "call_id": part.tool_call_id or "", "output": part.text}
    elif part.role != "assistant":
        yield {"type": "message", "role": part.role, "content": part.text}
    else:
        if part.text or not part.tool_calls:
            said = {"type": "output_text", "text": part.text, "annotations": []}
            yield {"type": "message", "role": "assistant", "content": [said]}
        for call in part.tool_calls:
            yield {"type": "function_call", "call_id": call.id, "name": call.name, "arguments": call.arguments}


def _message(part: Part, model: str) -> dict[str, Any]:
    if part.role == "tool":
        return {"role": "tool", "content": part.text, "tool_call_id": part.tool_call_id or ""}
    if part.role == "assistant" and part.tool_calls:
        return {"role": "assistant", "content": part.text or None, "tool_calls": [_tool_call(one) for one in part.tool_calls]}
    # OpenAI's o-series calls the system a developer.
    role = "developer" if part.role == "system" and re.match(r"o\d", model) else part.role
    return {"role": role, "content": part.text}


def _tool_call(call: ToolCall) -> dict[str, Any]:
    return {"type": "function", "id": call.id, "function": {"name": call.name, "arguments": call.arguments}}


def _given(params: Mapping[str, Any], *names: str, **renamed: str) -> dict[str, Any]:
    pairs = {name: name for name in names} | renamed
    return {sent: params[name] for sent, name in pairs.items() if params.get(name) is not None}


def _present(body: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if value is not None}
