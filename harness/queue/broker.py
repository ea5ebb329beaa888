"""The message broker: Dramatiq on Redis, one message per cell; a dead worker's cells move within seconds."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import dramatiq
from dramatiq import Consumer, Message, Middleware
from dramatiq.brokers.redis import RedisBroker
from dramatiq.common import dq_name
from dramatiq.errors import Retry
from redis import RedisError

if TYPE_CHECKING:
    from dramatiq.broker import MessageProxy


NAMESPACE = "tah:queue"
HEARTBEAT_MS = 5_000
FREE_SLOT_MS = 50


class Broker(RedisBroker):
    """Registers an actor before consuming its queue: in Dramatiq's order a message fetched in between is lost."""

    def declare_actor(self, actor: Any) -> None:
        self.actors[actor.actor_name] = actor
        super().declare_actor(actor)

    def consume(self, queue_name: str, prefetch: int = 1, timeout: int = 5000) -> Consumer:
        """Poll often, so that a free thread gets the next cell at once; delayed queues keep the worker's interval."""
        is_delayed = queue_name.endswith(".DQ")
        return super().consume(queue_name, prefetch, timeout if is_delayed else min(timeout, FREE_SLOT_MS))


def make_broker(url: str, middleware: Sequence[Middleware] = ()) -> Broker:
    """A broker with this middleware only: dramatiq's own would end cells after ten minutes and retry them for days.

    Maintenance runs with every fetch; by default a dead worker's cell would wait 13 minutes.
    """
    return Broker(  # type: ignore[no-untyped-call]
        url=url,
        middleware=list(middleware),
        namespace=NAMESPACE,
        maintenance_chance=1_000_000,
        heartbeat_timeout=HEARTBEAT_MS,
    )


def queue_name(run_id: str, code: str, pool: str, *, alone: bool = False) -> str:
    """One queue per run, code fingerprint and pool, so that a worker of another version never gets the message."""
    return f"cells.{run_id}.{code[:12]}.{pool}" + (".alone" if alone else "")


def delayed(queue: str) -> str:
    """The queue of messages that are delivered to this one later."""
    return dq_name(queue)


def send(broker: dramatiq.Broker, queue: str, run_id: str, cell_id: str, text: str, delay_s: float = 0.0) -> None:
    """Put a cell (`text`: as JSON) on a queue; it is delivered after `delay_s` at the earliest."""
    message: Message[None] = Message(queue_name=queue, actor_name=queue, args=(run_id, cell_id, text), kwargs={}, options={})
    broker.enqueue(message, delay=int(delay_s * 1000) or None)


def purge(broker: RedisBroker, queue: str) -> None:
    """Drop every message of a queue, delayed ones too; running cells go on."""
    broker.flush(queue)


def waiting(broker: RedisBroker, queue: str) -> int:
    """Messages that are queued, delayed or in progress."""
    names = (queue, delayed(queue))
    return sum(int(broker.client.hlen(f"{NAMESPACE}:{name}.msgs")) for name in names)


def backlog(broker: RedisBroker, queue: str) -> int:
    """Messages that no worker has taken yet."""
    return int(broker.client.llen(f"{NAMESPACE}:{queue}"))


_log = logging.getLogger(__name__)
_RESEND_S = 2.0


class Requeue(Retry):
    """Raised for a cell that is not done: its message goes to a queue, its own or another one."""

    def __init__(self, queue: str, delay_s: float = 0.0) -> None:
        super().__init__(f"to {queue} in {delay_s:g} s")
        self.queue = queue
        self.delay_s = delay_s


Handler = Callable[[str, str], None]
"""Runs a cell: (run_id, cell as JSON). Raises Requeue if it is not done."""


def serve_queue(broker: RedisBroker, queue: str, handle: Handler) -> None:
    """Make the broker's worker consume a queue."""

    def run_cell(run_id: str, cell_id: str, text: str) -> None:
        handle(run_id, text)

    dramatiq.actor(actor_name=queue, queue_name=queue, broker=broker)(run_cell)


def put_back(broker: dramatiq.Broker, message: MessageProxy, requeue: Requeue) -> None:
    """Send the cell of a message again.

    The old message is acknowledged only after the new one is stored, so an outage of Redis loses nothing."""
    run_id, cell_id, text = message.args
    while True:
        try:
            return send(broker, requeue.queue, run_id, cell_id, text, requeue.delay_s)
        except RedisError as error:
            _log.warning("Redis does not accept a message (%s); trying again in %.0f s", error, _RESEND_S)
            time.sleep(_RESEND_S)
