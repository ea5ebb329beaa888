"""Prompt caches of GPT-5.6 and later: what is marked, what that reads and writes, and that nothing else changes."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from agents import Clients, Context, Model, Pipeline, Result, Server, Sharing, decide, fingerprint, role_names
from agents.llms.prompt_caching import CacheRequest, PrefixIds, place, staged, token_sums, usage
from agents.types import Caching, Part
from benchmarks import cache_costs, prompt_tokens
from domain.hosting import takes_cache_marks
from domain.models import has_marked_cache
from domain.providers import PROVIDERS
from tests.agents.admissions import asked, question
from tests.agents.cell import run, snapshot
from tests.fakes.process import FakeModels
from tests.fakes.scripted import OpenAdmission

SOL = Model("sol", "openai", "gpt-6.1-sol", {"reasoning_effort": "low", "max_output_tokens": 4000}, "openai")
LONG = "word " * 6000


def decided(server: Server, pipeline: Pipeline | None = None, **sharing: Any) -> tuple[Result, OpenAdmission]:
    admission = OpenAdmission()

    async def main() -> Result:
        async with Clients({server.name: server}) as clients:
            ctx = Context(
                dict.fromkeys(role_names(), SOL),
                pipeline or Pipeline(),
                admission,
                clients,
                snapshot(),
                sharing=Sharing(**sharing),
            )
            return await decide(ctx)

    return asyncio.run(main()), admission


def test_a_cell_reads_what_it_marked_and_its_ledger_equals_the_servers(fake_models: FakeModels) -> None:
    fake_models.control(defaults={"output_tokens": 500, "latency_s": 0.05})
    result, admission = decided(fake_models.openai(cache_marks=True))
    assert result.error is None
    usages = [call.answer.usage for call in admission.calls if call.answer]
    ledger = fake_models.ledger()
    for name in ("input_tokens", "cached_tokens", "cache_write_tokens", "output_tokens"):
        assert sum(getattr(used, name) for used in usages) == ledger[name], name
    # Analysts read the material that the first of them wrote, later roles the reports: most of the prompt, written once.
    assert ledger["cached_tokens"] > 0.55 * ledger["input_tokens"]
    assert ledger["cache_write_tokens"] < 0.35 * ledger["input_tokens"]


def test_without_marks_the_same_cell_writes_everything_and_reads_nothing(fake_models: FakeModels) -> None:
    fake_models.control(defaults={"output_tokens": 500})
    decided(fake_models.openai())
    ledger = fake_models.ledger()
    assert (ledger["cached_tokens"], ledger["cache_write_tokens"]) == (0, ledger["input_tokens"])


def test_the_other_analysts_start_at_the_first_ones_first_token(fake_models: FakeModels) -> None:
    fake_models.control(defaults={"latency_s": 0.2, "token_s": 0.01, "output_tokens": 100})
    _, admission = decided(fake_models.openai(cache_marks=True))
    analysts = {call.site.role: call for call in admission.calls if call.site.role.endswith("_analyst")}
    first, *others = sorted(analysts.values(), key=lambda call: call.timing.started_at)
    assert first.answer is not None
    assert first.answer.timing.ttft_s is not None
    assert first.timing.duration_s is not None
    for call in others:
        waited_s = call.request.caching.waited_s if call.request.caching else 0.0
        assert first.answer.timing.ttft_s - 0.1 < waited_s < first.timing.duration_s
        assert call.answer is not None
        assert (call.answer.usage.cached_tokens or 0) > 1024


def test_all_analysts_start_together_where_that_is_asked_for(fake_models: FakeModels) -> None:
    fake_models.control(defaults={"output_tokens": 500})
    _, admission = decided(fake_models.openai(cache_marks=True), first_request_first=False)
    assert all(call.request.caching and call.request.caching.waited_s == 0.0 for call in admission.calls)
    assert fake_models.ledger()["cache_write_tokens"] > 0


def test_a_first_analyst_that_fails_holds_nobody_up(fake_models: FakeModels) -> None:
    fake_models.control(rules=[{"do": {"status": 400, "error": "no"}, "times": 1}])
    result, admission = decided(fake_models.openai(cache_marks=True))
    assert result.error is not None
    assert len(admission.calls) == 4


def test_nothing_is_marked_where_nothing_is_read_again(fake_models: FakeModels) -> None:
    decided(fake_models.openai(cache_marks=True), Pipeline(depth="single_call"))
    ledger = fake_models.ledger()
    assert (ledger["cached_tokens"], ledger["cache_write_tokens"]) == (0, 0)


def test_repeats_hours_apart_are_kept_for_twelve_hours(fake_models: FakeModels) -> None:
    server, single = fake_models.openai(cache_marks=True), Pipeline(depth="single_call")
    for hours, is_long, cached in ((0, True, False), (2, False, True), (15, False, False)):
        fake_models.control(clock_s=3600 * hours)
        before = fake_models.ledger()["cached_tokens"]
        decided(server, single, after={"portfolio_manager": 1}, before={"portfolio_manager": hours}, is_long=is_long)
        assert (fake_models.ledger()["cached_tokens"] > before) is cached


def test_rounds_with_tools_read_the_conversation_so_far(fake_models: FakeModels) -> None:
    call = {"name": "get_prices", "arguments": '{"sessions": 250}'}
    fake_models.control(rules=[{"do": {"tool_calls": [call]}, "contains": "Material", "times": 8}])
    pipeline = Pipeline(analysts=("market",), inputs="tools")
    result, admission = decided(fake_models.openai(cache_marks=True), pipeline)
    assert result.error is None
    rounds = [call.answer.usage for call in admission.calls if call.site.kind == "tool_round" and call.answer]
    assert len(rounds) >= 3
    assert (rounds[2].cached_tokens or 0) > 1024


@pytest.mark.parametrize("api", ["responses", "chat"])
def test_a_server_that_refuses_the_marks_is_asked_without_and_says_so(fake_models: FakeModels, api: str) -> None:
    refusal = {"status": 400, "error": "Unknown parameter: 'prompt_cache_options'.", "error_type": "invalid_request_error"}
    fake_models.control(rules=[{"do": refusal, "times": 1}])
    server = fake_models.openai(cache_marks=True, api=api)
    parts = (Part("system", "desk"), Part("user", LONG), Part("user", "task"))
    call = asked(server, replace(question(SOL), parts=parts, caching=Caching((2,))))
    assert call.answer is not None
    assert "prompt_cache_options" in call.not_sent["prompt_cache_breakpoint"]
    assert "prompt_cache_options" not in call.params
    assert fake_models.ledger()["calls"] == 2


@pytest.mark.parametrize("api", ["responses", "chat"])
def test_a_streamed_answer_reads_like_a_whole_one(fake_models: FakeModels, api: str) -> None:
    server, request = fake_models.openai(cache_marks=True, api=api), question(SOL)

    async def streamed() -> Caching:
        return Caching(first_token=asyncio.Event())

    fake_models.rule(text="Rising.", reasoning_tokens=64, input_tokens=2000)
    whole, stream = asked(server, request), asked(server, replace(request, caching=asyncio.run(streamed())))
    assert whole.answer is not None
    assert stream.answer is not None
    assert (stream.answer.text, stream.answer.finish_reason) == (whole.answer.text, whole.answer.finish_reason)
    assert stream.answer.usage == whole.answer.usage
    fake_models.rule(cut=True)
    cut = asked(server, replace(request, caching=asyncio.run(streamed())))
    assert cut.failure is not None
    assert cut.failure.cause in ("cut_stream", "connection")


def test_older_models_and_other_servers_get_no_marks(fake_models: FakeModels) -> None:
    marked = ["gpt-5.6-sol", "gpt-6-luna", "gpt-6.1-sol-2026-10-01", "openai/gpt-6.1-terra"]
    assert [has_marked_cache(name) for name in [*marked, "gpt-5", "gpt-5.4-mini", "gpt-oss:20b", "gpt-4.1"]] == [True] * 4 + [
        False
    ] * 4
    openai = PROVIDERS["openai"]
    assert takes_cache_marks(openai, None, None, "gpt-6.1-sol")
    assert not takes_cache_marks(openai, "https://gateway.example/v1", None, "gpt-6.1-sol")
    assert "prompt_cache_options" not in asked(fake_models.openai(), question(SOL)).params


def test_marks_change_no_identity_and_no_text() -> None:
    before = fingerprint()
    _, admission, _ = run(models=dict.fromkeys(role_names(), SOL))
    _, plain, _ = run()
    assert any(call.request.caching and call.request.caching.marks for call in admission.calls)
    texts = [[[part.text for part in call.request.parts] for call in each.calls] for each in (admission, plain)]
    assert sorted(texts[0]) == sorted(texts[1])
    assert fingerprint() == before


@pytest.mark.parametrize("repeats", [1, 3])
def test_our_marks_cost_what_the_best_placement_costs(repeats: int) -> None:
    case = prompt_tokens.snapshots()[0]
    usd = cache_costs.input_usd(case, prompt_tokens._talkative(case, 1.0), repeats)
    assert usd["ours"] <= 1.1 * usd["minimum"]
    assert usd["ours"] <= 0.45 * usd["as_today"]
    assert usd["ours"] < usd["without_a_cache"]


def test_only_one_of_several_requests_that_start_together_writes() -> None:
    parts = (Part("system", "desk"), Part("user", LONG))
    ids = PrefixIds()
    flow = []
    for role in ("a", "b", "c"):
        prompt = (*parts, Part("user", role))
        flow.append(CacheRequest(role, ids.of("m", prompt), token_sums(prompt, "m"), 0, "m", again=2))
    together = place(flow)
    assert [bool(marks) for marks in together] == [True, False, False]
    ordered = staged(flow)
    read = [read for read, _ in usage(ordered, place(ordered))]
    assert (read[0], read[1] > 5000, read[2] > 5000) == (0, True, True)
