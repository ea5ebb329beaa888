"""The run folder: its tables as frames, what its experiment declares, and files written into it."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from domain.freed_memory import return_freed_memory
from reports import version_0_1_0
from reports.run_roles import RunRoles
from reports.settings import Record, Settings

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    import pyarrow.dataset as ds
    from pyarrow import fs


TEXTS: Mapping[str, frozenset[str]] = {
    "cells": frozenset({"reports"}),
    "calls": frozenset({"message_ids", "response", "reasoning", "tool_calls", "parsed"}),
}
"""Columns with texts, which do not fit in memory in a big run. Frames and CSV files leave them out."""
_BY_NAME: Mapping[str, frozenset[str]] = {
    "cells": TEXTS["cells"],
    "calls": TEXTS["calls"] | {"params", "request_id", "request_hash"},
}
"""Columns that frames leave out until `Run.table` is asked for them by name: texts, and what is long and rarely read."""
_ONE_AT_A_TIME: Mapping[str, Any] = {"use_threads": False, "batch_readahead": 1, "fragment_readahead": 1}
"""Reads one row group after the other: ahead of them, a scan for a few cells of a big run holds most of its texts."""

_MANY_ROWS = 20_000
"""From here on reading a table leaves tens of MB of freed buffers behind, in pieces between those that stay."""

OTHER_KINDS = ("judge", "replay")
"""Kinds of calls that no pipeline made."""


class NoRun(Exception):
    """The folder holds no run; the message names the folder and the fix."""


@dataclass(eq=False)
class Run:
    """One run folder; tables are read on first use."""

    path: str
    experiment: dict[str, Any]
    """experiment.yaml as resolved when the run started; only to be shown; `settings` has its meaning."""
    manifest: dict[str, Any]
    """manifest.json as written; only to be shown; `record` has its meaning."""
    filesystem: fs.FileSystem = field(repr=False)

    @cached_property
    def settings(self) -> Settings:
        """What the experiment declares."""
        return Settings.of(self.experiment)

    @cached_property
    def record(self) -> Record:
        """What the manifest records."""
        return Record.of(self.manifest)

    @property
    def run_id(self) -> str:
        return str(self.record.run_id or self.path.rstrip("/").rpartition("/")[2])

    @property
    def name(self) -> str:
        """The name of its experiment."""
        return str(self.settings.name or self.record.experiment or self.run_id)

    @cached_property
    def roles(self) -> RunRoles:
        """The roles that the manifest records, else those of version 0.1.0, which recorded none."""
        return RunRoles.of(self.manifest.get("roles") or version_0_1_0.ROLES)

    @cached_property
    def arms(self) -> tuple[str, ...]:
        """Arms in the order of the experiment, then other arms with cells."""
        unnamed = sorted(set(self.cells["arm"]) - self.settings.arms.keys())
        return (*self.settings.arms, *unnamed)

    @property
    def baseline(self) -> str | None:
        """Arm that the others are compared with; default: the first arm."""
        return self.settings.baseline or next(iter(self.arms), None)

    @cached_property
    def cells(self) -> pd.DataFrame:
        """One row per ended pipeline cell, without the roles' texts; see `replays` and `judgements` for the others."""
        return _of_kind(self._all_cells, "pipeline")

    @cached_property
    def replays(self) -> pd.DataFrame:
        """Cells that replayed another arm's inputs."""
        return _of_kind(self._all_cells, "replay")

    @cached_property
    def judgements(self) -> pd.DataFrame:
        """Cells in which a judge compared replayed answers with the recorded ones."""
        return _of_kind(self._all_cells, "judge")

    @cached_property
    def calls(self) -> pd.DataFrame:
        """One row per request sent, without texts, `params`, `request_id` and `request_hash`; `table` reads those."""
        return self.table("calls")

    @cached_property
    def pipeline_calls(self) -> pd.DataFrame:
        """Calls of pipeline cells: without those of replays and judges."""
        is_other = self.calls["kind"].isin(OTHER_KINDS)
        return self.calls[~is_other] if is_other.any() else self.calls

    @cached_property
    def messages(self) -> pd.DataFrame:
        return self.table("messages")

    @cached_property
    def outcomes(self) -> pd.DataFrame:
        return self.table("outcomes")

    @cached_property
    def daily(self) -> pd.DataFrame:
        return self.table("daily")

    @cached_property
    def closes(self) -> dict[str, pd.Series[Any]]:
        """ticker -> its known closes by date, oldest first."""
        known = self.daily.dropna(subset=["close"]).sort_values("date")
        by_ticker = known.groupby("ticker", sort=False)
        return {str(ticker): days.set_index("date")["close"].astype(float) for ticker, days in by_ticker}

    @cached_property
    def whole_cases(self) -> frozenset[str]:
        """Cases that every arm has ended, with equal repeats in all arms with models."""
        return _whole_cases(self.cells, self.arms, self.settings.rule_arms)

    @cached_property
    def is_interim(self) -> bool:
        """Whether cells are still missing: such a run is described, without verdicts."""
        expected_cells = self.record.expected_cells
        if expected_cells is not None and len(self.cells) < expected_cells:
            return True
        return not self.record.is_finished

    @cached_property
    def measured_cells(self) -> pd.DataFrame:
        """The cells used for numbers: all of a finished run, the complete cases of an interim one."""
        if not self.is_interim:
            return self.cells
        return self.cells[self.cells["case_id"].isin(self.whole_cases)]

    def with_cells(self, cells: pd.DataFrame) -> Run:
        """This run as if these pipeline cells were all that was asked for: complete, and measured over all of them."""
        part = Run(self.path, self.experiment, self.manifest, self.filesystem)
        part.__dict__ |= {"cells": cells, "measured_cells": cells, "is_interim": False}
        return part

    def table(self, name: str, columns: Sequence[str] | None = None, where: Any = None) -> pd.DataFrame:
        """One table as a frame (empty if missing). `columns` may name any; `where` is a pyarrow dataset filter."""
        from reports import tables

        schema = tables.TABLES[name]
        wanted = list(columns) if columns is not None else [n for n in schema.names if n not in _BY_NAME.get(name, ())]
        frame = _frame(self._read(name, wanted, where), schema, wanted)
        if len(frame) >= _MANY_ROWS:
            return_freed_memory()
        return frame

    def pieces(self, name: str, columns: Sequence[str]) -> Iterator[pd.DataFrame]:
        """Columns of a table, some thousand rows at a time, so that long texts need little memory."""
        import pyarrow as pa

        from reports import tables

        stored = self._stored(name)
        if stored is not None:
            there = [column for column in columns if column in stored.schema.names]
            for batch in stored.to_batches(columns=there, **_ONE_AT_A_TIME):
                yield _frame(pa.Table.from_batches([batch]), tables.TABLES[name], columns)

    def read_text(self, name: str) -> str | None:
        """A small text file of the run folder; None if missing."""
        raw = _bytes(self.filesystem, f"{self.path.rstrip('/')}/{name}")
        return None if raw is None else raw.decode("utf-8", errors="replace")

    @cached_property
    def _all_cells(self) -> pd.DataFrame:
        return self.table("cells")

    def _stored(self, name: str) -> ds.Dataset | None:
        import pyarrow.dataset as ds
        from pyarrow import fs

        file = f"{self.path.rstrip('/')}/{name}.parquet"
        if self.filesystem.get_file_info(file).type != fs.FileType.File:
            return None
        # Fetching ahead saves round trips to a remote store; on a disk it only holds row groups that are not read yet.
        ahead = ds.ParquetFragmentScanOptions(pre_buffer=not isinstance(self.filesystem, fs.LocalFileSystem))
        return ds.dataset(file, filesystem=self.filesystem, format=ds.ParquetFileFormat(default_fragment_scan_options=ahead))

    def _read(self, name: str, wanted: Sequence[str], where: Any) -> pa.Table | None:
        stored = self._stored(name)
        if stored is None:
            return None
        return stored.to_table(columns=[n for n in wanted if n in stored.schema.names], filter=where, **_ONE_AT_A_TIME)


