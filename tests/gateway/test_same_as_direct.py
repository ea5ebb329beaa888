"""Official clients read the same through the gateway as from the server itself."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import ollama
import openai
import pytest

from tests.fakes.process import FakeModels
from tests.gateway.served import Served, served

TOOL = {
    "name": "get_prices",
    "description": "Closing prices",
    "parameters": {"type": "object", "properties": {"ticker": {"type": "string"}}, "required": ["ticker"]},
}
FORM = {
    "type": "object",
    "properties": {"rating": {"type": "string", "enum": ["Buy", "Hold", "Sell"]}, "why": {"type": "string"}},
    "required": ["rating", "why"],
    "additionalProperties": False,
}
USER = [{"role": "user", "content": "What moves AAPL?"}]
TURNS = [
    {"role": "system", "content": "You are terse."},
    *USER,
    {"role": "assistant", "content": "Rates."},
    {"role": "user", "content": "And then? Äpfel, 苹果, 🍏"},
]
CALLED = [
    *USER,
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {"id": "call_1", "type": "function", "function": {"name": "get_prices", "arguments": '{"ticker": "AAPL"}'}},
            {"id": "call_2", "type": "function", "function": {"name": "get_prices", "arguments": '{"ticker": "SPY"}'}},
        ],
    },
    {"role": "tool", "tool_call_id": "call_1", "content": "101.25"},
    {"role": "tool", "tool_call_id": "call_2", "content": "400"},
]
ONE_CALL = [{"name": "get_prices", "arguments": '{"ticker": "AAPL"}'}]
TWO_CALLS = [*ONE_CALL, {"name": "get_prices", "arguments": '{"ticker": "SPY"}'}]
_VOLATILE = re.compile(r"^(chatcmpl|resp|msg|rs|fc|call)_?-?[0-9a-z_]+$")

SCRIPTS: dict[str, dict[str, Any]] = {
    "prose": {},
    "one letter": {"text": "A"},
    "unicode": {"text": "Gewinn +3 %: 苹果 🍏 \u2028 end"},
    "long": {"output_tokens": 900},
    "quotes": {"text": '{"a": "b\\n", "c": [1, 2]}\n'},
    "cached": {"cached_tokens": 7},
    "reasons": {"thinking": "Let me see.", "reasoning_tokens": 5},
    "calls": {"tool_calls": ONE_CALL},
    "calls twice": {"tool_calls": TWO_CALLS},
    "says and calls": {"text": "I look it up.", "tool_calls": ONE_CALL},
}


@pytest.fixture(scope="module")
def gateways(fake_models_process: FakeModels) -> Iterator[dict[str, Served]]:
    fake = fake_models_process
    with (
        served(fake.compatible(), name="tiny") as chat,
        served(fake.openai(), name="tiny") as responses,
        served(fake.ollama(), name="qwen3:8b", num_ctx=8192) as local,
    ):
        yield {"chat": chat, "responses": responses, "ollama": local}


SKIPPED = {
    *("created", "created_at", "completed_at", "service_tier", "system_fingerprint", "prompt_cache_key", "store"),
    *("reasoning", "tools", "tool_choice", "parallel_tool_calls", "max_output_tokens", "text", "user", "metadata"),
    *("total_duration", "load_duration", "eval_duration", "prompt_eval_duration", "cache_write_tokens"),
}
"""Times, what a server says of itself, and what it repeats of the request."""


def plain(value: Any) -> Any:
    """What a program reads, without ids, times, the order of pieces and what a server says of itself."""
    if hasattr(value, "model_dump"):
        value = value.model_dump()
    if isinstance(value, dict):
        return {
            key: plain(inner)
            for key, inner in value.items()
            if key not in SKIPPED or (isinstance(inner, str) and key == "text")
        }
    if isinstance(value, (list, tuple)):
        return [plain(inner) for inner in value]
    return "ID" if isinstance(value, str) and _VOLATILE.match(value) else value


def chat(client: openai.OpenAI, **request: Any) -> Any:
    return plain(client.chat.completions.create(model="tiny", **request))


def chat_stream(client: openai.OpenAI, **request: Any) -> Any:
    options: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": True}}
    text, reasoning, calls, finish, usage = "", "", dict[int, list[str]](), None, None
    for chunk in client.chat.completions.create(model="tiny", **request, **options):
        usage = plain(chunk.usage) or usage
        for choice in chunk.choices:
            text += choice.delta.content or ""
            reasoning += getattr(choice.delta, "reasoning_content", None) or ""
            finish = choice.finish_reason or finish
            for call in choice.delta.tool_calls or ():
                named = calls.setdefault(call.index, ["", ""])
                named[0] += (call.function.name or "") if call.function else ""
                named[1] += (call.function.arguments or "") if call.function else ""
    return text, reasoning, calls, finish, usage


def responses(client: openai.OpenAI, **request: Any) -> Any:
    return plain(client.responses.create(model="tiny", **as_items(request)))


def responses_stream(client: openai.OpenAI, **request: Any) -> Any:
    deltas, last = "", None
    for event in client.responses.create(model="tiny", stream=True, **as_items(request)):
        deltas += event.delta if event.type == "response.output_text.delta" else ""
        last = event
    assert last is not None
    return deltas, last.type, plain(last.response)


def as_items(request: dict[str, Any]) -> dict[str, Any]:
    """A chat request in the words of Responses."""
    items: list[dict[str, Any]] = []
    for message in request["messages"]:
        if message["role"] == "tool":
            items.append({"type": "function_call_output", "call_id": message["tool_call_id"], "output": message["content"]})
            continue
        if message["content"]:
            items.append({"role": message["role"], "content": message["content"]})
        for call in message.get("tool_calls", ()):
            items.append({"type": "function_call", "call_id": call["id"], **call["function"]})
    more: dict[str, Any] = {"input": items}
    if "tools" in request:
        more["tools"] = [{"type": "function", **tool["function"], "strict": False} for tool in request["tools"]]
    if "tool_choice" in request:
        choice = request["tool_choice"]
        more["tool_choice"] = choice if isinstance(choice, str) else {"type": "function", "name": choice["function"]["name"]}
    if "max_tokens" in request:
        more["max_output_tokens"] = request["max_tokens"]
    if "response_format" in request:
        more["text"] = {"format": {"type": "json_schema", **request["response_format"]["json_schema"]}}
    return more


WIRES: dict[str, tuple[Callable[..., Any], str]] = {
    "chat": (chat, "chat"),
    "chat stream": (chat_stream, "chat"),
    "responses": (responses, "responses"),
    "responses stream": (responses_stream, "responses"),
}
ASKED: dict[str, dict[str, Any]] = {
    "turns": {"messages": TURNS},
    "offered tools": {"messages": USER, "tools": [{"type": "function", "function": TOOL}]},
    "results": {"messages": CALLED, "tools": [{"type": "function", "function": TOOL}]},
    "forced": {
        "messages": USER,
        "tools": [{"type": "function", "function": TOOL}],
        "tool_choice": {"type": "function", "function": {"name": "get_prices"}},
    },
    "capped": {"messages": USER, "max_tokens": 16},
    "form": {
        "messages": USER,
        "response_format": {"type": "json_schema", "json_schema": {"name": "form", "schema": FORM, "strict": True}},
    },
}


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("script", SCRIPTS)
def test_an_answer_reads_the_same(wire: str, script: str, fake_models: FakeModels, gateways: dict[str, Served]) -> None:
    fake_models.rule(**SCRIPTS[script])
    assert_same(wire, {"messages": TURNS}, fake_models, gateways)


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("asked", ASKED)
def test_a_request_is_carried_whole(wire: str, asked: str, fake_models: FakeModels, gateways: dict[str, Served]) -> None:
    fake_models.rule(**({"tool_calls": ONE_CALL} if asked in ("offered tools", "forced") else {}))
    assert_same(wire, ASKED[asked], fake_models, gateways)


def assert_same(wire: str, request: dict[str, Any], fake: FakeModels, gateways: dict[str, Served]) -> None:
    ask, kind = WIRES[wire]
    with openai.OpenAI(base_url=f"{fake.url}/v1", api_key="k", max_retries=0) as direct:
        expected = ask(direct, **request)
    with openai.OpenAI(base_url=gateways[kind].v1, api_key="k", max_retries=0) as carried:
        assert ask(carried, **request) == expected


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("script", ["prose", "unicode", "long", "reasons", "calls", "calls twice", "quotes"])
def test_ollama_reads_the_same(script: str, stream: bool, fake_models: FakeModels, gateways: dict[str, Served]) -> None:
    fake_models.rule(**SCRIPTS[script])
    messages = list(TURNS)
    tools = [{"type": "function", "function": TOOL}]

    def ask(client: ollama.Client) -> Any:
        options = {"num_ctx": 8192, "num_predict": 4000}
        request: dict[str, Any] = {"messages": messages, "tools": tools, "options": options, "stream": stream}
        answer: Any = client.chat(model="qwen3:8b", **request)
        chunks = [plain(chunk) for chunk in answer] if stream else [plain(answer)]
        texts = ["".join(chunk["message"].get(key) or "" for chunk in chunks) for key in ("content", "thinking")]
        calls = [call for chunk in chunks for call in chunk["message"].get("tool_calls") or ()]
        return texts, calls, {key: value for key, value in chunks[-1].items() if key != "message"}

    with ollama.Client(fake_models.url) as direct, ollama.Client(gateways["ollama"].root) as carried:
        expected = ask(direct)
        assert ask(carried) == expected
