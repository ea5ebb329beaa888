"""The clock of one attempt at a cell: it runs while the cell computes or a request is in flight, not while it only waits."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Protocol

from agents import Admission, Answer, Call, CallSite, ComposedRequest, DeferringAdmission, Failure, Permit, Request, WorstCase
from harness.errors import Draining


class ServiceClock:
    """Seconds of service, with a limit."""

    def __init__(self, limit_s: float | None = None, on_in_flight: Callable[[], None] = lambda: None) -> None:
        """`on_in_flight` is called whenever a request is sent or ends."""
        self._limit_s = limit_s
        self._on_in_flight = on_in_flight
        self._timeout: asyncio.Timeout | None = None
        self._served_s = 0.0
        self._since: float | None = None
        self._waiting = 0
        self._in_flight = 0
        self._none_in_flight = asyncio.Event()
        self._none_in_flight.set()

    @property
    def service_s(self) -> float:
        running = self._now() - self._since if self._since is not None else 0.0
        return self._served_s + running

    @contextlib.asynccontextmanager
    async def limited(self) -> AsyncIterator[None]:
        """Run the clock; raises TimeoutError inside when service reaches the limit."""
        async with asyncio.timeout(None) as self._timeout:
            self._start()
            try:
                yield
            finally:
                self._stop()
                self._timeout = None

    def waiting_changed(self, by: int) -> None:
        """More (or fewer) requests wait for a slot or a back-off."""
        self._waiting += by
        self._update()

    def in_flight_changed(self, by: int) -> None:
        """More (or fewer) requests are in flight."""
        self._in_flight += by
        self._on_in_flight()
        if self._in_flight == 0:
            self._none_in_flight.set()
        else:
            self._none_in_flight.clear()
        self._update()

    async def all_none_in_flight(self) -> None:
        """Wait until no request is in flight."""
        await self._none_in_flight.wait()

    def _update(self) -> None:
        idle = self._waiting > 0 and self._in_flight == 0
        if idle and self._since is not None:
            self._stop()
        elif not idle and self._since is None:
            self._start()

    def _start(self) -> None:
        self._since = self._now()
        if self._timeout and self._limit_s is not None and not self._timeout.expired():
            self._timeout.reschedule(self._since + self._limit_s - self._served_s)

    def _stop(self) -> None:
        if self._since is not None:
            self._served_s += self._now() - self._since
            self._since = None
        if self._timeout and not self._timeout.expired():
            self._timeout.reschedule(None)

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()


class CellGate(Admission, DeferringAdmission, Protocol):
    """The admission of a cell, for requests that are sent now or later."""


class ClockedAdmission:
    """Reports to the clock when requests of a cell wait and when they are in flight."""

    def __init__(self, gate: CellGate, clock: ServiceClock, is_draining: Callable[[], bool]) -> None:
        """`is_draining`: whether this process is shutting down."""
        self._gate = gate
        self._clock = clock
        self._is_draining = is_draining
        self._backing_off: set[str] = set()

    async def recall(self, place: CallSite, request: Request) -> Answer | None:
        return await self._gate.recall(place, request)

    async def defer(self, place: CallSite, request: Request, worst_case: WorstCase, composed: ComposedRequest) -> Failure:
        await self._leave_if_draining()
        return await self._gate.defer(place, request, worst_case, composed)

    async def admit(self, place: CallSite, request: Request, worst_case: WorstCase) -> Permit:
        if place.key not in self._backing_off:
            self._clock.waiting_changed(1)
        try:
            await self._leave_if_draining()
            permit = await self._gate.admit(place, request, worst_case)
        finally:
            self._backing_off.discard(place.key)
            self._clock.waiting_changed(-1)
        self._clock.in_flight_changed(1)
        return permit

    async def record(self, call: Call) -> float | None:
        self._clock.in_flight_changed(-1)
        pause_s = await self._gate.record(call)
        if pause_s is not None:
            self._backing_off.add(call.site.key)
            self._clock.waiting_changed(1)
        return pause_s

    async def _leave_if_draining(self) -> None:
        """Requests in flight end first: they are paid for."""
        if self._is_draining():
            await self._clock.all_none_in_flight()
            raise Draining("this worker is shutting down")

    async def discard(self, place: CallSite, permit: Permit) -> None:
        self._clock.in_flight_changed(-1)
        await self._gate.discard(place, permit)
