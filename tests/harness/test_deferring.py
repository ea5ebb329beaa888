"""Deferred calls of one cell on a real Redis: money, what is kept, what comes back, and who may say so."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from agents import CallSite, ComposedRequest, Failure, Request, Suspended
from harness.admission import ledger
from harness.admission.cell_session import CellSession, open_session
from harness.admission.context import AdmissionContext
from harness.admission.keys import Keys
from harness.admission.ledger import Caps
from harness.deferred.mailbox import Mailbox, Outcome, SuspendedCell
from harness.errors import Deferred, OverBudget
from harness.money.price_file import PriceFile
from harness.money.pricing import PriceTable
from harness.runs.answered_later import restore_ledger
from harness.storage.folder import open_folder
from harness.storage.store import Store
from tests.harness.admissions import GPT, PLACE, WORST, at, cell, request, specs

BATCH = replace(GPT, params={**GPT.params, "lane": "batch"})
HALF = PriceTable(
    PriceFile.model_validate(
        {"version": "test", "prices": [{"model": "test-gpt", "input": 0.5, "output": 5.0, "tier": "batch"}]}
    )
)
WORST_USD = (1024 * 0.5 + 100 * 5.0) / 1e6
WANTED = cell("AAPL", BATCH)


def composed(asked: Request) -> ComposedRequest:
    body = {"model": asked.model.name, "input": [part.text for part in asked.parts]}
    return ComposedRequest("/v1/responses", body, {"model": asked.model.name})


def admission(url: str, caps: Caps | None = None) -> AdmissionContext:
    return AdmissionContext(url, "run1", specs(), HALF, caps)


async def deferred(gate: CellSession, place: CallSite = PLACE, text: str = "Is it a buy?") -> None:
    asked = request(text, BATCH)
    assert await gate.recall(place, asked) is None
    with pytest.raises(Suspended):
        await gate.defer(place, asked, WORST, composed(asked))


def answer(call_id: str, tokens: tuple[int, int] = (500, 50)) -> Outcome:
    usage: dict[str, Any] = {"input_tokens": tokens[0], "output_tokens": tokens[1], "total_tokens": sum(tokens)}
    usage |= {"input_tokens_details": {"cached_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 0}}
    message = {"type": "message", "content": [{"type": "output_text", "text": "Buy."}]}
    body = {"id": "resp_1", "status": "completed", "model": "test-gpt", "output": [message], "usage": usage}
    now = time.time()
    return Outcome(call_id, now - 5, now, 200, json.dumps(body), request_id="req_1")


def failure(call_id: str, cause: str) -> Outcome:
    return Outcome(call_id, time.time() - 5, time.time(), cause=cause, message=f"it is {cause}")


async def suspend(context: AdmissionContext, places: Sequence[CallSite] = (PLACE,)) -> SuspendedCell:
    """One attempt that asks at these places, and leaves."""
    gate = await open_session(context, WANTED)
    await gate.deferred.take_answers()
    for place in places:
        await deferred(gate, place)
    kept = gate.deferred.suspension()
    await gate.close(ended=False, suspended=True)
    return kept


async def resume(context: AdmissionContext, kept: SuspendedCell, *outcomes: Outcome) -> CellSession:
    gate = await open_session(context, WANTED, suspended=kept, outcomes=outcomes)
    await gate.deferred.take_answers()
    return gate


def money(url: str) -> tuple[float, float, float]:
    """Settled, estimated and reserved dollars of the run."""
    with Redis.from_url(url) as client:
        told = ledger.totals(client, "run1").money
    return told.settled_usd, told.estimated_usd, told.reserved_usd


def test_a_deferred_call_is_reserved_at_the_price_of_its_lane_and_settled_by_its_answer(redis_url: str) -> None:
    async def main() -> None:
        async with admission(redis_url) as context:
            kept = await suspend(context)
            assert money(redis_url) == pytest.approx((0.0, 0.0, WORST_USD), abs=1e-12)
            (waiting,) = kept.waiting
            gate = await resume(context, kept, answer(waiting.call_id))
            recalled = await gate.recall(PLACE, request(model=BATCH))
            assert recalled is not None
            assert recalled.text == "Buy."
            assert not gate.is_waiting
            (row,) = gate.calls
            assert (row["outcome"], row["lane"], row["request_id"]) == ("answered", "batch", "req_1")
            assert (row["input_tokens"], row["message_ids"]) == (500, list(request(model=BATCH).message_ids))
            assert row["cost_usd"] == pytest.approx((500 * 0.5 + 50 * 5.0) / 1e6)
            assert money(redis_url) == pytest.approx((row["cost_usd"], 0.0, 0.0), abs=1e-12)

    asyncio.run(main())


def test_an_answer_is_kept_apart_until_the_file_of_its_cell_has_it(redis_url: str, tmp_path: Path) -> None:
    mailbox = Mailbox(open_folder(tmp_path))

    async def main() -> None:
        async with admission(redis_url) as context:
            kept = await suspend(context)
            mailbox.suspend(kept)
            mailbox.answer(kept.cell_id, "first", [answer(kept.waiting[0].call_id)])
            gate = await resume(context, kept, *mailbox.outcomes(kept.cell_id))
            await deferred(gate, at("trader"))
            mailbox.answer(kept.cell_id, "second", [answer("a call that was asked meanwhile")])
            mailbox.suspend(gate.deferred.suspension(), gate.deferred.recorded)
            await gate.close(ended=False, suspended=True)

            stored = mailbox.read_cell(kept.cell_id)
            assert stored is not None
            assert [outcome.submission_id for outcome in mailbox.outcomes(kept.cell_id)] == ["second"]
            again = await resume(context, stored)
            assert await again.recall(PLACE, request(model=BATCH)) is not None

    asyncio.run(main())


def test_an_answer_that_is_read_twice_is_paid_once(redis_url: str) -> None:
    async def main() -> None:
        async with admission(redis_url) as context:
            kept = await suspend(context)
            outcome = answer(kept.waiting[0].call_id)
            gate = await resume(context, kept, outcome)
            await gate.close(ended=False)
            again = await resume(context, kept, outcome, outcome)
            assert len(again.calls) == 1
            assert money(redis_url)[0] == pytest.approx((500 * 0.5 + 50 * 5.0) / 1e6)

    asyncio.run(main())


def test_the_same_request_is_not_handed_over_again_while_it_is_out(redis_url: str) -> None:
    async def main() -> None:
        async with admission(redis_url) as context:
            kept = await suspend(context)
            gate = await resume(context, kept)
            await deferred(gate)
            assert [call.call_id for call in gate.deferred.suspension().waiting] == [kept.waiting[0].call_id]
            assert money(redis_url)[2] == pytest.approx(WORST_USD)

    asyncio.run(main())


@pytest.mark.parametrize(
    ("cause", "tries", "billed"), [("expired", 3, False), ("uncertain", 3, True), ("bad_request", 1, False)]
)
def test_a_failure_is_repeated_as_often_as_its_cause_allows(redis_url: str, cause: str, tries: int, billed: bool) -> None:
    async def main() -> Failure:
        async with admission(redis_url) as context:
            kept = await suspend(context)
            for attempt in range(1, tries + 1):
                gate = await resume(context, kept, failure(kept.waiting[0].call_id, cause))
                asked = request(model=BATCH)
                assert await gate.recall(PLACE, asked) is None
                try:
                    last = await gate.defer(PLACE, asked, WORST, composed(asked))
                except Suspended:
                    kept = gate.deferred.suspension()
                    await gate.close(ended=False, suspended=True)
                    continue
                assert attempt == tries
                assert sum(row["cost_usd"] for row in gate.calls) == pytest.approx(tries * WORST_USD if billed else 0.0)
                assert {row["cost_basis"] for row in gate.calls} == {"estimate" if billed else "api_price"}
                return last
        raise AssertionError("it was repeated for ever")

    assert asyncio.run(main()).cause == cause
    assert money(redis_url)[2] == pytest.approx(0.0, abs=1e-12)


def test_a_call_that_was_reserved_and_never_kept_is_released_by_the_next_attempt(redis_url: str) -> None:
    async def main() -> None:
        async with admission(redis_url) as context:
            gate = await open_session(context, WANTED)
            await deferred(gate)
            await gate.close(ended=False)
            assert money(redis_url)[2] == pytest.approx(WORST_USD)
            again = await open_session(context, WANTED)
            await again.deferred.take_answers()
            assert money(redis_url)[2] == pytest.approx(0.0, abs=1e-12)

    asyncio.run(main())


def test_after_redis_was_lost_the_file_says_everything(redis_url: str) -> None:
    async def main() -> None:
        async with admission(redis_url) as context:
            kept = await suspend(context, (PLACE, at("trader")))
            with Redis.from_url(redis_url) as client:
                client.flushall()
            gate = await resume(context, kept, answer(kept.waiting[0].call_id))
            assert gate.lease.attempt == 2
            assert await gate.recall(PLACE, request(model=BATCH)) is not None
            assert money(redis_url)[2] == pytest.approx(WORST_USD), "the other call is reserved again"

    asyncio.run(main())


def test_after_redis_was_lost_what_suspended_cells_have_paid_counts_against_the_budget(redis_url: str, tmp_path: Path) -> None:
    store = Store(open_folder(tmp_path))
    mailbox = Mailbox(store.folder)

    async def pay_once_and_wait_again() -> None:
        async with admission(redis_url) as context:
            kept = await suspend(context)
            gate = await resume(context, kept, answer(kept.waiting[0].call_id))
            await deferred(gate, at("trader"))
            mailbox.suspend(gate.deferred.suspension(), gate.deferred.recorded)
            await gate.close(ended=False, suspended=True)

    asyncio.run(pay_once_and_wait_again())
    with Redis.from_url(redis_url) as client:
        before = ledger.totals(client, "run1")
        by_model = client.hget(Keys("run1").ledger, f"model:{BATCH.alias}|settled")
        client.flushall()
        restore_ledger(client, "run1", store, {WANTED.cell_id: WANTED}, hosted={BATCH.server})
        after = ledger.totals(client, "run1")
        assert client.hget(Keys("run1").ledger, f"model:{BATCH.alias}|settled") == by_model
    assert before.money.settled_usd > 0
    assert (after.money, after.calls, after.input_tokens) == (before.money, before.calls, before.input_tokens)


def test_what_cannot_fit_the_budget_is_not_handed_over(redis_url: str) -> None:
    async def main() -> None:
        async with admission(redis_url, Caps(run_usd=1.5 * WORST_USD)) as context:
            gate = await open_session(context, WANTED)
            await gate.deferred.take_answers()
            await deferred(gate)
            asked = request(model=BATCH)
            with pytest.raises(Deferred, match="waits for money that is reserved by other calls"):
                await gate.defer(at("trader"), asked, WORST, composed(asked))
        async with admission(redis_url, Caps(run_usd=0.5 * WORST_USD)) as context:
            small = await open_session(context, cell("IBM", BATCH))
            with pytest.raises(OverBudget, match=r"raise budget\.run_usd"):
                await small.defer(PLACE, asked, WORST, composed(asked))

    asyncio.run(main())


def test_a_cell_that_ends_with_a_call_out_counts_it_at_its_worst_case(redis_url: str) -> None:
    async def main() -> list[dict[str, Any]]:
        async with admission(redis_url) as context:
            gate = await resume(context, await suspend(context))
            rows = gate.calls
            await gate.close(ended=True)
            return rows

    (row,) = asyncio.run(main())
    assert (row["outcome"], row["cost_basis"]) == ("killed", "estimate")
    assert money(redis_url) == pytest.approx((0.0, WORST_USD, 0.0), abs=1e-12)