def load(path: str | Any) -> Run:
    """The run in this folder (local or s3://). Raises NoRun when there is none."""
    filesystem, root = _filesystem(str(path))
    experiment = _yaml(filesystem, f"{root}/experiment.yaml")
    if experiment is None:
        raise NoRun(f"{path}: no run here (experiment.yaml is missing); name a folder results/EXPERIMENT/RUN_ID")
    return Run(root, experiment, _json(filesystem, f"{root}/manifest.json") or {}, filesystem)


def messages_of(run: Run, ids: Collection[str]) -> dict[str, tuple[str, str]]:
    """Return message_id -> (role, text) of prompt parts."""
    messages = run.table("messages", None, among(list(set(ids)), "message_id"))
    return {
        message_id: (role, text or "")
        for message_id, role, text in zip(messages["message_id"], messages["role"], messages["text"], strict=True)
    }


def among(values: Sequence[str], column: str = "cell_id") -> Any:
    """Dataset filter: the column is one of these values."""
    import pyarrow as pa
    import pyarrow.dataset as ds

    return ds.field(column).isin(pa.array(values, pa.string()))


def _filesystem(path: str) -> tuple[fs.FileSystem, str]:
    from pyarrow import fs

    if "://" in path:
        filesystem, root = fs.FileSystem.from_uri(path)
        return filesystem, root.rstrip("/")
    return fs.LocalFileSystem(), path.rstrip("/") or "/"


