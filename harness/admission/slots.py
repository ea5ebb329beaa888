"""Slots: how many requests a server takes at a time, counted in Redis over all runs, processes and machines."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from domain.defaults import UNREACHABLE_AFTER_S
from domain.providers import PROVIDERS
from harness.admission.keys import SHARED, Keys
from harness.admission.scripts import AWAY, Scripts

if TYPE_CHECKING:
    from collections.abc import Iterable

    from redis import Redis
    from redis.asyncio import Redis as AsyncRedis

    from harness.experiment.servers import ServerSpec


SLOW_START = 4
TICK_S = 0.4
_RECHECK_S = 5.0


@dataclass(frozen=True)
class SlotLimit:
    """How many requests a server takes at a time."""

    key: str
    """Provider and account if hosted, else the server (with its host, if local)."""
    slots: int
    adaptive: bool = False
    """Hosted: a 429 shrinks it; it grows up to `slots`."""
    declared: bool = True
    """Starts at `slots`; else with a slow start."""
    groups_models: bool = False
    unreachable_after_s: float = UNREACHABLE_AFTER_S
    """Without a completed answer for so long, the server counts as gone."""

    @classmethod
    def of(cls, server: ServerSpec) -> SlotLimit:
        if server.is_hosted:
            limit = cls(_account(server), server.slots, adaptive=True, declared=server.parallel is not None)
        else:
            limit = cls(_machine(server), server.slots, groups_models=PROVIDERS[server.provider].loads_weights)
        return replace(limit, unreachable_after_s=server.unreachable_after_s)

    @property
    def words(self) -> list[str | int]:
        """Start, ceiling, fixed and groups, as the scripts expect them."""
        start = self.slots if self.declared else min(SLOW_START, self.slots)
        return [start, self.slots, int(not self.adaptive), int(self.groups_models)]


def _account(server: ServerSpec) -> str:
    secret = sha256(f"{server.url}|{server.api_key}".encode()).hexdigest()[:12]
    return f"{server.provider}@{secret}"


def _machine(server: ServerSpec) -> str:
    host = urlsplit(server.url).hostname if server.url else None
    is_here = host is None or host == "localhost" or host.startswith("127.") or host == "::1"
    return f"{server.name}@{socket.gethostname()}" if is_here else server.name


class Waiters:
    """Requests of this process that wait for a slot; one blocking read wakes them."""

    def __init__(self, scripts: Scripts, keys: Keys, holder: str, blocking: AsyncRedis) -> None:
        self._scripts = scripts
        self._keys = keys
        self._holder = holder
        self._blocking = blocking
        self._waiting: dict[str, tuple[SlotLimit, asyncio.Event]] = {}
        self._task: asyncio.Task[None] | None = None

    async def wait(self, call_id: str, limit: SlotLimit) -> None:
        """Wait until a slot is granted, or until it is time to ask again in case the wake-up was lost."""
        _, event = self._waiting.setdefault(call_id, (limit, asyncio.Event()))
        self._listen()
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_RECHECK_S):
                    await event.wait()
        finally:
            self._waiting.pop(call_id, None)

    async def stop(self) -> None:
        if self._task:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    def _listen(self) -> None:
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._wake())

    async def _wake(self) -> None:
        while self._waiting:
            try:
                await self._take()
            except AWAY:
                await asyncio.sleep(TICK_S)

    async def _take(self) -> None:
        granted: Any = await self._blocking.blpop([self._keys.wake(self._holder)], timeout=TICK_S)
        if granted is None:
            await self._poll()
        elif waiter := self._waiting.get(granted[1].decode()):
            waiter[1].set()

    async def _poll(self) -> None:
        for key in {limit.key for limit, _ in self._waiting.values()}:
            await self._scripts.run("poll", self._keys.of_call("", key), [SHARED])


def reopen(client: Redis, servers: Iterable[ServerSpec]) -> None:
    """Forget that these servers did not answer, and which models they lacked: a new session asks them again."""
    for server in servers:
        key = Keys("").limit(SlotLimit.of(server).key)
        stored: Any = client.hkeys(key)
        gone = [name for name in stored if name in _TROUBLE or name.startswith(b"missing:")]
        if gone:
            client.hdel(key, *gone)


_TROUBLE = (b"closed", b"silent_since", b"trouble", b"refused")


@dataclass(frozen=True)
class SlotUsage:
    """How a server's slots are used now."""

    window: float
    slots_held: int
    waiting: int
    loads: int
    """How often the server switched to another model."""
    busy: float | None
    """Share of slots in use while requests waited; None if none ever waited."""
    trouble: str = ""
    """Why it does not answer now."""


def slot_usage(client: Redis, run_id: str) -> dict[str, SlotUsage]:
    """Use of every server of a run, counted over all runs that share it, by key."""
    prefix = Keys(run_id).limit("")
    server_keys: Any = client.hkeys(Keys(run_id).servers)
    keys = [key.decode().removeprefix(prefix) for key in server_keys]
    return {key: _slot_usage(client, Keys(run_id), key) for key in sorted(keys)}


def _slot_usage(client: Redis, keys: Keys, key: str) -> SlotUsage:
    raw: Any = client.hgetall(keys.limit(key))
    values = {name.decode(): float(value) for name, value in raw.items() if _is_number(value)}
    held: Any = client.hlen(keys.slots(key))
    waiting: Any = client.zcard(keys.waiters(key))
    busy = values.get("used_ms", 0.0) / values["had_ms"] if values.get("had_ms") else None
    trouble = raw.get(b"trouble", b"").decode() if b"silent_since" in raw else ""
    return SlotUsage(values.get("window", 0.0), held, waiting, int(values.get("loads", 0)), busy, trouble)


def _is_number(value: bytes) -> bool:
    with contextlib.suppress(ValueError):
        float(value)
        return True
    return False
