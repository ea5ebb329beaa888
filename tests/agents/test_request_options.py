"""What a single request asks for is sent where the server takes it, and recorded as not sent where it does not."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from agents import Model, Part, PipelineError, Request, ToolCall, ToolSpec, request_fingerprint
from agents.llms.messages import join
from agents.pipeline.prompts import cache_key
from tests.agents.admissions import asked, question
from tests.fakes.process import FakeModels

GPT = Model("gpt-5", "openai", "gpt-5", {"reasoning_effort": "medium", "max_output_tokens": 4000}, "openai")
LOCAL = Model("local", "openai_compatible", "local-1", {"max_output_tokens": 500}, "vllm")
LLAMA = Model("llama", "ollama", "llama3.1:8b", {"num_ctx": 4096, "max_output_tokens": 500, "temperature": 0.2}, "ollama")
TOOLS = tuple(ToolSpec(name, "Reads.", {"type": "object", "properties": {}}) for name in ("prices", "news"))
SAMPLING = {"temperature": 0.7, "top_k": 40, "seed": 7}


def test_a_forced_tool_goes_over_both_apis_of_openai(fake_models: FakeModels) -> None:
    forced: dict[str, Any] = {"tools": TOOLS, "tool_choice": "prices", "parallel_tool_calls": False}
    responses = asked(fake_models.openai(), question(GPT, **forced))
    chat = asked(fake_models.compatible(), question(LOCAL, **forced))

    assert responses.params["tool_choice"] == {"type": "function", "name": "prices"}
    assert chat.params["tool_choice"] == {"type": "function", "function": {"name": "prices"}}
    for call in (responses, chat):
        assert call.answer is not None, call.failure
        assert call.params["parallel_tool_calls"] is False
        assert not call.not_sent


@pytest.mark.parametrize("choice", ["auto", "none", "required"])
def test_a_choice_without_a_name_is_sent_as_it_is(fake_models: FakeModels, choice: str) -> None:
    for server, model in ((fake_models.openai(), GPT), (fake_models.compatible(), LOCAL)):
        assert asked(server, question(model, tools=TOOLS, tool_choice=choice)).params["tool_choice"] == choice


def test_sampling_is_sent_unless_the_api_or_the_model_rules_it_out(fake_models: FakeModels) -> None:
    chat = asked(fake_models.compatible(), question(LOCAL, sampling=SAMPLING))
    assert {name: chat.params[name] for name in SAMPLING} == SAMPLING
    assert not chat.not_sent

    reasoning = asked(fake_models.openai(), question(GPT, sampling=SAMPLING))
    assert not set(SAMPLING) & set(reasoning.params)
    assert reasoning.not_sent == SAMPLING

    cool = replace(GPT, params={"reasoning_effort": "none"})
    assert asked(fake_models.openai(), question(cool, sampling=SAMPLING)).not_sent == {"top_k": 40, "seed": 7}


def test_the_parameters_of_a_model_take_precedence_over_sampling(fake_models: FakeModels) -> None:
    call = asked(fake_models.ollama(), question(LLAMA, sampling=SAMPLING))
    sent = call.params["options"]
    assert (sent["temperature"], sent["top_k"], sent["seed"]) == (0.2, 40, 7)
    assert call.not_sent == {"temperature": 0.7}


def test_ollama_takes_no_tool_choice(fake_models: FakeModels) -> None:
    call = asked(fake_models.ollama(), question(LLAMA, tools=TOOLS, tool_choice="required", parallel_tool_calls=False))
    assert call.answer is not None
    assert call.not_sent == {"tool_choice": "required", "parallel_tool_calls": False}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tools": TOOLS, "tool_choice": "weather"}, "tool_choice 'weather': known: auto, none, required, prices, news"),
        ({"tool_choice": "auto"}, "tool_choice 'auto': the request offers no tools"),
        ({"sampling": {"heat": 1.0}}, "unknown sampling heat; known: temperature, top_p, top_k, seed"),
    ],
)
def test_an_impossible_option_is_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(PipelineError, match=re.escape(message)):
        Request(LOCAL, (), **options)  # type: ignore[arg-type]


def test_a_part_that_is_not_joined_is_a_message_of_its_own() -> None:
    parts = (Part("user", "a"), Part("user", "b"), Part("user", "c", joined=False), Part("user", "d"), Part("user", "e"))
    assert [part.text for part in join(parts)] == ["a\n\nb", "c", "d\n\ne"]


def test_shared_parts_decide_which_prompts_have_the_same_cache_key() -> None:
    case, bull, bear = Part("user", "The case.", shared=True), Part("user", "Bull."), Part("user", "Bear.")
    assert cache_key((case, bull)) == cache_key((case, bear))
    assert cache_key((replace(case, shared=False), bull)) != cache_key((replace(case, shared=False), bear))


def test_a_fingerprint_ignores_volatile_text_and_the_ids_of_tool_calls() -> None:
    def asking(stamp: str, call_id: str, text: str = "The close is 101.") -> Request:
        call = Part("assistant", "", tool_calls=(ToolCall(call_id, "prices", "{}"),))
        return Request(LOCAL, (call, Part("tool", f"{text}\nData retrieved on: {stamp}", tool_call_id=call_id)), tools=TOOLS)

    stamp = re.compile(r"Data retrieved on: .*")
    first = request_fingerprint(asking("09:30", "call_a"), [stamp])
    assert request_fingerprint(asking("09:31", "call_b"), [stamp]) == first
    assert request_fingerprint(asking("09:31", "call_b")) != request_fingerprint(asking("09:30", "call_a"))
    assert request_fingerprint(asking("09:30", "call_a", "The close is 102."), [stamp]) != first
    assert request_fingerprint(replace(asking("09:30", "call_a"), tool_choice="prices"), [stamp]) != first
