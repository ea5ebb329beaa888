"""OpenAI's Responses API through the real client library."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socketserver
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agents import FORMS, CallSite, Clients, Form, Model, ModelCallError, Part, Request, Server, ToolCall, ToolSpec, ask, probe
from tests.agents.admissions import RATING, OpenAdmission, answered, asked, cause, question
from tests.fakes.encrypted import encrypted_behind_a_proxy, self_signed
from tests.fakes.process import FakeModels

GPT = Model("gpt-5", "openai", "gpt-5", {"reasoning_effort": "medium", "verbosity": "low", "max_output_tokens": 4000}, "openai")


def test_an_answer_comes_with_what_it_used_and_who_gave_it(fake_models: FakeModels) -> None:
    fake_models.rule(text="Rising.", reasoning_tokens=64, cached_tokens=1024, model="gpt-5-2025-08-07", input_tokens=2000)
    answer = answered(fake_models.openai(), question(GPT))
    assert answer.text == "Rising."
    assert (answer.usage.input_tokens, answer.usage.cached_tokens) == (2000, 1024)
    assert (answer.usage.output_tokens, answer.usage.reasoning_tokens) == (66, 64)
    assert (answer.model_returned, answer.service_tier, answer.finish_reason) == ("gpt-5-2025-08-07", "default", "stop")
    assert answer.request_id.startswith("req_") if answer.request_id else False
    assert not answer.truncated


def test_everything_that_changes_an_answer_is_sent_and_recorded(fake_models: FakeModels) -> None:
    request = question(GPT, schema=RATING, cache_key="AAPL-1")
    call = asked(fake_models.openai(), request)
    assert call.params["reasoning"] == {"effort": "medium"}
    assert call.params["text"] == {"format": "json_schema", "verbosity": "low"}
    assert (call.params["max_output_tokens"], call.params["store"]) == (4000, False)
    assert call.params["prompt_cache_key"] == "AAPL-1"


def test_a_temperature_that_the_client_drops_is_not_recorded_as_sent(fake_models: FakeModels) -> None:
    hot = replace(GPT, params={**GPT.params, "temperature": 0.2})
    assert "temperature" not in asked(fake_models.openai(), question(hot)).params
    cool = replace(GPT, params={**GPT.params, "temperature": 0.2, "reasoning_effort": "none"})
    assert asked(fake_models.openai(), question(cool)).params["temperature"] == 0.2


def test_sampling_that_a_reasoning_model_refuses_is_found_before_anything_is_spent(fake_models: FakeModels) -> None:
    fake_models.control(models=["gpt-5"])
    hot = replace(GPT, alias="hot", params={**GPT.params, "temperature": 0.2, "top_p": 0.9})
    cool = replace(hot, alias="cool", params={**hot.params, "reasoning_effort": "none"})
    told = asyncio.run(probe(fake_models.openai(), [GPT, hot, cool])).models
    assert (told["gpt-5"].problem, told["cool"].problem) == (None, None)
    assert told["hot"].problem == "gpt-5 takes no temperature and no top_p while it reasons (reasoning_effort: medium)"


def test_a_schema_is_followed_and_the_text_is_left_to_the_caller_to_parse(fake_models: FakeModels) -> None:
    answer = answered(fake_models.openai(), question(GPT, schema=RATING))
    assert set(json.loads(answer.text)) == {"rating", "rationale", "confidence"}


@pytest.mark.parametrize("cap", [None, 96, 4000])
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS.keys())
def test_every_form_keeps_the_rules_of_strict_schemas(fake_models: FakeModels, form: Form, cap: int | None) -> None:
    request = replace(question(GPT, schema=form.schema(cap)), max_output_tokens=cap)
    value, problem = form.read(json.loads(answered(fake_models.openai(), request).text))
    assert value, problem


def test_an_answer_that_breaks_the_schema_is_still_an_answer_with_its_usage(fake_models: FakeModels) -> None:
    fake_models.rule(text='{"rating": "Strong Buy"')
    answer = answered(fake_models.openai(), question(GPT, schema=RATING))
    assert answer.text == '{"rating": "Strong Buy"'
    assert answer.usage.output_tokens


def test_reasoning_that_eats_the_whole_cap_is_a_truncated_answer(fake_models: FakeModels) -> None:
    fake_models.rule(reasoning_tokens=4000, text="never said")
    answer = answered(fake_models.openai(), question(GPT))
    assert (answer.text, answer.finish_reason, answer.truncated) == ("", "length", True)
    assert answer.usage.reasoning_tokens == 4000


@pytest.mark.parametrize("why", ["max_messages", "steered", "a reason of next year"])
def test_an_answer_that_is_incomplete_for_whatever_reason_is_a_truncated_one(fake_models: FakeModels, why: str) -> None:
    fake_models.rule(finish=why, text='{"rating": "Buy", "rationale": "cheap", "confidence": 80}')
    answer = answered(fake_models.openai(), question(GPT, schema=RATING))
    assert (answer.finish_reason, answer.truncated) == ("length", True)


def test_a_refusal_and_a_filtered_answer_are_distinguished(fake_models: FakeModels) -> None:
    fake_models.rule(refusal="I cannot help with that.")
    refused = answered(fake_models.openai(), question(GPT))
    assert (refused.finish_reason, refused.text) == ("refused", "I cannot help with that.")
    fake_models.rule(finish="content_filter", text="half")
    assert answered(fake_models.openai(), question(GPT)).finish_reason == "content_filter"


def test_reasoning_summaries_stand_apart_from_the_text(fake_models: FakeModels) -> None:
    fake_models.rule(thinking="Weighing the margins.", text="Hold.")
    answer = answered(fake_models.openai(), question(GPT))
    assert (answer.text, answer.reasoning) == ("Hold.", "Weighing the margins.")


def test_flex_is_asked_for_and_its_usage_is_read_like_any_other(fake_models: FakeModels) -> None:
    fake_models.rule(cached_tokens=512, cache_write_tokens=256, reasoning_tokens=10, service_tier="flex")
    flex = replace(GPT, params={**GPT.params, "lane": "flex"})
    call = asked(fake_models.openai(), question(flex))
    assert call.params["service_tier"] == "flex"
    assert call.answer is not None
    assert (call.answer.service_tier, call.answer.usage.cached_tokens) == ("flex", 512)
    assert (call.answer.usage.cache_write_tokens, call.answer.usage.reasoning_tokens) == (256, 10)


def test_a_tier_that_comes_back_lower_than_asked_is_the_one_recorded(fake_models: FakeModels) -> None:
    fake_models.rule(service_tier="default")
    priority = replace(GPT, params={**GPT.params, "lane": "fast"})
    assert answered(fake_models.openai(), question(priority)).service_tier == "default"


def test_a_flex_request_waits_longer_also_beside_another_tier_of_the_same_model(fake_models: FakeModels) -> None:
    flex = replace(GPT, params={**GPT.params, "lane": "flex"})
    fake_models.rule(latency_s=0.6, text="late")
    admission = OpenAdmission()

    async def main() -> None:
        async with Clients({"openai": fake_models.openai(timeout_s=0.3)}) as clients:
            with contextlib.suppress(ModelCallError):
                await ask(CallSite("trader"), question(GPT), admission, clients)
            await ask(CallSite("trader", 1), question(flex), admission, clients)

    asyncio.run(main())
    assert [call.failure.cause if call.failure else call.answer and call.answer.text for call in admission.calls] == [
        "timeout",
        "late",
    ]


def test_flex_has_a_timeout_of_its_own() -> None:
    from agents.llms.openai import OpenAI

    provider = OpenAI(Server("openai", "openai", api_key="sk", timeout_s=60))
    assert provider.timeout_s(GPT) == 60
    assert provider.timeout_s(replace(GPT, params={"lane": "flex"})) == 900


TOO_BIG = "This model's maximum context length is 272000 tokens"
FAILURES = [
    ({"status": 429, "retry_after": "7", "error_type": "requests", "error_code": "rate_limit_exceeded"}, "rate_limited"),
    ({"status": 429, "error_code": "insufficient_quota", "error_type": "insufficient_quota"}, "quota"),
    ({"status": 429, "error_code": "resource_unavailable"}, "capacity"),
    ({"status": 500}, "server_error"),
    ({"status": 503}, "server_error"),
    ({"status": 401, "error_code": "invalid_api_key"}, "auth"),
    ({"status": 403}, "auth"),
    ({"status": 404, "error_code": "model_not_found"}, "not_found"),
    ({"status": 400, "error_code": "invalid_value"}, "bad_request"),
    ({"status": 400, "error_code": "context_length_exceeded", "error": TOO_BIG}, "too_long"),
    ({"status": 400, "error": "Unsupported parameter: 'temperature' is not supported with this model."}, "unsupported"),
    ({"raw": "<html><body>gateway</body></html>"}, "bad_answer"),
    ({"raw": "[1, 2]"}, "bad_answer"),
    ({"raw": '{"object": "response"}'}, "bad_answer"),
    ({"raw": '{"error": {"code": "server_error", "message": "oops"}, "status": "failed"}'}, "server_error"),
    ({"raw": '{"error": {"code": "rate_limit_exceeded", "message": "slow"}, "status": "failed"}'}, "rate_limited"),
    ({"raw": '{"error": {"code": "bio_policy", "message": "no"}, "status": "failed", "output": []}'}, "bad_request"),
    ({"raw": '{"error": null, "status": "failed", "output": []}'}, "server_error"),
    ({"raw": '{"error": null, "status": "cancelled", "output": []}'}, "server_error"),
    ({"raw": "<html>bad gateway</html>", "status": 502}, "server_error"),
    ({"cut": True}, "cut_stream"),
]


@pytest.mark.parametrize(("behaviour", "expected"), FAILURES)
def test_every_failure_has_its_cause(fake_models: FakeModels, behaviour: dict[str, Any], expected: str) -> None:
    fake_models.rule(**behaviour)
    assert cause(fake_models.openai(), question(GPT)) == expected


def test_a_flex_429_is_missing_capacity_whatever_its_words(fake_models: FakeModels) -> None:
    fake_models.rule(status=429, error="Too busy")
    flex = replace(GPT, params={**GPT.params, "lane": "flex"})
    assert cause(fake_models.openai(), question(flex)) == "capacity"


def test_the_wait_that_a_server_asks_for_is_passed_on_and_the_client_never_retries(fake_models: FakeModels) -> None:
    fake_models.rule(status=429, retry_after="7")
    failure = asked(fake_models.openai(), question(GPT)).failure
    assert failure is not None
    assert (failure.retry_after_s, failure.http_status) == (7.0, 429)
    assert fake_models.ledger()["calls"] == 1


def test_a_silent_server_is_a_timeout(fake_models: FakeModels) -> None:
    fake_models.rule(hang_s=30)
    assert cause(fake_models.openai(timeout_s=0.3), question(GPT)) == "timeout"


def test_an_address_that_takes_no_connection_is_a_connection_and_not_a_timeout_that_may_be_billed() -> None:
    import httpx2
    import openai

    from agents.llms.failures import classify
    from agents.llms.wire import Wire

    error = openai.APITimeoutError(request=httpx2.Request("POST", "https://api.openai.com"))
    error.__cause__ = httpx2.ConnectTimeout("no answer to SYN")
    assert classify(error, Wire()).cause == "connection"
    error.__cause__ = httpx2.ReadTimeout("silence")
    assert classify(error, Wire()).cause == "timeout"


def test_a_server_that_is_away_is_a_connection(fake_models: FakeModels) -> None:
    away = Server("openai", "openai", "http://127.0.0.1:9", api="responses", api_key="sk")
    call = asked(away, question(GPT))
    assert call.failure is not None
    assert call.failure.cause == "connection"
    assert "127.0.0.1:9" in call.failure.message
    assert call.timing.duration_s is not None


@pytest.mark.parametrize("answer", [b"", b"HELLO\r\n\r\n"])
def test_a_server_that_closes_or_speaks_something_else_is_a_connection(answer: bytes) -> None:
    class Speak(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(100)
            self.request.sendall(answer)

    with socketserver.TCPServer(("127.0.0.1", 0), Speak) as listening:
        threading.Thread(target=listening.handle_request).start()
        odd = Server("openai", "openai", f"http://127.0.0.1:{listening.server_address[1]}", api="responses", api_key="sk")
        failure = asked(odd, question(GPT)).failure
    assert failure is not None
    assert failure.cause == "connection"
    assert failure.message not in ("", "Request timed out.")


def test_the_environment_redirects_nothing(fake_models: FakeModels, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_BASE_URL", "OPENAI_API_BASE", "OLLAMA_HOST", "LANGSMITH_ENDPOINT", "OPENAI_PROXY", "HTTP_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("LANGSMITH_TRACING", "true")
    monkeypatch.setenv("LANGSMITH_API_KEY", "none")
    assert answered(fake_models.openai(), question(GPT)).text
    from langsmith.utils import tracing_is_enabled

    assert not tracing_is_enabled()


def test_a_proxy_of_the_environment_carries_requests_to_other_machines(
    fake_models: FakeModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, fake_models.url)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "other.example")
    far = Server("far", "openai_compatible", "http://models.example/v1")
    own = Model("own", "openai_compatible", "tiny", {}, "far")
    assert answered(far, question(own)).text, "the fake answers in place of the address that it is asked for"
    assert fake_models.ledger()["calls"] == 1


@pytest.mark.parametrize("encoding", ["identity", "gzip"])
def test_an_encrypted_address_is_asked_through_a_proxy_and_its_certificate_is_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    monkeypatch.setenv("NO_PROXY", "other.example")
    monkeypatch.setenv("no_proxy", "other.example")
    certificate = self_signed(tmp_path, "models.example")
    far = Server("far", "openai_compatible", "https://models.example/v1", api_key="sk")
    own = Model("own", "openai_compatible", "tiny", {}, "far")
    with encrypted_behind_a_proxy(certificate, encoding) as proxy:
        for name in ("HTTPS_PROXY", "https_proxy"):
            monkeypatch.setenv(name, proxy.url)
        failure = asked(far, question(own)).failure
        assert failure is not None
        assert failure.cause == "connection", "nobody signed this certificate"
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert answered(far, question(own)).text == "Rising."
    assert proxy.asked == [("models.example:443", "Bearer sk")]


def test_the_real_endpoint_gets_the_responses_api_and_others_chat() -> None:
    from agents.llms.openai import base_url, uses_responses

    assert base_url(Server("o", "openai")) == "https://api.openai.com/v1"
    assert uses_responses(Server("o", "openai"))
    assert uses_responses(Server("o", "openai", "https://eu.api.openai.com/v1"))
    assert not uses_responses(Server("o", "openai", "http://127.0.0.1:8000"))
    assert not uses_responses(Server("o", "openai_compatible", "http://127.0.0.1:8000"))


LOOK_UP = ToolSpec("prices", "Closing prices.", {"type": "object", "properties": {"days": {"type": "integer"}}})


def test_tool_calls_come_back_as_the_text_the_model_wrote(fake_models: FakeModels) -> None:
    fake_models.rule(tool_calls=[{"name": "prices", "arguments": '{"days": '}, {"name": "nothing", "arguments": '{"a":1}'}])
    answer = answered(fake_models.openai(), question(GPT, tools=(LOOK_UP,)))
    assert answer.finish_reason == "tool_calls"
    assert [(call.name, call.arguments) for call in answer.tool_calls] == [("prices", '{"days": '), ("nothing", '{"a":1}')]


def test_a_tool_round_goes_back_as_it_was(fake_models: FakeModels) -> None:
    parts = (
        Part("user", "How much?"),
        Part("assistant", "", (ToolCall("call_1", "prices", '{"days":  5}'),)),
        Part("tool", "[1, 2]", tool_call_id="call_1"),
    )
    fake_models.control(rules=[{"contains": '{"days":  5}', "do": {"text": "seen"}}])
    assert answered(fake_models.openai(), Request(GPT, parts, tools=(LOOK_UP,))).text == "seen"


def test_an_answer_in_the_journal_is_never_asked_for_again(fake_models: FakeModels) -> None:
    paid = answered(fake_models.openai(), question(GPT))
    admission = OpenAdmission(answers={"trader/0/primary/0": paid})

    async def main() -> None:
        async with Clients({}) as clients:
            assert await ask(CallSite("trader"), question(GPT), admission, clients) == paid

    asyncio.run(main())
    assert fake_models.ledger()["calls"] == 1
    assert admission.calls == []


def test_our_record_agrees_with_the_truth(fake_models: FakeModels) -> None:
    call = asked(fake_models.openai(), question(GPT, "x" * 9000))
    truth = fake_models.ledger()
    assert call.answer is not None
    assert call.answer.usage.input_tokens == truth["input_tokens"]
    assert call.answer.usage.output_tokens == truth["output_tokens"]
