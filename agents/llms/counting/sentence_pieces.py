"""Sentence-piece vocabularies of weight files: words with their space in front, joined by the scores of the file's tokens."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

from agents.llms.counting.gguf import NORMAL, USER_DEFINED, Vocabulary
from agents.llms.counting.joining import join

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
        return sum(1 if piece in scores else len(piece.encode()) for piece in join(text, scores))

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
