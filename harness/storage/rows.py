"""Rows of the result tables: one per request, one per message part, one per ended cell."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import agents
from agents import Call, CallSite, Model, Part, Result
from domain.lanes import lane_served
from domain.providers import PROVIDERS
from domain.ratings import SCORES
from domain.usage import USAGE_FIELDS
from harness.cells import THEN_INDEX, Cell

Row = dict[str, Any]

_SUMMED = ("cached_tokens", "cache_write_tokens", "reasoning_tokens")


@dataclass(frozen=True)
class Ending:
    """How one attempt at a cell ended."""

    status: str
    """One of reports.tables.STATUSES."""
    attempts: int
    started_at: float
    """Unix time."""
    finished_at: float
    service_s: float
    worker: str
    result: Result | None = None
    error_type: str | None = None
    error: str | None = None


def call_row(
    call: Call,
    cell: Cell,
    *,
    run_id: str,
    attempt: int,
    outcome: str,
    price: Mapping[str, Any],
    request_hash: str | None = None,
) -> Row:
    """A row of `calls`; `price` holds cost_usd, cost_basis and price_version."""
    return {
        "run_id": run_id,
        "cell_id": cell.cell_id,
        "call_id": call.call_id,
        "arm": cell.arm,
        **_place(call),
        "cell_attempt": attempt,
        "outcome": outcome,
        **_asked(call),
        "request_hash": request_hash,
        **_answered(call),
        **_timed(call),
        **_failed(call),
        **{key: price.get(key) for key in ("cost_usd", "cost_basis", "price_version", "cold_usd")},
    }


def with_parsed(calls: Iterable[Row], parsed: Mapping[str, str]) -> list[Row]:
    """The rows with the object parsed from each answer; `parsed`: call site key -> JSON."""
    return [
        call | {"parsed": parsed.get(place_of(call).key)} if call["response"] or call["tool_calls"] else call for call in calls
    ]


def place_of(call: Row) -> CallSite:
    return CallSite(call["role"], call["round"], call["kind"], call["index"])


def message_rows(parts: Iterable[Part]) -> list[Row]:
    """Rows of `messages`, each part once."""
    by_id = {part.message_id: part for part in parts}
    return [{"message_id": key, "role": part.role, "text": part.text} for key, part in by_id.items()]


def cell_row(cell: Cell, ending: Ending, calls: Sequence[Row], *, run_id: str, hosted: Collection[str]) -> Row:
    """A row of `cells`; `calls`: rows of all its attempts; `hosted`: servers that charge per token."""
    return {
        "run_id": run_id,
        "cell_id": cell.cell_id,
        "cell_key": cell.cell_key,
        "case_id": cell.case_id,
        "arm": cell.arm,
        "kind": cell.kind,
        "ticker": cell.ticker,
        "date": cell.date,
        "repeat": cell.repeat,
        "masked": bool(cell.data.get("mask", False)),
        "snapshot_sha256": cell.snapshot_sha256 or None,
        "pipeline_fingerprint": cell.fingerprint,
        "escalated": any(call["index"] >= THEN_INDEX for call in calls) if "cascade" in cell.extra else None,
        **_decided(ending.result),
        "rating_probability": _rating_probability(ending.result, calls),
        **totals(calls, hosted),
        **reused(calls, hosted, run_id),
        **_ended(ending, calls),
    }


def totals(calls: Sequence[Row], hosted: Collection[str]) -> Row:
    """Sums over calls; NULL if one of them is unknown."""
    answered = [call for call in calls if call["outcome"] != "failed" or call["input_tokens"] is not None]
    billed = [call for call in calls if call["server"] in hosted]
    bases = {call["cost_basis"] for call in calls if call["cost_basis"]}
    return {
        "cost_usd": _sum(call["cost_usd"] for call in calls),
        "api_cost_usd": _sum(call["cost_usd"] for call in billed),
        "cost_basis": bases.pop() if len(bases) == 1 else "mixed" if bases else None,
        "llm_calls": len(calls),
        "input_tokens": _sum(call["input_tokens"] for call in answered),
        "output_tokens": _sum(call["output_tokens"] for call in answered),
        **{name: _sum(call[name] for call in answered) if answered else None for name in _SUMMED},
    }


def reused(calls: Iterable[Row], hosted: Collection[str], run_id: str) -> Row:
    """What other runs paid of these calls."""
    earlier = [call for call in calls if call["run_id"] != run_id]
    return {
        "reused_usd": _sum(call["cost_usd"] for call in earlier),
        "reused_api_usd": _sum(call["cost_usd"] for call in earlier if call["server"] in hosted),
    }


def _sum(values: Iterable[Any]) -> Any:
    numbers = list(values)
    return None if any(number is None for number in numbers) else sum(numbers)


def _place(call: Call) -> Row:
    return {key: getattr(call.site, key) for key in ("role", "round", "kind", "index")}


def _asked(call: Call) -> Row:
    model = call.request.model
    return {
        "provider": model.provider,
        "server": model.server or model.provider,
        "model_requested": model.name,
        "message_ids": list(call.request.message_ids),
        "params": json.dumps(dict(call.params or model.params), sort_keys=True, default=str),
        "not_sent": json.dumps(dict(call.not_sent), sort_keys=True, default=str) if call.not_sent else None,
        "program": json.dumps(dict(call.request.program), sort_keys=True) if call.request.program else None,
        "recalled_for": None,
        "lane": model.lane.name if _has_lanes(model) else None,
        "service_tier": model.lane.service_tier if model.params.get("lane") else None,
        "model_digest": model.digest,
    }


_REPORTED = ("model_returned", "reasoning", "finish_reason", "context_window", "server_version", "rating_probability")


def _answered(call: Call) -> Row:
    answer = call.answer
    if answer is None:
        nothing = (*_REPORTED, "response", "tool_calls", "parsed")
        return dict.fromkeys((*nothing, "truncated", "request_id", *USAGE_FIELDS))
    row = {key: getattr(answer, key) for key in _REPORTED}
    reported = {key: getattr(answer, key) for key in ("model_digest", "service_tier") if getattr(answer, key)}
    lane = {"lane": lane_served(call.request.model.lane, answer.service_tier)} if _has_lanes(call.request.model) else {}
    return row | reported | lane | asdict(answer.usage) | _texts(call)


def _has_lanes(model: Model) -> bool:
    return model.provider in PROVIDERS and bool(PROVIDERS[model.provider].lanes)


def _texts(call: Call) -> Row:
    answer = call.answer
    assert answer is not None
    return {
        "response": answer.text,
        "truncated": answer.truncated,
        "request_id": answer.request_id,
        "tool_calls": json.dumps([asdict(tool_call) for tool_call in answer.tool_calls]) if answer.tool_calls else None,
        "parsed": None,
    }


def _timed(call: Call) -> Row:
    timing = call.answer.timing if call.answer else call.timing
    spans = {key: getattr(timing, key) for key in ("ttft_s", "duration_s", "load_s", "prefill_s", "decode_s")}
    return {
        "started_at": moment(timing.started_at or call.timing.started_at),
        "queued_s": call.queued_s,
        "backoff_s": call.backoff_s,
        "cache_wait_s": call.request.caching.waited_s if call.request.caching else 0.0,
        **spans,
        "server_queue_s": timing.server_queue_s,
    }


def _failed(call: Call) -> Row:
    failure = call.failure
    if failure is None:
        return {"http_status": None, "error_type": None, "error": None}
    row: Row = {"http_status": failure.http_status, "error_type": failure.cause, "error": failure.message}
    return row | ({"request_id": failure.request_id} if failure.request_id else {})


def _decided(result: Result | None) -> Row:
    decision = result.decision if result else None
    row: Row = {
        "decision_status": result.decision_status if result else "missing",
        "reports": list(result.reports.items()) if result else None,
        "stage_ratings": list(result.stage_ratings.items()) if result else None,
        "tool_skill": list(asdict(result.tool_skill).items()) if result else None,
        "program": json.dumps(dict(result.program), sort_keys=True) if result and result.program else None,
    }
    names = ("rating", "action", "confidence", "target_price", "horizon", "rationale")
    values = {name: getattr(decision, name) if decision else None for name in names}
    return row | values | {"score": SCORES[decision.rating] if decision else None}


def _rating_probability(result: Result | None, calls: Sequence[Row]) -> float | None:
    """That of the answer from which the decision was read."""
    if not result or result.decision is None or result.decision_status not in ("typed", "repaired"):
        return None
    kind = "repair" if result.decision_status == "repaired" else "primary"
    deciding = [call for call in calls if (call["role"], call["kind"]) == (agents.final_role(), kind) and call["response"]]
    return deciding[-1].get("rating_probability") if deciding else None


def _ended(ending: Ending, calls: Sequence[Row]) -> Row:
    return {
        "status": ending.status,
        "attempts": ending.attempts,
        "queued_s": sum(call["queued_s"] or 0.0 for call in calls),
        "cache_wait_s": _cache_delay_s(calls),
        "service_s": ending.service_s,
        "wall_s": ending.finished_at - ending.started_at,
        "error_type": ending.error_type,
        "error": ending.error,
        "worker": ending.worker,
        "started_at": moment(ending.started_at),
        "finished_at": moment(ending.finished_at),
    }


def _cache_delay_s(calls: Sequence[Row]) -> float:
    """How much earlier the step would have ended if none of its requests had waited for another's first token."""
    waits = {call["role"]: call.get("cache_wait_s") or 0.0 for call in calls if call["kind"] == "primary" and not call["round"]}
    ends: dict[str, float] = {}
    for call in calls:
        if waits.get(call["role"]) or call["role"] in agents.analyst_roles():
            end = call["started_at"].timestamp() + (call["duration_s"] or 0.0) if call["started_at"] else 0.0
            ends[call["role"]] = max(end, ends.get(call["role"], 0.0))
    if not ends or not any(waits.values()):
        return 0.0
    return max(0.0, max(ends.values()) - max(end - waits.get(role, 0.0) for role, end in ends.items()))


def moment(unix: float | None) -> dt.datetime | None:
    return dt.datetime.fromtimestamp(unix, dt.UTC) if unix else None
