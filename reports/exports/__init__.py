"""Exports of a run as text: CSV tables, one JSON object, JUnit for CI, Markdown for a pull request or for a decision."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from reports import tables
from reports.answer.findings import find
from reports.exports.decision import to_decision
from reports.exports.documents import to_junit, to_markdown
from reports.exports.tabular import finite, plain_rows, to_json
from reports.load import TEXTS, load

if TYPE_CHECKING:
    from reports.load import Run

METRIC_COLUMNS: tuple[str, ...] = (
    "endpoint",
    "arm",
    "unit",
    "value",
    "low",
    "high",
    "cases",
    "dates",
    "missing",
    "is_declared",
    "scale",
    "own_compared",
    "baseline_compared",
    "difference",
    "difference_low",
    "difference_high",
    "confidence",
    "verdict",
    "margin",
)

_PAIR = METRIC_COLUMNS[METRIC_COLUMNS.index("own_compared") : METRIC_COLUMNS.index("verdict")]
"""The figures of a difference; own and baseline are those over its cases."""


class UnknownExport(Exception):
    """Unknown format or table; the message lists the known ones."""


def export(path: str, format: str, table: str = "cells") -> str:
    """The run in this folder as text. Raises UnknownExport and NoRun."""
    writers: Mapping[str, Callable[[Run], str]] = {
        "csv": lambda run: to_csv(run, table),
        "json": to_json,
        "junit": to_junit,
        "md": to_markdown,
        "decision": to_decision,
    }
    if format not in writers:
        raise UnknownExport(f"unknown format {format!r}; known: {', '.join((*writers, 'zip'))}")
    return writers[format](load(path))


def to_csv(run: Run, table: str = "cells") -> str:
    """One table, NULL as an empty field; texts that a spreadsheet would run as a formula start with an apostrophe."""
    if table == "endpoints":
        return _csv(METRIC_COLUMNS, _metric_rows(run))
    if table not in tables.TABLES:
        raise UnknownExport(f"unknown table {table!r}; known: {', '.join((*tables.TABLES, 'endpoints'))}")
    names = [name for name in tables.TABLES[table].names if name not in TEXTS.get(table, ())]
    return _csv(names, plain_rows(run, table, names))


def _metric_rows(run: Run) -> Iterator[list[Any]]:
    for row in find(run).rows if len(run.measured_cells) else ():
        for arm, e in row.values.items():
            against = row.comparisons.get(arm)
            c = against.estimate if against else None
            word = against.verdict.word if against and against.verdict else None
            arm_fields = [
                row.metric.name,
                arm,
                row.metric.unit,
                *map(finite, (e.value, e.low, e.high)),
                e.cases,
                e.dates,
                e.missing,
            ]
            pair: list[float | None] = [None] * len(_PAIR)
            if against and c:
                figures = [finite(v) for v in (against.own.value, against.base.value, c.value, c.low, c.high)]
                pair = [*figures, c.confidence if c.dates > 1 else None]
            yield [*arm_fields, row.is_declared, against.scale if against else None, *pair, word, row.margin]


def _csv(names: Sequence[str], rows: Iterator[list[Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    writer.writerows([[_field(value) for value in row] for row in rows])
    return text.getvalue()


def _field(value: Any) -> Any:
    if value is None:
        return ""
    if isinstance(value, str):
        return "'" + value if value.startswith(("=", "+", "-", "@", "\t", "\r")) else value
    return json.dumps(value, ensure_ascii=False, default=str) if isinstance(value, dict | list) else value