def _bytes(filesystem: fs.FileSystem, file: str) -> bytes | None:
    from pyarrow import fs

    if filesystem.get_file_info(file).type != fs.FileType.File:
        return None
    with filesystem.open_input_file(file) as stream:
        return bytes(stream.read())


def _yaml(filesystem: fs.FileSystem, file: str) -> dict[str, Any] | None:
    import yaml

    text = _bytes(filesystem, file)
    return None if text is None else dict(yaml.safe_load(text) or {})


def _json(filesystem: fs.FileSystem, file: str) -> dict[str, Any] | None:
    text = _bytes(filesystem, file)
    return None if text is None else dict(json.loads(text))


def _frame(table: pa.Table | None, schema: pa.Schema, wanted: Sequence[str]) -> pd.DataFrame:
    """The table with every wanted column; columns that an older run lacks are NULL."""
    import pyarrow as pa

    wanted_schema = pa.schema([schema.field(name) for name in wanted if name in schema.names])
    if table is None:
        table = wanted_schema.empty_table()
    for column in wanted_schema:
        if column.name not in table.column_names:
            table = table.append_column(column, pa.nulls(table.num_rows, column.type))
    frame: pd.DataFrame = table.select(list(wanted)).to_pandas(date_as_object=False)
    return frame


def _of_kind(cells: pd.DataFrame, kind: str) -> pd.DataFrame:
    """Cells of one kind; without a kind (older runs) they are pipeline cells."""
    return cells[cells["kind"].fillna("pipeline") == kind]


def _whole_cases(cells: pd.DataFrame, arms: Sequence[str], rules: frozenset[str]) -> frozenset[str]:
    counts = cells.groupby(["case_id", "arm"]).size().unstack("arm").reindex(columns=list(arms)).fillna(0)
    models = [arm for arm in arms if arm not in rules]
    ended = (counts > 0).all(axis=1)
    level = counts[models].eq(counts[models].max(axis=1), axis=0).all(axis=1) if models else True
    return frozenset(counts.index[ended & level])


def write_file(run: Run, name: str, text: str) -> str:
    """Write a file into the run folder, atomically on a local disk; return its path."""
    from pyarrow import fs

    target = f"{run.path.rstrip('/')}/{name}"
    if isinstance(run.filesystem, fs.LocalFileSystem):
        Path(target).parent.mkdir(parents=True, exist_ok=True)
        fresh = Path(f"{target}.part")
        fresh.write_text(text, encoding="utf-8")
        fresh.replace(target)
    else:
        with run.filesystem.open_output_stream(target) as stream:
            stream.write(text.encode())
    return target
