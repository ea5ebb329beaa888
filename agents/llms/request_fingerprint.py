"""A hash that finds the recorded answer of a program whose requests differ in unimportant text each time it runs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from hashlib import sha256
from typing import Any

from agents.types import Part, Request

_CANONICAL = json.JSONEncoder(sort_keys=True, default=str)


def request_fingerprint(request: Request, volatile: Sequence[re.Pattern[str]] = ()) -> str:
    """Hash of what is asked of which model, without the text that `volatile` matches (a time stamp, for example).

    Ids of tool calls count by position, because servers draw them at random. Pass the result as `Request.fingerprint`.
    """
    content = [
        request.model.identity(),
        list(_messages(request.parts, volatile)),
        request.schema,
        [asdict(tool) for tool in request.tools],
        request.max_output_tokens,
        request.options,
    ]
    return sha256(_CANONICAL.encode(content).encode()).hexdigest()[:32]


def _messages(parts: Sequence[Part], volatile: Sequence[re.Pattern[str]]) -> Iterator[list[Any]]:
    positions: dict[str | None, int] = {None: -1}
    for part in parts:
        calls = [[call.name, _without(call.arguments, volatile)] for call in part.tool_calls]
        for call in part.tool_calls:
            positions[call.id] = len(positions)
        yield [part.role, _without(part.text, volatile), calls, positions.get(part.tool_call_id), part.joined]


def _without(text: str, volatile: Sequence[re.Pattern[str]]) -> str:
    for pattern in volatile:
        text = pattern.sub("", text)
    return text
