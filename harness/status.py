"""The status of any run, running or not: read from its files, and from its Redis where that answers."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from redis import Redis, RedisError

from harness import reuse
from harness.admission import ledger, slots
from harness.progress import Progress
from harness.queue import control, in_flight
from harness.queue.private_redis import url_of
from harness.storage import run_folder
from harness.storage.folder import open_folder
from harness.storage.run_folder import RunFolder


@dataclass(frozen=True)
class Status:
    """What is known of a run at one moment."""

    run: RunFolder
    manifest: dict[str, Any]
    progress: Progress
    wish: str | None
    """run, pause or stop; None when nothing executes the run now."""
    limits: dict[str, Any] = field(default_factory=dict)

    @property
    def state(self) -> str:
        """running, paused, stopping, or how its last session ended."""
        if self.wish is None:
            said = str(self.manifest.get("state", "unknown"))
            return "interrupted" if said == "running" else said
        return {control.RUN: "running", control.PAUSE: "paused", control.STOP: "stopping"}[self.wish]

    def as_json(self) -> dict[str, Any]:
        return {
            "experiment": self.run.experiment,
            "run_id": self.run.run_id,
            "folder": self.run.store.folder.url,
            "state": self.state,
            **self.progress.as_json(),
            "limits": self.limits,
        }


def read(run: RunFolder, broker: str | None = None) -> Status:
    """`broker`: where the run's Redis answers, if it is not private to a runner on this machine."""
    manifest = run.store.manifest()
    progress = _progress(run, manifest)
    with connected(run, broker) as client:
        wish = _live(client, run.run_id, progress) if client else None
        known = slots.slot_usage(client, run.run_id) if client and wish else {}
    return Status(run, manifest, progress, wish, {name: vars(usage) for name, usage in known.items()})


def newest(results: str, broker: str | None = None, most: int = 20) -> list[Status]:
    """The newest runs of all experiments, at most so many."""
    folder = open_folder(results)
    found = [run for name in folder.folders() for run in run_folder.runs(folder, name)[:most]]
    found.sort(key=lambda run: run.run_id, reverse=True)
    return [read(run, broker) for run in found[:most]]


@contextlib.contextmanager
def connected(run: RunFolder, broker: str | None = None) -> Iterator[Redis | None]:
    """A client of the run's Redis, None when that does not answer from here."""
    url = broker or _private_url(run)
    with Redis.from_url(url, socket_connect_timeout=2) as client:
        try:
            client.ping()
        except (RedisError, OSError):
            yield None
            return
        yield client


def _private_url(run: RunFolder) -> str:
    said = run.store.manifest().get("redis_folder")
    return url_of(Path(said) if said else reuse.redis_folder(run))


def _progress(run: RunFolder, manifest: dict[str, Any]) -> Progress:
    receipts = run.store.receipts()
    wanted: dict[str, int] = dict(manifest.get("cells_by_arm") or {})
    for arm, count in Counter(str(row["arm"]) for row in receipts.values()).items():
        wanted.setdefault(arm, count)
    progress = Progress.of(wanted, receipts.values())
    costs = [row["api_cost_usd"] for row in receipts.values()]
    progress.spent_usd = None if not costs or None in costs else sum(costs)
    return progress


def _live(client: Redis, run_id: str, progress: Progress) -> str | None:
    with contextlib.suppress(RedisError):
        progress.see_running(in_flight.running(client, run_id))
        progress.see_ledger(ledger.totals(client, run_id))
        return control.requested(client, run_id) if control.is_running(client, run_id) else None
    return None
