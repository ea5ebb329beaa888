"""Decoded text is valid UTF-8: JSON can carry half a surrogate pair, which no file, hash or terminal can hold."""

from __future__ import annotations

import json
import re
from typing import Any

_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]|[\ud800-\udfff]")
_SURROGATE_BYTES = re.compile(rb"\\u[dD][89a-fA-F]|\xed[\xa0-\xbf]|\x00")
"""Also finds the NUL bytes of UTF-16 and UTF-32, in which an escape is spelled otherwise."""


def valid_utf8(text: str) -> str:
    """The text with each lone surrogate replaced by a question mark."""
    return text.encode("utf-8", "replace").decode()


def decode_json(raw: str | bytes | bytearray, **options: Any) -> Any:
    """What `json.loads` returns, with each lone surrogate in its keys and strings replaced by a question mark.

    Raises ValueError, also for JSON that is nested too deeply.
    """
    try:
        value = json.loads(raw, **options)
        pattern: re.Pattern[Any] = _SURROGATE if isinstance(raw, str) else _SURROGATE_BYTES
        return without_surrogates(value) if pattern.search(raw) else value
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def without_surrogates(value: Any) -> Any:
    """A decoded value with valid UTF-8 in all its keys and strings."""
    if isinstance(value, str):
        return valid_utf8(value)
    if isinstance(value, list):
        return [without_surrogates(item) for item in value]
    if isinstance(value, dict):
        return {without_surrogates(key): without_surrogates(item) for key, item in value.items()}
    return value
