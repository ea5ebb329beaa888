"""The sentences of a text, as positions."""

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
)
END = r"[.!?](?=\s|$)" + "".join(rf"(?<!{abbreviation}\.)" for abbreviation in _SHORT)
"""The end of a sentence, but not after an abbreviation."""
_LONGEST = 800
"""Maximum length of a sentence without an end."""


def sentences(text: str) -> Iterator[tuple[int, int]]:
    """Start and end of each sentence or line; overlong ones are cut at a space, so that the work stays linear."""
    start = 0
    for match in re.finditer(rf"{END}|\n+", text):
        yield from pieces(text, start, match.end(), _LONGEST)
        start = match.end()
    yield from pieces(text, start, len(text), _LONGEST)


def pieces(text: str, start: int, end: int, longest: int) -> Iterator[tuple[int, int]]:
    """A part of a text, cut at spaces into pieces of at most `longest` characters."""
    while end - start > longest:
        cut = text.rfind(" ", start + 1, start + longest) + 1 or start + longest
        yield start, cut
        start = cut
    if end > start:
        yield start, end
