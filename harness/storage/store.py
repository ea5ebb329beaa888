"""The results of one run: parts as the truth, and the tables derived from them."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.storage.folder import Folder
from harness.storage.rows import Row

if TYPE_CHECKING:
    import pyarrow as pa

RECEIPT = ".cell.parquet"
OVERVIEW = (
    "cell_id",
    "arm",
    "kind",
    "status",
    "decision_status",
    "llm_calls",
    "input_tokens",
    "output_tokens",
    "cost_usd",
    "api_cost_usd",
    "error_type",
    "error",
    "run_id",
)
"""What progress and status show of a receipt."""
_KEYS = {"calls": "call_id", "messages": "message_id", "cells": "cell_id"}
_READERS = 16
_TABLE: Mapping[str, Any] = {"compression": "zstd"}
_LONG = ("text", "response", "reasoning", "tool_calls", "parsed", "params", "rationale", "error", "reports.key_value.value")
_PART: Mapping[str, Any] = {"compression": dict.fromkeys(_LONG, "zstd"), "use_dictionary": False, "write_statistics": False}
"""A part has a dozen rows and ninety columns: to set up a compressor and a dictionary for each of them took a tenth of all
work on a cell."""


@dataclass(frozen=True)
class Store:
    """One run folder."""

    folder: Folder

    @property
    def parts(self) -> Folder:
        return self.folder.at("parts")

    @property
    def snapshots(self) -> Folder:
        return self.folder.at("snapshots")

    def manifest(self) -> dict[str, Any]:
        raw = self.folder.read_if_there("manifest.json")
        return dict(json.loads(raw)) if raw else {}

    def write_manifest(self, manifest: Mapping[str, Any]) -> None:
        self.folder.write("manifest.json", json.dumps(manifest, indent=2, default=str).encode())

    def has_receipt(self, cell_id: str) -> bool:
        return self.parts.exists(f"{cell_id}{RECEIPT}")

    def next_attempt(self, cell_id: str, at_least: int = 1) -> int:
        """A number under which no calls of this cell stand yet: what was paid is never overwritten."""
        attempt = at_least
        while self.parts.exists(f"{cell_id}.{attempt}.calls.parquet"):
            attempt += 1
        return attempt

    def earlier_calls(self, cell_id: str, attempt: int) -> list[Row]:
        """Rows of the calls that attempts before this one left."""
        names = [f"{cell_id}.{number}.calls.parquet" for number in range(1, attempt)]
        return [row for name in names for row in self._rows(name)]

    def parts_of(self, cell_id: str, table: str) -> list[Row]:
        """Rows of `calls` or `messages` that all attempts at a cell left."""
        count = self.next_attempt(cell_id)
        return [row for number in range(1, count) for row in self._rows(f"{cell_id}.{number}.{table}.parquet")]

    def rows_of(self, table: str) -> list[Row]:
        """A derived table; no rows before the first compact."""
        raw = self.folder.read_if_there(f"{table}.parquet")
        return [] if raw is None else list(_decode(raw).to_pylist())

    def put(self, files: Mapping[str, bytes]) -> None:
        """Put down the files of an ended cell (`files_of`), in their order. Raises StoreError."""
        for name, data in files.items():
            self.parts.write(name, data)

    def receipts(self) -> dict[str, Row]:
        """cell_id -> the columns of OVERVIEW of every receipt; what the derived table knows is not read again."""
        files = self.parts.files()
        ended = {name.removesuffix(RECEIPT): at for name, at in files.items() if name.endswith(RECEIPT)}
        known, since = self._derived()
        fresh = [cell_id for cell_id, at in ended.items() if cell_id not in known or at >= since - 2]
        read = [self.receipt(cell_id) for cell_id in fresh] if len(fresh) < 3 else _each(self.receipt, fresh)
        found = {cell_id: row for cell_id, row in zip(fresh, read, strict=True) if row}
        return {cell_id: known[cell_id] for cell_id in ended if cell_id in known} | found

    def receipt(self, cell_id: str) -> Row | None:
        """The columns of OVERVIEW of one receipt, None when there is none."""
        found = self._rows(f"{cell_id}{RECEIPT}", OVERVIEW)
        return found[0] if found else None

    def copy_cell(self, source: Store, cell_id: str, arm: str) -> None:
        """Take over an ended cell of another run under the arm's name here; the receipt comes last."""
        for attempt in range(1, source.next_attempt(cell_id)):
            for table in ("messages", "calls"):
                name = f"{cell_id}.{attempt}.{table}.parquet"
                self._copy_part(source, name, table, arm)
        self._copy_part(source, f"{cell_id}{RECEIPT}", "cells", arm)

    def _copy_part(self, source: Store, name: str, table: str, arm: str) -> None:
        rows = source._rows(name)
        label = {} if table == "messages" else {"arm": arm}
        self.parts.write(name, _bytes([row | label for row in rows], table))

    def reopen(self, cell_id: str) -> None:
        """Set a receipt aside, so that the cell runs again; its calls stay in the tables and in the bill."""
        raw = self.parts.read_if_there(f"{cell_id}{RECEIPT}")
        if raw is not None:
            self.parts.write(f"{cell_id}.{uuid.uuid4().hex[:8]}.superseded.parquet", raw)
            self.parts.delete(f"{cell_id}{RECEIPT}")

    def compact(self) -> None:
        """Derive cells, calls and messages from the parts."""
        names = sorted(self.parts.files())
        for table in ("messages", "calls", "cells"):
            suffix = RECEIPT if table == "cells" else f".{table}.parquet"
            chosen = [name for name in names if name.endswith(suffix)]
            self.folder.write(f"{table}.parquet", _encode(self._joined(table, chosen)))

    def sweep(self) -> None:
        """Remove drafts of writers that were killed; only when nothing writes any more."""
        self.folder.sweep()
        self.parts.sweep()

    def _joined(self, table: str, names: Sequence[str]) -> pa.Table:
        import pyarrow as pa

        from reports import tables

        schema = tables.TABLES[table]
        found = [_fit(part, schema) for part in _each(lambda name: _decode(self.parts.read(name)), names)]
        whole = pa.concat_tables([schema.empty_table(), *found])
        return _each_once(whole, _KEYS[table])

    def _rows(self, name: str, columns: Sequence[str] | None = None) -> list[Row]:
        raw = self.parts.read_if_there(name)
        return [] if raw is None else list(_decode(raw, columns).to_pylist())

    def _derived(self) -> tuple[dict[str, Row], float]:
        raw = self.folder.read_if_there("cells.parquet")
        if raw is None:
            return {}, 0.0
        rows = _decode(raw, OVERVIEW).to_pylist()
        return {row["cell_id"]: row for row in rows}, self.folder.files()["cells.parquet"]


