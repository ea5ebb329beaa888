"""What a worker process is started with, and the deadline that it shares with its supervisor."""

from __future__ import annotations

import mmap
import socket
import struct
import uuid
from dataclasses import dataclass
from pathlib import Path

from harness.errors import InvalidInput, Problem
from harness.experiment.matrix import POOLS


@dataclass(frozen=True)
class WorkerConfig:
    """The options of `harness worker`."""

    broker: str
    """redis://host:port/db or unix:///path."""
    results: str
    """Folder or s3:// address with the EXPERIMENT/RUN_ID folders."""
    pools: tuple[str, ...] = POOLS
    concurrency: int = 32
    """Cells at a time in each process for hosted models."""
    local_concurrency: int = 4
    """Cells at a time in the process for local models; more than slots, so that no slot is idle."""
    processes: int = 1
    """Processes for hosted models."""
    servers: Path | None = None
    restart_after: int = 200
    """Cells after which a process is replaced."""
    soft_s: float | None = None
    """Overrides the experiment's limit."""
    hard_s: float | None = None
    runs: frozenset[str] | None = None
    """Serve these runs only."""
    metrics_port: int | None = None
    """First port for Prometheus; each process takes the next free one."""
    log_json: bool = False

    def limits(self, declared: tuple[float, float]) -> tuple[float, float]:
        """Soft and hard limit in seconds; `declared`: those of the experiment."""
        return self.soft_s or declared[0], self.hard_s or declared[1]

    def threads(self, pool: str) -> int:
        return self.concurrency if pool == "hosted" else self.local_concurrency


def parse_pools(queues: str) -> tuple[str, ...]:
    """`hosted`, `local` or `hosted,local`. Raises InvalidInput."""
    pools = tuple(dict.fromkeys(part.strip() for part in queues.split(",") if part.strip()))
    if not pools or set(pools) - set(POOLS):
        raise InvalidInput([Problem("--queues", f"unknown queues {queues!r}; known: {', '.join(POOLS)}", "name one or both")])
    return pools


def worker_name(pid: int, tag: str) -> str:
    """Host and process id; the tag distinguishes it from an earlier process with the same id."""
    return f"{socket.gethostname()}/{pid}-{tag}"


def new_tag() -> str:
    return uuid.uuid4().hex[:4]


_DOUBLE = struct.Struct("d")


class Deadline:
    """Until when a worker process may be busy; written by it, watched by its supervisor, without a lock."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, _DOUBLE.size)
        self.set(float("inf"))

    def set(self, at: float) -> None:
        """`at` is a time.monotonic value, which all processes of a machine share."""
        _DOUBLE.pack_into(self._memory, 0, at)

    @property
    def at(self) -> float:
        return float(_DOUBLE.unpack_from(self._memory, 0)[0])

    def close(self) -> None:
        self._memory.close()
