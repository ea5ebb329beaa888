"""The limits of servers: how many requests may be out at a time, counted in Redis over all runs, processes and machines."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from harness.gate.keys import SHARED, Keys
from harness.gate.scripts import AWAY, Scripts

if TYPE_CHECKING:
    from redis import Redis
    from redis.asyncio import Redis as AsyncRedis

    from harness.experiment.servers import ServerSpec

SLOW_START = 4
TICK_S = 0.4
_ASK_AGAIN_S = 5.0
_ONE_MODEL = frozenset({"ollama", "llamacpp"})
"""Providers that load weights for a request: their models should not take turns."""


@dataclass(frozen=True)
class Limit:
    """How many requests a server takes at a time."""

    key: str
    """Whose limit it is: provider and account where it is hosted, else the machine's server."""
    slots: int
    adaptive: bool = False
    """Hosted: a 429 shrinks it; it grows up to `slots`."""
    declared: bool = True
    """Starts at `slots`; else it is found from a slow start."""
    groups_models: bool = False

    @classmethod
    def of(cls, server: ServerSpec) -> Limit:
        if server.is_hosted:
            return cls(_account(server), server.slots, adaptive=True, declared=server.parallel is not None)
        return cls(_machine(server), server.slots, groups_models=server.provider in _ONE_MODEL)

    @property
    def words(self) -> list[str | int]:
        """Start, ceiling, fixed and groups as the scripts read them."""
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
    """Requests of this process that wait for a slot; one blocking read wakes whoever was given one."""

    def __init__(self, scripts: Scripts, keys: Keys, holder: str, blocking: AsyncRedis) -> None:
        self._scripts = scripts
        self._keys = keys
        self._holder = holder
        self._blocking = blocking
        self._waiting: dict[str, tuple[Limit, asyncio.Event]] = {}
        self._task: asyncio.Task[None] | None = None

    async def wait(self, call_id: str, limit: Limit) -> None:
        """Until a slot is given, or it is time to ask again in case the word got lost."""
        _, event = self._waiting.setdefault(call_id, (limit, asyncio.Event()))
        self._listen()
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_ASK_AGAIN_S):
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
        given: Any = await self._blocking.blpop([self._keys.wake(self._holder)], timeout=TICK_S)
        if given is None:
            await self._poll()
        elif found := self._waiting.get(given[1].decode()):
            found[1].set()

    async def _poll(self) -> None:
        for key in {limit.key for limit, _ in self._waiting.values()}:
            await self._scripts.run("poll", self._keys.of_call("", key), [SHARED])


@dataclass(frozen=True)
class Usage:
    """How a limit stands."""

    window: float
    slots_held: int
    waiting: int
    loads: int
    """Times that another model's turn came."""
    busy: float | None
    """Share of the slots that were in use while somebody waited; None when nobody ever did."""


def usage(client: Redis, run_id: str) -> dict[str, Usage]:
    """Every limit that a run has met, as it stands over all runs that share its server, by key."""
    prefix = Keys(run_id).limit("")
    met: Any = client.hkeys(Keys(run_id).servers)
    keys = [key.decode().removeprefix(prefix) for key in met]
    return {key: _usage(client, Keys(run_id), key) for key in sorted(keys)}


def history(client: Redis, run_id: str, key: str) -> list[tuple[float, str, float]]:
    """How a limit came to be: unix time, what happened, window."""
    lines: Any = client.lrange(Keys(run_id).history(key), 0, -1)
    parted = [line.decode().split("|") for line in lines]
    return [(int(at) / 1000, event, float(window)) for at, event, window in parted]


def _usage(client: Redis, keys: Keys, key: str) -> Usage:
    raw: Any = client.hgetall(keys.limit(key))
    said = {name.decode(): float(value) for name, value in raw.items() if name not in (b"model",)}
    held: Any = client.hlen(keys.slots(key))
    waiting: Any = client.zcard(keys.waiters(key))
    busy = said.get("used_ms", 0.0) / said["had_ms"] if said.get("had_ms") else None
    return Usage(said.get("window", 0.0), held, waiting, int(said.get("loads", 0)), busy)
