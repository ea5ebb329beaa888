"""Limits of servers: never exceeded, fair, woken at once, freed of the dead, and taught by 429s only."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

import pytest
import redis

from agents import CallSite, Model
from harness.admission.cell_session import open_session
from harness.admission.context import AdmissionContext
from harness.admission.slots import SlotLimit, SlotUsage, slot_usage
from harness.experiment.servers import ServerSpec
from tests.harness.admissions import (
    GPT,
    LLAMA,
    PLACE,
    WORST,
    answered,
    at,
    cell,
    context,
    failed,
    request,
    specs,
    window_changes,
)

QWEN = replace(LLAMA, alias="qwen", name="qwen3:8b")


def test_slots_of_a_local_server_are_shared_by_all_and_busy_while_somebody_waits(redis_url: str) -> None:
    out, most = 0, 0

    async def one(gates: AdmissionContext, number: int) -> None:
        nonlocal out, most
        gate = await open_session(gates, cell(f"T{number}", LLAMA))
        for index in range(2):
            permit = await gate.admit(at("bull", index), request(model=LLAMA), WORST)
            out += 1
            most = max(most, out)
            await asyncio.sleep(0.1)
            out -= 1
            await gate.record(answered(permit, request(model=LLAMA), at("bull", index)))

    async def scenario() -> None:
        async with context(redis_url, servers=specs(slots=2)) as first, context(redis_url, servers=specs(slots=2)) as second:
            await asyncio.gather(*(one([first, second][number % 2], number) for number in range(10)))

    asyncio.run(scenario())
    assert most == 2
    with redis.Redis.from_url(redis_url) as client:
        limit = slot_usage(client, "run1")["gpu-box"]
        assert (limit.slots_held, limit.waiting, limit.loads) == (0, 0, 1)
        assert limit.busy is not None
        # How near to 1 it comes is a matter of the machine; that a slot is handed on while somebody waits is ours.
        assert limit.busy > 0.6


def test_who_came_first_is_served_first(redis_url: str) -> None:
    order: list[int] = []

    async def one(gates: AdmissionContext, number: int) -> None:
        gate = await open_session(gates, cell(f"T{number}", LLAMA))
        permit = await gate.admit(PLACE, request(model=LLAMA), WORST)
        order.append(number)
        await gate.record(answered(permit, request(model=LLAMA)))

    async def in_line(number: int) -> None:
        with redis.Redis.from_url(redis_url) as client:
            while slot_usage(client, "run1")["gpu-box"].waiting < number:
                await asyncio.sleep(0.01)

    async def scenario() -> None:
        async with context(redis_url) as first, context(redis_url) as second:
            holder = await open_session(first, cell("HOLDER", LLAMA))
            permit = await holder.admit(PLACE, request(model=LLAMA), WORST)
            async with asyncio.TaskGroup() as waiting:
                for number in range(8):
                    waiting.create_task(one([first, second][number % 2], number))
                    await in_line(number + 1)
                await holder.record(answered(permit, request(model=LLAMA)))

    asyncio.run(scenario())
    assert order == list(range(8))


def test_models_of_one_server_do_not_take_turns(redis_url: str) -> None:
    async def one(gates: AdmissionContext, number: int) -> None:
        model = [LLAMA, QWEN][number % 2]
        gate = await open_session(gates, cell(f"T{number}", model))
        for index in range(5):
            permit = await gate.admit(at("bull", index), request(model=model), WORST)
            await asyncio.sleep(0.02)
            await gate.record(answered(permit, request(model=model), at("bull", index)))

    async def scenario() -> None:
        async with context(redis_url, servers=specs(slots=2)) as gates:
            await asyncio.gather(*(one(gates, number) for number in range(6)))

    asyncio.run(scenario())
    with redis.Redis.from_url(redis_url) as client:
        assert slot_usage(client, "run1")["gpu-box"].loads == 2


def test_slots_of_a_dead_process_come_free(redis_url: str) -> None:
    async def scenario() -> None:
        dead = context(redis_url)
        await dead.start()
        await (await open_session(dead, cell("DEAD", LLAMA))).admit(PLACE, request(model=LLAMA), WORST)
        await dead.aclose()
        async with context(redis_url) as alive:
            gate = await open_session(alive, cell("AAPL", LLAMA))
            await gate.admit(PLACE, request(model=LLAMA), WORST)

    asyncio.run(asyncio.wait_for(scenario(), 60))


def test_a_hosted_limit_starts_slowly_grows_and_only_a_429_shrinks_it(redis_url: str) -> None:
    servers = specs(parallel=None)

    async def scenario() -> None:
        async with context(redis_url, servers=servers) as gates:
            gate = await open_session(gates, cell())
            await _round(gates, 12, None)
            grown = _window(redis_url, servers["cloud"])
            assert grown > 8
            for cause in ("server_error", "timeout", "connection", "auth"):
                await _round(gates, 1, cause)
            assert _window(redis_url, servers["cloud"]) == grown
            await _round(gates, 8, None)
            assert _window(redis_url, servers["cloud"]) == grown, "5xx pauses growth"
            permits = [(place, await gate.admit(place, request(), WORST)) for place in map(_place, range(8))]
            for place, permit in permits:
                await gate.record(failed(permit, request(), "rate_limited", place))
            shrunk = _window(redis_url, servers["cloud"])
            assert shrunk == int(grown * 0.7), "a wave of 429s shrinks it once"

    asyncio.run(scenario())
    with redis.Redis.from_url(redis_url) as client:
        events = [event for event, _ in window_changes(client, "run1", SlotLimit.of(servers["cloud"]).key)]
        assert events[0] == "declared"
        assert {"grown", "paused", "shrunk"} <= set(events)


def test_retry_after_holds_everybody_back(redis_url: str) -> None:
    async def scenario() -> None:
        async with context(redis_url) as gates:
            gate, other = await open_session(gates, cell()), await open_session(gates, cell("MSFT"))
            permit = await gate.admit(PLACE, request(), WORST)
            refused_at = time.monotonic()
            await gate.record(failed(permit, request(), "rate_limited", retry_after_s=1.0))
            permit = await other.admit(PLACE, request(), WORST)
            assert time.monotonic() - refused_at > 0.99
            assert permit.queued_s > 0
            assert permit.backoff_s == 0
            permit = await gate.admit(PLACE, request(), WORST)
            assert permit.backoff_s > 0.9

    asyncio.run(scenario())


def test_a_declared_limit_needs_no_slow_start(redis_url: str) -> None:
    async def scenario() -> None:
        async with context(redis_url, servers=specs(parallel=32)) as gates:
            gate = await open_session(gates, cell())
            permits = await asyncio.gather(*(gate.admit(_place(index), request(), WORST) for index in range(32)))
            assert usage_of_cloud(redis_url).slots_held == 32
            for index, permit in enumerate(permits):
                await gate.record(answered(permit, request(), _place(index)))

    asyncio.run(scenario())


def test_a_hosted_limit_belongs_to_the_account_a_local_one_to_the_machine() -> None:
    cloud = specs()["cloud"]
    assert SlotLimit.of(cloud).key == SlotLimit.of(replace(cloud, name="other")).key
    assert SlotLimit.of(cloud).key != SlotLimit.of(replace(cloud, api_key="sk-other")).key
    assert "sk-" not in SlotLimit.of(cloud).key
    here = ServerSpec("ollama", "ollama", "http://127.0.0.1:11434")
    assert SlotLimit.of(here).key.startswith("ollama@")
    assert SlotLimit.of(replace(here, url="http://gpu-box:11434")).key == "ollama"


@pytest.mark.parametrize("slots", [1, 3])
def test_a_changed_number_of_slots_counts_from_the_next_call(redis_url: str, slots: int) -> None:
    async def scenario() -> None:
        async with context(redis_url, servers=specs(slots=2)) as before:
            gate = await open_session(before, cell("A", LLAMA))
            await gate.record(answered(await gate.admit(PLACE, request(model=LLAMA), WORST), request(model=LLAMA)))
        async with context(redis_url, servers=specs(slots=slots)) as after:
            gate = await open_session(after, cell("B", LLAMA))
            await gate.admit(PLACE, request(model=LLAMA), WORST)
            with redis.Redis.from_url(redis_url) as client:
                assert slot_usage(client, "run1")["gpu-box"].window == slots

    asyncio.run(scenario())


def usage_of_cloud(url: str) -> SlotUsage:
    with redis.Redis.from_url(url) as client:
        return slot_usage(client, "run1")[SlotLimit.of(specs()["cloud"]).key]


async def _round(gates: AdmissionContext, count: int, cause: str | None) -> None:
    gate = await open_session(gates, cell(f"R{time.monotonic_ns()}"))

    async def one(place: CallSite) -> None:
        permit = await gate.admit(place, request(), WORST)
        await asyncio.sleep(0.01)
        await gate.record(failed(permit, request(), cause, place) if cause else answered(permit, request(), place))

    await asyncio.gather(*(one(_place(index)) for index in range(count)))


def _place(index: int) -> CallSite:
    return at("bull", index)


def _window(url: str, server: ServerSpec) -> float:
    with redis.Redis.from_url(url) as client:
        return slot_usage(client, "run1")[SlotLimit.of(server).key].window


@pytest.mark.parametrize("model", [LLAMA, GPT], ids=["local", "hosted"])
def test_runs_on_one_broker_share_the_slots_of_a_server(redis_url: str, model: Model) -> None:
    out, most = 0, 0
    servers = specs(parallel=2, slots=2)

    async def one(gates: AdmissionContext, number: int) -> None:
        nonlocal out, most
        gate = await open_session(gates, cell(f"T{number}", model))
        for index in range(3):
            permit = await gate.admit(at("bull", index), request(model=model), WORST)
            out += 1
            most = max(most, out)
            await asyncio.sleep(0.02)
            out -= 1
            await gate.record(answered(permit, request(model=model), at("bull", index)))

    async def scenario() -> None:
        async with (
            context(redis_url, servers=servers, run_id="run1") as first,
            context(redis_url, servers=servers, run_id="run2") as second,
        ):
            await asyncio.gather(*(one([first, second][number % 2], number) for number in range(8)))

    asyncio.run(scenario())
    assert most == 2
    with redis.Redis.from_url(redis_url) as client:
        assert (
            slot_usage(client, "run1").keys() == slot_usage(client, "run2").keys() == {SlotLimit.of(servers[model.server]).key}
        )


def test_slots_of_a_dead_run_come_free_for_another(redis_url: str) -> None:
    async def scenario() -> None:
        dead = context(redis_url, run_id="run1")
        await dead.start()
        await (await open_session(dead, cell("DEAD", LLAMA))).admit(PLACE, request(model=LLAMA), WORST)
        await dead.aclose()
        async with context(redis_url, run_id="run2") as alive:
            gate = await open_session(alive, cell("AAPL", LLAMA))
            await gate.admit(PLACE, request(model=LLAMA), WORST)

    asyncio.run(asyncio.wait_for(scenario(), 60))


def test_runs_that_declare_different_slots_do_not_undo_each_other(redis_url: str) -> None:
    async def ask(gates: AdmissionContext, ticker: str) -> None:
        gate = await open_session(gates, cell(ticker, LLAMA))
        await gate.record(answered(await gate.admit(PLACE, request(model=LLAMA), WORST), request(model=LLAMA)))

    async def scenario() -> None:
        async with (
            context(redis_url, servers=specs(slots=2), run_id="run1") as first,
            context(redis_url, servers=specs(slots=3), run_id="run2") as second,
        ):
            for turn in range(3):
                await ask(first, f"A{turn}")
                await ask(second, f"B{turn}")

    asyncio.run(scenario())
    with redis.Redis.from_url(redis_url) as client:
        assert slot_usage(client, "run1")["gpu-box"].window == 3
        assert [window for _, window in window_changes(client, "run2", "gpu-box")] == [2, 3]
