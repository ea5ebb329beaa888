"""One worker process: a dramatiq Worker whose threads hand cells to one event loop, and the runs that it serves."""

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
    """Lives from fork to exit; `alone` takes one suspect cell at a time."""

    def __init__(self, config: WorkerConfig, pool: str, deadline: Deadline, name: str, *, alone: bool = False) -> None:
        self._config = config
        self._pool = pool
        self._deadline = deadline
        self._alone = alone
        self._name = name
        self._runs: dict[str, ServedRun] = {}
        self._refused: set[str] = set()
        self._left: set[str] = set()
        """Runs that no living runner executes any more, with cells still in hand."""
        self._done = 0
        self._busy_at = time.monotonic()
        self._told_to_stop = False
        self._metrics: PrometheusMetrics | None = None

    def run(self) -> None:
        """Serve until told to stop or retired."""
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
        # Dramatiq would prefetch twice its threads, and a busy worker would sit on cells that an idle one could run.
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
        return self._told_to_stop or retired or idle

    @property
    def _active(self) -> int:
        return sum(len(run.active) for run in self._runs.values())

    def _beat(self) -> None:
        left_s = min((run.time_left_s() for run in self._runs.values()), default=float("inf"))
        if self._metrics:
            self._metrics.active(self._active)
        self._deadline.set(time.monotonic() + left_s)

    async def _look(self) -> None:
        """See which runs are announced, and what is wanted of them."""
        try:
            announced = await registry.announced_runs(self._redis)
            for run_id in announced.keys() - self._runs.keys() - self._refused:
                await self._meet(RunInfo.from_json(announced[run_id]))
            for run_id, run in self._runs.items():
                run.wish = control.parse_request(await self._redis.get(control.control_key(run_id)))
            for run_id in self._left & announced.keys():
                self._fetch_for(self._runs[run_id])
            for run_id in self._runs.keys() - announced.keys():
                await self._part(run_id)
        except (RedisError, OSError) as error:
            _log.warning("Redis does not answer: %s", error)

    async def _meet(self, info: RunInfo) -> None:
        if self._config.runs is not None and info.run_id not in self._config.runs:
            return
        if self._pool not in info.pools:
            self._refused.add(info.run_id)
            return
        if not info.is_compatible():
            self._refused.add(info.run_id)
            _log.warning("run %s was planned with other prompts or another version; it needs a worker of that", info.run_id)
            return
        run = await ServedRun(info, self._config, self._redis, self._name, alone=self._alone, metrics=self._metrics).start()
        run.beat = self._beat
        self._runs[info.run_id] = run
        self._fetch_for(run)

    def _fetch_for(self, run: ServedRun) -> None:
        """Take the run's messages from now on; Dramatiq serves a queue once, so a run that came back is news to it."""
        self._left.discard(run.info.run_id)
        queue = run.queue(self._pool, alone=self._alone)
        for name in (queue, f"{queue}.DQ"):
            self._worker.consumers.pop(name, None)
            self._broker.queues.discard(name)
            self._broker.delay_queues.discard(name)
        serve_queue(self._broker, queue, lambda run_id, text: self._handle(queue, run_id, text))

    async def _part(self, run_id: str) -> None:
        """Start no further cell of a run that ended, or whose runner died; those in hand go on."""
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
        """Called in a dramatiq thread: the cell runs on the loop, the thread waits."""
        run = self._runs.get(run_id)
        return None if run is None else self._on_loop(self._count(run.take(queue, text)))

    def _on_loop(self, work: Coroutine[Any, Any, Requeue | None]) -> Requeue | None:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _count(self, work: Coroutine[Any, Any, Requeue | None]) -> Requeue | None:
        again = await work
        self._done += again is None
        self._busy_at = time.monotonic()
        return again

    def _stop(self) -> None:
        self._told_to_stop = True
        for run in self._runs.values():
            run.is_draining = True

    async def _leave(self) -> None:
        """Take nothing new, let the cells in hand end; what was only fetched goes back."""
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
