"""What a program asked, before any wire format, and what the gateway refuses."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from agents import Part, ToolCall, ToolSpec

IGNORED = frozenset(
    {
        *("model", "messages", "input", "instructions", "prompt", "tools", "tool_choice", "parallel_tool_calls"),
        *("response_format", "text", "format", "options", "stream", "stream_options", "n", "include", "keep_alive"),
        *("user", "metadata", "store", "safety_identifier", "prompt_cache_key", "prompt_cache_retention"),
    }
)
"""Fields that are read, or that change no answer."""
SAMPLING = ("temperature", "top_p", "top_k", "seed")
MOST_MESSAGE_CHARS = 2 << 20


class Refused(Exception):
    """A request that the gateway does not carry; the program gets this status and message."""

    def __init__(self, status: int, message: str, code: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


@dataclass(frozen=True)
class Asked:
    """One request of a program."""

    wire: str
    """chat | responses | ollama_chat | ollama_generate."""
    model: str
    """The program's own name of the model."""
    parts: tuple[Part, ...]
    tools: tuple[ToolSpec, ...] = ()
    tool_choice: str | None = None
    parallel_tool_calls: bool | None = None
    schema: Mapping[str, Any] | None = None
    max_output_tokens: int | None = None
    sampling: Mapping[str, float] = field(default_factory=dict)
    dropped: Mapping[str, Any] = field(default_factory=dict)
    """Parameters that no server is sent: those of the arm's model count."""
    stream: bool = False
    include_usage: bool = False

    @property
    def forced_tool(self) -> str:
        """Name of the tool that must be called; empty if the model is free to choose."""
        names = [tool.name for tool in self.tools]
        return self.tool_choice if self.tool_choice in names and self.tool_choice else ""

    @property
    def system(self) -> str:
        return "\n".join(part.text for part in self.parts if part.role == "system")

    @property
    def first_user(self) -> str:
        return next((part.text for part in self.parts if part.role == "user"), "")

    def results(self) -> list[tuple[str, str, str]]:
        """(tool, arguments, message id) of the tool results that this request hands in."""
        calls: dict[str | None, ToolCall] = {}
        results: list[tuple[str, str, str]] = []
        for part in self.parts:
            calls |= {call.id: call for call in part.tool_calls}
            if part.role == "tool" and (call := calls.get(part.tool_call_id)):
                results.append((call.name, call.arguments, part.message_id))
            elif part.role == "assistant":
                results.clear()
        return results


def message(role: str, content: Any, calls: Sequence[ToolCall] = (), call_id: str | None = None) -> Part:
    """One message, which is never joined with its neighbours. Raises Refused for an unknown role and other media."""
    known: dict[str, Any] = {"developer": "system", "function": "tool"}
    role = known.get(role, role)
    if role not in ("system", "user", "assistant", "tool"):
        raise Refused(400, f"unknown role {role!r}; known: system, developer, user, assistant, tool")
    text = plain_text(content)
    if len(text) > MOST_MESSAGE_CHARS:
        raise Refused(413, f"a message of {len(text):,} characters; the gateway takes {MOST_MESSAGE_CHARS:,}")
    speaker: Any = role
    return Part(speaker, text, tuple(calls), call_id, joined=False)


def plain_text(content: Any) -> str:
    """The text of a message's content. Raises Refused for images, audio and files."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "".join(_texts(content))
    raise Refused(400, f"the content of a message is a text or a list, not {type(content).__name__}")


def _texts(blocks: list[Any]) -> Iterator[str]:
    for block in blocks:
        if isinstance(block, str):
            yield block
            continue
        kind = block.get("type") if isinstance(block, dict) else None
        if kind not in ("text", "input_text", "output_text", "refusal", "summary_text"):
            raise Refused(
                400, f"content of type {kind!r} is not carried; the gateway carries texts only: turn images and files off"
            )
        yield str(block.get("text") or block.get("refusal") or "")


def tool(function: Any) -> ToolSpec:
    """A function tool of either API. Raises Refused for one without a name."""
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        raise Refused(400, "a tool needs a function with a name")
    parameters = function.get("parameters") or {"type": "object", "properties": {}}
    return ToolSpec(function["name"], str(function.get("description") or ""), parameters)


def sampling_of(body: Mapping[str, Any]) -> dict[str, float]:
    return {name: body[name] for name in SAMPLING if isinstance(body.get(name), (int, float))}


def dropped_of(body: Mapping[str, Any], read: Sequence[str] = ()) -> dict[str, Any]:
    """Fields that were asked for and are not carried, without empty ones."""
    rest = {name: value for name, value in body.items() if name not in IGNORED and name not in (*SAMPLING, *read)}
    return {name: value for name, value in rest.items() if value not in (None, [], {}, 0, False, "auto", "disabled")}


def refuse_if(body: Mapping[str, Any], *names: str) -> None:
    """Refuse fields whose loss would change what the program gets."""
    for name in names:
        if body.get(name) not in (None, False, [], {}):
            raise Refused(400, f"{name} is not carried by this gateway; remove it from the program's request", "unsupported")


def cap_of(body: Mapping[str, Any], *names: str) -> int | None:
    """The first cap that is given; Raises Refused for one that is no positive number."""
    for name in names:
        value = body.get(name)
        if value is not None:
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise Refused(400, f"{name} is a whole number from 1 on, not {value!r}")
            return value
    return None


def need_model(body: Any) -> str:
    if not isinstance(body, Mapping):
        raise Refused(400, "the body is a JSON object")
    model = body.get("model")
    if not isinstance(model, str) or not model:
        raise Refused(400, "the request names no model")
    return model


def arguments_object(arguments: str) -> Any:
    """Arguments of a tool call as an object; text that is no JSON object stays text under one key."""
    try:
        value = json.loads(arguments or "{}")
    except ValueError:
        return {"unreadable": arguments}
    return value if isinstance(value, dict) else {"unreadable": arguments}
