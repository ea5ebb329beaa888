"""The gate's promises: nothing answered is paid twice, nothing paid is lost, halts let paid requests land."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
import redis

from agents import Request
from harness.admission import journal, ledger
from harness.admission.cell_session import open_session
from harness.admission.keys import Keys
from harness.admission.ledger import Caps, Money
from harness.admission.slots import slot_usage
from harness.errors import BrokerGone, Deferred, Draining, LeaseLost, OverBudget
from harness.queue.private_redis import private_redis
from tests.harness.admissions import (
    GPT,
    PLACE,
    WORST,
    WORST_USD,
    answered,
    at,
    cell,
    context,
    failed,
    money_by_model,
    pay,
    request,
    take_when_free,
)


def test_a_cell_that_is_begun_again_recalls_what_it_paid_and_pays_only_the_rest(redis_url: str) -> None:
    async def scenario() -> None:
        async with context(redis_url) as first:
            gate = await open_session(first, cell())
            paid = await pay(gate)
            await gate.close(ended=False)
        async with context(redis_url) as second:
            gate = await open_session(second, cell())
            assert gate.lease.attempt == 2
            recalled = await gate.recall(PLACE, request())
            assert recalled is not None
            assert (recalled.text, recalled.usage) == (paid.answer.text, paid.answer.usage)  # type: ignore[union-attr]
            assert await gate.recall(at("bull"), request()) is None
            await pay(gate, at("bull"))
            assert [row["cell_attempt"] for row in gate.calls] == [1, 2]

    asyncio.run(scenario())


def test_a_place_that_is_asked_otherwise_than_before_is_asked_again(redis_url: str) -> None:
    async def scenario() -> None:
        async with context(redis_url) as gates:
            gate = await open_session(gates, cell())
            await pay(gate)
            assert await gate.recall(PLACE, request("Another prompt")) is None

    asyncio.run(scenario())


def test_a_request_with_a_fingerprint_is_recalled_by_it_wherever_it_is_asked_and_each_answer_once(redis_url: str) -> None:
    def stamped(stamp: str, fingerprint: str = "f1") -> Request:
        return replace(request(f"Retrieved on {stamp}. Is it a buy?"), fingerprint=fingerprint)

    async def scenario() -> None:
        async with context(redis_url) as gates:
            gate = await open_session(gates, cell())
            await pay(gate, at("trader", 0), stamped("09:30"))
            await pay(gate, at("trader", 1), stamped("09:31"))
            assert len(gate.calls) == 2, "equal requests of one run are samples"
            await gate.close(ended=False)
        async with context(redis_url) as gates:
            gate = await open_session(gates, cell())
            assert await gate.recall(at("trader", 5), stamped("11:00")) is not None
            assert await gate.recall(at("trader", 0), stamped("11:00", "f2")) is None
            assert await gate.recall(at("trader", 1), stamped("11:01")) is not None
            assert await gate.recall(at("trader", 2), stamped("11:02")) is None, "both answers were given"

    asyncio.run(scenario())


def test_an_ended_cell_leaves_nothing_in_redis_but_its_money(redis_url: str) -> None:
    async def scenario() -> None:
        async with context(redis_url) as gates:
            gate = await open_session(gates, cell())
            await pay(gate)
            assert await gate.is_still_held()
            await gate.close(ended=True)

    asyncio.run(scenario())
    with redis.Redis.from_url(redis_url) as client:
        left = [key.decode() for key in client.keys("*")]
        assert not [key for key in left if ":cell:" in key or ":journal:" in key or ":alive:" in key]
        totals = ledger.totals(client, "run1")
        assert totals.money.settled_usd == pytest.approx(500 * 1e-6 + 50 * 1e-5, abs=1e-12)
        assert (totals.calls, totals.input_tokens, totals.output_tokens) == (1, 500, 50)


def test_rows_of_calls_carry_price_tokens_and_waits(redis_url: str) -> None:
    async def scenario() -> None:
        async with context(redis_url) as gates:
            gate = await open_session(gates, cell())
            await pay(gate)
            row = gate.calls[0]
            assert (row["outcome"], row["cost_basis"], row["input_tokens"], row["output_tokens"]) == (
                "answered",
                "api_price",
                500,
                50,
            )
            assert row["cost_usd"] == pytest.approx(0.001)
            assert row["queued_s"] < 1.0
            assert [message["role"] for message in gate.messages] == ["system", "user"]

    asyncio.run(scenario())


def test_a_request_that_died_with_its_worker_is_billed_by_estimate_and_flagged(redis_url: str) -> None:
    async def scenario() -> None:
        dead = context(redis_url)
        await dead.start()
        gate = await open_session(dead, cell())
        await gate.recall(PLACE, request())
        await gate.admit(PLACE, request(), WORST)
        await dead.aclose()
        async with context(redis_url) as alive:
            gate, waits_s = await take_when_free(alive, cell())
            assert waits_s, "one look is not enough to call a holder dead"
            assert [(row["outcome"], row["cost_basis"]) for row in gate.calls] == [("killed", "estimate")]
            assert gate.calls[0]["cost_usd"] == pytest.approx(WORST_USD)
            assert await gate.recall(PLACE, request()) is None

    asyncio.run(scenario())
    with redis.Redis.from_url(redis_url) as client:
        money = ledger.totals(client, "run1").money
        assert (money.settled_usd, money.reserved_usd) == (0, 0)
        assert money.estimated_usd == pytest.approx(WORST_USD)


def test_an_answer_that_comes_after_the_cell_was_taken_over_is_kept_and_settled(redis_url: str) -> None:
    async def scenario() -> None:
        async with context(redis_url) as stalled, context(redis_url) as second:
            gate = await open_session(stalled, cell())
            permit = await gate.admit(PLACE, request(), WORST)
            await _seem_dead(redis_url, stalled.holder)
            other = await open_session(second, cell())
            assert [row["outcome"] for row in other.calls] == ["killed"]
            assert await gate.record(answered(permit, request())) is None
            assert not await gate.is_still_held()
            with pytest.raises(LeaseLost):
                await gate.admit(at("bull"), request(), WORST)
            assert await other.is_still_held()
            assert [row["outcome"] for row in other.calls] == ["answered"]

    asyncio.run(scenario())
    with redis.Redis.from_url(redis_url) as client:
        money = ledger.totals(client, "run1").money
        assert (money.estimated_usd, money.reserved_usd) == (0, 0)
        assert money.settled_usd == pytest.approx(0.001)


def test_at_a_cap_requests_that_are_out_land_before_the_cell_ends(redis_url: str) -> None:
    async def scenario() -> None:
        async with context(redis_url, caps=Caps(cell_usd=WORST_USD)) as gates:
            gate = await open_session(gates, cell())
            permit = await gate.admit(PLACE, request(), WORST)
            other = asyncio.create_task(gate.admit(at("bull"), request(), WORST))
            await asyncio.sleep(0.05)
            assert not other.done()
            await gate.record(answered(permit, request()))
            with pytest.raises(OverBudget) as cap:
                await other
            assert cap.value.scope == "cell"
            assert len(gate.calls) == 1

    asyncio.run(scenario())


def test_a_long_back_off_defers_the_cell_and_a_short_one_is_waited_out(redis_url: str) -> None:
    async def scenario() -> None:
        async with context(redis_url) as gates:
            gate = await open_session(gates, cell())
            permit = await gate.admit(PLACE, request(), WORST)
            wait_s = await gate.record(failed(permit, request(), "server_error"))
            assert wait_s is not None
            assert 0 < wait_s < 1
            permit = await gate.admit(PLACE, request(), WORST)
            with pytest.raises(Deferred) as deferred:
                await gate.record(failed(permit, request(), "rate_limited", retry_after_s=90.0))
            assert deferred.value.delay_s >= 90

    asyncio.run(scenario())


def test_a_permanent_failure_is_not_asked_again_and_costs_nothing(redis_url: str) -> None:
    async def scenario() -> None:
        async with context(redis_url) as gates:
            gate = await open_session(gates, cell())
            permit = await gate.admit(PLACE, request(), WORST)
            assert await gate.record(failed(permit, request(), "auth")) is None
            assert gate.calls[0]["cost_usd"] == 0

    asyncio.run(scenario())


def test_a_cell_of_a_stopped_run_ends_at_its_next_call(redis_url: str) -> None:
    async def scenario() -> None:
        async with context(redis_url) as gates:
            gate = await open_session(gates, cell())
            await pay(gate)
            with redis.Redis.from_url(redis_url) as client:
                client.set(Keys("run1").control, "stop")
            with pytest.raises(Draining):
                await gate.admit(at("bull"), request(), WORST)

    asyncio.run(scenario())


def test_a_request_that_is_cancelled_while_it_waits_leaves_no_trace(redis_url: str) -> None:
    async def scenario() -> None:
        async with context(redis_url) as gates:
            gate = await open_session(gates, cell())
            first = [await gate.admit(at("bull", index), request(), WORST) for index in range(64)]
            waiting = asyncio.create_task(gate.admit(PLACE, request(), WORST))
            await asyncio.sleep(0.05)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            with redis.Redis.from_url(redis_url) as client:
                (limit,) = slot_usage(client, "run1").values()
                assert (limit.slots_held, limit.waiting) == (64, 0)
            for index, permit in enumerate(first):
                await gate.record(answered(permit, request(), at("bull", index)))
            with redis.Redis.from_url(redis_url) as client:
                (limit,) = slot_usage(client, "run1").values()
                assert limit.slots_held == 0

    asyncio.run(scenario())


def test_a_request_that_is_cut_off_is_billed_by_estimate(redis_url: str) -> None:
    async def scenario() -> None:
        async with context(redis_url) as gates:
            gate = await open_session(gates, cell())
            permit = await gate.admit(PLACE, request(), WORST)
            await gate.discard(PLACE, permit)
            assert [(row["outcome"], row["cost_basis"]) for row in gate.calls] == [("killed", "estimate")]

    asyncio.run(scenario())
    with redis.Redis.from_url(redis_url) as client:
        assert ledger.totals(client, "run1").money.estimated_usd == pytest.approx(WORST_USD)
        assert money_by_model(client, "run1")[GPT.alias].estimated_usd == pytest.approx(WORST_USD)
        assert list(journal.unfinished(client, "run1")) == [cell().cell_id]


async def _seem_dead(redis_url: str, holder: str) -> None:
    """As after a stall: no sign of life, and nobody hears one."""
    with redis.Redis.from_url(redis_url) as client:
        client.delete(Keys("run1").alive(holder))
        client.hset(Keys("run1").suspects, holder, "0")


def test_an_answer_that_comes_while_redis_is_away_is_kept_and_settled_once(tmp_path: Path) -> None:
    async def scenario() -> None:
        with private_redis(tmp_path) as url:
            gates = context(url)
            await gates.start()
            gate = await open_session(gates, cell())
            permit = await gate.admit(PLACE, request(), WORST)
        recording = asyncio.create_task(gate.record(answered(permit, request())))
        await asyncio.sleep(0.5)
        assert not recording.done()
        with private_redis(tmp_path) as url:
            assert await recording is None
            await pay(gate, at("bull"))
            with redis.Redis.from_url(url) as client:
                money = ledger.totals(client, "run1").money
            assert money.settled_usd == pytest.approx(0.002)
            assert money == Money(money.settled_usd, 0.0, 0.0)
            assert await gate.is_still_held()
            await gates.aclose()

    asyncio.run(scenario())


def test_a_redis_that_stays_away_leaves_the_cell_unfinished(tmp_path: Path) -> None:
    async def scenario() -> None:
        with private_redis(tmp_path) as url:
            gates = context(url, patience_s=0.3)
            await gates.start()
            gate = await open_session(gates, cell())
        with pytest.raises(BrokerGone):
            await gate.admit(PLACE, request(), WORST)
        await gates.aclose()

    asyncio.run(scenario())
