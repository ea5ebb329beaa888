"""Rows of a table as plain Python values: NULL is None, counts are whole, times are text, maps are objects."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from reports import tables

if TYPE_CHECKING:
    from reports.load import Run


def rows(run: Run, table: str, columns: Sequence[str]) -> Iterator[list[Any]]:
    """The rows of these columns; a frame turns counts with NULLs into reals, which is undone here."""
    kinds = [tables.TABLES[table].field(name).type for name in columns]
    for row in run.table(table, columns).itertuples(index=False, name=None):
        yield [plain(value, kind) for value, kind in zip(row, kinds, strict=True)]


def plain(value: Any, kind: pa.DataType) -> Any:
    if value is None or isinstance(value, str | bool):
        return value
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        found = number(value)
        return int(found) if found is not None and pa.types.is_integer(kind) else found
    if pa.types.is_temporal(kind):
        text = str(value.isoformat())
        return None if text == "NaT" else text[:10] if pa.types.is_date(kind) else text
    if isinstance(value, float):
        return None
    if pa.types.is_map(kind):
        return {str(key): plain(inner, kind.item_type) for key, inner in value}
    return [str(inner) for inner in value] if pa.types.is_list(kind) else bool(value)


def number(value: Any) -> float | None:
    """A finite number, else None."""
    return None if value is None or not math.isfinite(float(value)) else float(value)
