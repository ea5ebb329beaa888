"""The Lua scripts of admission: each is one atomic step and one round trip, and waits while Redis is away."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import BusyLoadingError, ConnectionError, OutOfMemoryError, ReadOnlyError, TimeoutError

from harness.errors import BrokerGone

PATIENCE_S = 300.0
"""How long a Redis may be away before a cell is left unfinished."""
AWAY = (ConnectionError, TimeoutError, BusyLoadingError, ReadOnlyError, OutOfMemoryError, OSError)
_PARTS: Mapping[str, tuple[str, ...]] = {
    "open": (),
    "admit": ("slots",),
    "record": ("slots",),
    "withdraw": ("slots",),
    "poll": ("slots",),
    "confirm": (),
    "close": (),
    "defer": (),
    "hold": (),
}
_log = logging.getLogger(__name__)


def connect(url: str, connections: int = 16) -> Redis:
    """A client without retries of its own; `Scripts.run` retries."""
    pool = BlockingConnectionPool.from_url(
        url, max_connections=connections, timeout=None, socket_timeout=10, retry=Retry(NoBackoff(), 0)
    )
    return Redis.from_pool(pool)


class Scripts:
    """The scripts, registered with one client."""

    def __init__(self, redis: Redis, patience_s: float = PATIENCE_S) -> None:
        self.redis = redis
        self._patience_s = patience_s
        self._scripts = {name: redis.register_script(source(name)) for name in _PARTS}

    async def run(self, name: str, keys: Sequence[str], args: Sequence[str | bytes | int | float]) -> Any:
        """Run a script, again while Redis is away; every script is idempotent. Raises BrokerGone."""
        started, pause_s = time.monotonic(), 0.05
        while True:
            try:
                return await self._scripts[name](keys, args)
            except AWAY as error:
                if time.monotonic() - started > self._patience_s:
                    raise BrokerGone(f"Redis has not answered for {self._patience_s:g} s: {error}") from error
                _log.debug("%s waits for Redis: %s", name, error)
            await asyncio.sleep(pause_s)
            pause_s = min(1.0, pause_s * 2)


@cache
def source(name: str) -> str:
    """The whole text of a script."""
    folder = Path(__file__).parent / "lua"
    return "\n".join((folder / f"{part}.lua").read_text() for part in ("prelude", *_PARTS[name], name))
