"""One worker process: a dramatiq Worker whose threads hand cells to one event loop."""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections.abc import Coroutine
from typing import Any

import dramatiq
from redis import RedisError
from redis.asyncio import Redis as AsyncRedis

from harness.queue import control, registry
from harness.queue.broker import Requeue, make_broker, serve_queue
from harness.queue.registry import RunInfo
from harness.workers.config import Deadline, WorkerConfig
from harness.workers.prometheus import PrometheusMetrics
from harness.workers.serving import ServedRun

_log = logging.getLogger(__name__)
BEAT_S = 0.25
LOOK_S = 1.0
IDLE_ALONE_S = 5.0
_POLL_MS = 250
_STOP_MS = 24 * 3600 * 1000


class WorkerProcess:
    """Serves runs from fork to exit; `alone`: one suspect cell at a time."""

    def __init__(self, config: WorkerConfig, pool: str, deadline: Deadline, name: str, *, alone: bool = False) -> None:
        self._config = config
        self._pool = pool
        self._deadline = deadline
        self._alone = alone
        self._name = name
        self._runs: dict[str, ServedRun] = {}
        self._refused: set[str] = set()
        self._left: set[str] = set()
        """Runs that ended or lost their runner, with cells still running."""
        self._done = 0
        self._busy_at = time.monotonic()
        self._is_stopping = False
        self._metrics: PrometheusMetrics | None = None

    def run(self) -> None:
        """Serve until stopped or replaced."""
        _runner()(self._main())

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._loop.add_signal_handler(signal.SIGTERM, self._stop)
        self._redis = AsyncRedis.from_url(self._config.broker)
        self._broker = make_broker(self._config.broker)
        self._worker = self._start()
        if self._config.metrics_port is not None:
            self._metrics = PrometheusMetrics()
            self._metrics.listen(self._config.metrics_port)
        try:
            await self._serve()
            await self._leave()
        finally:
            await self._close()

    def _start(self) -> dramatiq.Worker:
        threads = 1 if self._alone else self._config.threads(self._pool)
        worker = dramatiq.Worker(self._broker, worker_threads=threads, worker_timeout=_POLL_MS)
        # Dramatiq would prefetch twice its threads: a busy worker would hold cells that an idle one could run.
        worker.queue_prefetch = threads
        worker.start()
        return worker

    async def _serve(self) -> None:
        looked_at = 0.0
        while not self._is_over():
            if not self._runs or time.monotonic() - looked_at >= LOOK_S:
                await self._look()
                looked_at = time.monotonic()
            self._beat()
            await asyncio.sleep(BEAT_S)

    def _is_over(self) -> bool:
        retired = self._done >= self._config.restart_after
        idle = self._alone and not self._active and time.monotonic() - self._busy_at > IDLE_ALONE_S
        return self._is_stopping or retired or idle

    @property
    def _active(self) -> int:
        return sum(len(run.active) for run in self._runs.values())

    def _beat(self) -> None:
        left_s = min((run.time_left_s() for run in self._runs.values()), default=float("inf"))
        if self._metrics:
            self._metrics.active(self._active)
        self._deadline.set(time.monotonic() + left_s)

    async def _look(self) -> None:
        """Read which runs are announced, and what users requested."""
        try:
            announced = await registry.announced_runs(self._redis)
            for run_id in announced.keys() - self._runs.keys() - self._refused:
                await self._start_serving(RunInfo.from_json(announced[run_id]))
            for run_id, run in self._runs.items():
                run.wish = control.parse_request(await self._redis.get(control.control_key(run_id)))
            for run_id in self._left & announced.keys():
                self._fetch_for(self._runs[run_id])
            for run_id in self._runs.keys() - announced.keys():
                await self._stop_serving(run_id)
        except (RedisError, OSError) as error:
            _log.warning("Redis does not answer: %s", error)

    async def _start_serving(self, info: RunInfo) -> None:
        if self._config.runs is not None and info.run_id not in self._config.runs:
            return
        if self._pool not in info.pools:
            self._refused.add(info.run_id)
            return
        if not info.is_compatible():
            self._refused.add(info.run_id)
            _log.warning("run %s was planned with another version or other prompts; it needs a matching worker", info.run_id)
            return
        run = await ServedRun(info, self._config, self._redis, self._name, alone=self._alone, metrics=self._metrics).start()
        run.beat = self._beat
        self._runs[info.run_id] = run
        self._fetch_for(run)

    def _fetch_for(self, run: ServedRun) -> None:
        """Consume the run's queue. Dramatiq must forget the queue first if the run was served before."""
        self._left.discard(run.info.run_id)
        queue = run.queue(self._pool, alone=self._alone)
        for name in (queue, f"{queue}.DQ"):
            self._worker.consumers.pop(name, None)
            self._broker.queues.discard(name)
            self._broker.delay_queues.discard(name)
        serve_queue(self._broker, queue, lambda run_id, text: self._handle(queue, run_id, text))

    async def _stop_serving(self, run_id: str) -> None:
        """Start no further cell of a run that ended or lost its runner; running cells go on."""
        run = self._runs[run_id]
        run.wish = control.PAUSE
        self._left.add(run_id)
        queue = run.queue(self._pool, alone=self._alone)
        for name in (queue, f"{queue}.DQ"):
            if consumer := self._worker.consumers.get(name):
                consumer.stop()
        if not run.active:
            await run.aclose()
            del self._runs[run_id]
            self._left.discard(run_id)

    def _handle(self, queue: str, run_id: str, text: str) -> Requeue | None:
        """Called in a dramatiq thread, which waits while the cell runs on the event loop."""
        run = self._runs.get(run_id)
        return None if run is None else self._on_loop(self._count(run.take(queue, text)))

    def _on_loop(self, work: Coroutine[Any, Any, Requeue | None]) -> Requeue | None:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _count(self, work: Coroutine[Any, Any, Requeue | None]) -> Requeue | None:
        requeue = await work
        self._done += requeue is None
        self._busy_at = time.monotonic()
        return requeue

    def _stop(self) -> None:
        self._is_stopping = True
        for run in self._runs.values():
            run.is_draining = True

    async def _leave(self) -> None:
        """Start nothing new, let running cells end; fetched messages go back."""
        leaving = asyncio.create_task(asyncio.to_thread(self._worker.stop, _STOP_MS))
        while not leaving.done():
            self._beat()
            await asyncio.wait({leaving}, timeout=BEAT_S)
        await leaving

    async def _close(self) -> None:
        for run in self._runs.values():
            await run.aclose()
        await self._redis.aclose()
        self._broker.close()


def _runner() -> Any:
    try:
        import uvloop
    except ImportError:
        return asyncio.run
    return uvloop.run
