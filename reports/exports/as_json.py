"""JSON of a run: what the page says, as one object; unknown is null."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from reports import gates
from reports.answer import brief
from reports.answer.findings import find
from reports.exports import plain_values
from reports.exports.plain_values import number

if TYPE_CHECKING:
    from reports.answer.found import Row
    from reports.load import Run

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
        "answer": brief.headline(found) if found else "",
        "briefs": [{"arm": one.arm, "word": one.word, "text": one.text} for one in brief.briefs(found)] if found else [],
        "endpoints": [_endpoint(row) for row in found.rows] if found else [],
        "takeaways": [{"text": t.text, "endpoint": t.endpoint} for t in found.takeaways] if found else [],
        "what_would_change_this": list(found.changes) if found else [],
        "caveats": list(found.caveats) if found else [],
        "gates": [_gate(gate) for gate in gates.check(run, found)] if found else [],
        "decisions": _decisions(run),
    }
    return json.dumps(told, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _endpoint(row: Row) -> dict[str, Any]:
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
        numbers = {name: number(getattr(given, name)) for name in ("margin", "p", "p_holm", "detectable", "more_usd")}
        verdict = {"word": given.word, "more_cases": given.more_cases, "reason": given.reason, **numbers}
    return {
        "baseline": found.baseline,
        "scale": found.scale,
        **_estimate(found.estimate),
        "verdict": verdict,
        "note": found.note,
    }


def _estimate(found: Any) -> dict[str, Any]:
    told = {name: number(getattr(found, name)) for name in ("value", "low", "high")}
    return {**told, "cases": found.cases, "dates": found.dates, "missing": found.missing, "method": found.method}


def _gate(gate: gates.Gate) -> dict[str, Any]:
    return {"name": gate.name, "arm": gate.arm, "limit": gate.limit, "value": gate.value, "passed": gate.is_passed}


def _decisions(run: Run) -> list[dict[str, Any]]:
    return [dict(zip(DECISION, row, strict=True)) for row in plain_values.rows(run, "cells", DECISION)]
