"""Whether a text is in English; the rules of grounding read no other language, and figures of such texts are not measured."""

from __future__ import annotations

import re

_ENGLISH = re.compile(
    r"\b(?:the|of|and|to|is|are|was|with|at|by|from|for|that|this|its|than|as|below|above|on|has|it|which)\b", re.I
)
_OTHER = re.compile(
    r"\b(?:der|das|und|ist|nicht|mit|von|auf|eine|bei|le|la|les|des|et|est|une|dans|pour|sur|el|los|las|una|con|del|por|en"
    r"|il|della|che|di|sono|os|da|uma|não|com|het|een)\b",
    re.I,
)
"""Frequent words of German, French, Spanish, Italian, Portuguese and Dutch."""
_LETTER = re.compile(r"[^\W\d_]")
_LATIN = re.compile(r"[A-Za-zÀ-ɏ]")
_MOST_CHARS = 4000


def is_english(text: str) -> bool:
    """Whether no other language is evident; a text without any frequent word, such as a table, counts as English."""
    text = text[:_MOST_CHARS]
    if 2 * len(_LATIN.findall(text)) < len(_LETTER.findall(text)):
        return False
    return len(_ENGLISH.findall(text)) >= len(_OTHER.findall(text))
