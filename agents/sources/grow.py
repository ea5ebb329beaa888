"""Extending an archive day by day: what the sources know now, stored with the time of retrieval."""

from __future__ import annotations

import datetime as dt
import io
from collections.abc import Mapping, Sequence
from typing import Any

from agents.errors import BadArchive, SnapshotError
from agents.inputs.datum import Fact, News
from agents.sources import DataSources, Source, source_host, source_kinds
from agents.sources.archive_format import TABLES

PRICE_DAYS = 420
Row = dict[str, Any]
_KEYS = {
    "news": ("ticker", "title", "source"),
    "fundamentals": ("ticker", "statement", "item", "period_start", "period_end", "value"),
}


def live_sources(sources: DataSources) -> tuple[Source, ...]:
    """Sources with new data every day. Raises SnapshotError if the experiment names none."""
    by_name = {source.name: source for source in sources.by_part.values() if source.name}
    live = {name: source for name, source in by_name.items() if source_host(name)}
    if not live:
        raise SnapshotError("no source of this experiment has current data; fix: data.prices: yfinance, data.filings: edgar")
    return tuple(live.values())


def today_rows(source: Source, ticker: str, now: dt.datetime, statements: bool = True) -> dict[str, list[Row]]:
    """table -> rows of one ticker as the source has them at `now`; `statements` includes its undated statements."""
    rows: dict[str, list[Row]] = {}
    if "prices" in source_kinds(source.name):
        rows |= _prices(source, ticker, now)
    today = source.today(ticker, now)
    rows["news"] = [_news(ticker, item) for item in today.news]
    rows["fundamentals"] = [
        _fact(ticker, fact) for fact in (*(today.facts if statements else ()), *source.filings(ticker, now).rows)
    ]
    rows["companies"] = [{"ticker": ticker, "name": today.name}] if today.name else []
    return rows


def grow(folder: str, rows: Mapping[str, Sequence[Row]]) -> dict[str, int]:
    """Add rows to an archive's tables; table -> number of new rows. A row that it already has keeps its first time."""
    from pyarrow import fs

    system, path = fs.FileSystem.from_uri(folder) if "://" in folder else (fs.LocalFileSystem(), folder)
    if "://" not in folder:
        system.create_dir(path)
    return {name: _grow_table(system, f"{path}/{name}.parquet", name, new) for name, new in rows.items() if new}


def _grow_table(system: Any, file: str, name: str, rows: Sequence[Row]) -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq
    from pyarrow import fs

    names = _schema(name).names
    table = pa.Table.from_pylist([{key: row.get(key) for key in names} for row in rows], schema=_schema(name))
    if system.get_file_info(file).type == fs.FileType.File:
        old = pq.read_table(file, filesystem=system)
        table = _concatenated(old, _new_rows(old, table, name), file)
        added = table.num_rows - old.num_rows
    else:
        table = _new_rows(table.slice(0, 0), table, name)
        added = table.num_rows
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    _replace(system, file, buffer.getvalue())
    return int(added)


def _new_rows(old: Any, new: Any, name: str) -> Any:
    """Rows of `new` whose key is neither in `old` nor earlier in `new`."""
    key = _KEYS.get(name) or TABLES[name].key
    seen = {tuple(row.values()) for row in old.select(list(key)).to_pylist()}
    keep = []
    for row in new.select(list(key)).to_pylist():
        keep.append(tuple(row.values()) not in seen)
        seen.add(tuple(row.values()))
    return new.filter(keep)


def _concatenated(old: Any, new: Any, file: str) -> Any:
    import pyarrow as pa

    try:
        for index, field in enumerate(new.schema):
            if field.name in old.column_names:
                new = new.set_column(index, field.name, new[field.name].cast(old.schema.field(field.name).type))
        return pa.concat_tables([old, new], promote_options="default")
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as problem:
        raise BadArchive(
            f"{file} has columns of other types than the format: {problem}; fix: see `snapshot check`"
        ) from problem


def _replace(system: Any, file: str, raw: bytes) -> None:
    """Replace the file atomically: by rename on a disk, by one PUT on an object store."""
    from pyarrow import fs

    local = isinstance(system, fs.LocalFileSystem)
    with system.open_output_stream(f"{file}.tmp" if local else file) as stream:
        stream.write(raw)
    if local:
        system.move(f"{file}.tmp", file)


def _schema(name: str) -> Any:
    import pyarrow as pa

    kinds = {"text": pa.string(), "date": pa.date32(), "moment": pa.timestamp("us", tz="UTC"), "number": pa.float64()}
    return pa.schema([(column.name, kinds[column.kind]) for column in TABLES[name].columns])


def _prices(source: Source, ticker: str, now: dt.datetime) -> dict[str, list[Row]]:
    history = source.prices(ticker, now.date() - dt.timedelta(days=PRICE_DAYS), now)
    return {
        "prices": [{"ticker": ticker, **bar._asdict()} for bar in history.bars],
        "splits": [{"ticker": ticker, **split._asdict()} for split in history.splits],
        "dividends": [{"ticker": ticker, **paid._asdict()} for paid in history.dividends],
    }


def _news(ticker: str, item: News) -> Row:
    texts = {"title": item.title, "summary": item.summary, "source": item.source}
    return {"ticker": ticker, "published_at": item.available_at, **texts}


def _fact(ticker: str, fact: Fact) -> Row:
    return {"ticker": ticker, **fact._asdict()}
