"""One cell has one holder; a dead one is noticed within seconds, a live one is never robbed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time

import pytest
import redis
from redis.asyncio import Redis as AsyncRedis

from harness.admission.cell_session import open_session
from harness.admission.keys import Keys
from harness.admission.lease import ALIVE_MS, Heartbeat, mark_dead
from harness.errors import Deferred, LeaseLost
from tests.harness.admissions import PLACE, WORST, at, cell, context, pay, request, take_when_free


def test_a_cell_is_held_by_one_however_often_its_message_comes(redis_url: str) -> None:
    async def scenario() -> None:
        async with context(redis_url) as first, context(redis_url) as second:
            gate = await open_session(first, cell())
            for gates in [second, first] * 20:
                with pytest.raises(Deferred):
                    await open_session(gates, cell())
            await pay(gate)
            await gate.close(ended=False)
            assert (await open_session(second, cell())).lease.attempt == 2

    asyncio.run(scenario())


def test_a_cell_whose_reply_got_lost_is_still_got_by_asking_again(redis_url: str) -> None:
    async def scenario() -> None:
        async with context(redis_url) as gates:
            args = [gates.holder, "this take", 0, ""]
            reply = await gates.run("open", cell().cell_id, "", args)
            assert await gates.run("open", cell().cell_id, "", args) == reply
            with pytest.raises(Deferred):
                await open_session(gates, cell())

    asyncio.run(scenario())


def test_of_many_who_come_at_once_one_gets_the_cell(redis_url: str) -> None:
    async def scenario() -> None:
        async with context(redis_url) as first, context(redis_url) as second:
            came = await asyncio.gather(
                *(open_session(gates, cell()) for gates in [first, second] * 50), return_exceptions=True
            )
            assert sum(isinstance(one, Deferred) for one in came) == 99

    asyncio.run(scenario())


def test_a_holder_that_lost_its_cell_stops_before_its_next_call_and_cannot_end_it(redis_url: str) -> None:
    async def scenario() -> None:
        async with context(redis_url) as first, context(redis_url) as second:
            gate = await open_session(first, cell())
            with redis.Redis.from_url(redis_url) as client:
                mark_dead(client, "run1", f"{socket.gethostname()}:{os.getpid()}")
            other = await open_session(second, cell())
            assert other.lease.token > gate.lease.token
            assert not await gate.is_still_held()
            with pytest.raises(LeaseLost):
                await gate.admit(PLACE, request(), WORST)
            await gate.close(ended=True)
            assert await other.is_still_held()

    asyncio.run(scenario())


def test_a_holder_is_dead_only_after_two_looks(redis_url: str) -> None:
    """After an outage of Redis every sign of life is gone for a moment."""

    async def scenario() -> None:
        async with context(redis_url) as first, context(redis_url) as second:
            gate = await open_session(first, cell())
            for _ in range(3):
                with redis.Redis.from_url(redis_url) as client:
                    client.delete(first.keys.alive(first.holder))
                with pytest.raises(Deferred):
                    await open_session(second, cell())
                while await first._redis.hexists(first.keys.suspects, first.holder):
                    await asyncio.sleep(0.02)
            await gate.admit(PLACE, request(), WORST)

    asyncio.run(scenario())


def test_the_cell_of_a_dead_worker_is_free_within_10_s(redis_url: str) -> None:
    async def scenario() -> tuple[float, float]:
        dead = context(redis_url)
        await dead.start()
        await open_session(dead, cell())
        died = time.monotonic()
        assert dead._heart._task is not None
        dead._heart._task.cancel()
        async with context(redis_url) as second:
            _, waits_s = await take_when_free(second, cell())
        await dead._redis.aclose()
        await dead._blocking.aclose()
        return time.monotonic() - died, sum(waits_s)

    passed_s, asked_to_wait_s = asyncio.run(scenario())
    assert passed_s > ALIVE_MS / 1000
    # Not the time that passed: a busy machine may add any amount to it.
    assert asked_to_wait_s < 9.0


def test_a_released_cell_keeps_count_of_its_attempts_and_starts_above_those_of_its_receipts(redis_url: str) -> None:
    async def scenario() -> None:
        async with context(redis_url) as gates:
            gate = await open_session(gates, cell(), attempts_before=3)
            assert gate.lease.attempt == 4
            await pay(gate, at("bull"))
            await gate.close(ended=False)
            assert (await open_session(gates, cell(), attempts_before=3)).lease.attempt == 5

    asyncio.run(scenario())


def test_a_heart_stops_although_its_cancellation_got_lost_in_a_beat(redis_url: str) -> None:
    class Deaf(Heartbeat):
        """Python 3.11's asyncio.wait_for forgets a cancellation that comes just as its work ends."""

        async def _beat(self) -> None:
            if self._task:
                beating.set()
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.sleep(60)

    beating = asyncio.Event()

    async def scene() -> None:
        async with AsyncRedis.from_url(redis_url) as client:
            heart = Deaf(client, Keys("run1"), "run1/host:1:a")
            await heart.start()
            await beating.wait()
            await asyncio.wait_for(heart.stop(), 5)

    asyncio.run(scene())
