"""The turnstile: cells start a few at a time, in their order, and none waits for one that waits for something else."""

from __future__ import annotations

import asyncio

from harness.workers.turnstile import AT_ONCE, PATIENCE_S, Turnstile
from tests.fixtures import virtual_time


def test_cells_start_in_their_order_and_only_a_few_at_once() -> None:
    begun: list[int] = []

    async def cell(stile: Turnstile, number: int) -> None:
        turn = await stile.enter()
        begun.append(number)
        await asyncio.sleep(0.01)
        turn.leave()

    async def scene() -> list[int]:
        stile = Turnstile()
        cells = [asyncio.create_task(cell(stile, number)) for number in range(10)]
        await asyncio.sleep(0)
        first = list(begun)
        await asyncio.gather(*cells)
        return first

    assert virtual_time.run(scene()) == list(range(AT_ONCE))
    assert begun == list(range(10))


def test_a_start_that_waits_for_something_else_lets_the_next_ones_pass() -> None:
    async def scene() -> float:
        stile, loop = Turnstile(), asyncio.get_running_loop()
        for _ in range(AT_ONCE):
            await stile.enter()
        since = loop.time()
        await stile.enter()
        return loop.time() - since

    waited_s = virtual_time.run(scene())
    assert PATIENCE_S <= waited_s < 2 * PATIENCE_S


def test_leaving_again_lets_nobody_else_in() -> None:
    async def scene() -> bool:
        stile = Turnstile()
        turns = [await stile.enter() for _ in range(AT_ONCE)]
        turns[0].leave()
        turns[0].leave()
        await stile.enter()
        entering = asyncio.create_task(stile.enter())
        await asyncio.sleep(0)
        return entering.done()

    assert not virtual_time.run(scene())
