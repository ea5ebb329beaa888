"""The registry of active runs in Redis: all that a worker on any machine must know to serve one."""

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
"""Longer than any outage of Redis or stall of a runner that a run should ride out unnoticed."""


@dataclass(frozen=True)
class RunInfo:
    """One active run, as it is announced to workers."""

    run_id: str
    experiment: str
    """Name of the experiment; with run_id the place of its folder under any worker's results."""
    terms: Mapping[str, Any]
    """The resolved experiment."""
    pipelines: Mapping[str, Mapping[str, Any]]
    """fingerprint -> pipeline, of every arm."""
    prices: Mapping[str, Any]
    """The price table (PriceTable.to_plain), so that every machine prices alike."""
    code: str
    """Fingerprint of the code that may serve it: package version, roles, prompts, flow."""
    beside: str = ""
    """Folder of the experiment file on the runner's machine; its .env and servers.yaml are read where it exists."""
    pools: tuple[str, ...] = POOLS
    """Those that its cells need; nobody else looks for its messages."""

    @property
    def results(self) -> str:
        return f"{self.experiment}/{self.run_id}"

    @property
    def limits_s(self) -> tuple[float, float]:
        """Soft and hard limit of a cell, in seconds of service."""
        limit = self.terms.get("cell_limit") or {}
        return float(limit.get("soft", SOFT_LIMIT_S)), float(limit.get("hard", HARD_LIMIT_S))

    def is_compatible(self) -> bool:
        """Whether this process has the very roles, prompts and flow that the run was planned with."""
        return code_of(self.pipelines) == self.code

    def to_json(self) -> str:
        return json.dumps(asdict(self), default=str)

    @classmethod
    def from_json(cls, text: str | bytes) -> RunInfo:
        """What another version said beside or instead of our fields is left out: it must be understood to be refused."""
        known = {field.name for field in fields(cls)}
        said = {name: value for name, value in json.loads(text).items() if name in known}
        return cls(**said | {"pools": tuple(said.get("pools", POOLS))})


def pipelines_of(cells: Iterable[Cell]) -> dict[str, Mapping[str, Any]]:
    """fingerprint -> pipeline, of these cells."""
    found: dict[str, Pipeline] = {}
    for cell in cells:
        found.setdefault(cell.fingerprint, cell.pipeline)
    return {fingerprint: asdict(pipeline) for fingerprint, pipeline in found.items()}


def code_of(pipelines: Mapping[str, Mapping[str, Any]]) -> str:
    """What this process would make of these pipelines, hashed with its version."""
    ours = [_fingerprint(pipeline) for pipeline in pipelines.values()]
    return digest_of({"version": package_version(), "pipelines": sorted(ours)})


def package_version() -> str:
    try:
        return version("tradingagents-harness")
    except PackageNotFoundError:
        return "unknown"


def alive_key(run_id: str) -> str:
    """String that expires: some runner executes this run."""
    return f"tah:{run_id}:runner"


def announce(client: Redis, run: RunInfo) -> None:
    """From now on workers serve the run while its runner gives signs of life; runs whose runner died are forgotten."""
    ghosts = all_runs(client).keys() - active_runs(client).keys()
    if ghosts:
        client.hdel(KEY, *ghosts)
    keep_alive(client, run)


def keep_alive(client: Redis, run: RunInfo) -> None:
    """Also of a runner that stalled for so long that its run was forgotten."""
    client.hsetnx(KEY, run.run_id, run.to_json())
    client.set(alive_key(run.run_id), 1, px=ALIVE_MS)


def withdraw(client: Redis, run_id: str) -> None:
    client.hdel(KEY, run_id)
    client.delete(alive_key(run_id))


def all_runs(client: Redis) -> dict[str, RunInfo]:
    """Every announced run by its id, those of a dead runner included: cells of theirs may be in work."""
    stored: dict[bytes, bytes] = client.hgetall(KEY)  # type: ignore[assignment]
    return {key.decode(): RunInfo.from_json(text) for key, text in stored.items()}


def active_runs(client: Redis) -> dict[str, RunInfo]:
    """Every run that a living runner executes, by its id."""
    return {run_id: run for run_id, run in all_runs(client).items() if client.exists(alive_key(run_id))}


def is_active(client: Redis, run_id: str) -> bool:
    return bool(client.hexists(KEY, run_id) and client.exists(alive_key(run_id)))


async def announced_runs(redis: AsyncRedis) -> dict[str, str]:
    """Runs that living runners execute: id -> RunInfo as JSON."""
    stored: Any = await redis.hgetall(KEY)
    signs: Any = await redis.mget([alive_key(key.decode()) for key in stored]) if stored else []
    return {key.decode(): text.decode() for (key, text), sign in zip(stored.items(), signs, strict=True) if sign}


def _fingerprint(pipeline: Mapping[str, Any]) -> str:
    plain = dict(pipeline) | {"analysts": tuple(pipeline["analysts"])}
    try:
        return agents.fingerprint(Pipeline(**plain))
    except (TypeError, agents.AgentsError):
        return "unknown here"
