"""The registry of active runs in Redis: everything a worker must know to serve one."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

import agents
from agents import Pipeline
from domain.defaults import HARD_LIMIT_S, SOFT_LIMIT_S
from harness.cells import Cell, digest_of
from harness.experiment.matrix import POOLS

if TYPE_CHECKING:
    from redis import Redis
    from redis.asyncio import Redis as AsyncRedis

KEY = "tah:runs"
ALIVE_MS = 60_000
"""Longer than an outage of Redis or a stall of the runner that a run should survive."""


@dataclass(frozen=True)
class RunInfo:
    """An active run, as announced to workers."""

    run_id: str
    experiment: str
    """Name of the experiment; EXPERIMENT/RUN_ID is its folder in the results."""
    terms: Mapping[str, Any]
    """The resolved experiment."""
    pipelines: Mapping[str, Mapping[str, Any]]
    """fingerprint -> pipeline, of every arm."""
    prices: Mapping[str, Any]
    """The price table (PriceTable.to_plain), so that every machine uses the same prices."""
    code: str
    """Fingerprint of the code that may serve it: package version, roles, prompts."""
    experiment_dir: str = ""
    """Folder of the experiment file on the runner's machine; its .env and servers.yaml are read if it exists."""
    hosted: tuple[str, ...] = ()
    """Names of the servers that bill by token, as the runner's machine classifies them."""
    pools: tuple[str, ...] = POOLS
    """The pools that its cells need."""
    month: str = ""
    """Month (YYYY-MM) whose bill it counts to, with the other runs of its broker that do; empty: none."""

    @property
    def results(self) -> str:
        return f"{self.experiment}/{self.run_id}"

    @property
    def limits_s(self) -> tuple[float, float]:
        """Soft and hard limit of a cell, in seconds of service."""
        limit = self.terms.get("cell_limit") or {}
        return float(limit.get("soft", SOFT_LIMIT_S)), float(limit.get("hard", HARD_LIMIT_S))

    def is_compatible(self) -> bool:
        """Whether this process has the same version, roles and prompts that the run was planned with."""
        return code_of(self.pipelines) == self.code

    def to_json(self) -> str:
        return json.dumps(asdict(self), default=str)

    @classmethod
    def from_json(cls, text: str | bytes) -> RunInfo:
        """Unknown fields of another version are ignored: the run must be readable to be refused."""
        names = {field.name for field in fields(cls)}
        values = {name: value for name, value in json.loads(text).items() if name in names}
        return cls(**values | {"pools": tuple(values.get("pools", POOLS)), "hosted": tuple(values.get("hosted", ()))})


def pipelines_of(cells: Iterable[Cell]) -> dict[str, Mapping[str, Any]]:
    """fingerprint -> pipeline, of these cells."""
    pipelines: dict[str, Pipeline] = {}
    for cell in cells:
        if not cell.is_attached:
            pipelines.setdefault(cell.fingerprint, cell.pipeline)
    return {fingerprint: asdict(pipeline) for fingerprint, pipeline in pipelines.items()}


def code_of(pipelines: Mapping[str, Mapping[str, Any]]) -> str:
    """Hash of this process's version and of its fingerprints of these pipelines."""
    ours = [_fingerprint(pipeline) for pipeline in pipelines.values()]
    return digest_of({"version": package_version(), "pipelines": sorted(ours)})


def package_version() -> str:
    try:
        return version("tradingagents-harness")
    except PackageNotFoundError:
        return "unknown"


def alive_key(run_id: str) -> str:
    """String that expires: a runner executes this run."""
    return f"tah:{run_id}:runner"


def announce(client: Redis, run: RunInfo) -> None:
    """Let workers serve the run while its runner lives; runs whose runner died are removed."""
    ghosts = all_runs(client).keys() - active_runs(client).keys()
    if ghosts:
        client.hdel(KEY, *ghosts)
    # A runner that was killed a moment ago may have announced it with another folder or budget.
    client.hset(KEY, run.run_id, run.to_json())
    keep_alive(client, run)


def keep_alive(client: Redis, run: RunInfo) -> None:
    """Extend the runner's heartbeat; announces the run again if it was removed meanwhile."""
    client.hsetnx(KEY, run.run_id, run.to_json())
    client.set(alive_key(run.run_id), 1, px=ALIVE_MS)


def withdraw(client: Redis, run_id: str) -> None:
    client.hdel(KEY, run_id)
    client.delete(alive_key(run_id))


def all_runs(client: Redis) -> dict[str, RunInfo]:
    """Every announced run by its id, those of dead runners included: their cells may still run."""
    stored: dict[bytes, bytes] = client.hgetall(KEY)  # type: ignore[assignment]
    return {key.decode(): RunInfo.from_json(text) for key, text in stored.items()}


def active_runs(client: Redis) -> dict[str, RunInfo]:
    """Every run with a living runner, by its id."""
    return {run_id: run for run_id, run in all_runs(client).items() if client.exists(alive_key(run_id))}


def is_active(client: Redis, run_id: str) -> bool:
    return bool(client.hexists(KEY, run_id) and client.exists(alive_key(run_id)))


async def announced_runs(redis: AsyncRedis) -> dict[str, str]:
    """Runs with a living runner: id -> RunInfo as JSON."""
    stored: Any = await redis.hgetall(KEY)
    signs: Any = await redis.mget([alive_key(key.decode()) for key in stored]) if stored else []
    return {key.decode(): text.decode() for (key, text), sign in zip(stored.items(), signs, strict=True) if sign}


def _fingerprint(pipeline: Mapping[str, Any]) -> str:
    plain = dict(pipeline) | {"analysts": tuple(pipeline["analysts"])}
    try:
        return agents.fingerprint(Pipeline(**plain))
    except (TypeError, agents.AgentsError):
        return "unknown here"
