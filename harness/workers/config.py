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
    """The options of `harness worker`, as its processes take them."""

    broker: str
    """redis://host:port/db or unix:///path."""
    results: str
    """Folder or s3:// address that holds EXPERIMENT/RUN_ID folders."""
    pools: tuple[str, ...] = POOLS
    concurrency: int = 32
    """Cells at a time in each process for hosted models."""
    local_concurrency: int = 4
    """Cells at a time in the process for local models; more than slots, so that a slot never waits for a cell."""
    processes: int = 1
    """Processes for hosted models."""
    servers: Path | None = None
    restart_after: int = 200
    """Cells after which a process makes room for a fresh one."""
    soft_s: float | None = None
    """Instead of the experiment's own limits."""
    hard_s: float | None = None
    runs: frozenset[str] | None = None
    """Serve these runs only."""
    metrics_port: int | None = None
    """Where Prometheus may ask; each process takes the next free port from here."""
    log_json: bool = False

    def limits(self, said: tuple[float, float]) -> tuple[float, float]:
        """Soft and hard limit in seconds, where `said` is the experiment's word."""
        return self.soft_s or said[0], self.hard_s or said[1]

    def threads(self, pool: str) -> int:
        return self.concurrency if pool == "hosted" else self.local_concurrency


def parse_pools(queues: str) -> tuple[str, ...]:
    """`hosted`, `local` or `hosted,local`. Raises InvalidInput."""
    found = tuple(dict.fromkeys(part.strip() for part in queues.split(",") if part.strip()))
    if not found or set(found) - set(POOLS):
        raise InvalidInput([Problem("--queues", f"unknown queues {queues!r}; known: {', '.join(POOLS)}", "name one or both")])
    return found


def worker_name(pid: int, tag: str) -> str:
    """Host and process; the tag tells it from an earlier process of the same number."""
    return f"{socket.gethostname()}/{pid}-{tag}"


def new_tag() -> str:
    return uuid.uuid4().hex[:4]


_DOUBLE = struct.Struct("d")


class Deadline:
    """Written by the child at every beat, read by the parent; it needs no lock and cannot block."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, _DOUBLE.size)
        self.set(float("inf"))

    def set(self, until: float) -> None:
        """`until` is on time.monotonic, which all processes of a machine share."""
        _DOUBLE.pack_into(self._memory, 0, until)

    @property
    def at(self) -> float:
        return float(_DOUBLE.unpack_from(self._memory, 0)[0])

    def close(self) -> None:
        self._memory.close()
