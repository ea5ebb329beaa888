"""The archive format: a folder of Parquet tables, their columns, and the checks that every table must pass."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agents.errors import BadArchive

Test = Callable[[Any], bool]


@dataclass(frozen=True)
class ArchiveColumn:
    name: str
    kind: str
    """text | date | moment | number."""
    needed: bool = True
    """Whether every row must have a value."""
    optional: bool = False
    """Whether the whole column may be missing."""
    positive: bool = False


@dataclass(frozen=True)
class TableFormat:
    columns: tuple[ArchiveColumn, ...]
    key: tuple[str, ...] = ()
    """No two rows may agree in all of these."""
    first: str = ""
    """Column whose smallest and largest values `snapshot check` shows."""


_TICKER = ArchiveColumn("ticker", "text")
_OHLC = tuple(ArchiveColumn(name, "number", positive=True) for name in ("open", "high", "low", "close"))
_TEXTS = (
    ArchiveColumn("title", "text"),
    ArchiveColumn("summary", "text", needed=False),
    ArchiveColumn("source", "text", needed=False),
)
_PUBLISHED = ArchiveColumn("published_at", "moment", needed=False)
_AVAILABLE = ArchiveColumn("available_at", "moment", needed=False)

TABLES: Mapping[str, TableFormat] = {
    "prices": TableFormat(
        (_TICKER, ArchiveColumn("date", "date"), *_OHLC, ArchiveColumn("volume", "number")), ("ticker", "date"), "date"
    ),
    "splits": TableFormat(
        (_TICKER, ArchiveColumn("ex_date", "date"), ArchiveColumn("ratio", "number", positive=True)),
        ("ticker", "ex_date"),
        "ex_date",
    ),
    "dividends": TableFormat(
        (
            _TICKER,
            ArchiveColumn("ex_date", "date"),
            ArchiveColumn("declared_date", "date", needed=False, optional=True),
            ArchiveColumn("pay_date", "date", needed=False, optional=True),
            ArchiveColumn("amount", "number"),
        ),
        ("ticker", "ex_date", "amount"),
        "ex_date",
    ),
    "news": TableFormat((ArchiveColumn("ticker", "text", needed=False), _PUBLISHED, *_TEXTS), (), "published_at"),
    "social": TableFormat((_TICKER, _PUBLISHED, *_TEXTS), (), "published_at"),
    "fundamentals": TableFormat(
        (
            _TICKER,
            ArchiveColumn("fiscal_year", "text", needed=False),
            ArchiveColumn("fiscal_period", "text", needed=False),
            ArchiveColumn("period_start", "date", needed=False),
            ArchiveColumn("period_end", "date"),
            _AVAILABLE,
            ArchiveColumn("statement", "text"),
            ArchiveColumn("item", "text"),
            ArchiveColumn("value", "number"),
            ArchiveColumn("unit", "text", needed=False),
        ),
        ("ticker", "statement", "item", "period_start", "period_end", "available_at"),
        "available_at",
    ),
    "insiders": TableFormat(
        (
            _TICKER,
            _AVAILABLE,
            ArchiveColumn("person", "text"),
            ArchiveColumn("role", "text", needed=False, optional=True),
            ArchiveColumn("kind", "text"),
            ArchiveColumn("shares", "number", needed=False, optional=True),
            ArchiveColumn("price", "number", needed=False, optional=True),
        ),
        (),
        "available_at",
    ),
    "macro": TableFormat(
        (ArchiveColumn("series", "text"), _AVAILABLE, ArchiveColumn("value", "number")),
        ("series", "available_at"),
        "available_at",
    ),
    "companies": TableFormat((_TICKER, ArchiveColumn("name", "text")), ("ticker",), "ticker"),
}
"""Only `prices` is required. Times have a time zone; a row without its time of publication is left out and counted."""


def check(name: str, table: Any, file: str) -> None:
    """Raises BadArchive with the table, the column and the first bad row."""
    form = TABLES[name]
    for column in form.columns:
        _check_column(table, column, file, [other.name for other in form.columns])
    _check_key(table, form.key, file)
    if name == "prices":
        _check_range(table, file)


def _check_column(table: Any, column: ArchiveColumn, file: str, names: Sequence[str]) -> None:
    if column.name not in table.column_names:
        if column.optional:
            return
        raise BadArchive(f"{file}: column {column.name!r} is missing; a table of this name has: {', '.join(names)}")
    values = table[column.name]
    _check_kind(values.type, column, file)
    if column.needed:
        _refuse(values, lambda pc: pc.is_null(values, nan_is_null=True), table, column, file, "is empty")
    if column.kind == "number":
        _refuse(values, lambda pc: pc.equal(pc.abs(values), float("inf")), table, column, file, "is infinite")
    if column.positive:
        _refuse(
            values, lambda pc: pc.less_equal(values, 0), table, column, file, "is not positive; prices are raw, in currency"
        )


def _check_kind(kind: Any, column: ArchiveColumn, file: str) -> None:
    import pyarrow as pa

    types = pa.types
    fits: Mapping[str, Test] = {
        "text": lambda t: types.is_string(t) or types.is_large_string(t) or types.is_null(t),
        "date": lambda t: types.is_date(t) or (column.optional and types.is_null(t)),
        "moment": lambda t: types.is_timestamp(t) and t.tz is not None,
        "number": lambda t: types.is_integer(t) or types.is_floating(t) or types.is_decimal(t),
    }
    fixes = {
        "text": "store text",
        "date": "cast to date32",
        "moment": "store a timestamp with a time zone (UTC): a time without one can leak hours of future",
        "number": "store a number",
    }
    if not fits[column.kind](kind):
        raise BadArchive(f"{file}: column {column.name!r} is {kind}, expected a {column.kind}; fix: {fixes[column.kind]}")


def _refuse(values: Any, test: Callable[[Any], Any], table: Any, column: ArchiveColumn, file: str, problem: str) -> None:
    import pyarrow.compute as pc

    bad = pc.fill_null(test(pc), False)
    row = pc.index(bad, True).as_py()
    if row >= 0:
        value = values[row].as_py()
        raise BadArchive(f"{file}: column {column.name!r}, row {row}{_row_label(table, row)}: {value!r} {problem}")


def _check_key(table: Any, key: Sequence[str], file: str) -> None:
    if not key or not table.num_rows:
        return
    import pyarrow as pa
    import pyarrow.compute as pc

    keys = table.select(key)
    groups = (
        keys.append_column("row", pa.array(range(table.num_rows)))
        .group_by(list(key))
        .aggregate([("row", "count"), ("row", "max")])
    )
    twice = groups.filter(pc.greater(groups["row_count"], 1))
    if twice.num_rows:
        row = pc.max(twice["row_max"]).as_py()
        repeated = ", ".join(f"{name} {table[name][row].as_py()}" for name in key)
        raise BadArchive(
            f"{file}: row {row} repeats an earlier row ({repeated}); {twice.num_rows} such rows; fix: keep one of each"
        )


def _check_range(table: Any, file: str) -> None:
    import pyarrow.compute as pc

    for low, high in (("low", "high"), ("low", "open"), ("low", "close"), ("open", "high"), ("close", "high")):
        row = pc.index(pc.greater(table[low], pc.multiply(table[high], 1.0 + 1e-9)), True).as_py()
        if row >= 0:
            problem = f"{low} {table[low][row].as_py()} is above {high} {table[high][row].as_py()}"
            raise BadArchive(f"{file}: row {row}{_row_label(table, row)}: {problem}")


def _row_label(table: Any, row: int) -> str:
    names = [name for name in ("ticker", "date", "ex_date", "series") if name in table.column_names]
    label = " ".join(str(table[name][row].as_py()) for name in names)
    return f" ({label})" if label else ""
