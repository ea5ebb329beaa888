"""The messages of a request: adjacent parts of one role joined by a blank line, exactly as they are sent."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from agents.types import Part, ToolCall, ToolSpec
from domain.text import decode_json

_NO_MARKER: Mapping[str, Any] = MappingProxyType({})


def join(parts: Sequence[Part]) -> tuple[Part, ...]:
    """One part per message; a part with tool calls, the result of one, or one marked as not joined is a message of its own."""
    messages: list[Part] = []
    for part in parts:
        if messages and _is_joinable(messages[-1], part):
            messages[-1] = Part(part.role, f"{messages[-1].text}\n\n{part.text}")
        else:
            messages.append(part)
    return tuple(messages)


def langchain_messages(
    parts: Sequence[Part], *, parsed_arguments: bool, marks: Sequence[int] = (), marker: Mapping[str, Any] = _NO_MARKER
) -> list[Any]:
    """LangChain's messages. With `parsed_arguments` tool calls carry a dict (Ollama), else the model's text unchanged.

    With `marks` (numbers of leading parts) each part is a content block of its own, so that equal prefixes are sent equal, and
    the block before each mark carries `marker`. The text is the same.
    """
    if not marks:
        return [_message(part, parsed_arguments) for part in join(parts)]
    return list(_messages_in_blocks(parts, frozenset(marks), marker, parsed_arguments))


def _messages_in_blocks(
    parts: Sequence[Part], marks: frozenset[int], marker: Mapping[str, Any], parsed_arguments: bool
) -> Iterator[Any]:
    start = 0
    for part in join(parts):
        end = start + 1
        while end < len(parts) and _is_joinable(parts[end - 1], parts[end]):
            end += 1
        message = _message(part, parsed_arguments)
        if part.role != "assistant":
            message.content = [
                {"type": "text", "text": parts[at].text if at == start else f"\n\n{parts[at].text}"}
                | (dict(marker) if at + 1 in marks else {})
                for at in range(start, end)
            ]
        yield message
        start = end


def tool_spec(tool: ToolSpec) -> dict[str, Any]:
    """A tool in the format of Chat Completions and Ollama."""
    function = {"name": tool.name, "description": tool.description, "parameters": dict(tool.parameters)}
    return {"type": "function", "function": function}


def _is_joinable(last: Part, part: Part) -> bool:
    has_tools = last.tool_calls or part.tool_calls or last.tool_call_id or part.tool_call_id
    return not has_tools and last.joined and part.joined and last.role == part.role and part.role != "tool"


def _message(part: Part, parsed_arguments: bool) -> Any:
    from langchain_core.messages import HumanMessage, SystemMessage, ToolMessage

    if part.role == "assistant":
        return _assistant_message(part, parsed_arguments)
    if part.role == "tool":
        return ToolMessage(content=part.text, tool_call_id=part.tool_call_id or "")
    return SystemMessage(content=part.text) if part.role == "system" else HumanMessage(content=part.text)


def _assistant_message(part: Part, parsed_arguments: bool) -> Any:
    from langchain_core.messages import AIMessage

    if parsed_arguments:
        calls = [{"id": call.id, "name": call.name, "args": _arguments(call)} for call in part.tool_calls]
        return AIMessage(content=part.text, tool_calls=calls)
    # LangChain sends the arguments of "invalid" calls exactly as they are written.
    raw = [{"id": call.id, "name": call.name, "args": call.arguments, "error": None} for call in part.tool_calls]
    return AIMessage(content=part.text, invalid_tool_calls=raw)


def _arguments(call: ToolCall) -> dict[str, Any]:
    try:
        arguments = decode_json(call.arguments)
    except ValueError:
        arguments = None
    return arguments if isinstance(arguments, dict) else {"unreadable": call.arguments}
