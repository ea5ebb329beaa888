"""The stream of what happened to cells, from workers to the runner; files stay the truth, this only saves looking."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from redis import Redis
    from redis.asyncio import Redis as AsyncRedis

NOT_RUN = "not_run"
UNFINISHED = "unfinished"


@dataclass(frozen=True)
class Event:
    """A cell that left a worker: ended with a status, not run for want of money, or left unfinished."""

    cell_id: str
    what: str
    """One of reports.tables.STATUSES, NOT_RUN or UNFINISHED."""
    detail: str = ""
    """Cap that binds, for NOT_RUN."""


def key(run_id: str) -> str:
    return f"tah:{run_id}:events"


async def tell(redis: AsyncRedis, run_id: str, event: Event) -> None:
    await redis.xadd(key(run_id), {"cell_id": event.cell_id, "what": event.what, "detail": event.detail})


def follow(client: Redis, run_id: str, *, wait_s: float) -> list[Event]:
    """Events since the last look, at once when there are any; what was read is dropped, so the stream stays short."""
    found: Any = client.xread({key(run_id): "0"}, count=1000, block=max(1, int(wait_s * 1000)))
    if not found:
        return []
    entries = (found if isinstance(found, list) else list(found.items()))[0][1]
    entries = entries[0] if entries and isinstance(entries[0], list) else entries
    client.xdel(key(run_id), *[entry_id for entry_id, _ in entries])
    return [Event(**{name.decode(): value.decode() for name, value in fields.items()}) for _, fields in entries]


def forget(client: Redis, run_id: str) -> None:
    """Drop what an earlier session left unread: its unfinished cells are fed again, and would end at once."""
    client.delete(key(run_id))
