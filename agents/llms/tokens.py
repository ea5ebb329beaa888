"""How long a prompt is, before anybody counted it: a tokenizer-free estimate that errs on the long side."""

from __future__ import annotations

import re
from collections.abc import Sequence

from agents.types import Part, Request

_PIECES = re.compile(r"[^\W\d_]+|\d+|[^\w\s]|_|\n+|[ \t]{2,}")
_LETTERS_PER_TOKEN = 4.5
_PER_MESSAGE = 8
"""Tokens of a chat template around one message."""


def estimate_tokens(text: str) -> int:
    """Tokens of a text; within about 15 % of the tokenizers of GPT-5 and Llama on prompts of numbers and prose."""
    return round(sum(map(_piece, _PIECES.findall(text))))


def estimate_parts(parts: Sequence[Part]) -> int:
    """Tokens of a whole prompt, chat template included."""
    arguments = sum(estimate_tokens(call.arguments) for part in parts for call in part.tool_calls)
    return sum(estimate_tokens(part.text) + _PER_MESSAGE for part in parts) + arguments


def estimate_request(request: Request) -> int:
    """Tokens that a request sends: its prompt and the tools that it describes."""
    tools = sum(estimate_tokens(f"{tool.name} {tool.description} {tool.parameters}") for tool in request.tools)
    return estimate_parts(request.parts) + tools


def _piece(piece: str) -> float:
    first = piece[0]
    if first.isdigit():
        return max(1.0, len(piece) / 3)
    if not first.isalpha():
        return 1.0 if not first.isspace() else 0.5
    if ord(first) > 0x2E7F:
        return len(piece) * 1.1
    if ord(first) > 0x24F:
        return max(1.0, len(piece) / 2)
    return max(1.0, len(piece) / _LETTERS_PER_TOKEN)
