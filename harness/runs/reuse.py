"""Reuse of what earlier runs of the same experiment have paid for."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import earlier_ids
from harness.admission import journal
from harness.cells import Cell
from harness.errors import StoreError
from harness.queue.private_redis import private_redis
from harness.storage import run_folder
from harness.storage.folder import open_folder
from harness.storage.run_folder import RunFolder
from harness.storage.store import Store

if TYPE_CHECKING:
    from redis import Redis


def changed_servers(run: RunFolder, versions: Mapping[str, str]) -> set[str]:
    """Servers that answered for this run in another version than they report now."""
    recorded = _recorded_versions(run)
    return {server for server, version in versions.items() if set(recorded.get(server, ())) - {version}}


def _recorded_versions(run: RunFolder) -> dict[str, list[str]]:
    return run.store.manifest().get("server_versions") or {}


def of_other_versions(run: RunFolder, versions: Mapping[str, str]) -> frozenset[str]:
    """Cells of this run with calls that a server answered in another version than it reports now.

    Calls of runs that recorded no version per call count by the versions in the run's manifest.
    """
    recorded, changed = _recorded_versions(run), changed_servers(run, versions)
    if not changed:
        return frozenset()
    rows = run.store.columns_of("calls", ("cell_id", "server", "server_version"))
    return frozenset(
        row["cell_id"]
        for row in rows
        if row["server"] in changed and (row["server_version"] or recorded[row["server"]][0]) != versions[row["server"]]
    )


def not_reused(left_out: Collection[str], versions: Mapping[str, str]) -> str:
    """The sentence about cells that another version of their server answered."""
    now = ", ".join(f"{server} {version}" for server, version in versions.items())
    return f"not reused: {len(left_out)} cells of earlier runs, which another version of their server answered (now {now})"


Names = Callable[[Cell, Mapping[str, Any]], Iterator[Cell]]


def earlier_runs(results: str, run: RunFolder) -> list[RunFolder]:
    """The other runs of the experiment, newest first; none for a run that was started with --fresh."""
    if run.store.manifest().get("fresh"):
        return []
    return [other for other in run_folder.runs(open_folder(results), run.experiment) if other.run_id != run.run_id]


def take_receipts(
    store: Store, earlier_runs: Iterable[RunFolder], cells: Mapping[str, Cell], left_out: Collection[str] = ()
) -> int:
    """Copy every `ok` receipt of these cells, with its calls; it keeps its run_id and gets the arm and id of its cell here.

    `cells`: those without a receipt. `left_out`: ids under which earlier runs recorded cells that must not be used."""
    missing, taken = dict(cells), 0
    for run in earlier_runs:
        usable = {cell_id for cell_id, row in run.store.receipts().items() if row["status"] == "ok"} - set(left_out)
        for recorded_id, cell in _ids(missing, run, earlier_ids.same, usable).items():
            if missing.pop(cell.cell_id, None):
                store.copy_cell(run.store, recorded_id, cell)
                taken += 1
    return taken


def take_journals(
    client: Redis, run_id: str, earlier_runs: Iterable[RunFolder], cells: Mapping[str, Cell], *, shared: bool
) -> int:
    """Copy journalled calls of cells that earlier runs left unfinished; returns how many.

    `shared`: all journals are in this Redis; else each run has an append-only file in its folder.
    """
    taken = 0
    for run in earlier_runs:
        lines = journal.export_entries(client, run.run_id) if shared else _exported(run)
        if lines:
            taken += journal.import_entries(client, run_id, _readdressed(lines, cells, run))
    return taken


def take_answers(
    client: Redis, run_id: str, earlier_runs: Iterable[RunFolder], cells: Mapping[str, Cell], left_out: Collection[str] = ()
) -> int:
    """Let cells use what they were answered before they failed, or under an earlier parser; returns how many answers."""
    taken = 0
    for run in earlier_runs:
        for names in (earlier_ids.same, earlier_ids.sent_the_same):
            for recorded_id, cell in _ids(cells, run, names, run.store.cells_with_calls() - set(left_out)).items():
                taken += journal.borrow(client, run_id, cell.cell_id, run.store.parts_of(recorded_id, "calls"))
    return taken


def take_replays(client: Redis, run: RunFolder, earlier_runs: Iterable[RunFolder], cells: Mapping[str, Cell]) -> int:
    """Let replays and judgements use what earlier runs were answered for the same recorded prompts; returns how many calls.

    A replayed cell may have another id there; the ids of its calls are the same.
    """
    replayed = {str(cell.extra[key]) for cell in cells.values() for key in _REPLAYED if key in cell.extra}
    call_ids = {name: [call["call_id"] for call in run.store.parts_of(name, "calls")] for name in replayed}
    taken = 0
    for earlier_run in earlier_runs:
        ended = earlier_run.store.receipts().keys()
        paid_by = {call["call_id"]: str(call["cell_id"]) for call in earlier_run.store.rows_of("calls")}
        origins = {
            name: list(dict.fromkeys([name, *(paid_by[call_id] for call_id in ids if call_id in paid_by)]))
            for name, ids in call_ids.items()
        }
        for cell in cells.values():
            if recorded_id := next((name for name in _recorded_ids(cell, origins, earlier_run) if name in ended), None):
                calls = earlier_run.store.parts_of(recorded_id, "calls")
                taken += journal.borrow(client, run.run_id, cell.cell_id, calls)
    return taken


_REPLAYED = ("source_cell", "replay_cell")
"""Keys in `extra` of a replay or judgement that name another cell."""


def _recorded_ids(cell: Cell, origins: Mapping[str, Sequence[str]], run: RunFolder) -> Iterator[str]:
    """The ids by which a run may have this replay or judgement, with the ids that its replayed cells have there."""
    manifest = run.store.manifest()
    keys = [key for key in _REPLAYED if key in cell.extra]
    for names in product(*(origins[str(cell.extra[key])] for key in keys)):
        variant = replace(cell, extra={**cell.extra, **dict(zip(keys, names, strict=True))})
        for spellings in (earlier_ids.same, earlier_ids.sent_the_same):
            yield from (spelling.cell_id for spelling in spellings(variant, manifest))


def _ids(cells: Mapping[str, Cell], run: RunFolder, names: Names, ids: Collection[str]) -> dict[str, Cell]:
    """Those of the ids under which this run recorded one of the cells -> that cell."""
    manifest = run.store.manifest()
    named = ((recorded.cell_id, cell) for cell in cells.values() for recorded in names(cell, manifest)) if ids else ()
    return {cell_id: cell for cell_id, cell in named if cell_id in ids}


def _readdressed(lines: bytes, cells: Mapping[str, Cell], run: RunFolder) -> bytes:
    """The exported calls that these cells can use, under their own ids."""
    calls = [json.loads(line) for line in lines.splitlines()]
    ids = {cell_id for cell_id, *_ in calls}
    same, sent_the_same = (_ids(cells, run, names, ids) for names in (earlier_ids.same, earlier_ids.sent_the_same))
    usable = []
    for recorded_id, call_id, raw in calls:
        if cell := same.get(recorded_id):
            entry = journal.readdressed(base64.b64decode(raw), recorded_id, cell)
            usable.append(json.dumps([cell.cell_id, call_id, base64.b64encode(entry).decode()]))
        elif cell := sent_the_same.get(recorded_id):
            usable.append(json.dumps([cell.cell_id, call_id, raw]))
    return "\n".join(usable).encode()


def redis_folder(run: RunFolder) -> Path:
    """Folder of the run's private Redis: in the run folder, or in the user's state folder if results are remote."""
    if run.store.folder.local is not None:
        return run.store.folder.local / "redis"
    return Path.home() / ".local" / "state" / "tradingagents-harness" / run.run_id / "redis"


def _exported(run: RunFolder) -> bytes:
    """The journals in a run's append-only file; empty while that run is executed."""
    folder = redis_folder(run)
    if not folder.exists():
        return b""
    from redis import Redis

    try:
        with private_redis(folder) as url, Redis.from_url(url) as client:
            return journal.export_entries(client, run.run_id)
    except StoreError:
        return b""
