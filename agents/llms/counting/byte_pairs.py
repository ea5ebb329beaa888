"""Byte-pair vocabularies of weight files, counted by tiktoken's own engine."""

from __future__ import annotations

from collections.abc import Callable

from agents.llms.counting.gguf import Vocabulary

_SPLIT = r"""'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s+(?![^\s\p{N}])|\s+"""
"""GPT-2's pieces after every digit has been cut out, as SmolLM2 has it."""


def counter(vocabulary: Vocabulary) -> Callable[[str], int]:
    """How many tokens a text has."""
    from tiktoken import Encoding

    engine = Encoding("weights", pat_str=_SPLIT, mergeable_ranks=_ranks(vocabulary), special_tokens={})
    return lambda text: len(engine.encode_ordinary(text))


def _ranks(vocabulary: Vocabulary) -> dict[bytes, int]:
    """All bytes, then what the merges make of them, in their order."""
    byte_of = _bytes_by_sign()
    ranks = {bytes([byte]): byte for byte in range(256)}
    for merge in vocabulary.merges:
        made = bytes(byte_of[sign] for sign in merge.replace(" ", ""))
        ranks.setdefault(made, len(ranks))
    return ranks


def _bytes_by_sign() -> dict[str, int]:
    """GPT-2 writes each byte as a visible sign: itself where it is one, else one from 256 on."""
    visible = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    hidden = [byte for byte in range(256) if byte not in visible]
    return {chr(byte): byte for byte in visible} | {chr(256 + place): byte for place, byte in enumerate(hidden)}
