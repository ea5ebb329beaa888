"""CSV and JSON of a run: unknown is an empty field or null, counts are whole, times are text."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from reports import tables
from reports.answer import caveats, gates, takeaways
from reports.answer.findings import find
from reports.roles.likeness import likenesses

if TYPE_CHECKING:
    from reports.answer.findings import MetricRow
    from reports.load import Run
    from reports.roles.likeness import Likeness


def plain_rows(run: Run, table: str, columns: Sequence[str]) -> Iterator[list[Any]]:
    """The rows of these columns; a frame turns counts with NULLs into reals, which is undone here."""
    kinds = [tables.TABLES[table].field(name).type for name in columns]
    for row in run.table(table, columns).itertuples(index=False, name=None):
        yield [plain_value(value, kind) for value, kind in zip(row, kinds, strict=True)]


def plain_value(value: Any, kind: pa.DataType) -> Any:
    if value is None or isinstance(value, str | bool):
        return value
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        found = finite(value)
        return int(found) if found is not None and pa.types.is_integer(kind) else found
    if pa.types.is_temporal(kind):
        text = str(value.isoformat())
        return None if text == "NaT" else text[:10] if pa.types.is_date(kind) else text
    if isinstance(value, float):
        return None
    if pa.types.is_map(kind):
        return {str(key): plain_value(inner, kind.item_type) for key, inner in value}
    return [str(inner) for inner in value] if pa.types.is_list(kind) else bool(value)


def finite(value: Any) -> float | None:
    """A finite number, else None."""
    return None if value is None or not math.isfinite(float(value)) else float(value)


DECISION = ("case_id", "arm", "repeat", "status", "decision_status", "rating", "score", "confidence", "cost_usd", "service_s")


def to_json(run: Run) -> str:
    """What the page says, as one object: endpoints, comparisons, verdicts, takeaways, gates; unknown is null."""
    found = find(run) if len(run.judged) else None
    told = {
        "run_id": run.run_id,
        "experiment": run.experiment.get("name"),
        "is_interim": run.is_interim,
        "baseline": run.declared.baseline,
        "arms": list(run.arms),
        "cases": int(run.cells["case_id"].nunique()),
        "cells": len(run.cells),
        "answer": takeaways.headline(found) if found else "",
        "briefs": [{"arm": one.arm, "word": one.word, "text": one.text} for one in takeaways.briefs(found)] if found else [],
        "endpoints": [_metric(row) for row in found.rows] if found else [],
        "same_prompts": [_likeness(one) for one in likenesses(run)],
        "takeaways": [{"text": t.text, "endpoint": t.endpoint} for t in takeaways.takeaways(found)] if found else [],
        "what_would_change_this": list(caveats.what_would_change(found)) if found else [],
        "caveats": list(caveats.caveats(found, run)) if found else [],
        "gates": [_gate(gate) for gate in gates.check(run, found)] if found else [],
        "decisions": _decisions(run),
    }
    return json.dumps(told, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _metric(row: MetricRow) -> dict[str, Any]:
    return {
        "name": row.metric.name,
        "title": row.metric.title,
        "unit": row.metric.unit,
        "better": row.metric.better,
        "is_declared": row.is_declared,
        "margin": row.margin,
        "arms": {arm: _estimate(e) for arm, e in row.values.items()},
        "comparisons": {arm: _comparison(c) for arm, c in row.comparisons.items()},
    }


def _comparison(found: Any) -> dict[str, Any]:
    given = found.verdict
    verdict = None
    if given is not None:
        numbers = {name: finite(getattr(given, name)) for name in ("margin", "p", "p_holm", "detectable", "more_usd")}
        verdict = {"word": given.word, "more_cases": given.more_cases, "reason": given.reason, **numbers}
    return {
        "baseline": found.baseline,
        "scale": found.scale,
        **_estimate(found.estimate),
        "verdict": verdict,
        "note": found.note,
    }


def _estimate(found: Any) -> dict[str, Any]:
    told = {name: finite(getattr(found, name)) for name in ("value", "low", "high")}
    return {**told, "cases": found.cases, "dates": found.dates, "missing": found.missing, "method": found.method}


def _likeness(one: Likeness) -> dict[str, Any]:
    numbers = {name: finite(getattr(one, name)) for name in ("agreement", "self_agreement", "margin")}
    named = {"source": one.source, "target": one.target, "word": one.word, "text": one.text, "prompts": one.prompts}
    return {**named, **numbers, "difference": _estimate(one.apart)}


def _gate(gate: gates.Gate) -> dict[str, Any]:
    return {"name": gate.name, "arm": gate.arm, "limit": gate.limit, "value": gate.value, "passed": gate.is_passed}


def _decisions(run: Run) -> list[dict[str, Any]]:
    return [dict(zip(DECISION, row, strict=True)) for row in plain_rows(run, "cells", DECISION)]
