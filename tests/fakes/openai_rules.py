"""What OpenAI's Responses API refuses with HTTP 400, as its documentation says: strict schemas, sampling, parameters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tests.fakes.marked_cache import is_marked

LEAST_OUTPUT_TOKENS = 16
_PARAMETERS = frozenset(
    {
        "background",
        "background_options",
        "input",
        "max_output_tokens",
        "model",
        "parallel_tool_calls",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "reasoning",
        "service_tier",
        "store",
        "stream",
        "temperature",
        "text",
        "tool_choice",
        "tools",
        "top_p",
    }
)
"""Of those that the API knows, the ones that anything of ours has reason to send."""
_SCHEMA_WORDS = frozenset(
    {
        "additionalProperties",
        "anyOf",
        "description",
        "enum",
        "items",
        "maximum",
        "minimum",
        "properties",
        "required",
        "title",
        "type",
    }
)


def complaint(body: Mapping[str, Any]) -> str | None:
    """The message of the refusal, None for a request in order."""
    return next(_complaints(body), None)


def _complaints(body: Mapping[str, Any]) -> Iterator[str]:
    for name in sorted(set(body) - _PARAMETERS):
        yield f"Unknown parameter: '{name}'."
    if "prompt_cache_options" in body:
        yield from _misplaced_cache_options(body)
    if (body.get("max_output_tokens") or LEAST_OUTPUT_TOKENS) < LEAST_OUTPUT_TOKENS:
        yield f"Invalid 'max_output_tokens': integer below minimum value. Expected a value >= {LEAST_OUTPUT_TOKENS}."
    if (body.get("reasoning") or {}).get("effort", "none") != "none":
        for name in sorted({"temperature", "top_p"} & set(body)):
            yield f"Unsupported parameter: '{name}' is not supported with this model."
    form = (body.get("text") or {}).get("format") or {}
    if form.get("strict"):
        yield from (f"Invalid schema for response_format '{form['name']}': {why}" for why in _breaches(form["schema"], ()))
    choice = body.get("tool_choice", "auto")
    if isinstance(choice, dict) and choice.get("name") not in {tool.get("name") for tool in body.get("tools") or ()}:
        yield f"Tool choice 'function' not found in 'tools' parameter: {choice.get('name')}."
    for at, tool in enumerate(body.get("tools") or ()):
        for name in sorted({"name", "parameters", "strict"} - set(tool)):
            yield f"Missing required parameter: 'tools[{at}].{name}'."


def _misplaced_cache_options(body: Mapping[str, Any]) -> Iterator[str]:
    if "prompt_cache_retention" in body:
        yield "Only one of 'prompt_cache_options' and 'prompt_cache_retention' may be given."
    if not is_marked(body["model"]):
        yield f"Unsupported parameter: 'prompt_cache_options' is not supported with {body['model']}."
    options = body["prompt_cache_options"]
    if options.get("mode", "implicit") not in ("implicit", "explicit") or options.get("ttl", "30m") not in ("30m", "12h"):
        yield f"Invalid value: 'prompt_cache_options' {options}."
    for item in body.get("input") or ():
        content = item.get("content") if isinstance(item, dict) and item.get("role") == "assistant" else None
        if any("prompt_cache_breakpoint" in block for block in content or () if isinstance(block, dict)):
            yield "Unknown parameter: 'prompt_cache_breakpoint' in output_text."


def _breaches(schema: Mapping[str, Any], context: tuple[str, ...]) -> Iterator[str]:
    where = f"In context={context}"
    for word in sorted(set(schema) - _SCHEMA_WORDS):
        yield f"{where}, '{word}' is not permitted."
    if not {"type", "anyOf"} & set(schema):
        yield f"{where}, schema must have a 'type' key."
    if schema.get("type") == "object":
        if schema.get("additionalProperties") is not False:
            yield f"{where}, 'additionalProperties' is required to be supplied and to be false."
        if set(schema.get("required", ())) != set(schema.get("properties", ())):
            yield f"{where}, 'required' is required to be supplied and to be an array including every key in properties."
    elif not context:
        yield "schema must be of type 'object'."
    for name, one in schema.get("properties", {}).items():
        yield from _breaches(one, (*context, "properties", name))
    for one in (*schema.get("anyOf", ()), *([schema["items"]] if "items" in schema else ())):
        yield from _breaches(one, context or ("anyOf",))
