"""JSON as small models write it: raw line breaks in strings, comments, single quotes, stray commas, `1,200.50` and `62%`.

Only spellings with one possible meaning are read. Linear in the length of the text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_TOKEN = re.compile(
    r"""(?P<string>"(?:\\.|[^"\\])*+")"""
    r"""|(?P<single>'(?:\\.|[^'\\]|'(?!\s*[:,}\]]))*+')"""
    r"""|(?P<comment>//[^\n]*|/\*(?:[^*]|\*(?!/))*+\*/|(?<=[\s,{\[])\#[^\n]*)"""
    r"""|(?P<number>(?<=:)\s?(?:\d{1,3}(?:,\d{3})+(?:\.\d+)?(?=\s*(?:,\s*["'/\#]|\}))|[+-]?\d+(?:\.\d+)?\s?%))"""
    r"""|(?P<word>\b(?:True|False|None)\b)"""
    r"""|(?P<broken>["']|/\*)""",
    re.DOTALL,
)
_STRING_OR_STRAY_COMMA = re.compile(r'"(?:\\.|[^"\\])*+"|,(?=\s*[}\]])', re.DOTALL)
_WORDS = {"True": "true", "False": "false", "None": "null"}
_SCHEMA_WORDS = frozenset(
    {"type", "description", "title", "enum", "minimum", "maximum", "maxlength", "minlength", "required", "properties"}
    | {"additionalproperties", "$schema"}
)


@dataclass(frozen=True)
class Comment:
    """A comment in an object, with the text of its line before it."""

    text: str
    line: str


def to_json(text: str) -> tuple[str, list[Comment]]:
    """The text as JSON, and its comments; line breaks in strings stay. Raises ValueError for a quote that never closes."""
    comments: list[Comment] = []

    def spelled(token: re.Match[str]) -> str:
        match token.lastgroup:
            case "single":
                return _double_quoted(token[0])
            case "comment":
                comments.append(Comment(token[0], text[text.rfind("\n", 0, token.start()) + 1 : token.start()]))
                return " "
            case "number":
                return f'"{token[0].strip()}"'
            case "word":
                return _WORDS[token[0]]
            case "broken":
                raise ValueError("a quote or comment never closes")
        return token[0]

    strict = _TOKEN.sub(spelled, text)
    return _STRING_OR_STRAY_COMMA.sub(lambda token: "" if token[0] == "," else token[0], strict), comments


def without_schema(raw: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """The values of an echoed schema: `{"properties": {"rating": "Hold"}}`, or `{"rating": {"type": ..., "value": "Hold"}}`."""
    names = {name.lower() for name in raw}
    inner = raw.get("properties")
    if key not in names and isinstance(inner, dict) and names <= _SCHEMA_WORDS:
        raw = inner
    return {name: _value(value) for name, value in raw.items()}


def _value(value: Any) -> Any:
    is_property = isinstance(value, dict) and "value" in value and {name.lower() for name in value} <= {"value", *_SCHEMA_WORDS}
    return value["value"] if is_property else value


def _double_quoted(single: str) -> str:
    inside = re.sub(r"\\.|\"", lambda part: {"\\'": "'", '"': '\\"'}.get(part[0], part[0]), single[1:-1], flags=re.DOTALL)
    return f'"{inside}"'
