"""A model's text as a reader sees it: without thoughts, markup and comments. Linear in the text."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator

_THOUGHTS = ("think", "thinking", "thought", "reasoning", "scratchpad", "analysis")
_FINAL_CHANNEL = "<|channel|>final<|message|>"


def visible(text: str) -> str:
    """What is meant to be read; struck-through words keep a mark, quotations stand on lines of their own."""
    return html.unescape(_without_tags(_without_thoughts(text)))


def sound(text: str) -> str:
    """The text as it can be stored: half of a surrogate pair, which no file takes, becomes a question mark."""
    return text.encode("utf-8", "replace").decode()


def _without_thoughts(text: str) -> str:
    """What follows the last closed thought; an unclosed one hides the rest."""
    text = text.rpartition(_FINAL_CHANNEL)[2]
    for tag in _THOUGHTS:
        text = text.rpartition(f"</{tag}>")[2]
        text = text.partition(f"<{tag}>")[0]
    return text


def _without_tags(text: str) -> str:
    for start, end in (("<!--", "-->"), ("<script", "</script>"), ("<style", "</style>")):
        text = "".join(_outside(text, start, end))
    text = re.sub(r"</?(?:del|s|strike)(?:\s[^<>]{0,200})?>", "~~", text)
    text = re.sub(r"<(?:/?(?:p|div|li|ul|ol|tr|table|h[1-6])|br)\b[^<>]{0,200}>", "\n", text)
    text = re.sub(r"</t[dh]>", " | ", text)
    text = re.sub(r"</?(?:blockquote|q)\b[^<>]{0,200}>", "\n> ", text)
    return re.sub(r"</?[a-zA-Z][^<>]{0,300}>", "", text)


def _outside(text: str, start: str, end: str) -> Iterator[str]:
    at = 0
    while (opening := text.find(start, at)) >= 0:
        yield text[at:opening]
        closing = text.find(end, opening)
        if closing < 0:
            return
        at = closing + len(end)
    yield text[at:]
