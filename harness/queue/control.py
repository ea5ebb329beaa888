"""What a person wants of a run that is going on: run, pause or stop; a word in Redis that runner and workers read."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from redis import Redis

RUN, PAUSE, STOP = "run", "pause", "stop"


def key(run_id: str) -> str:
    return f"tah:{run_id}:control"


def say(client: Redis, run_id: str, wish: str) -> None:
    """`run` goes on; `pause` starts no cell; `stop` also lets running cells end at their next call, to be continued later."""
    client.set(key(run_id), wish)


def wish(client: Redis, run_id: str) -> str:
    return read(client.get(key(run_id)))


def read(stored: object) -> str:
    """The word as Redis gives it; nothing said means run."""
    return stored.decode() if isinstance(stored, bytes) else str(stored or RUN)


def is_running(client: Redis, run_id: str) -> bool:
    """Whether some living runner executes this run now."""
    from harness.queue import registry

    return registry.is_active(client, run_id)


def reopen_key(run_id: str) -> str:
    """List of cell ids that `retry` asks a run in progress to take up again."""
    return f"tah:{run_id}:reopen"
