"""`ask`: what it promises to admission, whatever happens to a request."""

from __future__ import annotations

import asyncio

import pytest

from agents import CallSite, Clients, Halt, Model, ModelCallError, Permit, Request, Server, Unsupported, ask, estimate_tokens
from agents.admission import WorstCase
from tests.agents.admissions import OpenAdmission, question
from tests.fakes.process import FakeModels

LOCAL = Model("local", "openai_compatible", "fake-model", {"max_output_tokens": 500, "num_ctx": 4000}, "vllm")
UNCAPPED = Model("local", "openai_compatible", "fake-model", {}, "vllm")


def through(fake: FakeModels, admission: OpenAdmission, model: Model = LOCAL) -> None:
    async def main() -> None:
        async with Clients({"vllm": fake.compatible()}) as clients:
            await ask(CallSite("trader"), question(model), admission, clients)

    asyncio.run(main())


def test_a_failed_request_is_recorded_and_repeated_as_admission_decides(fake_models: FakeModels) -> None:
    fake_models.control(rules=[{"times": 2, "do": {"status": 500}}])
    admission = OpenAdmission(retries=2)
    through(fake_models, admission)
    assert [call.failure.cause if call.failure else "answered" for call in admission.calls] == ["server_error"] * 2 + [
        "answered"
    ]
    assert len({call.call_id for call in admission.calls}) == 3
    assert fake_models.ledger()["calls"] == 3


def test_a_request_without_further_attempts_is_an_error_with_its_cause(fake_models: FakeModels) -> None:
    fake_models.rule(status=429, retry_after="11", error="slow down")
    with pytest.raises(ModelCallError, match="slow down") as caught:
        through(fake_models, OpenAdmission())
    assert (caught.value.cause, caught.value.http_status, caught.value.retry_after_s) == ("rate_limited", 429, 11.0)


def test_the_worst_case_of_a_request_bounds_what_it_used(fake_models: FakeModels) -> None:
    admission = OpenAdmission()
    through(fake_models, admission)
    (call,) = admission.calls
    assert call.answer is not None
    assert call.answer.usage.output_tokens is not None
    assert admission.admitted[0].output_tokens == 500
    assert call.answer.usage.output_tokens <= 500
    through(fake_models, admission, UNCAPPED)
    assert admission.admitted[1].output_tokens == 128_000


def test_a_request_cancelled_in_flight_is_discarded_at_admission(fake_models: FakeModels) -> None:
    fake_models.rule(latency_s=30)
    admission = OpenAdmission()

    async def main() -> None:
        async with Clients({"vllm": fake_models.compatible()}) as clients:
            task = asyncio.create_task(ask(CallSite("trader"), question(LOCAL), admission, clients))
            while not (await asyncio.to_thread(fake_models.ledger))["calls"]:
                await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(main())
    assert (admission.discarded, admission.calls) == (["trader/0/primary/0#1"], [])


class ClosedGate(OpenAdmission):
    async def admit(self, site: CallSite, request: Request, worst_case: WorstCase) -> Permit:
        raise Halt("no money left")


def test_nothing_is_sent_if_admission_halts(fake_models: FakeModels) -> None:
    with pytest.raises(Halt):
        through(fake_models, ClosedGate())
    assert fake_models.ledger()["calls"] == 0


def test_many_requests_go_out_side_by_side(fake_models: FakeModels) -> None:
    fake_models.rule(latency_s=0.5)
    admission = OpenAdmission()

    async def main() -> None:
        async with Clients({"vllm": fake_models.compatible()}) as clients:
            await asyncio.gather(*(ask(CallSite("bull", index), question(LOCAL), admission, clients) for index in range(150)))

    asyncio.run(main())
    assert fake_models.ledger()["peak_concurrency"] > 100


def test_an_unknown_server_or_provider_is_named_with_those_known() -> None:
    clients = Clients({"vllm": Server("vllm", "openai_compatible", "http://127.0.0.1:9")})
    with pytest.raises(Unsupported, match=r"'gpu-box'; known: vllm"):
        clients.provider(Model("m", "ollama", "x", {}, "gpu-box"))
    with pytest.raises(Unsupported, match=r"'bedrock'.*known: anthropic, google, llamacpp"):
        Clients({"b": Server("b", "bedrock")}).provider(Model("m", "bedrock", "x", {}, "b"))


def test_an_estimate_of_tokens_is_never_far_below_the_truth() -> None:
    assert estimate_tokens("") == 0
    assert 8 <= estimate_tokens("The quick brown fox jumps over the lazy dog.") <= 13
    assert estimate_tokens("2025-03-03,227.41,230.00,226.59") >= 17
    assert estimate_tokens("2025-03-03,227.41,230.00,226.59", "gemma3-270m") >= 28
    assert estimate_tokens("苹果公司的股票今天上涨了") >= 12
