"""The turnstile: cells of a process start two at a time, so that not all of them need the interpreter at once.

Cells that start together march in step: their requests wait for each other before they leave, and what is measured as a
model's latency would be partly ours.
"""

from __future__ import annotations

import asyncio

AT_ONCE = 2
"""The second prepares while the first waits for Redis or the disk."""
PATIENCE_S = 0.25
"""A start that takes longer waits for something else than the interpreter: a slow store, a slot, a model that loads."""


class Turn:
    """One cell's way through."""

    def __init__(self, door: asyncio.Semaphore) -> None:
        self._door: asyncio.Semaphore | None = door
        self._timer = asyncio.get_running_loop().call_later(PATIENCE_S, self.leave)

    def leave(self) -> None:
        """Its first request is on its way, or there will be none: the next one may begin. Saying it again is safe."""
        door, self._door = self._door, None
        self._timer.cancel()
        if door:
            door.release()


class Turnstile:
    """First come, first served."""

    def __init__(self) -> None:
        self._door = asyncio.Semaphore(AT_ONCE)

    async def enter(self) -> Turn:
        await self._door.acquire()
        return Turn(self._door)
