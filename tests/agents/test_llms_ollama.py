"""Ollama's native API through the real client library."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest

from agents import (
    CallSite,
    Clients,
    Model,
    ModelCallError,
    Part,
    PromptTooLong,
    Request,
    Server,
    ToolCall,
    ToolSpec,
    ask,
    probe,
)
from tests.agents.admissions import RATING, OpenAdmission, answered, asked, cause, question
from tests.fakes.process import FakeModels

PARAMS = {"num_ctx": 4096, "max_output_tokens": 500, "temperature": 0.7, "seed": 7}
LLAMA = Model("llama", "ollama", "llama3.1:8b", PARAMS, "ollama")
QWEN = Model("qwen", "ollama", "qwen3:8b", PARAMS, "ollama")
OSS = Model("oss", "ollama", "gpt-oss:20b", PARAMS, "ollama")


def test_an_answer_comes_with_counts_times_and_the_models_digest(fake_models: FakeModels) -> None:
    fake_models.rule(load_s=0.2, text="Rising.")
    answer = answered(fake_models.ollama(), question(LLAMA))
    assert (answer.text, answer.finish_reason, answer.truncated) == ("Rising.", "stop", False)
    assert answer.timing.load_s == pytest.approx(0.2, abs=0.01)
    assert answer.timing.prefill_s is not None
    assert answer.timing.decode_s is not None
    assert answer.timing.ttft_s is not None
    assert answer.timing.duration_s is not None
    assert 0.2 <= answer.timing.ttft_s <= answer.timing.duration_s
    assert answer.model_digest is not None
    assert len(answer.model_digest) == 64
    assert (answer.context_window, answer.usage.cached_tokens) == (4096, None)


def test_the_context_size_goes_with_every_call_also_beside_schema_and_tools(fake_models: FakeModels) -> None:
    tool = ToolSpec("prices", "Prices.", {"type": "object", "properties": {}})
    for more in ({}, {"schema": RATING}, {"tools": (tool,)}):
        call = asked(fake_models.ollama(), question(LLAMA, **more))
        sampling = {"temperature": 0.7, "seed": 7, "repeat_penalty": 1.1}
        assert call.params["options"] == {"num_ctx": 4096, "num_predict": 500} | sampling
        assert (call.params["truncate"], call.params["shift"]) == (False, False)
        assert call.params["keep_alive"] == "30m"
    assert fake_models.ledger()["ollama_loads"] == 1


def test_a_roles_own_cap_wins_over_the_models(fake_models: FakeModels) -> None:
    fake_models.rule(output_tokens=900)
    answer = answered(fake_models.ollama(), question(LLAMA, max_output_tokens=100))
    assert (answer.finish_reason, answer.truncated, answer.usage.output_tokens) == ("length", True, 100)


def test_a_schema_becomes_ollamas_format(fake_models: FakeModels) -> None:
    call = asked(fake_models.ollama(), question(LLAMA, schema=RATING))
    assert call.params["format"] == "json_schema"
    assert call.answer is not None
    assert set(json.loads(call.answer.text)) == {"rating", "rationale", "confidence"}


def test_a_prompt_that_cannot_fit_is_refused_before_it_is_sent(fake_models: FakeModels) -> None:
    async def main() -> None:
        async with Clients({"ollama": fake_models.ollama()}) as clients:
            await ask(CallSite("trader"), question(LLAMA, "word " * 5000), OpenAdmission(), clients)

    with pytest.raises(PromptTooLong, match="num_ctx"):
        asyncio.run(main())
    assert fake_models.ledger()["calls"] == 0


def test_a_prompt_that_the_estimate_let_through_is_refused_by_the_server(fake_models: FakeModels) -> None:
    # The fake counts four characters to a token: blanks are many tokens there and few in our estimate.
    assert cause(fake_models.ollama(), question(LLAMA, "word" + " " * 40_000)) == "too_long"


@pytest.mark.parametrize(
    ("num_ctx", "count"), [(4096, 2050), (4096, 2051), (8192, 4098), (8192, 4099), (16384, 8194), (32768, 16387), (4096, 4096)]
)
def test_a_silent_cut_shows_in_the_count_of_prompt_tokens(fake_models: FakeModels, num_ctx: int, count: int) -> None:
    fake_models.control(ollama={"knows_truncate": False}, rules=[{"do": {"input_tokens": count}}])
    model = replace(LLAMA, params={**PARAMS, "num_ctx": num_ctx})
    assert answered(fake_models.ollama(), question(model)).truncated


@pytest.mark.parametrize("old_cut", [False, True])
def test_a_server_that_knows_no_better_cuts_and_is_found_out(fake_models: FakeModels, old_cut: bool) -> None:
    fake_models.control(ollama={"knows_truncate": False, "old_cut": old_cut})
    answer = answered(fake_models.ollama(), question(LLAMA, "word" + " " * 40_000))
    assert answer.truncated


def test_a_prompt_that_honestly_has_that_many_tokens_is_not_called_cut(fake_models: FakeModels) -> None:
    text = "word " * 2030
    fake_models.rule(input_tokens=2050)
    assert not answered(fake_models.ollama(), question(LLAMA, text)).truncated


def test_dropped_messages_show_in_a_count_far_too_small(fake_models: FakeModels) -> None:
    fake_models.rule(input_tokens=300)
    parts = (Part("user", "word " * 2000), Part("assistant", "Go on."), Part("user", "Decide."))
    assert answered(fake_models.ollama(), Request(LLAMA, parts)).truncated


def test_a_context_that_the_server_shrank_is_the_one_that_counts(fake_models: FakeModels) -> None:
    fake_models.control(ollama={"most_context": 2048})
    admission = OpenAdmission()

    async def main() -> None:
        async with Clients({"ollama": fake_models.ollama()}) as clients:
            answer = await ask(CallSite("trader"), question(LLAMA), admission, clients)
            assert answer.context_window == 2048
            await ask(CallSite("trader", 1), question(LLAMA, "word " * 2500), admission, clients)

    with pytest.raises(PromptTooLong, match="2048"):
        asyncio.run(main())


def test_one_model_at_two_context_sizes_has_two_windows(fake_models: FakeModels) -> None:
    wide = replace(LLAMA, alias="wide", params={**LLAMA.params, "num_ctx": 16384})

    async def main() -> None:
        async with Clients({"ollama": fake_models.ollama()}) as clients:
            assert (await ask(CallSite("trader"), question(LLAMA), OpenAdmission(), clients)).context_window == 4096
            answer = await ask(CallSite("trader", 1), question(wide, "word " * 6000), OpenAdmission(), clients)
            assert (answer.context_window, answer.truncated) == (16384, False)

    asyncio.run(main())


def test_thinking_is_asked_for_as_the_model_can(fake_models: FakeModels) -> None:
    assert asked(fake_models.ollama(), question(LLAMA)).params.get("think") is None
    assert asked(fake_models.ollama(), question(QWEN)).params["think"] is True
    for think in (False, True):
        quiet = replace(QWEN, params={**PARAMS, "think": think})
        assert asked(fake_models.ollama(), question(quiet)).params["think"] is think
    low = replace(OSS, params={**PARAMS, "think": "low"})
    assert asked(fake_models.ollama(), question(low)).params["think"] == "low"


def test_thoughts_stand_apart_from_the_text(fake_models: FakeModels) -> None:
    fake_models.rule(thinking="Let me weigh the margins against the price.", text="Hold")
    answer = answered(fake_models.ollama(), question(QWEN))
    assert (answer.text, answer.reasoning) == ("Hold", "Let me weigh the margins against the price.")


def test_thinking_that_eats_the_whole_cap_is_a_truncated_answer(fake_models: FakeModels) -> None:
    fake_models.rule(thinking="hm " * 2000, text="Hold")
    answer = answered(fake_models.ollama(), question(QWEN))
    assert (answer.text, answer.finish_reason, answer.truncated) == ("", "length", True)


def test_a_form_that_ends_in_blanks_up_to_the_cap_is_whole(fake_models: FakeModels) -> None:
    fake_models.rule(text='{"rating": "Buy"}' + " \t" * 2000)
    whole = answered(fake_models.ollama(), question(LLAMA, schema=RATING))
    assert (whole.finish_reason, whole.truncated) == ("length", False)
    fake_models.rule(text='{"rating": "Buy"' + " \t" * 2000)
    assert answered(fake_models.ollama(), question(LLAMA, schema=RATING)).truncated


def test_tool_calls_and_their_results_go_both_ways(fake_models: FakeModels) -> None:
    tool = ToolSpec("prices", "Prices.", {"type": "object", "properties": {"days": {"type": "integer"}}})
    fake_models.rule(tool_calls=[{"name": "prices", "arguments": '{"days": 5}'}])
    answer = answered(fake_models.ollama(), question(LLAMA, tools=(tool,)))
    assert answer.finish_reason == "tool_calls"
    assert [(call.name, json.loads(call.arguments)) for call in answer.tool_calls] == [("prices", {"days": 5})]
    parts = (
        Part("user", "How much?"),
        Part("assistant", "", (ToolCall("c1", "prices", '{"days": 5}'),)),
        Part("tool", "[1, 2, 3]", tool_call_id="c1"),
    )
    fake_models.control(rules=[{"contains": "[1, 2, 3]", "do": {"text": "seen"}}])
    assert answered(fake_models.ollama(), Request(LLAMA, parts, tools=(tool,))).text == "seen"


FAILURES: list[tuple[Model, dict[str, Any], str]] = [
    (replace(LLAMA, name="nobody:1b"), {}, "not_found"),
    (replace(LLAMA, params={**PARAMS, "think": True}), {}, "unsupported"),
    (LLAMA, {"status": 503, "error": "server busy, please try again.  maximum pending requests exceeded"}, "server_error"),
    (LLAMA, {"status": 500, "error": "llama runner process has terminated"}, "server_error"),
    (LLAMA, {"status": 429, "retry_after": "3"}, "rate_limited"),
    (LLAMA, {"raw": "<html>"}, "bad_answer"),
    (LLAMA, {"raw": '{"error": "unexpected EOF"}'}, "server_error"),
    (LLAMA, {"cut": True, "text": "word " * 400}, "cut_stream"),
    (LLAMA, {"raw": '{"message": {"role": "assistant", "content": "Bu"}, "done": false}'}, "cut_stream"),
]


@pytest.mark.parametrize(("model", "behaviour", "expected"), FAILURES)
def test_every_failure_has_its_cause(fake_models: FakeModels, model: Model, behaviour: dict[str, Any], expected: str) -> None:
    fake_models.rule(**behaviour)
    assert cause(fake_models.ollama(), question(model)) == expected


def _looping(start: str, pieces: Iterable[str]) -> str:
    """A stream that Ollama 0.17.0 ended after equal pieces: HTTP 200 and a clean end, but no line with done."""
    head = '{"model":"llama3.1:8b","created_at":"2026-11-27T17:40:11.042877Z","message":'
    lines = (f'{head}{{"role":"assistant","content":{json.dumps(piece)}}},"done":false}}\n' for piece in (start, *pieces))
    return "".join(lines)


def test_a_loop_that_the_server_stops_is_the_models_answer_and_is_not_asked_again(fake_models: FakeModels) -> None:
    fake_models.rule(raw=_looping("I say", [" no"] * 31))
    answer = answered(fake_models.ollama(), question(LLAMA), OpenAdmission(retries=3))
    assert (answer.text, answer.finish_reason, answer.truncated) == ("I say" + " no" * 31, "repeated", True)
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (None, None)
    assert fake_models.ledger()["calls"] == 1


def test_a_whole_form_with_blanks_after_it_is_no_loss_when_the_server_stops_them(fake_models: FakeModels) -> None:
    fake_models.rule(raw=_looping('{"rating": "Buy"}', [" ", "\n", "  "] * 10))
    answer = answered(fake_models.ollama(), question(LLAMA, schema=RATING))
    assert (answer.finish_reason, answer.truncated) == ("repeated", False)


def test_a_stream_that_ends_early_without_a_loop_is_a_cut_one(fake_models: FakeModels) -> None:
    fake_models.rule(raw=_looping("I say", [" no"] * 20))
    assert cause(fake_models.ollama(), question(LLAMA)) == "cut_stream"


def test_a_model_without_tools_is_unsupported(fake_models: FakeModels) -> None:
    tool = ToolSpec("prices", "Prices.", {"type": "object", "properties": {}})
    assert cause(fake_models.ollama(), question(replace(LLAMA, name="gemma3:4b"), tools=(tool,))) == "unsupported"


def test_a_stream_that_stays_silent_is_a_timeout(fake_models: FakeModels) -> None:
    fake_models.rule(hang_s=30)
    assert cause(fake_models.ollama(idle_timeout_s=0.3), question(LLAMA)) == "timeout"


def test_a_stream_that_never_ends_is_a_timeout(fake_models: FakeModels) -> None:
    fake_models.rule(output_tokens=400, token_s=0.02, chunk_tokens=1)
    assert cause(fake_models.ollama(timeout_s=0.5), question(LLAMA)) == "timeout"


def test_a_server_that_is_away_is_a_connection() -> None:
    assert cause(Server("ollama", "ollama", "http://127.0.0.1:9"), question(LLAMA)) == "connection"


def test_a_probe_reports_what_to_pull_and_the_models_capabilities(fake_models: FakeModels) -> None:
    fake_models.control(ollama={"vram_share": 0.5})
    asked(fake_models.ollama(), question(LLAMA))
    absent = replace(LLAMA, alias="absent", name="llama3.3:70b")
    report = asyncio.run(probe(fake_models.ollama(), [LLAMA, QWEN, absent]))
    assert (report.reachable, report.version) == (True, "0.17.0")
    assert report.models["absent"].fix == "ollama pull llama3.3:70b"
    llama = report.models["llama"]
    assert (llama.quantisation, llama.context_length, llama.problem) == ("Q4_K_M", 131072, None)
    assert llama.size_bytes is not None
    assert llama.size_vram_bytes == llama.size_bytes // 2
    assert "thinking" in report.models["qwen"].capabilities


def test_a_probe_finds_what_a_model_cannot(fake_models: FakeModels) -> None:
    wide = replace(QWEN, params={"num_ctx": 65536})
    thinker = replace(LLAMA, params={"num_ctx": 4096, "think": True})
    report = asyncio.run(probe(fake_models.ollama(), [wide, thinker]))
    assert "40960" in str(report.models["qwen"].fix)
    assert "cannot think" in str(report.models["llama"].problem)


def _running(fake: FakeModels) -> list[dict[str, Any]]:
    lines: list[dict[str, Any]] = fake._ask("/api/ps")["models"]
    return lines


def test_a_model_is_warmed_up_and_unloaded_at_the_end_of_its_arm(fake_models: FakeModels) -> None:
    fake_models.control(ollama={"load_s": 0.1})

    async def main() -> None:
        async with Clients({"ollama": fake_models.ollama()}) as clients:
            before = await clients.warm(LLAMA)
            assert not before.was_loaded
            assert before.load_s == pytest.approx(0.1, abs=0.09)
            answer = await ask(CallSite("trader"), question(LLAMA), OpenAdmission(), clients)
            assert answer.timing.load_s == pytest.approx(0, abs=0.01)
            assert [line["context_length"] for line in _running(fake_models)] == [4096]
            await clients.release(LLAMA, before)
            assert _running(fake_models) == []

    asyncio.run(main())
    assert fake_models.ledger()["ollama_loads"] == 1


def test_a_model_that_others_use_keeps_the_keep_alive_it_had(fake_models: FakeModels) -> None:
    held = {"model": LLAMA.name, "keep_alive": -1, "options": {"num_ctx": 4096}}

    async def main() -> None:
        fake_models._ask("/api/generate", held)
        async with Clients({"ollama": fake_models.ollama()}) as clients:
            before = await clients.warm(LLAMA)
            assert (before.was_loaded, before.keep_alive) == (True, -1)
            await clients.release(LLAMA, before)
        (line,) = _running(fake_models)
        assert int(line["expires_at"][:4]) > 2200

    asyncio.run(main())


@pytest.mark.parametrize("was_loaded", [False, True])
def test_warm_up_calls_and_release_share_one_load(fake_models: FakeModels, was_loaded: bool) -> None:
    """0.30 and later: a request without `shift: false` would load the model again."""
    held = {"model": LLAMA.name, "keep_alive": "4m", "options": {"num_ctx": 4096}, "shift": False}
    fake_models.control(ollama={"shift_loads": True})

    async def main() -> None:
        if was_loaded:
            fake_models._ask("/api/generate", held)
        async with Clients({"ollama": fake_models.ollama()}) as clients:
            before = await clients.warm(LLAMA)
            await ask(CallSite("trader"), question(LLAMA), OpenAdmission(), clients)
            await clients.release(LLAMA, before)

    asyncio.run(main())
    assert fake_models.ledger()["ollama_loads"] == 1
    assert len(_running(fake_models)) == was_loaded


def test_a_run_that_ends_leaves_the_model_to_the_runs_that_use_it(fake_models: FakeModels) -> None:
    async def main() -> None:
        server = {"ollama": fake_models.ollama()}
        async with Clients(server) as first, Clients(server) as second, Clients(server) as third:
            before = [await clients.warm(LLAMA) for clients in (first, second, third)]
            await first.release(LLAMA, before[0])
            await second.release(LLAMA, before[1])
            assert len(_running(fake_models)) == 1
            await ask(CallSite("trader"), question(LLAMA), OpenAdmission(), third)
            await third.release(LLAMA, before[2])

    asyncio.run(main())
    assert fake_models.ledger()["ollama_loads"] == 1
    assert _running(fake_models) == []


def test_a_model_that_another_program_has_used_meanwhile_stays_loaded(fake_models: FakeModels) -> None:
    async def main() -> None:
        async with Clients({"ollama": fake_models.ollama()}) as clients:
            before = await clients.warm(LLAMA)
            await ask(CallSite("trader"), question(LLAMA), OpenAdmission(), clients)
            fake_models._ask("/api/generate", {"model": LLAMA.name, "keep_alive": "5m", "options": {"num_ctx": 4096}})
            await clients.release(LLAMA, before)

    asyncio.run(main())
    assert len(_running(fake_models)) == 1


def test_a_sampling_default_that_depends_on_the_version_is_sent_as_the_model_sets_it(fake_models: FakeModels) -> None:
    fake_models.control(ollama={"models": [{"name": "own:1b", "parameters": 'stop    "<|end|>"\nrepeat_penalty    1.05'}]})
    call = asked(fake_models.ollama(), question(replace(LLAMA, name="own:1b")))
    assert call.params["options"]["repeat_penalty"] == 1.05


@pytest.mark.parametrize("load_s", [0.0, 0.05, 2.0])
def test_a_model_replaced_under_its_tag_stops_its_calls_by_name(fake_models: FakeModels, load_s: float) -> None:
    """Seen on 0.17.0: `ollama cp gemma3:270m smollm2:135m` in mid-run; loads of tiny models take 0.45 s."""
    admission = OpenAdmission()

    async def main() -> list[str]:
        ends = []
        async with Clients({"ollama": fake_models.ollama()}) as clients:
            for index in range(3):
                try:
                    await ask(CallSite("trader", index), question(LLAMA), admission, clients)
                except ModelCallError as error:
                    ends.append(str(error))
                fake_models.control(ollama={"models": [{"name": LLAMA.name, "weights": "gemma"}]}, defaults={"load_s": load_s})
        return ends

    in_flight, before_sending = asyncio.run(main())
    assert "llama3.1:8b at " in in_flight
    assert "is another model than the one of this run" in in_flight
    assert "is another model than the one of this run" in before_sending
    first, *others = admission.calls
    assert first.answer is not None
    assert [(call.answer, call.failure and call.failure.cause) for call in others] == [(None, "not_found")] * 2
    assert fake_models.ledger()["calls"] == 2


def test_a_replaced_model_that_is_unloaded_before_it_can_be_looked_at_is_found_by_its_name(fake_models: FakeModels) -> None:
    async def main() -> None:
        async with Clients({"ollama": fake_models.ollama()}) as clients:
            await ask(CallSite("trader"), question(LLAMA), OpenAdmission(), clients)
            fake_models.control(ollama={"models": [{"name": LLAMA.name, "weights": "gemma"}], "forgets": True})
            await ask(CallSite("trader", 1), question(LLAMA), OpenAdmission(), clients)

    with pytest.raises(ModelCallError, match=r"its digest is [0-9a-f]+, not "):
        asyncio.run(main())


def test_a_model_that_is_not_the_one_a_cell_was_planned_for_is_not_asked(fake_models: FakeModels) -> None:
    async def main() -> None:
        async with Clients({"ollama": fake_models.ollama()}) as clients:
            await ask(CallSite("trader"), question(replace(LLAMA, digest="0" * 64)), OpenAdmission(), clients)

    with pytest.raises(ModelCallError, match="not 000000000000"):
        asyncio.run(main())
    assert fake_models.ledger()["calls"] == 0


def test_the_environments_address_is_ignored(fake_models: FakeModels, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLLAMA_HOST", "http://127.0.0.1:9")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    assert answered(fake_models.ollama(), question(LLAMA)).text
