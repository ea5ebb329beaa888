"""The clock of service: it stands still while all a cell does is wait."""

from __future__ import annotations

import asyncio

import pytest

from harness.workers.service_clock import ServiceClock
from tests.fixtures import virtual_time


def test_waiting_for_a_slot_is_no_service() -> None:
    async def scene() -> float:
        clock = ServiceClock()
        async with clock.limited():
            await asyncio.sleep(0.05)
            clock.waiting_changed(1)
            await asyncio.sleep(0.3)
            clock.waiting_changed(-1)
        return clock.service_s

    assert virtual_time.run(scene()) == pytest.approx(0.05)


def test_a_request_that_is_out_is_service_although_another_waits() -> None:
    async def scene() -> float:
        clock = ServiceClock()
        async with clock.limited():
            clock.in_flight_changed(1)
            clock.waiting_changed(1)
            await asyncio.sleep(0.2)
            clock.in_flight_changed(-1)
            await asyncio.sleep(0.3)
        return clock.service_s

    assert virtual_time.run(scene()) == pytest.approx(0.2)


def test_the_limit_counts_service_only() -> None:
    async def scene() -> float:
        clock = ServiceClock(limit_s=0.2)
        with pytest.raises(TimeoutError):
            await waits_then_serves(clock)
        return clock.service_s

    async def waits_then_serves(clock: ServiceClock) -> None:
        async with clock.limited():
            clock.waiting_changed(1)
            await asyncio.sleep(0.4)
            clock.waiting_changed(-1)
            await asyncio.sleep(5)

    assert virtual_time.run(scene()) == pytest.approx(0.2)


def test_a_late_word_after_the_end_is_harmless() -> None:
    async def scene() -> None:
        clock = ServiceClock(limit_s=1)
        async with clock.limited():
            pass
        clock.waiting_changed(1)
        clock.waiting_changed(-1)

    virtual_time.run(scene())
