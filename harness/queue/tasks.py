"""The task: one message is one cell; declared on the broker of the process that runs it, never at import."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from redis import RedisError

from harness.queue.broker import send

_log = logging.getLogger(__name__)
_PATIENCE_S = 2.0


@dataclass(frozen=True)
class Again:
    """The cell is not done: its message goes back to a queue."""

    queue: str
    delay_s: float = 0.0


Handler = Callable[[str, str], Again | None]
"""(run_id, cell as JSON) -> what becomes of the message; never raises."""


def declare(broker: RedisBroker, queue: str, handle: Handler) -> None:
    """Serve a queue: from now on the broker's worker takes its messages."""

    def run_cell(run_id: str, cell: str) -> None:
        again = handle(run_id, cell)
        if again is not None:
            _send_back(broker, again, run_id, cell)

    dramatiq.actor(actor_name=queue, queue_name=queue, broker=broker)(run_cell)


def _send_back(broker: RedisBroker, again: Again, run_id: str, cell: str) -> None:
    """The old message is acknowledged only after the new one stands, so a Redis that is away delays and loses nothing."""
    while True:
        try:
            return send(broker, again.queue, run_id, cell, again.delay_s)
        except RedisError as error:
            _log.warning("Redis does not take a message back (%s); trying again in %.0f s", error, _PATIENCE_S)
            time.sleep(_PATIENCE_S)
