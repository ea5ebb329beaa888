"""What is asked of a model: the parts of a prompt, its tools and form, and the place in a cell where it stands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import Any, Literal

from agents.contract.lineup import Model

Kind = Literal["primary", "repair", "tool_round", "judge", "replay"]


@dataclass(frozen=True)
class Place:
    """Where in a cell a request stands; unique within the cell."""

    role: str
    round: int = 0
    kind: Kind = "primary"
    index: int = 0

    @property
    def key(self) -> str:
        return f"{self.role}/{self.round}/{self.kind}/{self.index}"


@dataclass(frozen=True)
class ToolCall:
    id: str
    name: str
    arguments: str
    """The JSON text exactly as the model wrote it."""


@dataclass(frozen=True)
class ToolSpec:
    name: str
    description: str
    parameters: Mapping[str, Any]
    """JSON schema of the arguments."""


@dataclass(frozen=True)
class Part:
    """A piece of a prompt. Adjacent parts of one role join with a blank line into one message, exactly as sent."""

    role: Literal["system", "user", "assistant", "tool"]
    text: str
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None

    @cached_property
    def message_id(self) -> str:
        return sha256((self.role + self.text).encode()).hexdigest()


@dataclass(frozen=True)
class Request:
    """One question to one model."""

    model: Model
    parts: tuple[Part, ...]
    schema: Mapping[str, Any] | None = None
    """JSON schema that the answer must follow; said in the prompt too."""
    tools: tuple[ToolSpec, ...] = ()
    max_output_tokens: int | None = None
    cache_key: str = ""
    """Stable among requests that share a prompt prefix (OpenAI's prompt_cache_key)."""

    @cached_property
    def message_ids(self) -> tuple[str, ...]:
        return tuple(part.message_id for part in self.parts)
