"""The supervisor of one machine's workers: forks them, replaces them, and kills one that is past its deadline."""

from __future__ import annotations

import logging
import os
import signal
import socket
import time
from dataclasses import dataclass, field
from typing import NoReturn

from redis import Redis, RedisError

from harness.admission import lease
from harness.errors import InvalidInput, Problem
from harness.queue import in_flight, registry
from harness.queue.broker import make_broker, queue_name, waiting
from harness.queue.process import die_with_parent
from harness.workers import worker_log
from harness.workers.config import Deadline, WorkerConfig, new_tag, worker_name

_log = logging.getLogger(__name__)
TICK_S = 0.1
LOOK_S = 1.0
QUICK_S = 5.0
_PATIENCE_S = 5.0


@dataclass
class Child:
    """A worker process, seen from its parent."""

    pid: int
    name: str
    pool: str
    alone: bool
    deadline: Deadline
    born_at: float = field(default_factory=time.monotonic)
    is_killed: bool = False

    @property
    def is_past_limit(self) -> bool:
        return time.monotonic() > self.deadline.at


class Supervisor:
    """Keeps the configured number of processes alive until it is stopped."""

    def __init__(self, config: WorkerConfig) -> None:
        self._config = config
        self._children: dict[int, Child] = {}
        self._client = Redis.from_url(config.broker)
        self._broker = make_broker(config.broker)
        self._stops = 0
        self._looked_at = 0.0
        self._not_before: dict[tuple[str, bool], float] = {}

    def run(self) -> None:
        """Run until every child has ended after the first signal; a second signal kills them."""
        for signum in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signum, self._on_signal)
        while not self._stops or self._children:
            self._reap()
            self._kill_overdue()
            if not self._stops:
                self._start_missing()
                self._start_for_suspects()
            time.sleep(TICK_S)
        self._client.close()

    def _on_signal(self, signum: int, frame: object) -> None:
        self._stops += 1
        for child in self._children.values():
            _signal(child.pid, signal.SIGTERM if self._stops == 1 else signal.SIGKILL)

    def _start_missing(self) -> None:
        """Start missing processes: several for hosted models, one for local ones."""
        for pool in self._config.pools:
            wanted = self._config.processes if pool == "hosted" else 1
            for _ in range(wanted - self._count(pool, alone=False)):
                self._fork(pool, alone=False)

    def _start_for_suspects(self) -> None:
        """A process for suspect cells exists only while there are some."""
        if time.monotonic() - self._looked_at < LOOK_S:
            return
        self._looked_at = time.monotonic()
        try:
            for pool in self._config.pools:
                if self._has_suspects(pool) and not self._count(pool, alone=True):
                    self._fork(pool, alone=True)
        except RedisError as error:
            _log.warning("Redis does not answer: %s", error)

    def _has_suspects(self, pool: str) -> bool:
        runs = registry.active_runs(self._client).values()
        # Including cells that died with the last such process: only a consumer of their queue gets them back.
        return any(waiting(self._broker, queue_name(run.run_id, run.code, pool, alone=True)) for run in runs)

    def _count(self, pool: str, *, alone: bool) -> int:
        return sum(child.pool == pool and child.alone == alone for child in self._children.values())

    def _fork(self, pool: str, *, alone: bool) -> None:
        if time.monotonic() < self._not_before.get((pool, alone), 0.0):
            return
        deadline, parent, tag = Deadline(), os.getpid(), new_tag()
        pid = os.fork()
        if pid == 0:
            die_with_parent(parent)
            _work(self._config, pool, deadline, worker_name(os.getpid(), tag), alone=alone)
        self._children[pid] = Child(pid, worker_name(pid, tag), pool, alone, deadline)

    def _reap(self) -> None:
        for child in list(self._children.values()):
            pid, status = os.waitpid(child.pid, os.WNOHANG)
            if pid:
                del self._children[pid]
                child.deadline.close()
                if status:
                    self._died(child, status)

    def _died(self, child: Child, status: int) -> None:
        why = f"signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else f"exit code {os.waitstatus_to_exitcode(status)}"
        _log.error("worker process %d (%s) ended by %s; its cells run again", child.pid, child.pool, why)
        if time.monotonic() - child.born_at < QUICK_S:
            self._not_before[child.pool, child.alone] = time.monotonic() + _PATIENCE_S
        if self._stops < 2:
            self._suspect(child)

    def _suspect(self, child: Child) -> None:
        """Its cells run alone from now on: one of them may be the cause."""
        try:
            for run_id in registry.all_runs(self._client):
                in_flight.bury(self._client, run_id, child.name)
                lease.mark_dead(self._client, run_id, f"{socket.gethostname()}:{child.pid}")
        except RedisError as error:
            _log.warning("cannot count the death of process %d for its cells: %s", child.pid, error)

    def _kill_overdue(self) -> None:
        for child in self._children.values():
            if child.is_past_limit and not child.is_killed:
                _log.error("process %d has a cell past its hard limit and is killed", child.pid)
                child.is_killed = True
                _signal(child.pid, signal.SIGKILL)


def serve(config: WorkerConfig) -> None:
    """Check Redis, import what cells need once, then fork workers. Raises InvalidInput if Redis does not answer."""
    worker_log.start(as_json=config.log_json)
    _require_redis(config.broker)
    _import_once()
    Supervisor(config).run()


def _import_once() -> None:
    """Import in the parent what children share; the garbage collector never touches those pages."""
    import gc

    # Imports create almost no garbage: collecting would take a tenth of the time.
    gc.disable()
    # Arrow would import it with the first table, while the first cell ends.
    import pandas as pd  # noqa: F401
    import pyarrow.parquet  # noqa: F401

    import agents
    from harness.money import pricing
    from harness.workers import worker_process  # noqa: F401
    from reports import tables  # noqa: F401

    agents.preload()
    pricing.preload_prices()
    gc.freeze()
    gc.enable()


def _require_redis(url: str) -> None:
    try:
        with Redis.from_url(url, socket_connect_timeout=3) as client:
            client.ping()
    except (RedisError, ValueError) as error:
        raise InvalidInput([Problem("--broker", f"Redis does not answer: {error}", "start it, or fix the URL")]) from error


def _work(config: WorkerConfig, pool: str, deadline: Deadline, name: str, *, alone: bool) -> NoReturn:
    """The child process; it never returns into the parent's code."""
    code, log = 1, worker_log.start(as_json=config.log_json)
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        from harness.workers.worker_process import WorkerProcess

        WorkerProcess(config, pool, deadline, name, alone=alone).run()
        code = 0
    except BaseException:  # noqa: BLE001 - a child must not unwind into its parent's frames
        _log.exception("worker process %d (%s) failed", os.getpid(), pool)
    finally:
        log.flush()
        os._exit(code)


def _signal(pid: int, signum: int) -> None:
    try:
        os.kill(pid, signum)
    except ProcessLookupError:
        return
