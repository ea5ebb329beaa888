"""The turnstile: cells start a few at a time, in their order, and none waits for one that waits for something else."""

from __future__ import annotations

import asyncio

from harness.workers.serving import LONGEST_START_S, STARTS_AT_ONCE, StartThrottle
from tests.fixtures import virtual_time


def test_cells_start_in_their_order_and_only_a_few_at_once() -> None:
    begun: list[int] = []

    async def cell(stile: StartThrottle, number: int) -> None:
        start_slot = await stile.enter()
        begun.append(number)
        await asyncio.sleep(0.01)
        start_slot.leave()

    async def scene() -> list[int]:
        stile = StartThrottle()
        cells = [asyncio.create_task(cell(stile, number)) for number in range(10)]
        await asyncio.sleep(0)
        first = list(begun)
        await asyncio.gather(*cells)
        return first

    assert virtual_time.run(scene()) == list(range(STARTS_AT_ONCE))
    assert begun == list(range(10))


def test_a_start_that_waits_for_something_else_lets_the_next_ones_pass() -> None:
    async def scene() -> float:
        stile, loop = StartThrottle(), asyncio.get_running_loop()
        for _ in range(STARTS_AT_ONCE):
            await stile.enter()
        since = loop.time()
        await stile.enter()
        return loop.time() - since

    waited_s = virtual_time.run(scene())
    assert LONGEST_START_S <= waited_s < 2 * LONGEST_START_S


def test_leaving_again_lets_nobody_else_in() -> None:
    async def scene() -> bool:
        stile = StartThrottle()
        turns = [await stile.enter() for _ in range(STARTS_AT_ONCE)]
        turns[0].leave()
        turns[0].leave()
        await stile.enter()
        entering = asyncio.create_task(stile.enter())
        await asyncio.sleep(0)
        return entering.done()

    assert not virtual_time.run(scene())
