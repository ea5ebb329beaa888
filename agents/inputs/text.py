"""Texts from outside, made safe to show: one line, no control characters, cut with an announcement."""

from __future__ import annotations

import re
import unicodedata

TITLE = 300
SUMMARY = 600
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn"})
_SPACE = re.compile(r"\s+")


def clean(text: str | None, limit: int) -> str:
    """The text on one line of at most `limit` characters; HTML stays text, and what was cut is said."""
    raw = text or ""
    head = _SPACE.sub(" ", raw[: 8 * limit])
    plain = "".join(letter for letter in head if unicodedata.category(letter) not in _UNSEEN).strip()
    if len(plain) <= limit and len(raw) <= 8 * limit:
        return plain
    return f"{plain[:limit].rstrip()} [cut: {len(raw):,} characters in all]"
