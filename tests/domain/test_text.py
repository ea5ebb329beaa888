"""Decoded text is valid UTF-8, whatever spelled the half surrogate pair."""

from __future__ import annotations

import json

import pytest

from domain.text import decode_json

HALF = '{"a \\ud83d": ["half \\uDE00 pair", {"b": "\\ud83d\\ude00"}], "c": 1.5, "d": null}'
CLEANED = {"a ?": ["half ? pair", {"b": "\N{GRINNING FACE}"}], "c": 1.5, "d": None}


@pytest.mark.parametrize(
    "raw",
    [
        HALF,
        HALF.encode(),
        HALF.encode("utf-16"),
        json.dumps(json.loads(HALF), ensure_ascii=False).encode("utf-8", "surrogatepass"),
    ],
    ids=["text", "UTF-8", "UTF-16", "half a pair in bytes"],
)
def test_half_a_surrogate_pair_becomes_a_question_mark_in_keys_and_values(raw: str | bytes) -> None:
    assert decode_json(raw) == CLEANED


@pytest.mark.parametrize("raw", ['{"a": "\\\\ud83d is how half a pair is written"}', '["买入", "\\u00e9"]', "1", '""'])
def test_valid_text_is_decoded_as_it_is(raw: str) -> None:
    assert decode_json(raw) == json.loads(raw)


@pytest.mark.parametrize("raw", ["[" * 200_000, '["\\ud83d",' + "[" * 2_000 + "]" * 2_000 + "]", "no JSON"])
def test_what_cannot_be_decoded_is_a_value_error(raw: str) -> None:
    with pytest.raises(ValueError, match=r"Expecting value|nested"):
        decode_json(raw)
