"""Cells in flight: which worker runs which, and which of them crashed a worker.

A cell of a process that died is a suspect and runs alone; a cell that kills its process while alone is poison.
"""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from redis import Redis
    from redis.asyncio import Redis as AsyncRedis


MOST_UNWRITTEN = 3
"""Attempts whose receipt cannot be written after which a cell is given up."""
POISON_DEATHS = 2
"""Deaths alone after which a cell is given up."""
MOST_SUSPENSIONS = 100
"""Times in a row that a pipeline may suspend its cell without a new answer, after which the cell is given up."""
SILENT_DEATHS = 3
"""Deaths that no supervisor reported (the machine went down) until a cell runs alone."""
_LEAVE = "return redis.call('HGET', KEYS[1], ARGV[1]) == ARGV[2] and redis.call('HDEL', KEYS[1], ARGV[1])"
_BURY = """
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('SADD', KEYS[2], ARGV[1])
redis.call('HINCRBY', KEYS[3], ARGV[1], 1)
if ARGV[3] == '1' then redis.call('HINCRBY', KEYS[4], ARGV[1], 1) end
return 1
"""


@dataclass(frozen=True)
class PastAttempts:
    """Earlier attempts at a cell that ended with their process."""

    deaths_alone: int

    @property
    def is_poison(self) -> bool:
        return self.deaths_alone >= POISON_DEATHS


def running_key(run_id: str) -> str:
    """Hash: cell_id -> JSON with worker, holder of the lease, arm and start."""
    return f"tah:{run_id}:running"


def _alone_key(run_id: str) -> str:
    return f"tah:{run_id}:alone"


def _deaths_key(run_id: str, *, alone: bool) -> str:
    return f"tah:{run_id}:deaths" + (":alone" if alone else "")


def _suspended_key(run_id: str) -> str:
    return f"tah:{run_id}:suspended"


def _unwritten_key(run_id: str) -> str:
    return f"tah:{run_id}:unwritten"


async def enter(redis: AsyncRedis, run_id: str, cell_id: str, entry: str) -> PastAttempts:
    """Register the cell and return its past attempts; an attempt that is still registered has died.

    The caller holds the cell's lease; `entry` comes from `entry_of`."""
    pipeline = redis.pipeline(transaction=False)
    pipeline.hget(running_key(run_id), cell_id)
    pipeline.hset(running_key(run_id), cell_id, entry)
    pipeline.hget(_deaths_key(run_id, alone=True), cell_id)
    left, _, alone = await pipeline.execute()
    died_alone = int(json.loads(left)["alone"]) if left else 0
    if left:
        await _count_death(redis, run_id, cell_id, alone=bool(died_alone))
    return PastAttempts(int(alone or 0) + died_alone)


def must_run_alone(client: Redis, run_id: str, cell_id: str) -> bool:
    """Whether the cell is a suspect, or died too often; an unreported death is counted when the cell runs again."""
    pipeline = client.pipeline(transaction=False)
    pipeline.sismember(_alone_key(run_id), cell_id)
    pipeline.hget(_deaths_key(run_id, alone=False), cell_id)
    is_suspect, deaths = pipeline.execute()
    return bool(is_suspect) or int(deaths or 0) >= SILENT_DEATHS - 1


async def _count_death(redis: AsyncRedis, run_id: str, cell_id: str, *, alone: bool) -> None:
    pipeline = redis.pipeline(transaction=True)
    pipeline.hincrby(_deaths_key(run_id, alone=False), cell_id, 1)
    if alone:
        pipeline.hincrby(_deaths_key(run_id, alone=True), cell_id, 1)
    await pipeline.execute()


async def count_unwritten(redis: AsyncRedis, run_id: str, cell_id: str) -> int:
    """Count an attempt whose receipt could not be written; returns how many there were."""
    return int(await redis.hincrby(_unwritten_key(run_id), cell_id, 1))


_COUNT_SUSPENSION = """
local calls, count = string.match(redis.call('HGET', KEYS[1], ARGV[1]) or '', '^(%d+)|(%d+)$')
count = calls == ARGV[2] and tonumber(count) + 1 or 1
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2] .. '|' .. count)
return count
"""


async def count_suspension(redis: AsyncRedis, run_id: str, cell_id: str, calls: int) -> int:
    """Count a suspension; returns how many there were in a row with this number of recorded calls."""
    counted: Any = await redis.eval(_COUNT_SUSPENSION, 1, _suspended_key(run_id), cell_id, calls)
    return int(counted)


def new_entry(worker: str, holder: str, arm: str, *, alone: bool) -> str:
    """The stored form of a worker that starts on a cell now; `holder`: its name in leases."""
    return json.dumps({"worker": worker, "holder": holder, "arm": arm, "since": time.time(), "alone": alone})


async def leave(redis: AsyncRedis, run_id: str, cell_id: str, entry: str) -> None:
    """Unregister the cell, unless another worker has taken it over."""
    await cast("Awaitable[int]", redis.eval(_LEAVE, 1, running_key(run_id), cell_id, entry))


def running(client: Redis, run_id: str) -> dict[str, dict[str, Any]]:
    """cell_id -> worker, holder, arm and start of every cell in flight, those of processes that died unnoticed included."""
    return {cell_id: json.loads(entry) for cell_id, entry in _entries(client, run_id).items()}


def bury(client: Redis, run_id: str, worker: str) -> int:
    """Count the death of a process for its cells, which are suspects from now on; returns how many."""
    keys = [running_key(run_id), _alone_key(run_id), _deaths_key(run_id, alone=False), _deaths_key(run_id, alone=True)]
    buried = 0
    for cell_id, stored in _entries(client, run_id).items():
        entry = json.loads(stored)
        if entry["worker"] == worker:
            buried += int(cast("int", client.eval(_BURY, len(keys), *keys, cell_id, stored, str(int(entry["alone"])))))
    return buried


def _entries(client: Redis, run_id: str) -> dict[str, str]:
    stored: Any = client.hgetall(running_key(run_id))
    return {key.decode(): entry.decode() for key, entry in stored.items()}


def forget_deaths(client: Redis, run_id: str, cell_id: str) -> None:
    """Forget the deaths of a cell that is retried."""
    client.srem(_alone_key(run_id), cell_id)
    client.hdel(_unwritten_key(run_id), cell_id)
    for alone in (False, True):
        client.hdel(_deaths_key(run_id, alone=alone), cell_id)


def reset(client: Redis, run_id: str, *, no_worker_lives: bool) -> None:
    """Forget deaths for a new session; `no_worker_lives`: workers of earlier sessions are gone as well."""
    keys = [_alone_key(run_id), _deaths_key(run_id, alone=False), _deaths_key(run_id, alone=True), _unwritten_key(run_id)]
    client.delete(*keys)
    if no_worker_lives:
        client.delete(running_key(run_id))