def files_of(cell_id: str, attempt: int, calls: Sequence[Row], messages: Sequence[Row], receipt: Row) -> dict[str, bytes]:
    """Files of an ended cell by name: the calls first, the receipt last, so that a receipt never lacks its calls."""
    tables: dict[str, tuple[str, Sequence[Row]]] = {}
    if calls:
        tables[f"{cell_id}.{attempt}.messages.parquet"] = ("messages", messages)
        tables[f"{cell_id}.{attempt}.calls.parquet"] = ("calls", calls)
    tables[f"{cell_id}{RECEIPT}"] = ("cells", [receipt])
    return {name: _bytes(rows, table) for name, (table, rows) in tables.items()}


def _bytes(rows: Sequence[Row], table: str) -> bytes:
    import pyarrow as pa

    from reports import tables

    return _encode(pa.Table.from_pylist(list(rows), schema=tables.TABLES[table]), _PART)


def _encode(table: pa.Table, options: Mapping[str, Any] = _TABLE) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, **options)
    return bytes(sink.getvalue())


def _decode(raw: bytes, columns: Sequence[str] | None = None) -> pa.Table:
    """A part's table; wanted columns that an older version did not write are NULL."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = pq.ParquetFile(pa.BufferReader(raw))
    known = file.schema_arrow.names
    table = file.read(columns=[name for name in columns if name in known] if columns else None)
    for name in columns or ():
        if name not in known:
            table = table.append_column(name, pa.nulls(table.num_rows))
    return table


def _fit(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """A part in today's columns: what an older version did not write is NULL."""
    import pyarrow as pa

    columns = [
        table[field.name].cast(field.type) if field.name in table.column_names else pa.nulls(table.num_rows, field.type)
        for field in schema
    ]
    return pa.table(columns, schema=schema)


def _each_once(table: pa.Table, key: str) -> pa.Table:
    """The first row of each key: a call that was journalled and written is one call."""
    import pyarrow as pa

    seen: dict[str, int] = {}
    for index, value in enumerate(table[key].to_pylist()):
        seen.setdefault(value, index)
    return table if len(seen) == table.num_rows else table.take(pa.array(list(seen.values())))


def _each(step: Any, items: Sequence[Any]) -> Iterator[Any]:
    """The step for each item, several at a time: an object store answers slowly, one by one."""
    if not items:
        return iter(())
    with ThreadPoolExecutor(_READERS) as pool:
        return iter(list(pool.map(step, items)))
