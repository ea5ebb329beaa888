"""The sentences of a text, by their places."""

from __future__ import annotations

import re
from collections.abc import Iterator

_SHORT = (
    r"\bi\.e",
    r"\be\.g",
    r"\bvs",
    r"\bapprox",
    r"\bca",
    r"\bcf",
    r"\bInc",
    r"\bCorp",
    r"\bCo",
    r"\bU\.S",
    r"\bNo",
    r"\bM(?:io|rd)",
    r"\bz\.B",
)
END = r"[.!?](?=\s|$)" + "".join(rf"(?<!{one}\.)" for one in _SHORT)
"""Where a sentence ends: not behind an abbreviation."""
_LONGEST = 800
"""Characters after which a sentence without an end is cut."""


def sentences(text: str) -> Iterator[tuple[int, int]]:
    """Start and end of each sentence or line; one without an end is cut at a space, so that work stays linear."""
    start = 0
    for match in re.finditer(rf"{END}|\n+", text):
        yield from pieces(text, start, match.end(), _LONGEST)
        start = match.end()
    yield from pieces(text, start, len(text), _LONGEST)


def pieces(text: str, start: int, end: int, longest: int) -> Iterator[tuple[int, int]]:
    """A stretch of a text cut at spaces, so that no piece is longer than this."""
    while end - start > longest:
        cut = text.rfind(" ", start + 1, start + longest) + 1 or start + longest
        yield start, cut
        start = cut
    if end > start:
        yield start, end
