"""The decision ladder: what it reads from texts, and that it would rather read nothing than something wrong."""

from __future__ import annotations

import json
from typing import Any

import pytest

from agents import DECISION
from tests.agents.corpus import Text, climb, texts, verdict


def test_the_corpus_is_never_read_wrong() -> None:
    wrong = [(text.name, climb(text).value) for text in texts() if verdict(text, climb(text)) == "wrong"]
    assert wrong == []


def test_the_corpus_is_large_and_mostly_read_right() -> None:
    verdicts = [verdict(text, climb(text)) for text in texts()]
    assert len(verdicts) >= 60 + 8
    assert verdicts.count("right") >= 0.8 * len(verdicts)


def test_names_in_the_corpus_are_unique() -> None:
    names = [text.name for text in texts()]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    "text", [one for one in texts() if one.group in ("schema", "label", "fooled")], ids=lambda text: text.name
)
def test_a_rating_is_never_a_default(text: Text) -> None:
    reading = climb(text)
    assert (reading.value is None) == (reading.status not in ("typed", "repaired", "recovered"))


EVIL = {
    "open braces": "{" * 200_000,
    "deep objects": '{"a":' * 40_000,
    "closed deep objects": '{"a":' * 20_000 + "1" + "}" * 20_000,
    "open thoughts": "<think>" * 30_000,
    "open comments": "<!--" * 50_000,
    "labels": "Rating:\n" * 25_000,
    "labelled lines": "Rating: Buy or\n" * 14_000,
    "objects": '{"rating": "Maybe"}\n' * 10_000,
    "quotes": '"' * 200_000,
    "backslashes": "\\" * 200_000,
    "stars": "*" * 200_000,
    "chinese": "买入" * 100_000,
    "html": "<p>hello <b>you</b> " * 10_000,
    "commas": '{"a": 1' + ", " * 100_000 + "}",
    "prose": "I should think about the rating of the rating is " * 4_000,
}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", EVIL)
def test_a_text_of_200_kb_is_read_in_linear_time(name: str) -> None:
    reading = climb(Text(name, "evil", None, EVIL[name]))
    assert reading.value is None


def test_half_a_surrogate_pair_or_a_huge_number_breaks_nothing() -> None:
    for text in ('{"rating": "\ud800"}', '{"rating": "Hold", "confidence": ' + "9" * 5000 + "}", '{"confidence": 1e999}'):
        assert climb(Text("odd", "evil", None, text)).status in ("unparsed", "recovered")


def test_numbers_out_of_range_are_dropped_from_a_recovered_object() -> None:
    reading = climb(Text("x", "json", "Buy", '{"rating": "Buy", "confidence": 700, "target_price": -3, "horizon": 5}'))
    assert reading.value is not None
    assert reading.value == dict.fromkeys([field.name for field in DECISION.fields]) | {"rating": "Buy"}


@pytest.mark.parametrize(
    "name", ["a grouped number", "a bare percentage", "numbers as text", "a raw line break inside a string"]
)
def test_numbers_and_line_breaks_as_small_models_spell_them_are_read(name: str) -> None:
    value = climb(next(text for text in texts() if text.name == name)).value
    expected: dict[str, dict[str, Any]] = {
        "a grouped number": {"target_price": 1200.5, "confidence": 62},
        "a bare percentage": {"target_price": 95, "confidence": 62},
        "numbers as text": {"target_price": 1200.5, "confidence": 62},
        "a raw line break inside a string": {"summary": "Leave.\nNow.", "thesis": "a\n\nb\t", "confidence": 70},
    }
    assert value is not None
    assert {key: value[key] for key in expected[name]} == expected[name]


@pytest.mark.parametrize("number", ["1.200,50", "62,5", "about 90", "62% of 90", "1,20", "$"])
def test_a_number_with_two_readings_is_left_open(number: str) -> None:
    value = climb(Text("x", "json", "Buy", json.dumps({"rating": "Buy", "target_price": number, "confidence": number}))).value
    assert value is not None
    assert (value["target_price"], value["confidence"]) == (None, None)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("piece", ["'", "' ", "/*", "# ", ", ", "1,234", "\n", "'rating': 'Buy' ", "The bulls say Buy. "])
def test_loose_spellings_are_read_in_linear_time(piece: str) -> None:
    for text in ("{'rating': " + piece * 40_000 + "}", "Rating: Hold\n" + piece * 40_000 + "Sell"):
        climb(Text("x", "evil", None, text))
