"""The results of one run: the parts that cells leave, and the tables derived from them."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

from harness.errors import BrokenFile
from harness.storage import machine_cost
from harness.storage.folder import Folder
from harness.storage.machine_cost import MachineCosts
from harness.storage.rows import Row

if TYPE_CHECKING:
    import pyarrow as pa

    from harness.cells import Cell

RECEIPT = ".cell.parquet"
RETRIED = ("failed", "timeout")
"""Statuses that `retry` reopens."""
OVERVIEW = (
    "cell_id",
    "case_id",
    "arm",
    "kind",
    "status",
    "decision_status",
    "rating",
    "llm_calls",
    "input_tokens",
    "output_tokens",
    "cost_usd",
    "api_cost_usd",
    "reused_usd",
    "reused_api_usd",
    "error_type",
    "error",
    "run_id",
    "finished_at",
)
"""The columns of a receipt that progress and status show."""
_KEYS = {"calls": "call_id", "messages": "message_id", "cells": "cell_id"}
_READERS = 16
_FILES_AT_A_TIME = 250
"""Each has the texts of a cell, up to some 100 kB."""
_TABLE: Mapping[str, Any] = {"compression": "zstd"}
_LONG = ("text", "response", "reasoning", "tool_calls", "parsed", "params", "rationale", "error", "reports.key_value.value")
_PART: Mapping[str, Any] = {"compression": dict.fromkeys(_LONG, "zstd"), "use_dictionary": False, "write_statistics": False}
"""A part has a dozen rows and ninety columns: a compressor and a dictionary for each column would cost a tenth of all work
on a cell."""


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

    def kept_files(self, cell_id: str) -> Folder:
        """Files that an attached program wrote in a cell."""
        return self.folder.at(f"files/{cell_id}")

    def manifest(self) -> dict[str, Any]:
        raw = self.folder.read_if_there("manifest.json")
        return dict(json.loads(raw)) if raw else {}

    def write_manifest(self, manifest: Mapping[str, Any]) -> None:
        self.folder.write("manifest.json", json.dumps(manifest, indent=2, default=str).encode())

    def has_receipt(self, cell_id: str) -> bool:
        return self.parts.exists(f"{cell_id}{RECEIPT}")

    def next_attempt(self, cell_id: str, at_least: int = 1) -> int:
        """The first attempt number without recorded calls of this cell: paid calls are never overwritten."""
        attempt = at_least
        while self.parts.exists(f"{cell_id}.{attempt}.calls.parquet"):
            attempt += 1
        return attempt

    def earlier_calls(self, cell_id: str, attempt: int) -> list[Row]:
        """Rows of the calls of earlier attempts."""
        names = [f"{cell_id}.{number}.calls.parquet" for number in range(1, attempt)]
        return [row for name in names for row in self._rows(name)]

    def parts_of(self, cell_id: str, table: str) -> list[Row]:
        """Rows of `calls` or `messages` of all attempts at a cell."""
        numbers = self._attempts(cell_id)
        return [row for number in numbers for row in self._rows(f"{cell_id}.{number}.{table}.parquet")]

    def _attempts(self, cell_id: str) -> range:
        """Numbers of the attempts that may have files."""
        after_last = self.next_attempt(cell_id)
        if after_last == 1:
            # Earlier versions left out the numbers of attempts without files.
            after_last += max((row["attempts"] or 0 for row in self._rows(f"{cell_id}{RECEIPT}", ["attempts"])), default=0)
        return range(1, after_last)

    def cells_with_calls(self) -> set[str]:
        """Ids of the cells of which calls were recorded, whether they have a receipt or not."""
        return {name.partition(".")[0] for name in self.parts.files() if name.endswith(".calls.parquet")}

    def rows_of(self, table: str) -> list[Row]:
        """Rows of a derived table; empty before the first `compact`."""
        return self.columns_of(table)

    def columns_of(self, table: str, columns: Sequence[str] | None = None) -> list[Row]:
        """These columns of a derived table; NULL where its version did not write one, empty before the first `compact`."""
        stored = self.table(table, columns)
        return [] if stored is None else list(stored.to_pylist())

    def table(self, name: str, columns: Sequence[str] | None = None) -> pa.Table | None:
        """A derived table, as `columns_of`; None before the first `compact`."""
        try:
            stored = self.folder.open(f"{name}.parquet")
        except FileNotFoundError:
            return None
        with stored:
            return decode(stored, columns)

    def put(self, files: Mapping[str, bytes]) -> None:
        """Write the files of an ended cell (see `files_of`), in order. Raises StoreError."""
        for name, data in files.items():
            self.parts.write(name, data)

    def receipts(self) -> dict[str, Row]:
        """cell_id -> the OVERVIEW columns of every receipt; only receipts newer than the derived table are read from parts."""
        files = self.parts.files()
        ended = {name.removesuffix(RECEIPT): at for name, at in files.items() if name.endswith(RECEIPT)}
        derived, since = self._derived()
        newer = [cell_id for cell_id, at in ended.items() if cell_id not in derived or at >= since - 2]
        rows = [self.receipt(cell_id) for cell_id in newer] if len(newer) < 3 else _each(self.receipt, newer)
        read = {cell_id: row for cell_id, row in zip(newer, rows, strict=True) if row and not _is_derived(row, derived)}
        return {cell_id: derived[cell_id] for cell_id in ended if cell_id in derived} | read

    def receipt(self, cell_id: str) -> Row | None:
        """The OVERVIEW columns of one receipt, or None."""
        rows = self._rows(f"{cell_id}{RECEIPT}", OVERVIEW)
        return rows[0] if rows else None

    def whole_receipt(self, cell_id: str) -> Row | None:
        """Every column of one receipt, or None."""
        rows = self._rows(f"{cell_id}{RECEIPT}")
        return rows[0] if rows else None

    def copy_cell(self, source: Store, recorded_id: str, cell: Cell) -> None:
        """Copy an ended cell of another run under this run's name of the arm and its id here; the receipt comes last."""
        for attempt in source._attempts(recorded_id):
            for table in ("messages", "calls"):
                self._copy_part(source, recorded_id, f".{attempt}.{table}.parquet", table, cell)
        _copy_files(source.kept_files(recorded_id), self.kept_files(cell.cell_id))
        self._copy_part(source, recorded_id, RECEIPT, "cells", cell)

    def _copy_part(self, source: Store, recorded_id: str, suffix: str, table: str, cell: Cell) -> None:
        rows = source._rows(f"{recorded_id}{suffix}")
        label = {} if table == "messages" else {"arm": cell.arm, "cell_id": cell.cell_id}
        if table == "cells" and recorded_id != cell.cell_id:
            label |= {"cell_key": cell.cell_key, "pipeline_fingerprint": cell.fingerprint}
        costs = {"cost_usd": "reused_usd", "api_cost_usd": "reused_api_usd"} if table == "cells" else {}
        rows = [row | label | {part: row[whole] for whole, part in costs.items()} for row in rows]
        self.parts.write(f"{cell.cell_id}{suffix}", _bytes(rows, table))

    def reopen(self, cell_id: str) -> None:
        """Set a receipt aside so that the cell runs again; its calls stay in the tables and in the cost."""
        raw = self.parts.read_if_there(f"{cell_id}{RECEIPT}")
        if raw is not None:
            self.parts.write(f"{cell_id}.{uuid.uuid4().hex[:8]}.superseded.parquet", raw)
            self.parts.delete(f"{cell_id}{RECEIPT}")

    def compact(self) -> None:
        """Derive the tables from the parts, a few hundred cells at a time, because the texts of all may not fit in memory."""
        names = sorted(self.parts.files(), key=_by_attempt)
        costs = self._costs_of_machines(names)
        self._derive("messages", _without_repetition(self._pieces("messages", names)))
        self._derive("calls", map(costs.in_calls, self._pieces("calls", names)))
        self._derive("cells", map(costs.in_cells, self._pieces("cells", names)))

    def _costs_of_machines(self, names: Sequence[str]) -> MachineCosts:
        import pyarrow as pa

        manifest = self.manifest()
        calls = [*self._pieces("calls", names, machine_cost.COLUMNS)] if manifest.get("hardware") else []
        return MachineCosts.of(pa.concat_tables(calls), manifest) if calls else MachineCosts({}, {})

    def _derive(self, table: str, pieces: Iterable[pa.Table]) -> None:
        import pyarrow.parquet as pq

        from reports import tables

        with (
            self.folder.replacing(f"{table}.parquet") as stream,
            pq.ParquetWriter(stream, tables.TABLES[table], **_TABLE) as writer,
        ):
            for piece in pieces:
                writer.write_table(piece)

    def sweep(self) -> None:
        """Remove temporary files of killed writers; only while nothing writes."""
        self.folder.sweep()
        self.parts.sweep()

    def _pieces(self, table: str, files: Sequence[str], columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """The rows of a table in all its parts, in pieces of whole cells."""
        import pyarrow as pa

        from reports import tables

        schema = tables.TABLES[table]
        if columns:
            schema = pa.schema([schema.field(name) for name in columns])
        suffix = RECEIPT if table == "cells" else f".{table}.parquet"
        for names in _of_whole_cells([name for name in files if name.endswith(suffix)]):
            parts = _each(lambda name: _fit(self._decode(name, self.parts.read(name), columns), schema), names)
            yield _newest_each(pa.concat_tables(parts), _KEYS[table])

    def _rows(self, name: str, columns: Sequence[str] | None = None) -> list[Row]:
        raw = self.parts.read_if_there(name)
        return [] if raw is None else list(self._decode(name, raw, columns).to_pylist())

    def _decode(self, name: str, raw: bytes, columns: Sequence[str] | None = None) -> pa.Table:
        """Raises BrokenFile."""
        import pyarrow as pa

        try:
            return decode(raw, columns)
        except (pa.ArrowInvalid, OSError) as error:
            raise BrokenFile(
                f"{self.parts.url}/{name} is damaged ({error}); restore it from a copy, or delete it and run the same command "
                "again: its answers are then asked for once more"
            ) from error

    def _derived(self) -> tuple[dict[str, Row], float]:
        rows = self.columns_of("cells", OVERVIEW)
        return {row["cell_id"]: row for row in rows}, self.folder.files().get("cells.parquet", 0.0)


def _is_derived(receipt: Row, derived: Mapping[str, Row]) -> bool:
    """Whether the table of cells has this very receipt: it has the costs in which machine time counts once."""
    row = derived.get(receipt["cell_id"])
    return row is not None and receipt["finished_at"] is not None and row["finished_at"] == receipt["finished_at"]


def files_of(cell_id: str, attempt: int, calls: Sequence[Row], messages: Sequence[Row], receipt: Row) -> dict[str, bytes]:
    """Files of an ended cell by name: calls first, receipt last, so that no receipt lacks its calls."""
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


def decode(source: bytes | pa.NativeFile, columns: Sequence[str] | None = None) -> pa.Table:
    """A Parquet file as a table; requested columns that an older version did not write are NULL."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = pq.ParquetFile(pa.BufferReader(source) if isinstance(source, bytes) else source)
    existing = file.schema_arrow.names
    # Most files have a dozen rows: handing their columns to threads would cost more than reading them.
    table = file.read(columns=[name for name in columns if name in existing] if columns else None, use_threads=False)
    for name in columns or ():
        if name not in existing:
            table = table.append_column(name, pa.nulls(table.num_rows))
    return table


def _copy_files(source: Folder, target: Folder) -> None:
    """Copy a folder with the folders in it; nothing if it does not exist."""
    for name in source.files():
        target.write(name, source.read(name))
    for name in source.folders():
        _copy_files(source.at(name), target.at(name))


def _fit(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """A part in the current schema; columns that an older version did not write are NULL."""
    import pyarrow as pa

    if table.schema.equals(schema):
        return table
    columns = [
        table[field.name].cast(field.type) if field.name in table.column_names else pa.nulls(table.num_rows, field.type)
        for field in schema
    ]
    return pa.table(columns, schema=schema)


def _by_attempt(name: str) -> tuple[str, int, str]:
    """Sorts CELL.2.calls.parquet before CELL.10.calls.parquet."""
    cell_id, attempt, *_ = name.split(".")
    return cell_id, int(attempt) if attempt.isdecimal() else 0, name


def _of_whole_cells(files: Iterable[str]) -> Iterator[list[str]]:
    """The files in groups for which memory suffices; those of one cell stay together."""
    names: list[str] = []
    for _, of_cell in groupby(files, key=lambda name: name.partition(".")[0]):
        names += of_cell
        if len(names) >= _FILES_AT_A_TIME:
            yield names
            names = []
    if names:
        yield names


def _newest_each(table: pa.Table, key: str) -> pa.Table:
    """The last row of each key: a later attempt at a cell writes the calls that it uses again as well."""
    import pyarrow as pa

    seen = {value: index for index, value in enumerate(table[key].to_pylist())}
    return table if len(seen) == table.num_rows else table.take(pa.array(list(seen.values())))


def _without_repetition(messages: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """The messages without those of an earlier table; an id is a hash of its text."""
    import pyarrow as pa

    seen: set[str] = set()
    for table in messages:
        ids = table["message_id"].to_pylist()
        yield table.filter(pa.array([message_id not in seen for message_id in ids], pa.bool_()))
        seen.update(ids)


def _each(step: Any, items: Sequence[Any]) -> Iterator[Any]:
    """Apply a step to all items in parallel, since object stores are slow."""
    if not items:
        return iter(())
    with ThreadPoolExecutor(_READERS) as pool:
        return iter(list(pool.map(step, items)))
