"""Byte-pair vocabularies of weight files: words as bytes, joined in the order of the file's merges."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from functools import lru_cache

from agents.llms.counting.gguf import Vocabulary
from agents.llms.counting.joining import join


def counter(vocabulary: Vocabulary) -> Callable[[str], int]:
    """How many tokens a text has."""
    signs, words = _signs(), _words()
    scores = {merge.replace(" ", ""): -float(rank) for rank, merge in reversed(list(enumerate(vocabulary.merges)))}

    @lru_cache(maxsize=65_536)
    def word(text: str) -> int:
        return len(join("".join(signs[byte] for byte in text.encode("utf-8", "replace")), scores))

    return lambda text: sum(word(found) for found in words.findall(text))


def _words() -> re.Pattern[str]:
    """GPT-2's pieces after every numeral has been cut out, as SmolLM2 has it."""
    other = "".join(sign for sign in map(chr, range(0x10000)) if unicodedata.category(sign) in ("Nl", "No"))
    numeral, letter = rf"[\d{other}]", rf"[^\W\d_{other}]"
    return re.compile(
        rf"'s|'t|'re|'ve|'m|'ll|'d| ?{letter}+|{numeral}| ?(?:(?!{letter})(?!{numeral})\S)+|\s+(?!(?!{numeral})\S)|\s+"
    )


def _signs() -> list[str]:
    """GPT-2 writes each byte as a visible sign: itself where it is one, else one from 256 on."""
    visible = {*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)}
    hidden = iter(range(256, 512))
    return [chr(byte) if byte in visible else chr(next(hidden)) for byte in range(256)]
