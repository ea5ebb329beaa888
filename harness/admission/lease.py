"""Leases: a process holds cells and slots only while its heartbeat, a key that expires, is there."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.admission.keys import Keys
from harness.admission.scripts import AWAY

if TYPE_CHECKING:
    from redis import Redis
    from redis.asyncio import Redis as AsyncRedis


ALIVE_MS = 4_000
BEAT_S = 1.0
RECHECK_S = 1.3
"""A holder without a heartbeat at two looks this far apart is dead; one look could mean that Redis lost the key."""


def new_holder(run_id: str) -> str:
    """A unique name for this process as a holder: run, host, process id, and a random part."""
    return f"{run_id}/{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"


@dataclass(frozen=True)
class Lease:
    """A held cell; a later holder has a greater token."""

    cell_id: str
    token: int
    attempt: int


class Heartbeat:
    """The heartbeat of one holder in one run."""

    def __init__(self, redis: AsyncRedis, keys: Keys, holder: str) -> None:
        self._redis = redis
        self._keys = keys
        self._holder = holder
        self._task: asyncio.Task[None] | None = None
        self._is_over = False

    async def start(self) -> None:
        await self._beat()
        self._task = asyncio.create_task(self._beat_on())

    async def stop(self) -> None:
        """Delete the heartbeat: what is still held is free at once."""
        # A flag as well: a cancellation that meets a write just as it ends is lost in asyncio.wait_for of Python 3.11.
        self._is_over = True
        if self._task:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        with contextlib.suppress(*AWAY):
            await self._redis.delete(self._keys.alive(self._holder))

    async def _beat_on(self) -> None:
        while not self._is_over:
            await asyncio.sleep(BEAT_S)
            with contextlib.suppress(*AWAY):
                await self._beat()

    async def _beat(self) -> None:
        async with self._redis.pipeline(transaction=False) as pipe:
            pipe.set(self._keys.alive(self._holder), 1, px=ALIVE_MS)
            pipe.hdel(self._keys.suspects, self._holder)
            await pipe.execute()


def holders(client: Redis, run_id: str) -> list[str]:
    """Living processes that serve this run."""
    prefix = Keys(run_id).alive(f"{run_id}/")
    return sorted(key.decode().removeprefix(prefix) for key in client.scan_iter(match=f"{prefix}*", count=1000))


def held(client: Redis, run_id: str, entries: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Those of these cells in flight whose process has a heartbeat (after an outage of Redis it may miss for a moment)."""
    names = sorted({entry.get("holder", "") for entry in entries.values()})
    signs: Any = client.mget([Keys(run_id).alive(name) for name in names]) if names else []
    living = {name for name, sign in zip(names, signs, strict=True) if sign}
    return {cell_id: entry for cell_id, entry in entries.items() if entry.get("holder", "") in living}


def mark_dead(client: Redis, run_id: str, process: str) -> None:
    """Mark a process (host:pid) as dead, so that its heartbeat need not expire first."""
    keys = Keys(run_id)
    for key in client.scan_iter(match=f"{keys.alive(f'{run_id}/{process}')}:*", count=1000):
        holder = key.decode().removeprefix(keys.alive(""))
        client.hset(keys.suspects, holder, "0")
        client.delete(key)
