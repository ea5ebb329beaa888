"""Cells that earlier runs of an experiment have ended well: they are not paid again."""

from __future__ import annotations

import io
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from harness.storage.folder import Folder

RECEIPT = ".cell.parquet"
_COLUMNS = ["cell_key", "status", "cost_usd", "api_cost_usd"]


@dataclass(frozen=True)
class Reused:
    """What need not be run."""

    keys: frozenset[str]
    saved_usd: float | None
    """What these cells cost when they ran, hosted models' bills; None where one does not know."""

    @property
    def cells(self) -> int:
        return len(self.keys)


def find(results: Folder, experiment: str, keys: Collection[str]) -> Reused:
    """Which of these cells ended `ok` in some run of the experiment; offline, so a new model digest is not seen yet."""
    wanted = frozenset(keys)
    found: dict[str, float | None] = {}
    home = results.at(experiment)
    for run in sorted(_folders(home), reverse=True):
        for row in _rows(home.at(run)):
            if row["status"] == "ok" and row["cell_key"] in wanted:
                found.setdefault(row["cell_key"], row["api_cost_usd"])
    paid = list(found.values())
    return Reused(frozenset(found), None if None in paid else sum(cost for cost in paid if cost is not None))


def _folders(folder: Folder) -> list[str]:
    try:
        return folder.folders()
    except OSError:
        return []


def _rows(run: Folder) -> Iterator[dict[str, Any]]:
    """Receipts of a run: the derived table where it is there, else the parts."""
    table = run.read_if_there("cells.parquet")
    if table is not None:
        yield from _read(table)
        return
    parts = run.at("parts")
    for name in _files(parts):
        if name.endswith(RECEIPT) and (raw := parts.read_if_there(name)) is not None:
            yield from _read(raw)


def _files(folder: Folder) -> list[str]:
    try:
        return sorted(folder.files())
    except OSError:
        return []


def _read(raw: bytes) -> list[dict[str, Any]]:
    import pyarrow.parquet as pq

    rows: list[dict[str, Any]] = pq.read_table(io.BytesIO(raw), columns=_COLUMNS).to_pylist()
    return rows
