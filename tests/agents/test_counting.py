"""Tokens counted before a prompt is sent: by OpenAI's tokenizer if it applies, else by an estimate."""

from __future__ import annotations

import pytest

from agents import Model, Part, counter_of
from agents.llms import tokens
from agents.llms.tokens import ESTIMATE


@pytest.mark.parametrize(
    ("provider", "name", "vocabulary"),
    [
        ("openai", "gpt-5", "o200k_base"),
        ("openai", "gpt-5-mini-2025-08-07", "o200k_base"),
        ("openai_compatible", "openai/gpt-5.4", "o200k_base"),
        ("ollama", "gpt-oss:20b", "o200k_harmony"),
    ],
)
def test_gpt_5_and_gpt_oss_are_counted_by_openai_s_vocabulary(provider: str, name: str, vocabulary: str) -> None:
    counter = counter_of(Model(name, provider, name))
    assert (counter.name, counter.is_tokenizer) == (vocabulary, True)
    # Figures of OpenAI's own tiktoken for o200k_base.
    assert counter.count("The quick brown fox jumps over the lazy dog.") == 10
    assert counter.count("2025-03-03,227.41,230.00,226.59") == 18
    assert counter.count("<|endoftext|>") == 7


@pytest.mark.parametrize("name", ["llama3.1:8b", "gpt-9", "order-5", "qwen3:8b", "smollm2-135m"])
def test_a_model_without_a_tokenizer_at_hand_is_estimated(name: str) -> None:
    assert counter_of(Model(name, "ollama", name)) is ESTIMATE


def test_the_parts_of_a_prompt_add_up_with_the_chat_format_around_each_message() -> None:
    counter = counter_of(Model("", "openai", "gpt-5"))
    parts = [Part("system", "a"), Part("user", "b"), Part("user", "c")]
    # 3 to open the answer and 4 around a message; the blank line between two parts of one message is one token here.
    assert counter.of_parts(parts) == [1 + 4 + 3, 1 + 4, 1 + 1]
    assert counter.of_parts([]) == []


def test_a_text_of_plain_characters_has_the_same_estimate_by_the_faster_count() -> None:
    characters = [chr(code) for code in range(128)]
    pairs = " a1 ".join(first + second for first in characters for second in characters)
    for text in (pairs, "a  b\t\tc\n\n\nd", "antidisestablishment 12345 1,234.5", "x" * 5000):
        for digits in (1, 3):
            expected = sum(tokens._piece_tokens(piece, digits) for piece in tokens._PIECES.findall(text))
            assert tokens._ascii_tokens(text.encode(), digits) == pytest.approx(expected)
