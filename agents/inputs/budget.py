"""Blocks of text that are cut to a token budget, and say so."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

_PIECES = re.compile(r"[A-Za-z]{1,5}|\d|[^\sA-Za-z\d]")


def count_tokens(text: str) -> int:
    """An upper estimate: small models read digit by digit and about five letters at a time."""
    return len(_PIECES.findall(text)) + text.count("\n")


@dataclass(frozen=True)
class Block:
    """A titled list of lines, the most important first; `rank` says which block is served first."""

    title: str
    lines: tuple[str, ...]
    noun: str = "lines"
    """What a cut line is called in the announcement."""
    rank: int = 0
    hidden: int = 0
    """Lines that are left out whatever the budget."""

    def text(self, keep: int) -> str:
        cut = len(self.lines) - keep
        why = "cut to fit the token budget" if cut else "not shown"
        said = [f"({cut + self.hidden} {self.noun} {why})"] if cut + self.hidden else []
        return "\n".join([f"{self.title}:", *self.lines[:keep], *said])


def fit(blocks: Sequence[Block], budget_tokens: int | None) -> str:
    """All blocks in their order, each cut from its end until the whole fits; a block's title and first line always stand."""
    blocks = [block for block in blocks if block.lines]
    keep = [len(block.lines) for block in blocks]
    if budget_tokens is not None:
        keep = _kept(blocks, budget_tokens)
    return "\n\n".join(block.text(count) for block, count in zip(blocks, keep, strict=True))


def _kept(blocks: Sequence[Block], budget: int) -> list[int]:
    keep = [1] * len(blocks)
    left = budget - sum(count_tokens(block.text(1)) + 1 for block in blocks)
    for place in sorted(range(len(blocks)), key=lambda at: blocks[at].rank):
        lines = blocks[place].lines
        while keep[place] < len(lines) and left > 0:
            cost = count_tokens(lines[keep[place]]) + 1
            if cost > left:
                break
            left -= cost
            keep[place] += 1
    return keep
