"""Tokens counted before a prompt is sent: as the model's own server does, an estimate only where there is no tokenizer."""

from __future__ import annotations

import json
import struct
import urllib.request
from pathlib import Path

import pytest

from agents import Model, Part, counter_of
from agents.llms.counting import gguf
from agents.llms.counting.counter import ESTIMATE
from agents.llms.embedded_lender import start_model

TEXTS = (
    "",
    "a",
    "The 20-day average of AAPL stood at 227.41 on 2025-03-03; don't chase it.",
    "date,open,close\n2025-03-03,227.41,230.00\n\n\n2025-03-04,  229.1,\t1,234,567",
    "Übergrößen, naïve café — “quotes” … 苹果公司的股票 🧠🚀 \u200d \ufffd",
    '    indented\n        more {"rating": "Hold", "confidence": 0.55}\n',
    "=" * 300 + "\n" + "x" * 500,
)


@pytest.mark.parametrize("name", ["smollm2-135m", "gemma3-270m"])
def test_the_count_out_of_a_weight_file_is_the_one_of_the_model_s_own_server(name: str) -> None:
    counter = counter_of(Model(name, "llamacpp", name))
    server = start_model(name, 512)
    assert [counter.count(text) for text in TEXTS] == [_told(server.listening_address, text) for text in TEXTS]
    assert (counter.is_tokenizer, counter.name) == (True, name)


def _told(url: str, text: str) -> int:
    asked = urllib.request.Request(
        f"{url}/tokenize", json.dumps({"content": text}).encode(), {"content-type": "application/json"}
    )
    with urllib.request.urlopen(asked, timeout=10) as answer:
        return len(json.load(answer)["tokens"])


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


@pytest.mark.parametrize("name", ["llama3.1:8b", "gpt-9", "order-5", "qwen3:8b"])
def test_a_model_without_a_tokenizer_at_hand_is_estimated(name: str) -> None:
    assert counter_of(Model(name, "ollama", name)) is ESTIMATE


def test_the_parts_of_a_prompt_add_up_with_the_chat_format_around_each_message() -> None:
    counter = counter_of(Model("", "llamacpp", "smollm2-135m"))
    parts = [Part("system", "a"), Part("user", "b"), Part("user", "c")]
    # 4 to open the answer and 5 around a message; the blank line between two parts of one message is two tokens here.
    assert counter.of_parts(parts) == [1 + 5 + 4, 1 + 5, 1 + 2]
    assert counter.of_parts([]) == []


def test_a_file_that_is_no_gguf_or_has_no_vocabulary_is_refused(tmp_path: Path) -> None:
    bad, bare = tmp_path / "bad.gguf", tmp_path / "bare.gguf"
    bad.write_bytes(b"PK\x03\x04" * 8)
    bare.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 0, 0))
    for path, said in ((bad, "no GGUF"), (bare, "tokenizer.ggml.model")):
        with pytest.raises(ValueError, match=said):
            gguf.vocabulary(path)
