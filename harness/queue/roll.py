"""The roll of cells being worked on: who has which, which of them vanished with their process, and which killed it.

A cell that was on the roll of a process that died is a suspect and runs alone; only a cell that dies alone is poison.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from redis import Redis
    from redis.asyncio import Redis as AsyncRedis

POISON_DEATHS = 2
"""Deaths alone after which a cell is given up."""
SILENT_DEATHS = 3
"""Deaths that nobody saw (the whole machine went) after which a cell runs alone."""


@dataclass(frozen=True)
class History:
    """What became of earlier attempts at a cell whose process died."""

    deaths: int
    deaths_alone: int
    is_suspect: bool

    @property
    def must_run_alone(self) -> bool:
        return self.is_suspect or self.deaths >= SILENT_DEATHS

    @property
    def is_poison(self) -> bool:
        return self.deaths_alone >= POISON_DEATHS


def running_key(run_id: str) -> str:
    """Hash: cell_id -> JSON of who works on it since when."""
    return f"tah:{run_id}:running"


def _alone_key(run_id: str) -> str:
    return f"tah:{run_id}:alone"


def _deaths_key(run_id: str, *, alone: bool) -> str:
    return f"tah:{run_id}:deaths" + (":alone" if alone else "")


async def history(redis: AsyncRedis, run_id: str, cell_id: str) -> History:
    """Counts the death of the last attempt, if its entry is still on the roll; the caller holds the cell's lease."""
    left: Any = await redis.hget(running_key(run_id), cell_id)
    if left:
        await _count_death(redis, run_id, cell_id, alone=bool(json.loads(left)["alone"]))
    pipeline = redis.pipeline(transaction=False)
    pipeline.hget(_deaths_key(run_id, alone=False), cell_id)
    pipeline.hget(_deaths_key(run_id, alone=True), cell_id)
    pipeline.sismember(_alone_key(run_id), cell_id)
    deaths, alone, suspect = await pipeline.execute()
    return History(int(deaths or 0), int(alone or 0), bool(suspect))


async def _count_death(redis: AsyncRedis, run_id: str, cell_id: str, *, alone: bool) -> None:
    pipeline = redis.pipeline(transaction=True)
    pipeline.hdel(running_key(run_id), cell_id)
    pipeline.hincrby(_deaths_key(run_id, alone=False), cell_id, 1)
    if alone:
        pipeline.hincrby(_deaths_key(run_id, alone=True), cell_id, 1)
    await pipeline.execute()


async def sign_in(redis: AsyncRedis, run_id: str, cell_id: str, entry: dict[str, Any]) -> None:
    """`entry` holds worker, arm, since and alone."""
    await redis.hset(running_key(run_id), cell_id, json.dumps(entry))


async def sign_out(redis: AsyncRedis, run_id: str, cell_id: str, worker: str) -> None:
    """Leave the roll, unless another worker has taken the cell over meanwhile."""
    left: Any = await redis.hget(running_key(run_id), cell_id)
    if left and json.loads(left)["worker"] == worker:
        await redis.hdel(running_key(run_id), cell_id)


def running(client: Redis, run_id: str) -> dict[str, dict[str, Any]]:
    """Cells on the roll."""
    stored: Any = client.hgetall(running_key(run_id))
    return {key.decode(): json.loads(entry) for key, entry in stored.items()}


def suspect(client: Redis, run_id: str, worker: str) -> int:
    """Mark the cells that a dead process had in hand; returns how many."""
    left = [cell_id for cell_id, entry in running(client, run_id).items() if entry["worker"] == worker]
    if left:
        client.sadd(_alone_key(run_id), *left)
    return len(left)


def forgive(client: Redis, run_id: str, cell_id: str) -> None:
    """Forget the deaths of a cell that is to be tried again."""
    client.srem(_alone_key(run_id), cell_id)
    for alone in (False, True):
        client.hdel(_deaths_key(run_id, alone=alone), cell_id)


def forget(client: Redis, run_id: str, *, nobody_lives: bool) -> None:
    """A new session judges afresh; `nobody_lives`: no worker of an earlier session can still be at work."""
    client.delete(_alone_key(run_id), _deaths_key(run_id, alone=False), _deaths_key(run_id, alone=True))
    if nobody_lives:
        client.delete(running_key(run_id))
