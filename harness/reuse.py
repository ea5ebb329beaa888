"""What earlier runs of the same experiment have paid for already, taken over into a new one."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from harness.admission import journal
from harness.cells import Cell
from harness.errors import StoreError
from harness.queue.private_redis import private_redis
from harness.storage.run_folder import RunFolder
from harness.storage.store import Store

if TYPE_CHECKING:
    from redis import Redis


def take_receipts(store: Store, others: Iterable[RunFolder], cells: Mapping[str, Cell]) -> int:
    """Copy every `ok` receipt of these cells, with its calls; it keeps its run_id and gets the arm named here."""
    missing = set(cells) - set(store.receipts())
    taken = 0
    for run in others:
        found = [cell_id for cell_id, row in run.store.receipts().items() if cell_id in missing and row["status"] == "ok"]
        for cell_id in found:
            store.copy_cell(run.store, cell_id, cells[cell_id].arm)
        missing.difference_update(found)
        taken += len(found)
    return taken


def take_journals(client: Redis, run_id: str, others: Iterable[RunFolder], cells: Collection[str], *, shared: bool) -> int:
    """Take over answered calls of cells that earlier runs left unfinished; returns how many calls.

    `shared`: all runs keep their journals in this very Redis; else each has an append-only file in its folder."""
    taken = 0
    for run in others:
        lines = journal.export_entries(client, run.run_id) if shared else _exported(run)
        wanted = [line for line in lines.splitlines() if json.loads(line)[0] in cells]
        taken += journal.import_entries(client, run_id, b"\n".join(wanted)) if wanted else 0
    return taken


def redis_folder(run: RunFolder) -> Path:
    """Where the private Redis of a run keeps its file: in its folder, or for results elsewhere in this user's state."""
    if run.store.folder.local is not None:
        return run.store.folder.local / "redis"
    return Path.home() / ".local" / "state" / "tradingagents-harness" / run.run_id / "redis"


def _exported(run: RunFolder) -> bytes:
    """The journals that a run's append-only file knows; one that is being executed keeps its own."""
    folder = redis_folder(run)
    if not folder.exists():
        return b""
    from redis import Redis

    try:
        with private_redis(folder) as url, Redis.from_url(url) as client:
            return journal.export_entries(client, run.run_id)
    except StoreError:
        return b""
