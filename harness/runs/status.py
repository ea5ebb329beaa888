"""The status of a run, from its files and, if it answers, its Redis; and reopening failed cells."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from redis import Redis, RedisError

from harness.admission import lease, ledger, slots
from harness.queue import control, in_flight
from harness.queue.private_redis import url_of
from harness.runs import answer, answered_later, reuse
from harness.runs.progress import Progress
from harness.storage import run_folder
from harness.storage.folder import open_folder
from harness.storage.run_folder import RunFolder
from harness.storage.store import RETRIED


@dataclass(frozen=True)
class RunStatus:
    """The status of a run at one moment."""

    run: RunFolder
    manifest: dict[str, Any]
    progress: Progress
    wish: str | None
    """run, pause or stop; None if the run is not executed now."""
    limits: dict[str, Any] = field(default_factory=dict)

    @property
    def state(self) -> str:
        """running, paused, stopping, or how its last session ended."""
        if self.wish is None:
            state = str(self.manifest.get("state", "unknown"))
            return "interrupted" if state == "running" else state
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


def read_status(run: RunFolder, broker: str | None = None) -> RunStatus:
    """Read the status of a run; `broker`: its Redis, if that is not private."""
    manifest = run.store.manifest()
    progress = _progress(run, manifest)
    with connected_redis(run, broker) as client:
        wish = _live(client, run.run_id, progress) if client else None
        if wish is None and progress.deferred:
            progress.deferred["next_poll_s"] = None  # nothing asks now
        usage_by_server = slots.slot_usage(client, run.run_id) if client and wish else {}
    return RunStatus(run, manifest, progress, wish, {name: vars(usage) for name, usage in usage_by_server.items()})


def newest_runs(results: str, broker: str | None = None, most: int = 20) -> list[RunStatus]:
    """The newest runs of all experiments."""
    folder = open_folder(results)
    runs = [run for name in folder.folders() for run in run_folder.runs(folder, name)[:most]]
    runs.sort(key=lambda run: run.run_id, reverse=True)
    return [read_status(run, broker) for run in runs[:most]]


@contextlib.contextmanager
def connected_redis(run: RunFolder, broker: str | None = None) -> Iterator[Redis | None]:
    """A client of the run's Redis, None if that does not answer."""
    url = broker or _private_url(run)
    with Redis.from_url(url, socket_connect_timeout=2) as client:
        try:
            client.ping()
        except (RedisError, OSError):
            yield None
            return
        yield client


def _private_url(run: RunFolder) -> str:
    folder = run.store.manifest().get("redis_folder")
    return url_of(Path(folder) if folder else reuse.redis_folder(run))


def _progress(run: RunFolder, manifest: dict[str, Any]) -> Progress:
    receipts = run.store.receipts()
    wanted: dict[str, int] = dict(manifest.get("cells_by_arm") or {})
    for arm, count in Counter(str(row["arm"]) for row in receipts.values()).items():
        wanted.setdefault(arm, count)
    progress = Progress.of(wanted, receipts.values(), str(manifest.get("run_id", run.run_id)))
    progress.see_receipts()
    progress.see_deferred(answered_later.progress_now(run.store))
    return progress


def _live(client: Redis, run_id: str, progress: Progress) -> str | None:
    with contextlib.suppress(RedisError):
        progress.see_running(lease.held(client, run_id, in_flight.running(client, run_id)))
        progress.see_ledger(ledger.totals(client, run_id))
        progress.see_left(control.left(client, run_id))
        return control.requested(client, run_id) if control.is_running(client, run_id) else None
    return None


def ended_as_json(run: RunFolder, exit_code: int) -> dict[str, Any]:
    """How a run ended: its state, its answer, its gates, where its page is, and what a search found."""
    from harness.runs.finish import PAGE
    from reports import finding

    folder = run.store.folder
    searched = folder.read_if_there(finding.FILE)
    found = finding.Finding.of(searched.decode()) if searched else None
    search = {"pick": found.pick, "stopped_by": found.stopped_by, "looks": len(found.looks)} if found else None
    report = f"{folder.url}/{PAGE}" if folder.exists(PAGE) else None
    return {
        **read_status(run).as_json(),
        "exit_code": exit_code,
        "answer": answer.kept(folder, answer.FILE),
        "gates": answer.kept(folder, answer.GATES) or [],
        "report": report,
        "search": search,
    }


def reopen_failed(run: RunFolder, broker: str | None = None) -> tuple[int, bool]:
    """Reopen failed and timed-out cells; returns how many, and whether a run in progress continues them."""
    store = run.store
    chosen = [cell_id for cell_id, receipt in store.receipts().items() if receipt["status"] in RETRIED]
    for cell_id in chosen:
        store.reopen(cell_id)
    with connected_redis(run, broker) as client:
        if client is None:
            return len(chosen), False
        for cell_id in chosen:
            in_flight.forget_deaths(client, run.run_id, cell_id)
        is_running = control.is_running(client, run.run_id)
        if is_running and chosen:
            client.rpush(control.reopen_key(run.run_id), *chosen)
        return len(chosen), is_running
