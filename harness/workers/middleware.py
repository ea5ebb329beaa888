"""What happens around the cells of a worker process: one dramatiq middleware for each concern, in one list."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from dramatiq import Middleware
from dramatiq.middleware import SkipMessage
from redis import RedisError

from harness.queue import control, in_flight
from harness.queue.broker import Requeue, delayed, put_back

if TYPE_CHECKING:
    from dramatiq import Broker, Worker
    from dramatiq.broker import MessageProxy
    from dramatiq.brokers.redis import RedisBroker

    from harness.storage.rows import Row
    from harness.workers.serving import ServedRun

PAUSED_RETRY_S = 1.0
NO_REDIS_RETRY_S = 5.0
MOST_QUEUES = 100
"""Queues that a process has read from, each with two threads, after which it is replaced."""
_log = logging.getLogger(__name__)


class MaximumAge(Middleware):
    """Ends a process after so many ended cells, or once it has been idle for so long; its supervisor starts another.

    A cell whose calls are answered later passes through many times before it ends."""

    def __init__(self, cells: int, idle_s: float = math.inf) -> None:
        self._most_cells = cells
        self._longest_idle_s = idle_s
        self._lock = threading.Lock()
        self._cells = self._taken = self._queues = 0
        self._idle_since = time.monotonic()

    @property
    def is_reached(self) -> bool:
        is_idle = not self._taken and time.monotonic() - self._idle_since > self._longest_idle_s
        return self._cells >= self._most_cells or self._queues > MOST_QUEUES or is_idle

    def after_declare_queue(self, broker: Broker, queue_name: str) -> None:
        self._queues += 1

    def ended(self) -> None:
        """Count a cell that has its receipt."""
        self._cells += 1

    def before_process_message(self, broker: Broker, message: MessageProxy) -> None:
        with self._lock:
            self._taken += 1

    def after_process_message(
        self, broker: Broker, message: MessageProxy, *, result: Any = None, exception: BaseException | None = None
    ) -> None:
        self._left()

    def after_skip_message(self, broker: Broker, message: MessageProxy) -> None:
        self._left()

    def _left(self) -> None:
        with self._lock:
            self._taken -= 1
            self._idle_since = time.monotonic()


class GracefulShutdown(Middleware):
    """On SIGTERM: running cells leave at their next call, fetched ones go back to their queue."""

    def __init__(self, runs: Mapping[str, ServedRun]) -> None:
        self._runs = runs
        self.is_requested = False

    def request(self) -> None:
        self.is_requested = True
        for run in self._runs.values():
            run.is_draining = True

    def before_process_message(self, broker: Broker, message: MessageProxy) -> None:
        if self.is_requested:
            put_back(broker, message, Requeue(message.queue_name))
            raise SkipMessage("this process is shutting down")


class Pause(Middleware):
    """No cell of a run starts while the run is paused, is stopping or has no runner: its queue is not read."""

    def __init__(self, runs: Mapping[str, ServedRun]) -> None:
        self._runs = runs
        self._worker: Worker | None = None

    def after_worker_boot(self, broker: Broker, worker: Worker) -> None:
        self._worker = worker

    def read(self, queue: str, wish: str) -> None:
        """Read the queue or not, as the user wishes. Delayed cells still move to their queue, which keeps this worker alive."""
        self._set(queue, is_paused=wish != control.RUN)
        self._set(delayed(queue), is_paused=False)

    def leave(self, queue: str) -> None:
        """Read nothing of a run without a runner."""
        self._set(queue, is_paused=True)
        self._set(delayed(queue), is_paused=True)

    def before_process_message(self, broker: Broker, message: MessageProxy) -> None:
        """Put a cell back that was fetched before."""
        run = self._runs.get(message.args[0])
        if run is None or run.wish != control.RUN:
            put_back(broker, message, Requeue(message.queue_name, PAUSED_RETRY_S))
            raise SkipMessage("its run starts no cell now")

    def _set(self, queue: str, *, is_paused: bool) -> None:
        consumer = self._worker.consumers.get(queue) if self._worker else None
        if consumer is not None and consumer.paused != is_paused:
            if is_paused:
                consumer.pause()
            else:
                consumer.resume()


class DeathCount(Middleware):
    """Cells whose process died run alone from then on: one of them is the cause, and it may only kill itself."""

    def __init__(self, *, alone: bool) -> None:
        """`alone`: this process runs such cells."""
        self._alone = alone

    def before_process_message(self, broker: Broker, message: MessageProxy) -> None:
        if self._alone:
            return
        run_id, cell_id, _ = message.args
        try:
            if not in_flight.must_run_alone(cast("RedisBroker", broker).client, run_id, cell_id):
                return
        except RedisError as error:
            _log.warning("cell %s waits %.0f s: %s", cell_id[:12], NO_REDIS_RETRY_S, error)
            put_back(broker, message, Requeue(message.queue_name, NO_REDIS_RETRY_S))
        else:
            put_back(broker, message, Requeue(f"{message.queue_name}.alone"))
        raise SkipMessage("it does not run in this process now")


class Requeues(Middleware):
    """A cell that is not done goes back to a queue: its actor raised Requeue."""

    def after_process_message(
        self, broker: Broker, message: MessageProxy, *, result: Any = None, exception: BaseException | None = None
    ) -> None:
        if isinstance(exception, Requeue):
            put_back(broker, message, exception)


_PORTS = 64
_SECONDS = (1, 5, 15, 30, 60, 120, 300, 600, 1200, 1800)


class Metrics(Middleware):
    """Prometheus: cells, calls, tokens, cost and time of one process."""

    def __init__(self, port: int) -> None:
        """`port`: the first one to try."""
        from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

        self._port = port
        self.registry = CollectorRegistry()
        self._cells = Counter("harness_cells", "Ended cells.", ["experiment", "arm", "status"], registry=self.registry)
        self._calls = Counter("harness_calls", "Requests sent by ended cells.", ["experiment", "arm"], registry=self.registry)
        self._tokens = Counter(
            "harness_tokens", "Tokens of ended cells, if reported.", ["experiment", "arm", "kind"], registry=self.registry
        )
        self._usd = Counter("harness_cost_usd", "Cost of ended cells, if known.", ["experiment", "arm"], registry=self.registry)
        self._service = Histogram(
            "harness_service_seconds", "Service time of a cell.", ["arm"], buckets=_SECONDS, registry=self.registry
        )
        self._active = Gauge("harness_active_cells", "Running cells.", registry=self.registry)
        self._looked = Gauge(
            "harness_last_look_timestamp_seconds", "When this process last read the runs from Redis.", registry=self.registry
        )

    def after_worker_boot(self, broker: Broker, worker: Worker) -> None:
        self.listen(self._port)

    def before_process_message(self, broker: Broker, message: MessageProxy) -> None:
        self._active.inc()

    def after_process_message(
        self, broker: Broker, message: MessageProxy, *, result: Any = None, exception: BaseException | None = None
    ) -> None:
        self._active.dec()

    def after_skip_message(self, broker: Broker, message: MessageProxy) -> None:
        self._active.dec()

    def looked(self) -> None:
        """Redis has answered: a health check compares the time."""
        self._looked.set_to_current_time()

    def ended(self, experiment: str, receipt: Row) -> None:
        """Count a cell that has its receipt."""
        arm = receipt["arm"]
        self._cells.labels(experiment, arm, receipt["status"]).inc()
        self._calls.labels(experiment, arm).inc(receipt["llm_calls"] or 0)
        self._tokens.labels(experiment, arm, "input").inc(receipt["input_tokens"] or 0)
        self._tokens.labels(experiment, arm, "output").inc(receipt["output_tokens"] or 0)
        self._usd.labels(experiment, arm).inc(receipt["cost_usd"] or 0.0)
        self._service.labels(arm).observe(receipt["service_s"] or 0.0)

    def listen(self, port: int, address: str = "0.0.0.0") -> int | None:
        """Serve on the first free port from `port` on; without one there are no metrics."""
        from prometheus_client import start_http_server

        for candidate in range(port, port + _PORTS):
            try:
                start_http_server(candidate, address, self.registry)
            except OSError:
                continue
            _log.info("metrics on port %d", candidate)
            return candidate
        _log.warning("no free port from %d on: this process serves no metrics", port)
        return None
