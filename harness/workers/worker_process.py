"""One worker process: a dramatiq Worker whose threads hand cells to one event loop."""

from __future__ import annotations

import asyncio
import logging
import math
import signal
import time
from typing import Any

import dramatiq
from redis import RedisError
from redis.asyncio import Redis as AsyncRedis

from harness.errors import InvalidInput
from harness.queue import control, registry
from harness.queue.broker import Requeue, make_broker, serve_queue
from harness.queue.registry import RunInfo
from harness.storage.rows import Row
from harness.web.server import event_loop_runner
from harness.workers.config import Deadline, WorkerConfig
from harness.workers.middleware import PAUSED_RETRY_S, DeathCount, GracefulShutdown, MaximumAge, Metrics, Pause, Requeues
from harness.workers.serving import ServedRun
from harness.workers.traces import open_traces

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
        self._metrics = Metrics(config.metrics_port) if config.metrics_port is not None else None
        self._traces = open_traces()
        self._age = MaximumAge(config.restart_after, IDLE_ALONE_S if alone else math.inf)
        self._shutdown = GracefulShutdown(self._runs)
        self._pause = Pause(self._runs)

    def run(self) -> None:
        """Serve until stopped or replaced."""
        event_loop_runner()(self._main())

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._loop.add_signal_handler(signal.SIGTERM, self._shutdown.request)
        self._redis = AsyncRedis.from_url(self._config.broker)
        # The first two count every message, so they come before those that may skip one.
        counting = [self._age, self._metrics] if self._metrics else [self._age]
        middleware = [*counting, self._shutdown, self._pause, DeathCount(alone=self._alone), Requeues()]
        self._broker = make_broker(self._config.broker, middleware)
        self._worker = self._start()
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
        while not self._shutdown.is_requested and not self._age.is_reached:
            if not self._runs or time.monotonic() - looked_at >= LOOK_S:
                await self._look()
                looked_at = time.monotonic()
            self._beat()
            await asyncio.sleep(BEAT_S)

    def _beat(self) -> None:
        left_s = min((run.time_left_s() for run in self._runs.values()), default=float("inf"))
        self._deadline.set(time.monotonic() + left_s)

    async def _look(self) -> None:
        """Read which runs are announced, and what users requested."""
        try:
            announced = await registry.announced_runs(self._redis)
            if self._metrics:
                self._metrics.looked()
            for run_id in announced.keys() - self._runs.keys() - self._refused:
                await self._start_serving(RunInfo.from_json(announced[run_id]))
            for run_id in self._runs.keys() & announced.keys():
                run = self._runs[run_id]
                run.wish = control.parse_request(await self._redis.get(control.control_key(run_id)))
                stored: Any = await self._redis.smembers(control.cancelled_key(run_id))
                run.cancelled = frozenset(cell_id.decode() for cell_id in stored)
                self._pause.read(run.queue(self._pool, alone=self._alone), run.wish)
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
        try:
            run = ServedRun(
                info, self._config, self._redis, self._name, alone=self._alone, on_ended=self._ended, traces=self._traces
            )
        except InvalidInput as error:
            if self._config.runs is not None:
                raise
            self._refused.add(info.run_id)
            _log.error("run %s cannot be served here until this worker is started again:\n%s", info.run_id, error)
            return
        await run.start()
        run.beat = self._beat
        self._runs[info.run_id] = run
        queue = run.queue(self._pool, alone=self._alone)
        if queue not in self._broker.get_declared_queues():
            serve_queue(self._broker, queue, lambda run_id, text: self._handle(queue, run_id, text))

    def _ended(self, experiment: str, receipt: Row) -> None:
        self._age.ended()
        if self._metrics:
            self._metrics.ended(experiment, receipt)

    async def _stop_serving(self, run_id: str) -> None:
        """Start no further cell of a run that ended or lost its runner; running cells go on."""
        run = self._runs[run_id]
        run.wish = control.PAUSE
        self._pause.leave(run.queue(self._pool, alone=self._alone))
        if not run.active:
            await run.aclose()
            del self._runs[run_id]

    def _handle(self, queue: str, run_id: str, text: str) -> None:
        """Called in a dramatiq thread, which waits while the cell runs on the event loop."""
        run = self._runs.get(run_id)
        if run is None:
            raise Requeue(queue, PAUSED_RETRY_S)
        if requeue := asyncio.run_coroutine_threadsafe(run.take(queue, text), self._loop).result():
            raise requeue

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
        if self._traces:
            await asyncio.to_thread(self._traces.close)
