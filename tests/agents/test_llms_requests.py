"""What is sent to OpenAI's two APIs, beside what langchain-openai 1.7.3 with openai 3.54 sent for the same request."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from agents import DECISION, Model, Part, Request, ToolCall, ToolSpec
from agents.llms.openai_requests import chat_body, responses_body
from agents.llms.posting import proxy_of

SENT = json.loads(Path(__file__).with_name("openai_bodies.json").read_text(encoding="utf-8"))
PRICES = ToolSpec("prices", "Closing prices.", {"type": "object", "properties": {"days": {"type": "integer"}}})
ASKED = (Part("system", "You are."), Part("user", "# A\ntext é中"), Part("user", "more"))
CALLED = Part("assistant", "", (ToolCall("call_1", "prices", '{"days":  5}'), ToolCall("call_2", "nope", '{"a"')))
ROUND = (*ASKED, CALLED, Part("tool", "[1]", tool_call_id="call_1"), Part("tool", "", tool_call_id="call_2"))
REPAIR = (*ASKED, Part("assistant", "half {"), Part("user", "again"))


def model(name: str = "gpt-5", **params: Any) -> Model:
    return Model("m", "openai", name, params, "s")


REQUESTS = {
    "effort": Request(model(reasoning_effort="medium", verbosity="low", max_output_tokens=4000), ASKED),
    "form": Request(model(reasoning_effort="low", verbosity="low"), REPAIR, DECISION.schema(), cache_key="AAPL-1"),
    "tools": Request(model(reasoning_effort="medium", max_output_tokens=4000), ROUND, tools=(PRICES,)),
    "hot": Request(model(temperature=0.2), ASKED),
    "hot without reasoning": Request(model(temperature=0.2, reasoning_effort="none"), ASKED),
    "hot chat": Request(model("gpt-5-chat-latest", temperature=0.3), ASKED),
    "flex": Request(model("o3", reasoning_effort="high", service_tier="flex", reasoning_summary="auto"), ASKED),
    "local": Request(model("local-1", temperature=0.5, top_p=0.9, seed=3, top_k=5, max_output_tokens=10), ASKED),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_the_bodies_are_those_of_the_client_that_users_know(name: str) -> None:
    request = REQUESTS[name]
    assert {"responses": responses_body(request), "chat": chat_body(request)} == SENT[name]


def test_a_proxy_is_used_but_never_for_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://proxy:3128")
    monkeypatch.setenv("http_proxy", "http://proxy:3128")
    monkeypatch.setenv("no_proxy", "inside.example")
    assert proxy_of("https://api.openai.com/v1") == "http://proxy:3128"
    assert proxy_of("https://inside.example/v1") is None
    assert proxy_of("http://127.0.0.1:8000/v1") is None
