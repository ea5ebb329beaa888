"""Servers of Chat Completions (vLLM, LM Studio ...) through the real client library."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from agents import CallSite, Clients, Model, Part, Request, Server, ToolCall, ToolSpec, ask, probe
from agents.llms.openai import connect
from tests.agents.admissions import RATING, OpenAdmission, answered, asked, cause, question
from tests.fakes.process import FakeModels

LOCAL = Model("local", "openai_compatible", "fake-model", {"max_output_tokens": 500, "temperature": 0.7, "seed": 3}, "vllm")


def test_an_answer_comes_with_its_usage(fake_models: FakeModels) -> None:
    answer = answered(fake_models.compatible(), question(LOCAL))
    assert answer.text
    assert answer.finish_reason == "stop"
    assert (answer.usage.cached_tokens, answer.usage.reasoning_tokens) == (0, 0)


def test_the_keys_that_compatible_servers_know_are_sent(fake_models: FakeModels) -> None:
    call = asked(fake_models.compatible(), question(LOCAL, schema=RATING, cache_key="k"))
    assert (call.params["max_tokens"], call.params["temperature"], call.params["seed"]) == (500, 0.7, 3)
    assert call.params["response_format"] == "json_schema"
    assert not {"store", "prompt_cache_key", "max_completion_tokens"} & set(call.params)


def test_requests_of_one_shape_are_sent_with_their_own_texts_and_others_with_their_own_parameters(
    fake_models: FakeModels,
) -> None:
    deep = replace(LOCAL, params={"max_output_tokens": 9})
    requests = [
        Request(model, parts, max_output_tokens=model.params["max_output_tokens"])
        for model in (LOCAL, deep)
        for text in ("first", "second")
        for parts in ((Part("system", "Be brief."), Part("user", text), Part("user", "Go.")), (Part("user", text),))
    ]

    async def composed() -> list[Mapping[str, Any]]:
        client = connect(fake_models.compatible(), "test")
        bodies = [(await client.compose(request)).body for request in requests]
        await client.aclose()
        return bodies

    bodies = asyncio.run(composed())
    messages = [
        each
        for text in ("first", "second")
        for each in (
            [{"role": "system", "content": "Be brief."}, {"role": "user", "content": f"{text}\n\nGo."}],
            [{"role": "user", "content": text}],
        )
    ]
    assert [body["messages"] for body in bodies] == [*messages, *messages]
    assert [(body["max_tokens"], body.get("temperature")) for body in bodies] == [(500, 0.7)] * 4 + [(9, None)] * 4


def test_openai_at_another_address_speaks_chat(fake_models: FakeModels) -> None:
    server = Server("vllm", "openai", fake_models.url, api_key="sk")
    assert answered(server, question(replace(LOCAL, provider="openai"))).text
    assert fake_models.ledger(full=True)["requests"][0]["path"] == "/v1/chat/completions"


def test_an_answer_cut_at_the_cap_keeps_its_text_and_its_bill(fake_models: FakeModels) -> None:
    fake_models.rule(output_tokens=900)
    answer = answered(fake_models.compatible(), question(LOCAL, schema=None))
    assert (answer.finish_reason, answer.truncated, answer.usage.output_tokens) == ("length", True, 500)
    fake_models.rule(text='{"rating": "Buy", "rationale": "' + "x" * 4000)
    cut = answered(fake_models.compatible(), question(LOCAL, schema=RATING))
    assert (cut.finish_reason, cut.usage.output_tokens) == ("length", 500)


@pytest.mark.parametrize("finish", ["abort", "error", "max_tokens"])
def test_an_answer_that_a_server_gave_up_is_a_cut_one(fake_models: FakeModels, finish: str) -> None:
    fake_models.rule(finish=finish, text='{"rating": "Buy", "rationale": "cheap", "confidence": 80}')
    assert answered(fake_models.compatible(), question(LOCAL, schema=RATING)).truncated


def test_a_loop_that_ollama_stops_behind_v1_is_kept_and_never_a_decision(fake_models: FakeModels) -> None:
    choice = {"index": 0, "message": {"role": "assistant", "content": "I say" + " no" * 31}, "finish_reason": None}
    usage = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
    body = {"id": "chatcmpl-1", "object": "chat.completion", "model": "fake-model", "choices": [choice], "usage": usage}
    fake_models.rule(raw=json.dumps(body))
    answer = answered(fake_models.compatible(), question(LOCAL))
    assert (answer.finish_reason, answer.truncated, answer.usage.input_tokens) == ("repeated", True, None)
    fake_models.rule(raw=json.dumps(body).replace("null", '"stop"'))
    assert answered(fake_models.compatible(), question(LOCAL)).finish_reason == "stop"


def test_filtered_and_refused_answers_are_answers(fake_models: FakeModels) -> None:
    fake_models.rule(finish="content_filter")
    assert answered(fake_models.compatible(), question(LOCAL, schema=RATING)).finish_reason == "content_filter"
    fake_models.rule(refusal="No.")
    assert answered(fake_models.compatible(), question(LOCAL, schema=RATING)).finish_reason == "refused"


def test_the_thoughts_of_a_reasoning_server_stand_apart(fake_models: FakeModels) -> None:
    fake_models.rule(thinking="Let me see.", text="Hold")
    answer = answered(fake_models.compatible(), question(LOCAL))
    assert (answer.text, answer.reasoning) == ("Hold", "Let me see.")


@pytest.mark.parametrize(
    "text",
    ["", "买入", "<html><body>Buy</body></html>", "x" * 200_000, '{"rating": NaN, "confidence": Infinity}', "\x00\ud800 odd"],
)
def test_any_text_of_a_model_is_a_valid_answer(fake_models: FakeModels, text: str) -> None:
    fake_models.rule(text=text)
    wide = replace(LOCAL, params={"max_output_tokens": 100_000})
    answer = answered(fake_models.compatible(), question(wide, schema=RATING))
    assert answer.text == text.replace("\ud800", "?")
    assert isinstance(answer.text.encode(), bytes)


@pytest.mark.parametrize(
    ("raw", "cause_"),
    [
        ('{"choices": []}', "bad_answer"),
        ('{"choices": null}', "bad_answer"),
        ('{"choices": [{"message": "text"}]}', "bad_answer"),
        ("", "bad_answer"),
        ("{", "bad_answer"),
    ],
)
def test_a_body_of_another_format_is_a_bad_answer(fake_models: FakeModels, raw: str, cause_: str) -> None:
    fake_models.rule(raw=raw)
    assert cause(fake_models.compatible(), question(LOCAL)) == cause_


@pytest.mark.parametrize("usage", ["null", "{}", '"none"', '{"prompt_tokens": NaN, "completion_tokens": -1}'])
def test_counts_that_are_none_are_unknown_and_never_zero(fake_models: FakeModels, usage: str) -> None:
    choice = '{"message": {"role": "assistant", "content": "Hold"}, "finish_reason": "stop"}'
    fake_models.rule(raw='{"choices": [%s], "usage": %s}' % (choice, usage))  # noqa: UP031
    answer = answered(fake_models.compatible(), question(LOCAL))
    assert answer.text == "Hold"
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (None, None)


def test_llama_cpp_refuses_an_over_long_prompt_by_its_own_words(fake_models: FakeModels) -> None:
    error = "request (9000 tokens) exceeds the available context size (8192 tokens), try increasing it"
    fake_models.rule(status=400, error=error, error_type="exceed_context_size_error")
    assert cause(fake_models.compatible(), question(LOCAL)) == "too_long"


def test_tools_and_their_answers_travel_unchanged(fake_models: FakeModels) -> None:
    tool = ToolSpec("prices", "Prices.", {"type": "object", "properties": {}})
    fake_models.rule(tool_calls=[{"name": "prices", "arguments": "{broken"}])
    answer = answered(fake_models.compatible(), question(LOCAL, tools=(tool,)))
    assert [(call.name, call.arguments) for call in answer.tool_calls] == [("prices", "{broken")]
    parts = (
        Part("user", "How much?"),
        Part("assistant", "I look.", (ToolCall("c1", "prices", "{broken"),)),
        Part("tool", "no such argument", tool_call_id="c1"),
        Part("user", "Now answer."),
    )
    fake_models.control(rules=[{"contains": "{broken", "do": {"text": "seen"}}])
    assert answered(fake_models.compatible(), Request(LOCAL, parts, tools=(tool,))).text == "seen"


def test_parts_of_one_role_are_sent_as_one_message_with_blank_lines_between(fake_models: FakeModels) -> None:
    fake_models.control(rules=[{"contains": "one\n\ntwo", "do": {"text": "joined"}}])
    parts = (Part("user", "one"), Part("user", "two"))
    assert answered(fake_models.compatible(), Request(LOCAL, parts)).text == "joined"


def test_a_probe_names_the_models_that_are_there(fake_models: FakeModels) -> None:
    other = replace(LOCAL, alias="other", name="missing")
    report = asyncio.run(probe(fake_models.compatible(), [LOCAL, other]))
    assert report.reachable
    assert report.models["local"].present
    assert not report.models["other"].present
    assert "fake-model" in str(report.models["other"].fix)


def test_a_probe_reports_a_server_that_does_not_answer() -> None:
    report = asyncio.run(probe(Server("vllm", "openai_compatible", "http://127.0.0.1:9"), [LOCAL]))
    assert not report.reachable
    assert "127.0.0.1:9" in str(report.problem)


def test_a_probe_reports_a_wrong_key(fake_models: FakeModels) -> None:
    fake_models.control(api_key="sk-right")
    report = asyncio.run(probe(fake_models.openai(), []))
    assert "refuses the key" in str(report.problem)
    assert cause(fake_models.openai(), question(replace(LOCAL, provider="openai", server="openai"))) == "auth"


def test_a_key_never_shows_in_what_is_printed() -> None:
    assert "sk-secret" not in repr(Server("openai", "openai", api_key="sk-secret"))


def test_an_instance_of_the_fakes_obeys_its_schema(fake_models: FakeModels) -> None:
    import jsonschema

    for ticker in ("AAPL", "MSFT", "JPM", "XOM"):
        answer = answered(fake_models.compatible(), question(LOCAL, ticker, schema=RATING))
        jsonschema.validate(json.loads(answer.text), dict(RATING))


PROMPT = "The close stands at 208.99 and the volume fell. " * 200
"""About 2,600 tokens."""


@pytest.mark.parametrize("reported", [1024, 514])
@pytest.mark.parametrize("provider", ["openai_compatible", "openai"])
def test_a_prompt_that_the_server_cut_is_never_a_whole_answer(fake_models: FakeModels, provider: str, reported: int) -> None:
    """Ollama behind /v1: 0.17.0 reported 1,024 of 2,733 tokens, 0.32.15 reported 514 of 2,693."""
    fake_models.rule(text='{"rating": "Buy", "rationale": "cheap", "confidence": 80}', input_tokens=reported)
    server = Server("vllm", provider, fake_models.url, api_key="sk")
    answer = answered(server, question(replace(LOCAL, provider=provider), PROMPT, schema=RATING))
    assert (answer.truncated, answer.finish_reason, answer.usage.input_tokens) == (True, "stop", reported)


def test_a_server_that_writes_tools_in_few_tokens_cuts_no_prompt(fake_models: FakeModels) -> None:
    wordy = {"type": "object", "properties": {f"part_{n}": {"type": "string", "description": "x y z " * 9} for n in range(60)}}
    request = replace(question(LOCAL, PROMPT), tools=(ToolSpec("decide", "Decide.", wordy),))
    fake_models.rule(input_tokens=2700, cached_tokens=0)
    assert not answered(fake_models.compatible(), request).truncated
    fake_models.rule(input_tokens=1024, cached_tokens=0)
    assert answered(fake_models.compatible(), request).truncated


@pytest.mark.parametrize("told", [{"input_tokens": 0}, {"usage": False}, {"input_tokens": 1700}])
def test_an_unknown_count_and_another_tokenizer_are_no_cut(fake_models: FakeModels, told: dict[str, Any]) -> None:
    fake_models.rule(**told)
    assert not answered(fake_models.compatible(), question(LOCAL, PROMPT)).truncated


def test_cache_reads_belong_to_the_prompt_and_count_once(fake_models: FakeModels) -> None:
    fake_models.rule(input_tokens=2600, cached_tokens=2500)
    assert not answered(fake_models.compatible(), question(LOCAL, PROMPT)).truncated
    fake_models.rule(input_tokens=1024, cached_tokens=1000)
    assert answered(fake_models.compatible(), question(LOCAL, PROMPT)).truncated
    fake_models.rule(input_tokens=100, cached_tokens=2500)
    assert not answered(fake_models.compatible(), question(LOCAL, PROMPT)).truncated


def test_the_models_own_tokenizer_is_learned_from_its_first_whole_calls(fake_models: FakeModels) -> None:
    """A prompt of 1.5 times our count was cut if only 0.85 times our count arrived."""

    async def main() -> list[bool]:
        admission = OpenAdmission()
        async with Clients({"vllm": fake_models.compatible()}) as clients:
            for index, reported in enumerate([3900] * 5 + [2200]):
                fake_models.rule(input_tokens=reported, cached_tokens=0)
                await ask(CallSite("trader", index), question(LOCAL, PROMPT), admission, clients)
        return [call.answer.truncated for call in admission.calls if call.answer]

    assert asyncio.run(main()) == [False] * 5 + [True]
