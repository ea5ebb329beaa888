"""Text for prompts: external text on one line, and blocks cut to a token budget."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

TITLE = 300
SUMMARY = 600
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn"})
_SPACE = re.compile(r"\s+")


def clean(text: str | None, limit: int) -> str:
    """The text on one line of at most `limit` characters, without control characters; a cut is announced."""
    raw = text or ""
    head = _SPACE.sub(" ", raw[: 8 * limit])
    plain = "".join(letter for letter in head if unicodedata.category(letter) not in _UNSEEN).strip()
    if len(plain) <= limit and len(raw) <= 8 * limit:
        return plain
    return f"{plain[:limit].rstrip()} [cut: {len(raw):,} characters in all]"


_PIECES = re.compile(r"[A-Za-z]{1,5}|\d|[^\sA-Za-z\d]")


def count_tokens(text: str) -> int:
    """An upper estimate: one token per digit, and per five letters."""
    return len(_PIECES.findall(text)) + text.count("\n")


@dataclass(frozen=True)
class Block:
    """A titled list of lines, the most important first."""

    title: str
    lines: tuple[str, ...]
    noun: str = "lines"
    """The name of the lines in the announcement of a cut."""
    rank: int = 0
    """Blocks with a lower rank get their lines first."""
    hidden: int = 0
    """Number of lines that are omitted regardless of the budget."""

    def text(self, keep: int) -> str:
        cut = len(self.lines) - keep
        why = "cut to fit the token budget" if cut else "not shown"
        announcement = [f"({cut + self.hidden} {self.noun} {why})"] if cut + self.hidden else []
        return "\n".join([f"{self.title}:", *self.lines[:keep], *announcement])


def fit(blocks: Sequence[Block], budget_tokens: int | None) -> str:
    """All blocks in order, cut from their ends until they fit; each keeps at least its title and first line."""
    blocks = [block for block in blocks if block.lines]
    keep = [len(block.lines) for block in blocks]
    if budget_tokens is not None:
        keep = _line_counts(blocks, budget_tokens)
    return "\n\n".join(block.text(count) for block, count in zip(blocks, keep, strict=True))


def _line_counts(blocks: Sequence[Block], budget: int) -> list[int]:
    keep = [1] * len(blocks)
    left = budget - sum(count_tokens(block.text(1)) + 1 for block in blocks)
    for index in sorted(range(len(blocks)), key=lambda index: blocks[index].rank):
        lines = blocks[index].lines
        while keep[index] < len(lines) and left > 0:
            cost = count_tokens(lines[keep[index]]) + 1
            if cost > left:
                break
            left -= cost
            keep[index] += 1
    return keep
