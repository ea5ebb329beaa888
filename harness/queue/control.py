"""Control messages of a run: requests from users (pause, stop) and events from workers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from redis import Redis
    from redis.asyncio import Redis as AsyncRedis


RUN, PAUSE, STOP = "run", "pause", "stop"


def control_key(run_id: str) -> str:
    return f"tah:{run_id}:control"


def request(client: Redis, run_id: str, wish: str) -> None:
    """RUN goes on; PAUSE starts no cell; STOP also lets running cells end at their next call, to be continued later."""
    client.set(control_key(run_id), wish)


def requested(client: Redis, run_id: str) -> str:
    return parse_request(client.get(control_key(run_id)))


def parse_request(stored: object) -> str:
    """The request as stored in Redis; default: RUN."""
    return stored.decode() if isinstance(stored, bytes) else str(stored or RUN)


def cancelled_key(run_id: str) -> str:
    """Set of cell ids that a user cancelled: they are not started, and send no further request."""
    return f"tah:{run_id}:cancelled"


def is_running(client: Redis, run_id: str) -> bool:
    """Whether a living runner executes this run now."""
    from harness.queue import registry

    return registry.is_active(client, run_id)


def reopen_key(run_id: str) -> str:
    """List of cell ids that `retry` asks a run in progress to run again."""
    return f"tah:{run_id}:reopen"


def _left_key(run_id: str) -> str:
    """String that expires: arm -> seconds left, as JSON."""
    return f"tah:{run_id}:left"


_LEFT_MS = 60_000


def publish_left(client: Redis, run_id: str, left_s: Mapping[str, float]) -> None:
    """Let `status` show what the runner estimates."""
    client.set(_left_key(run_id), json.dumps(left_s), px=_LEFT_MS)


def left(client: Redis, run_id: str) -> dict[str, float]:
    """arm -> seconds that its cells still take, as far as the runner knows."""
    stored: Any = client.get(_left_key(run_id))
    return dict(json.loads(stored)) if stored else {}


NOT_RUN = "not_run"
UNFINISHED = "unfinished"
UNSERVED = "unserved"
"""Left for a later command, because a server does not answer or does not have a model."""
SUSPENDED = "suspended"


@dataclass(frozen=True)
class CellEvent:
    """A cell that left a worker: ended with a status, not run for lack of budget, unfinished, or waiting for answers."""

    cell_id: str
    outcome: str
    """One of reports.tables.STATUSES, NOT_RUN, UNSERVED, UNFINISHED or SUSPENDED."""
    detail: str = ""
    """Which budget was used up, for NOT_RUN; an Unserved as JSON, for UNSERVED."""


def events_key(run_id: str) -> str:
    return f"tah:{run_id}:events"


async def publish(redis: AsyncRedis, run_id: str, event: CellEvent) -> None:
    await redis.xadd(events_key(run_id), {"cell_id": event.cell_id, "outcome": event.outcome, "detail": event.detail})


def read_events(client: Redis, run_id: str, *, wait_s: float) -> list[CellEvent]:
    """Events since the last call, as soon as there are any; events that were read are deleted."""
    streams: Any = client.xread({events_key(run_id): "0"}, count=1000, block=max(1, int(wait_s * 1000)))
    if not streams:
        return []
    entries = (streams if isinstance(streams, list) else list(streams.items()))[0][1]
    entries = entries[0] if entries and isinstance(entries[0], list) else entries
    client.xdel(events_key(run_id), *[entry_id for entry_id, _ in entries])
    return [CellEvent(**{name.decode(): value.decode() for name, value in fields.items()}) for _, fields in entries]


def clear_events(client: Redis, run_id: str) -> None:
    """Drop events that an earlier session left unread: its unfinished cells are queued again."""
    client.delete(events_key(run_id))
