"""Prometheus metrics of a worker process: cells, calls, tokens, cost, time."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.storage.rows import Row


_log = logging.getLogger(__name__)
_PORTS = 64
_SECONDS = (1, 5, 15, 30, 60, 120, 300, 600, 1200, 1800)


class PrometheusMetrics:
    """The counters of one process."""

    def __init__(self) -> None:
        from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

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

    def ended(self, experiment: str, receipt: Row) -> None:
        arm = receipt["arm"]
        self._cells.labels(experiment, arm, receipt["status"]).inc()
        self._calls.labels(experiment, arm).inc(receipt["llm_calls"] or 0)
        self._tokens.labels(experiment, arm, "input").inc(receipt["input_tokens"] or 0)
        self._tokens.labels(experiment, arm, "output").inc(receipt["output_tokens"] or 0)
        self._usd.labels(experiment, arm).inc(receipt["cost_usd"] or 0.0)
        self._service.labels(arm).observe(receipt["service_s"] or 0.0)

    def active(self, cells: int) -> None:
        self._active.set(cells)

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
