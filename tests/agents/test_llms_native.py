"""Anthropic and Google through their real client libraries, over their real wire formats."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from importlib import metadata
from typing import Any

import pytest

from agents import Clients, Context, Model, Pipeline, Result, Server, ToolSpec, decide, probe, role_names
from agents.types import Caching, Part
from domain.usage import Usage
from tests.agents.admissions import RATING, answered, asked, cause, question
from tests.agents.cell import snapshot
from tests.fakes.process import FakeModels
from tests.fakes.scripted import OpenAdmission

CLAUDE = Model("claude", "anthropic", "claude-sonnet-4-5", {"max_output_tokens": 4000}, "anthropic")
GEMINI = Model("gemini", "google", "gemini-2.5-flash", {"max_output_tokens": 4000}, "google")
TOOL = ToolSpec("get_prices", "Prices.", {"type": "object", "properties": {"sessions": {"type": "integer"}}})
LONG = "word " * 6000

Native = tuple[Callable[[FakeModels], Server], Model]
BOTH = pytest.mark.parametrize(
    "native", [(FakeModels.anthropic, CLAUDE), (FakeModels.google, GEMINI)], ids=["anthropic", "google"]
)


@BOTH
def test_a_cell_is_decided_and_its_ledger_equals_the_servers(fake_models: FakeModels, native: Native) -> None:
    server, model = native[0](fake_models), native[1]
    fake_models.control(defaults={"output_tokens": 500})
    admission = OpenAdmission()

    async def main() -> Result:
        async with Clients({server.name: server}) as clients:
            return await decide(Context(dict.fromkeys(role_names(), model), Pipeline(), admission, clients, snapshot()))

    result = asyncio.run(main())
    assert (result.error, result.decision_status) == (None, "typed")
    ledger = fake_models.ledger()
    usages = [call.answer.usage for call in admission.calls if call.answer]
    for name in ("input_tokens", "cached_tokens", "cache_write_tokens", "output_tokens"):
        assert sum(getattr(used, name) or 0 for used in usages) == ledger[name], name
    assert ledger["cached_tokens"] > 0
    assert (ledger["cache_write_tokens"] > 0) is (model.provider == "anthropic")


@BOTH
def test_a_schema_is_followed_and_tools_are_called(fake_models: FakeModels, native: Native) -> None:
    server, model = native[0](fake_models), native[1]
    assert set(json.loads(answered(server, question(model, schema=RATING)).text)) == {"rating", "rationale", "confidence"}
    fake_models.rule(tool_calls=[{"name": "get_prices", "arguments": '{"sessions": 5}'}])
    request = question(model, tools=(TOOL,), tool_choice="required")
    answer = answered(server, request)
    assert answer.finish_reason == "tool_calls"
    assert [(call.name, json.loads(call.arguments)) for call in answer.tool_calls] == [("get_prices", {"sessions": 5})]
    fake_models.rule(text="Rising.")
    conversation = (
        *request.parts,
        Part("assistant", "", answer.tool_calls),
        Part("tool", "42", tool_call_id=answer.tool_calls[0].id),
    )
    assert answered(server, replace(request, parts=conversation)).text == "Rising."


@BOTH
def test_a_cut_answer_is_truncated_and_thinking_is_kept_apart(fake_models: FakeModels, native: Native) -> None:
    server, model = native[0](fake_models), native[1]
    fake_models.rule(output_tokens=900, thinking="Let me see.")
    budget = replace(model, params={"max_output_tokens": 1500, "thinking_tokens": 1024})
    call = asked(server, question(budget))
    assert call.answer is not None
    assert (call.answer.reasoning, call.answer.truncated) == ("Let me see.", False)
    assert "1024" in json.dumps(call.params)
    assert answered(server, question(replace(model, params={"max_output_tokens": 50}))).truncated


@BOTH
def test_failures_have_the_causes_of_every_provider(fake_models: FakeModels, native: Native) -> None:
    server, model = native[0](fake_models), native[1]
    for status, expected in ((429, "rate_limited"), (503, "server_error"), (401, "auth"), (404, "not_found")):
        fake_models.reset()
        fake_models.rule(status=status)
        assert cause(server, question(model)) == expected
        assert fake_models.ledger()["calls"] == 1, "the SDK must not repeat a request by itself"


@BOTH
def test_usage_that_a_gateway_drops_is_unknown_and_not_zero(fake_models: FakeModels, native: Native) -> None:
    fake_models.rule(usage=False)
    assert answered(native[0](fake_models), question(native[1])).usage == Usage()


@BOTH
def test_a_probe_names_a_wrong_key_and_a_wrong_model(fake_models: FakeModels, native: Native) -> None:
    server, model = native[0](fake_models), native[1]
    fake_models.control(models=[model.name])
    report = asyncio.run(probe(server, [model, replace(model, alias="other", name="nosuch-1")]))
    assert (report.problem, report.models[model.alias].problem) == (None, None)
    assert "has no model 'nosuch-1'" in (report.models["other"].problem or "")
    fake_models.control(api_key="sk-right")
    assert "refuses the key" in (asyncio.run(probe(server, [model])).problem or "")
    assert "no " in (asyncio.run(probe(replace(server, api_key=None), [model])).problem or "")


@BOTH
def test_a_missing_package_is_one_message_with_the_line_that_installs_it(
    fake_models: FakeModels, native: Native, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, model = native[0](fake_models), native[1]

    def missing(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", missing)
    report = asyncio.run(probe(server, [model]))
    assert f"provider {model.provider} needs langchain-" in (report.problem or "")
    assert f"pip install 'tradingagents-harness[{model.provider}]'" in (report.fix or "")


def test_a_streamed_message_reads_like_a_whole_one(fake_models: FakeModels) -> None:
    async def streamed() -> Caching:
        return Caching((2,), first_token=asyncio.Event())

    parts = (Part("system", "desk"), Part("user", LONG), Part("user", "task"))
    fake_models.rule(text="Rising.", thinking="Hm.")
    request = replace(question(CLAUDE), parts=parts)
    stream = answered(fake_models.anthropic(), replace(request, caching=asyncio.run(streamed())))
    fake_models.reset()
    fake_models.rule(text="Rising.", thinking="Hm.")
    whole = answered(fake_models.anthropic(), replace(request, caching=Caching((2,))))
    assert (stream.text, stream.reasoning, stream.usage) == (whole.text, whole.reasoning, whole.usage)
    assert (whole.usage.cache_write_tokens or 0) > 5000
    assert stream.timing.ttft_s is not None


def test_sampling_and_effort_reach_each_api_under_its_own_name(fake_models: FakeModels) -> None:
    params: dict[str, Any] = {"max_output_tokens": 2000, "temperature": 0.5, "reasoning_effort": "low"}
    claude = asked(fake_models.anthropic(), question(replace(CLAUDE, params=params))).params
    assert (claude["temperature"], claude["max_tokens"], claude["output_config"]["effort"]) == (0.5, 2000, "low")
    gemini = asked(fake_models.google(), question(replace(GEMINI, params=params))).params
    assert (gemini["temperature"], gemini["max_output_tokens"]) == (0.5, 2000)
    assert "low" in json.dumps(gemini["thinking_config"]).lower()
