"""The frozen inputs of a case as its page shows them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reports.load import Run

_FACTS = {"name": "of", "decision_time": "decided at", "masked": "masked:"}
ROWS_SHOWN = 40
"""Rows of one part of the snapshot that a page holds; the file beside it holds all."""


@dataclass(frozen=True)
class SnapshotPart:
    """One table of the frozen inputs."""

    name: str
    source: str | None
    absent: str | None
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    """The newest ones."""
    count: int


@dataclass(frozen=True)
class Snapshot:
    """The frozen inputs, as far as the run folder holds them."""

    sha256: str
    facts: Mapping[str, str] = field(default_factory=dict)
    parts: tuple[SnapshotPart, ...] = ()
    notes: tuple[str, ...] = ()
    """What the source lacks, in sentences."""
    missing: str = ""
    """Why nothing is shown."""


def snapshot(run: Run, sha: str) -> Snapshot:
    """The snapshot of this name, or why it cannot be shown."""
    raw = _snapshot_bytes(run, sha)
    if raw is None:
        return Snapshot(
            sha, missing="The snapshot's file is not in this run's folder snapshots/; the prompts below hold what was shown."
        )
    try:
        told = json.loads(raw)
        parts = tuple(_snapshot_part(name, table, told) for name, table in told["parts"].items())
    except (ValueError, KeyError, TypeError, AttributeError):
        return Snapshot(
            sha, missing="The snapshot's file has a format that this page does not know; the prompts below hold what was shown."
        )
    notes = tuple(str(sentence) for part, sentence in told.get("absent", {}).items() if part not in told["parts"])
    facts = {word: str(told[key]) for key, word in _FACTS.items() if told.get(key)}
    return Snapshot(sha, facts, parts, notes)


def _snapshot_part(name: str, table: Mapping[str, Any], told: Mapping[str, Any]) -> SnapshotPart:
    rows = [tuple(row) for row in table["rows"]]
    newest = tuple(reversed(rows[-ROWS_SHOWN:]))
    source, absent = told.get("sources", {}).get(name), told.get("absent", {}).get(name)
    return SnapshotPart(name, source, absent, tuple(table["columns"]), newest, len(rows))


def _snapshot_bytes(run: Run, sha: str) -> bytes | None:
    import pyarrow as pa
    from pyarrow import fs

    for suffix, packing in ((".json", None), (".json.zst", "zstd"), (".json.gz", "gzip")):
        file = f"{run.path.rstrip('/')}/snapshots/{sha}{suffix}"
        if run.filesystem.get_file_info(file).type == fs.FileType.File:
            with run.filesystem.open_input_stream(file, compression=packing) as stream:
                return bytes(pa.py_buffer(stream.read()))
    return None
