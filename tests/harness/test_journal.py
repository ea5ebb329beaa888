"""The journal gives an answer back exactly as it was given, and moves between runs."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import redis

from agents import Answer, Call, CallSite, Part, Permit, Timing, ToolCall, Usage
from harness.admission import journal
from harness.admission.cell_session import open_session
from harness.admission.journal import JournalEntry, request_hash
from harness.storage.rows import call_row
from reports.tables import CALLS
from tests.harness.admissions import GPT, PLACE, WORST, at, cell, context, pay, request


def test_an_answer_comes_back_whole() -> None:
    answer = Answer(
        "Grüße | K|1|x\n",
        reasoning="why",
        tool_calls=(ToolCall("1", "price", '{"a": 1}'),),
        finish_reason="length",
        truncated=True,
        usage=Usage(10, 4, None, 6, 2),
        timing=Timing(1700000000.5, 0.1, 2.0, None, 0.5, 1.5),
        model_returned="gpt-x",
        model_digest="sha",
        context_window=8192,
        service_tier="flex",
        request_id="req-1",
    )
    asked = request()
    call = Call("id", CallSite("bull", 2, "tool_round", 3), asked, answer.timing, answer)
    entry = JournalEntry(
        call_row(call, cell(), run_id="r", attempt=1, outcome="answered", price={"cost_usd": None}), request_hash(asked)
    )
    back = JournalEntry.decode(entry.encoded, CALLS.names)
    assert back == entry
    assert back.answer() == answer
    assert back.call_site_key == call.site.key


def test_another_prompt_model_cap_or_tool_answer_is_another_request() -> None:
    asked = request()
    tool = Part("tool", "42", tool_call_id="1")
    others = [
        request("Another"),
        replace(asked, max_output_tokens=7),
        replace(asked, schema={"type": "object"}),
        replace(asked, model=replace(GPT, params={"reasoning_effort": "high"})),
        replace(asked, parts=(*asked.parts, tool)),
        replace(asked, parts=(*asked.parts, replace(tool, tool_call_id="2"))),
    ]
    assert len({request_hash(one) for one in [asked, *others]}) == 1 + len(others)
    assert request_hash(replace(asked, model=replace(GPT, alias="other", server="elsewhere"))) == request_hash(asked)
    unsent = replace(asked, cache_key="another", parts=tuple(replace(part, shared=True) for part in asked.parts))
    assert request_hash(unsent) == request_hash(asked)


def test_the_hash_of_a_request_without_options_is_the_one_that_was_recorded_before_there_were_any() -> None:
    assert request_hash(request()) == "d4e23b6d4058a1b84ea7d042580843b3"


def test_equal_prompts_of_repeats_never_share_an_answer(redis_url: str) -> None:
    async def scenario() -> None:
        async with context(redis_url) as gates:
            await pay(await open_session(gates, cell()))
            repeat = await open_session(gates, replace(cell(), repeat=1))
            assert await repeat.recall(PLACE, request()) is None

    asyncio.run(scenario())


def test_unfinished_journals_are_carried_into_another_run(redis_url: str) -> None:
    async def begin() -> None:
        async with context(redis_url) as gates:
            gate = await open_session(gates, cell())
            await pay(gate)
            await gate.admit(at("bull"), request(), WORST)

    asyncio.run(begin())
    with redis.Redis.from_url(redis_url) as client:
        exported = journal.export_entries(client, "run1")
        assert journal.import_entries(client, "run2", exported) == 1
        assert journal.import_entries(client, "run2", exported) == 0
        assert list(journal.unfinished(client, "run2")) == [cell().cell_id]
        known = client.hgetall(f"tah:run2:journal:{cell().cell_id}")
        (entry,) = journal.decode_entries(known, CALLS.names).values()
        assert entry.row["run_id"] == "run1"


def test_a_journal_is_small(redis_url: str) -> None:
    asked = request("x" * 20_000)
    long = replace(
        _call(Permit("id")), request=asked, answer=Answer("The market turns. " * 200, usage=Usage(5000, 0, 0, 800, 0))
    )
    entry = JournalEntry(call_row(long, cell(), run_id="r", attempt=1, outcome="answered", price={}), request_hash(asked))
    assert len(entry.encoded) < 1_500


def _call(permit: Permit) -> Call:
    return Call(permit.call_id, PLACE, request(), Timing(1.0, 0.1, 0.5))
