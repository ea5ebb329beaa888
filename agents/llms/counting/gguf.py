"""The vocabulary that a GGUF file of weights carries in its head; the weights themselves are not read."""

from __future__ import annotations

import mmap
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_PLAIN = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_AHEAD = "tokenizer.ggml."
NORMAL, USER_DEFINED = 1, 4
"""Token types; all others are never written by a text."""


@dataclass(frozen=True)
class Vocabulary:
    """What a tokenizer needs."""

    kind: str
    """gpt2 (byte pairs) or llama (sentence pieces)."""
    tokens: Sequence[str]
    types: Sequence[int]
    scores: Sequence[float]
    """Of sentence pieces: the higher is joined first."""
    merges: Sequence[str]
    """Of byte pairs: the earlier is joined first."""


def vocabulary(path: Path) -> Vocabulary:
    """Raises ValueError for a file that is no GGUF, or has no vocabulary."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        told = _Head(data).values()
    try:
        return _vocabulary(told)
    except KeyError as error:
        raise ValueError(f"{path} has no {error.args[0]}") from error


def _vocabulary(told: Mapping[str, Any]) -> Vocabulary:
    return Vocabulary(
        kind=told[f"{_AHEAD}model"],
        tokens=told[f"{_AHEAD}tokens"],
        types=told[f"{_AHEAD}token_type"],
        scores=told.get(f"{_AHEAD}scores", ()),
        merges=told.get(f"{_AHEAD}merges", ()),
    )


class _Head:
    """Reads key after key; the format is little-endian, lengths come before what they measure."""

    def __init__(self, data: mmap.mmap) -> None:
        self._data = data
        self._at = 0

    def values(self) -> dict[str, Any]:
        if self._data[:4] != b"GGUF":
            raise ValueError("no GGUF file")
        self._at = 16
        return {self._string(): self._value(self._plain("I")) for _ in range(self._plain("Q"))}

    def _value(self, kind: int) -> Any:
        if kind == _STRING:
            return self._string()
        if kind == _ARRAY:
            return self._array(self._plain("I"), self._plain("Q"))
        return self._plain(_PLAIN[kind])

    def _array(self, kind: int, count: int) -> Sequence[Any]:
        if kind not in _PLAIN:
            return [self._value(kind) for _ in range(count)]
        found = struct.unpack_from(f"<{count}{_PLAIN[kind]}", self._data, self._at)
        self._at += count * struct.calcsize(_PLAIN[kind])
        return found

    def _plain(self, code: str) -> Any:
        (found,) = struct.unpack_from(f"<{code}", self._data, self._at)
        self._at += struct.calcsize(code)
        return found

    def _string(self) -> str:
        length = self._plain("Q")
        start, self._at = self._at, self._at + length
        return self._data[start : self._at].decode("utf-8", "replace")
