"""The answer to one request, before any wire format: what is said, what it counts, how it ends."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.fakes.answers import chance, instance, prose, tokens
from tests.fakes.script import Behaviour


@dataclass
class Composed:
    """What a wire format puts into its own words."""

    text: str
    input_tokens: int
    cached_tokens: int
    cache_write_tokens: int | None
    output_tokens: int
    reasoning_tokens: int
    length: bool
    """Cut by the cap on output."""


def compose(
    behaviour: Behaviour,
    seed: str,
    prompt_tokens: int,
    cached: int,
    schema: Mapping[str, Any] | None,
    cap: int | None,
) -> Composed:
    """A scripted text, else a valid instance of the schema, else prose; cut at the cap as a real server does."""
    text = behaviour.text
    if text is None:
        text = prose(seed, behaviour.output_tokens) if schema is None else instance(schema, seed, _opinion(behaviour, seed))
    if behaviour.tool_calls:
        text = behaviour.text or ""
    thought = behaviour.reasoning_tokens or tokens(behaviour.thinking)
    room = max(cap - thought, 0) if cap is not None else None
    is_long = room is not None and tokens(text) > room
    said = text[: room * 4] if is_long and room is not None else text
    called = sum(tokens(call.get("arguments", "")) + 8 for call in behaviour.tool_calls)
    return Composed(
        text=said,
        input_tokens=behaviour.input_tokens if behaviour.input_tokens is not None else prompt_tokens,
        cached_tokens=behaviour.cached_tokens if behaviour.cached_tokens is not None else cached,
        cache_write_tokens=behaviour.cache_write_tokens,
        output_tokens=min(tokens(said) + thought + called, cap or 1 << 60),
        reasoning_tokens=thought,
        length=is_long,
    )


_ASKED: Counter[str] = Counter()
"""How often each prompt was asked: a model that wavers answers it differently each time, the same in each order."""
_TICKER, _DATE = re.compile(r"\b(AAPL|FB|GOOG|IBM|MSFT)\b"), re.compile(r"\b\d{4}-\d{2}-\d{2}\b")


def _opinion(behaviour: Behaviour, prompt: str) -> float | None:
    """Where on every scale of a form the answer lies, 0 to 1; None for a model without a view."""
    if not behaviour.view:
        return None
    dates = _DATE.findall(prompt)
    case = f"{(_TICKER.findall(prompt) or ['?'])[0]} {max(dates, default='?')}"
    asked = f"{behaviour.view} {prompt}"
    _ASKED[asked] += 1
    if chance(f"{asked} {_ASKED[asked]}").random() < behaviour.wavers:
        return chance(f"{asked} {_ASKED[asked]} any").random()
    strays = chance(f"{behaviour.view} {case} strays").random() < behaviour.strays
    return chance(f"{behaviour.view if strays else behaviour.view.split('/')[0]} {case}").random()


class PrefixCache:
    """How much of a prompt a server has seen before, per model, in blocks of 128 tokens from 1,024 on."""

    def __init__(self, keep: int = 8) -> None:
        self._seen: dict[str, list[str]] = {}
        self._keep = keep

    def cached_tokens(self, model: str, prompt: str) -> int:
        seen = self._seen.setdefault(model, [])
        if len(prompt) < 4096:
            return 0
        best = max((_common(prompt, one) for one in seen), default=0) // 4
        seen.append(prompt)
        del seen[: -self._keep]
        return best // 128 * 128 if best >= 1024 else 0


def _common(left: str, right: str) -> int:
    """Length of the common prefix, by halving."""
    low, high = 0, min(len(left), len(right))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if left[low:middle] == right[low:middle] else (low, middle - 1)
    return low
