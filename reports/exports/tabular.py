"""CSV and JSON of a run: unknown is an empty field or null, counts are whole, times are text."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from reports import tables
from reports.answer import caveats, gates, sentences, table
from reports.answer.findings import find
from reports.money import breakdown
from reports.roles.likeness import likenesses

if TYPE_CHECKING:
    from reports.answer.findings import Comparison, Findings, MetricRow
    from reports.load import Run
    from reports.roles.likeness import Likeness
    from reports.verdict import Verdict


def plain_rows(run: Run, table: str, columns: Sequence[str]) -> Iterator[list[Any]]:
    """The rows of these columns. A frame turns integers with NULLs into floats, which is undone here."""
    kinds = [tables.TABLES[table].field(name).type for name in columns]
    for row in run.table(table, columns).itertuples(index=False, name=None):
        yield [plain_value(value, kind) for value, kind in zip(row, kinds, strict=True)]


def plain_value(value: Any, kind: pa.DataType) -> Any:
    if value is None or isinstance(value, str | bool):
        return value
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        finite_value = finite(value)
        return int(finite_value) if finite_value is not None and pa.types.is_integer(kind) else finite_value
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
    """The content of the page as one JSON object; unknown is null."""
    findings = find(run) if len(run.measured_cells) else None
    document = {
        "run_id": run.run_id,
        "experiment": run.settings.name,
        "is_interim": run.is_interim,
        "baseline": run.baseline,
        "arms": list(run.arms),
        "cases": int(run.cells["case_id"].nunique()),
        "cells": len(run.cells),
        "bill": {arm: _split(bill) for arm, bill in breakdown.cost_splits(run).items()},
        "answer": _answer(run, findings) if findings else None,
        "endpoints": [_metric(row) for row in findings.rows] if findings else [],
        "same_prompts": [_likeness(likeness) for likeness in likenesses(run)],
        "caveats": [asdict(one) for one in caveats.caveats(run, findings)] if findings else [],
        "gates": [_gate(gate) for gate in gates.check(run, findings)] if findings else [],
        "decisions": _decisions(run),
    }
    return json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _answer(run: Run, findings: Findings) -> dict[str, Any]:
    """The first screen of the page: sentences (null before the run is finished), table, takeaways."""
    is_done = not findings.is_interim
    likely = [likeness.text for likeness in likenesses(run)]
    return {
        "decisions": sentences.decisions(findings).text if is_done else None,
        "returns": sentences.returns(findings).text if is_done and len(findings.arms) > 1 else None,
        "table": [_line(line) for line in table.lines(run, findings)],
        "takeaways": [asdict(one) for one in sentences.takeaways(run, findings, likely)],
    }


def _line(line: table.ArmLine) -> dict[str, Any]:
    columns = {column.name: asdict(getattr(line, column.name)) for column in table.columns(None)}
    return {"arm": line.arm, "kind": line.kind, "lineup": line.lineup, **columns, "in_short": asdict(line.word)}


def _split(bill: breakdown.CostSplit) -> dict[str, float | None]:
    return {"paid_usd": _whole(bill.paid), "reused_usd": _whole(bill.reused)}


def _whole(total: breakdown.Total) -> float | None:
    """0 for no calls, None if the cost of one is unknown."""
    return (total.value if total.is_whole else None) if total.of else 0.0


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


def _comparison(comparison: Comparison) -> dict[str, Any]:
    return {
        "baseline": comparison.baseline,
        "scale": comparison.scale,
        **_estimate(comparison.estimate),
        "own": _estimate(comparison.own),
        "base": _estimate(comparison.base),
        "verdict": _verdict(comparison.verdict) if comparison.verdict is not None else None,
        "note": comparison.note,
    }


def _verdict(verdict: Verdict) -> dict[str, Any]:
    names = ("margin", "bound", "loss", "level", "low", "high", "confidence", "p", "p_difference", "more_usd")
    counts = {name: getattr(verdict, name) for name in ("cases", "dates", "more_cases")}
    return {
        "word": verdict.word,
        "reason": verdict.reason,
        **counts,
        **{name: finite(getattr(verdict, name)) for name in names},
    }


def _good_enough(findings: Findings) -> dict[str, Any]:
    return {
        arm: {"word": given.word, "failing": list(given.failing), "undecided": list(given.undecided), "p": given.p}
        for arm, given in findings.good_enough.items()
    }


def _pick(findings: Findings) -> dict[str, Any] | None:
    pick = findings.pick
    return None if pick is None else {"arm": pick.arm, "good": list(pick.good), "p": dict(pick.p)}


def _estimate(estimate: Any) -> dict[str, Any]:
    bounds = {name: finite(getattr(estimate, name)) for name in ("value", "low", "high")}
    counts = {"cases": estimate.cases, "dates": estimate.dates, "missing": estimate.missing}
    return {**bounds, "confidence": estimate.confidence, **counts, "method": estimate.method}


def _likeness(likeness: Likeness) -> dict[str, Any]:
    numbers = {name: finite(getattr(likeness, name)) for name in ("agreement", "self_agreement", "margin")}
    named = {
        "source": likeness.source,
        "target": likeness.target,
        "word": likeness.word,
        "text": likeness.text,
        "prompts": likeness.prompts,
    }
    return {**named, **numbers, "difference": _estimate(likeness.apart)}


def _gate(gate: gates.Gate) -> dict[str, Any]:
    return {"name": gate.name, "arm": gate.arm, "limit": gate.limit, "value": gate.value, "passed": gate.is_passed}


def _decisions(run: Run) -> list[dict[str, Any]]:
    return [dict(zip(DECISION, row, strict=True)) for row in plain_rows(run, "cells", DECISION)]
