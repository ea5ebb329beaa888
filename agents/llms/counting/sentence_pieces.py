"""Sentence-piece vocabularies of weight files: neighbours are joined, the best-scored pair first, until none is a token."""

from __future__ import annotations

import heapq
import re
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache

from agents.llms.counting.gguf import NORMAL, USER_DEFINED, Vocabulary

_SPACE = "▁"
_WORD = re.compile(f"{_SPACE}?[^{_SPACE}]+|{_SPACE}")
"""No token reaches over the start of a word, so that words are counted one by one."""


def counter(vocabulary: Vocabulary) -> Callable[[str], int]:
    """How many tokens a text has."""
    scores = {
        token: score
        for token, kind, score in zip(vocabulary.tokens, vocabulary.types, vocabulary.scores, strict=True)
        if kind == NORMAL
    }
    whole = _whole(vocabulary)

    @lru_cache(maxsize=65_536)
    def word(text: str) -> int:
        return sum(1 if piece in scores else len(piece.encode()) for piece in _pieces(text, scores))

    def count(text: str) -> int:
        cut = whole.split(text)
        plain = (one.replace(" ", _SPACE) for one in cut[::2])
        return len(cut) // 2 + sum(word(piece) for one in plain for piece in _WORD.findall(one))

    return count


def _whole(vocabulary: Vocabulary) -> re.Pattern[str]:
    """Tokens that are looked for before anything is split: blank lines, runs of spaces."""
    found = {token for token, kind in zip(vocabulary.tokens, vocabulary.types, strict=True) if kind == USER_DEFINED and token}
    found |= {token.replace(_SPACE, " ") for token in found}
    longest_first = sorted(found, key=len, reverse=True)
    return re.compile(f"({'|'.join(map(re.escape, longest_first))})") if found else re.compile("((?!))")


def _pieces(text: str, scores: Mapping[str, float]) -> Iterator[str]:
    """The tokens of a word; a sign that is none stays by itself."""
    pieces: list[str | None] = list(text)
    after = list(range(1, len(text) + 1))
    before = list(range(-1, len(text) - 1))
    waiting: list[tuple[float, int, int, str]] = []

    def offer(left: int, right: int) -> None:
        if left < 0 or right >= len(pieces):
            return
        joined = f"{pieces[left]}{pieces[right]}"
        if joined in scores:
            heapq.heappush(waiting, (-scores[joined], left, right, joined))

    for place in range(len(text) - 1):
        offer(place, place + 1)
    while waiting:
        _, left, right, joined = heapq.heappop(waiting)
        if pieces[left] is None or pieces[right] is None or f"{pieces[left]}{pieces[right]}" != joined:
            continue
        pieces[left], pieces[right] = joined, None
        after[left] = after[right]
        if after[left] < len(pieces):
            before[after[left]] = left
        offer(before[left], left)
        offer(left, after[left])
    return (piece for piece in pieces if piece is not None)
