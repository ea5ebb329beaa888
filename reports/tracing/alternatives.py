"""Many labelled patterns as one, each tried only where its first character stands."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

_START = re.compile(r"(?<![A-Za-z0-9])\S")
_BEFORE = re.compile(r"(?:\\b|\(\?<[!=][^)]*\))*")
"""What looks back, or at a word's edge, before the first character."""
_SPECIAL = frozenset("\\[(.^$|?*+{")


class _One(NamedTuple):
    label: str
    pattern: str
    first: str
    """Empty where it may begin with several characters."""


class Alternatives:
    """Patterns where a word begins, in their order; case does not matter.

    Tried one after the other at every word, seventy patterns would be most of what tracing costs.
    """

    def __init__(self, patterns: Sequence[tuple[str, str]]) -> None:
        every = [_One(label, one, _first(one)) for label, pattern in patterns for one in _split(pattern)]
        self._other = _joined(every, {""})
        lower = {one.first: _joined(every, {"", one.first}) for one in every if one.first}
        self._by_first = lower | {first.upper(): found for first, found in lower.items()}

    def finditer(self, text: str) -> Iterator[tuple[str, int, int]]:
        """Label, start and end of everything that is found, in order; nothing overlaps."""
        end = 0
        for start in (match.start() for match in _START.finditer(text)):
            if start < end:
                continue
            pattern, labels = self._by_first.get(text[start], self._other)
            if match := pattern.match(text, start):
                end = match.end()
                yield labels[(match.lastindex or 1) - 1], start, end


def _joined(every: Sequence[_One], firsts: Collection[str]) -> tuple[re.Pattern[str], list[str]]:
    """Those that may begin so; each is a group, whose number tells its label."""
    chosen = [one for one in every if one.first in firsts]
    return re.compile("|".join(f"({one.pattern})" for one in chosen) or "(?!)", re.IGNORECASE), [one.label for one in chosen]


def _split(pattern: str) -> list[str]:
    """The alternatives of a pattern at its top."""
    parts, depth, start = [], 0, 0
    for match in re.finditer(r"\\.|\[(?:\\.|[^\]])*\]|[()|]", pattern):
        depth += (match.group() == "(") - (match.group() == ")")
        if match.group() == "|" and not depth:
            parts.append(pattern[start : match.start()])
            start = match.end()
    return [*parts, pattern[start:]]


def _first(pattern: str) -> str:
    match = _BEFORE.match(pattern)
    rest = pattern[match.end() if match else 0 :]
    is_sure = rest[:1] not in _SPECIAL and rest[1:2] not in ("?", "*", "{")
    return rest[:1].lower() if is_sure else ""
