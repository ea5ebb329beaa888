"""The prompt cache of GPT-5.6 and later as OpenAI documents it, to the token; and Anthropic's, which differs in its words only.

A prefix is matched exactly at a breakpoint and never at a shorter unmarked one. A request reads the longest of its latest 80
breakpoints that the cache holds, and writes up to its latest four. In implicit mode the end of the newest message is one more
breakpoint, and three explicit ones are written. Prefixes under 1,024 tokens are not kept.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.fakes.answers import prompt_tokens

LEAST_TOKENS = 1024
MOST_WRITES = 4
MOST_READS = 80
LIFETIME_S = {"5m": 300.0, "30m": 1800.0, "1h": 3600.0, "12h": 43200.0}
_VERSION = re.compile(r"gpt-(\d+)(?:\.(\d+))?(?=$|[-:@])")


def is_marked(model: str) -> bool:
    """Whether OpenAI's rules for GPT-5.6 and later hold for a model."""
    version = _VERSION.match(model)
    return version is not None and (int(version[1]), int(version[2] or 0)) >= (5, 6)


@dataclass(frozen=True)
class Block:
    """One content block of a prompt."""

    role: str
    text: str
    ttl: str | None = None
    """Of the breakpoint after it; None without one."""


@dataclass
class MarkedCache:
    """What one server keeps of the prompts of its models."""

    clock_s: float = 0.0
    """Added to the time of day, so that a test can let hours pass."""
    _kept: dict[tuple[str, tuple[Block, ...]], tuple[float, float]] = field(default_factory=dict)
    """model and prefix -> when it expires, and its lifetime."""

    def use(self, model: str, blocks: Sequence[Block]) -> tuple[int, int]:
        """(tokens read, tokens written) of a request, which is kept from now on."""
        now = time.time() + self.clock_s
        marked = [end for end, block in enumerate(blocks, start=1) if block.ttl]
        long_enough = [end for end in marked if _tokens(blocks[:end]) >= LEAST_TOKENS]
        held = [end for end in long_enough[-MOST_READS:] if self._kept.get(_key(model, blocks[:end]), (0.0, 0.0))[0] > now]
        read, writes = max(held, default=0), long_enough[-MOST_WRITES:]
        for end in {*held, *writes}:
            lifetime_s = LIFETIME_S[blocks[end - 1].ttl or "30m"]
            old = self._kept.get(_key(model, blocks[:end]), (0.0, 0.0))[1] if end in held else 0.0
            self._kept[_key(model, blocks[:end])] = (now + max(lifetime_s, old), max(lifetime_s, old))
        read_tokens = _tokens(blocks[:read])
        return read_tokens, max(0, _tokens(blocks[: max(writes, default=0)]) - read_tokens)


def openai_blocks(body: Mapping[str, Any]) -> list[Block]:
    """The blocks of a request to either API, with the automatic breakpoint of implicit mode."""
    options = body.get("prompt_cache_options") or {}
    ttl = options.get("ttl", "30m")
    # Tools come before everything else, and are part of every prefix.
    blocks = [Block("tools", str(body["tools"]))] if body.get("tools") else []
    items: Any = body.get("messages") or body.get("input") or []
    listed: list[Any] = [{"role": "user", "content": items}] if isinstance(items, str) else items
    for item in listed:
        role = item.get("role") or item.get("type", "")
        content = item.get("content", item.get("output", ""))
        if isinstance(content, list):
            blocks += [Block(role, block.get("text", ""), _ttl(block.get("prompt_cache_breakpoint"), ttl)) for block in content]
        else:
            blocks.append(Block(role, content or ""))
        for call in item.get("tool_calls") or ([item] if role == "function_call" else []):
            blocks.append(Block("call", str(call.get("function") or [call.get("name"), call.get("arguments")])))
    if options.get("mode", "implicit") == "implicit" and blocks:
        kept = [end for end, block in enumerate(blocks) if block.ttl][-3:]
        blocks = [Block(b.role, b.text, b.ttl if at in kept else None) for at, b in enumerate(blocks)]
        blocks[-1] = Block(blocks[-1].role, blocks[-1].text, ttl)
    return blocks


def tokens_of(blocks: Sequence[Block]) -> int:
    """Tokens of a whole prompt."""
    return _tokens(blocks)


def _ttl(breakpoint: Any, default: str) -> str | None:
    return breakpoint.get("ttl", default) if breakpoint else None


def _tokens(blocks: Sequence[Block]) -> int:
    return prompt_tokens("\n".join(block.text for block in blocks)) if blocks else 0


def _key(model: str, blocks: Sequence[Block]) -> tuple[str, tuple[Block, ...]]:
    return model, tuple(Block(block.role, block.text) for block in blocks)
