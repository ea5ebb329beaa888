"""The whole pipeline over real wire formats, through the real client libraries, against the fake model server."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from agents import (
    DECISION,
    Clients,
    Context,
    Model,
    ModelCallError,
    Part,
    Pipeline,
    PromptTooLong,
    Request,
    Result,
    Server,
    Unsupported,
    decide,
    role_names,
)
from agents.llms.openai import chat_arguments, responses_arguments
from tests.agents.cell import snapshot
from tests.fakes.process import FakeModels
from tests.fakes.scripted import OpenAdmission

RATING = '{"summary": "s", "thesis": "t", "rating": "Sell", "confidence": 70, "target_price": 90, "horizon": "6 weeks"}'


def case_with(server: Server, pipeline: Pipeline | None = None, name: str = "", **params: Any) -> tuple[Result, OpenAdmission]:
    name = name or {"openai": "gpt-5", "ollama": "llama3.1:8b"}.get(server.provider, "local-1")
    model = Model("model", server.provider, name, params, server=server.name)
    admission = OpenAdmission()

    async def main() -> Result:
        async with Clients({server.name: server}) as clients:
            lineup = dict.fromkeys(role_names(), model)
            return await decide(Context(lineup, pipeline or Pipeline(), admission, clients, snapshot()))

    return asyncio.run(main()), admission


def servers(fake: FakeModels) -> dict[str, tuple[Server, dict[str, Any]]]:
    return {
        "openai": (fake.openai(), {"reasoning_effort": "low", "max_output_tokens": 4000}),
        "compatible": (fake.compatible(), {"max_output_tokens": 2000}),
        "ollama": (fake.ollama(), {"num_ctx": 32768, "max_output_tokens": 2000}),
    }


@pytest.mark.parametrize("provider", ["openai", "compatible", "ollama"])
def test_one_call_per_role_and_a_typed_decision(fake_models: FakeModels, provider: str) -> None:
    server, params = servers(fake_models)[provider]
    result, admission = case_with(server, **params)
    assert (result.error, result.decision_status, len(admission.calls)) == (None, "typed", len(role_names()))
    assert fake_models.ledger()["calls"] == len(role_names())
    assert len(result.parsed) == 4


def test_openai_is_sent_no_bound_that_it_refuses_and_others_keep_it() -> None:
    model = Model("model", "openai", "gpt-5")
    request = Request(model, (Part("user", "Decide."),), DECISION.schema())
    hosted, compatible = json.dumps(responses_arguments(request)), json.dumps(chat_arguments(request))
    assert '"strict": true' in hosted
    assert "maxLength" not in hosted
    assert "maxLength" in compatible


@pytest.mark.parametrize("provider", ["openai", "compatible", "ollama"])
@pytest.mark.parametrize(
    ("text", "status"),
    [
        (RATING, "typed"),
        ("", "missing"),
        ("我认为应该卖出，评级：卖出。", "unparsed"),
        ("<html><body><b>Rating:</b> Sell</body></html>", "recovered"),
        (RATING.replace("70", "NaN"), "recovered"),
        (RATING.replace("Sell", "Strong Sell"), "unparsed"),
        (RATING[:60], "unparsed"),
        ("word " * 40_000, "unparsed"),
    ],
    ids=["form", "empty", "chinese", "html", "nan", "off the scale", "stops in json", "200 kB"],
)
def test_what_a_model_may_answer(fake_models: FakeModels, provider: str, text: str, status: str) -> None:
    server, params = servers(fake_models)[provider]
    fake_models.rule(text=text)
    result, _ = case_with(
        server, Pipeline(depth="single_call"), **(params | {"max_output_tokens": 100_000, "num_ctx": 200_000})
    )
    assert (result.error, result.decision_status) == (None, status)


@pytest.mark.parametrize("provider", ["openai", "compatible", "ollama"])
def test_a_loop_of_tool_calls_is_capped(fake_models: FakeModels, provider: str) -> None:
    server, params = servers(fake_models)[provider]
    fake_models.control(
        rules=[
            {
                "contains": "fetch what you need",
                "times": 2,
                "do": {"tool_calls": [{"name": "get_prices", "arguments": '{"sessions": 2}'}]},
            }
        ]
    )
    result, admission = case_with(server, Pipeline(inputs="tools", analysts=("market",), tool_rounds=2), **params)
    assert result.error is None
    assert (result.tool_skill.valid, result.tool_skill.capped_rounds) == (2, 1)
    assert [call.site.key for call in admission.calls[:3]] == [
        "market_analyst/0/tool_round/0",
        "market_analyst/0/tool_round/1",
        "market_analyst/0/primary/0",
    ]


def test_a_model_without_tools_fails_with_the_fix(fake_models: FakeModels) -> None:
    result, admission = case_with(
        fake_models.ollama(), Pipeline(inputs="tools"), name="gemma3:4b", num_ctx=16384, max_output_tokens=500
    )
    assert isinstance(result.error, Unsupported)
    assert "gemma3:4b" in str(result.error)
    assert "inputs: prefetch" in str(result.error)
    assert {call.failure.cause for call in admission.calls if call.failure} == {"unsupported"}


def test_a_cut_decision_is_truncated_and_never_read(fake_models: FakeModels) -> None:
    server, params = servers(fake_models)["compatible"]
    result, admission = case_with(server, Pipeline(depth="single_call", max_output_tokens={"all": 8}), **params)
    assert (result.decision, result.decision_status, len(admission.calls)) == (None, "truncated", 1)


def test_a_context_smaller_than_the_prompt_is_refused_before_sending(fake_models: FakeModels) -> None:
    result, admission = case_with(fake_models.ollama(), num_ctx=512, max_output_tokens=128)
    assert isinstance(result.error, PromptTooLong)
    assert admission.calls == []


def test_a_broken_server_ends_the_cell_with_every_call_recorded(fake_models: FakeModels) -> None:
    fake_models.control(rules=[{"contains": "You are the bear", "do": {"status": 500}}])
    server, params = servers(fake_models)["compatible"]
    result, admission = case_with(server, **params)
    assert isinstance(result.error, ModelCallError)
    assert [call.site.role for call in admission.calls if call.failure] == ["bear"]
    assert list(result.reports)[-1] == "bull/1"


@pytest.mark.parametrize("provider", ["compatible", "ollama"])
def test_tool_calls_that_a_server_passes_on_as_text_are_asked_once_more(fake_models: FakeModels, provider: str) -> None:
    text = '<tool_call>\n{"name": "get_prices", "arguments": {"sessions": 5}}\n</tool_call>'
    fake_models.control(rules=[{"contains": "fetch what you need with the tools", "times": 1, "do": {"text": text}}])
    server, params = servers(fake_models)[provider]
    result, _ = case_with(server, Pipeline(inputs="tools", analysts=("market",)), **params)
    assert result.error is None
    assert (result.tool_skill.calls, result.tool_skill.written_calls) == (1, 1)
    assert "<tool_call>" not in result.reports["market_analyst"]
