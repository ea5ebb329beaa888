"""The ledger: no sum of calls can pass a cap, settled money is exact, a raised cap continues."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
import redis

from harness.admission import ledger
from harness.admission.cell_session import open_session
from harness.admission.context import AdmissionContext
from harness.admission.ledger import Caps, Money, pico
from harness.errors import OverBudget
from tests.harness.admissions import (
    GPT,
    LLAMA,
    PLACE,
    WORST,
    WORST_USD,
    answered,
    at,
    cell,
    context,
    money_by_model,
    pay,
    request,
)


def test_a_call_that_could_break_the_cap_of_a_call_is_not_sent(redis_url: str) -> None:
    async def scenario() -> None:
        async with context(redis_url, caps=Caps(call_usd=WORST_USD * 0.9)) as gates:
            gate = await open_session(gates, cell())
            with pytest.raises(OverBudget) as cap:
                await gate.admit(PLACE, request(), WORST)
            assert cap.value.scope == "call"

    asyncio.run(scenario())


def test_calls_side_by_side_never_pass_the_cap_of_the_run_and_money_that_comes_free_is_used(redis_url: str) -> None:
    settled = 500 * 1e-6 + 50 * 1e-5
    cap = WORST_USD + 9.5 * settled

    async def one(gates: AdmissionContext, number: int) -> int:
        gate = await open_session(gates, cell(f"T{number}"))
        try:
            permit = await gate.admit(PLACE, request(), WORST)
        except OverBudget:
            return 0
        await asyncio.sleep(0.02)
        with redis.Redis.from_url(redis_url) as client:
            money = ledger.totals(client, "run1").money
            assert money.spent_usd + money.reserved_usd <= cap + 1e-12
        await gate.record(answered(permit, request()))
        return 1

    async def scenario() -> int:
        async with context(redis_url, caps=Caps(run_usd=cap)) as gates:
            return sum(await asyncio.gather(*(one(gates, number) for number in range(30))))

    assert asyncio.run(scenario()) == 10
    with redis.Redis.from_url(redis_url) as client:
        money = ledger.totals(client, "run1").money
    assert money.settled_usd == pytest.approx(10 * settled, abs=1e-12)
    assert money == Money(money.settled_usd, 0.0, 0.0)


def test_at_the_cap_no_cell_starts_one_that_has_paid_goes_on_and_a_raised_cap_continues(redis_url: str) -> None:
    async def scenario() -> None:
        async with context(redis_url, caps=Caps(run_usd=0.0041)) as gates:
            begun = await open_session(gates, cell("MSFT"))
            await pay(begun)
            gate = await open_session(gates, cell())
            await pay(gate)
            await pay(gate, at("bull"))
            with pytest.raises(OverBudget):
                await gate.admit(at("bear"), request(), WORST)
            with pytest.raises(OverBudget) as cap:
                await open_session(gates, cell("JPM"))
            assert cap.value.scope == "run"
            await begun.close(ended=False)
            assert (await open_session(gates, cell("MSFT"))).lease.attempt == 2
        async with context(redis_url, caps=Caps(run_usd=0.008)) as gates:
            await pay(await open_session(gates, cell("JPM")))

    asyncio.run(scenario())


def test_the_cap_of_a_model_binds_that_model_only(redis_url: str) -> None:
    other = replace(GPT, alias="other")

    async def scenario() -> None:
        async with context(redis_url, caps=Caps(model_usd={"gpt": 0.0021})) as gates:
            gate = await open_session(gates, cell("AAPL", GPT, other))
            await pay(gate)
            with pytest.raises(OverBudget) as cap:
                await gate.admit(at("bull"), request(), WORST)
            assert cap.value.scope == "model"
            with pytest.raises(OverBudget, match="gpt"):
                await open_session(gates, cell("JPM"))
            await pay(await open_session(gates, cell("JPM", other)), PLACE, request(model=other))

    asyncio.run(scenario())
    with redis.Redis.from_url(redis_url) as client:
        assert {name: money.settled_usd for name, money in money_by_model(client, "run1").items()} == {
            "gpt": pytest.approx(0.001),
            "other": pytest.approx(0.001),
        }


def test_local_models_send_no_bill(redis_url: str) -> None:
    async def scenario() -> None:
        async with context(redis_url, caps=Caps(run_usd=0.0, call_usd=0.0)) as gates:
            await pay(await open_session(gates, cell("AAPL", LLAMA)), PLACE, request(model=LLAMA))

    asyncio.run(scenario())
    with redis.Redis.from_url(redis_url) as client:
        assert ledger.totals(client, "run1").money.spent_usd == 0


def test_a_thousand_settlements_add_up_to_the_last_token(redis_url: str) -> None:
    async def scenario() -> None:
        async with context(redis_url) as gates:
            gate = await open_session(gates, cell())
            for index in range(200):
                permit = await gate.admit(at("bull", index), request(), WORST)
                await gate.record(answered(permit, request(), at("bull", index), tokens=(index, 3 * index)))

    asyncio.run(scenario())
    with redis.Redis.from_url(redis_url) as client:
        total = sum(range(200))
        totals = ledger.totals(client, "run1")
        assert (totals.calls, totals.input_tokens, totals.output_tokens) == (200, total, 3 * total)
        assert pico(totals.money.settled_usd) == total * 10**6 + 3 * total * 10**7


def test_caps_come_from_the_budget_of_an_experiment() -> None:
    assert Caps.of(None) == Caps()
    assert Caps.of({"run_usd": 5, "model_usd": {"gpt": 1}}).of_call("gpt") == ["", "", 10**12, 5 * 10**12]
