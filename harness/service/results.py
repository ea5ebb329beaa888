"""The result of an ended cell, in the fields of the former service and in ours."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import agents
from domain.ratings import ACTIONS
from domain.scales import rating_of
from harness.service.jobs import COMPLETED, Job

if TYPE_CHECKING:
    from harness.storage.rows import Row
    from harness.storage.store import Store

ERROR_TYPES = ("timeout", "llm_error", "data_error", "invalid_config", "unknown")
_REPORTS = {"market": "market_analyst", "sentiment": "sentiment_analyst", "news": "news_analyst",
            "fundamentals": "fundamentals_analyst"}  # fmt: skip
_SPEAKERS = {
    "bull": "Bull Analyst",
    "bear": "Bear Analyst",
    "aggressive": "Aggressive Analyst",
    "conservative": "Conservative Analyst",
    "neutral": "Neutral Analyst",
}
_INVALID = frozenset({"InvalidInput", "PipelineError", "Unsupported"})
_DATA = frozenset({"SnapshotError", "NoSuchCase", "SourceFailed", "BadArchive"})


def moment(unix: float | None) -> str | None:
    """ISO 8601 with an offset."""
    return None if unix is None else dt.datetime.fromtimestamp(unix, dt.UTC).isoformat()


def job_body(job: Job, progress: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The body of GET /jobs/{id}: the former service's fields, then ours."""
    return {
        "job_id": job.job_id,
        "status": job.status,
        "created_at": moment(job.created_at),
        "started_at": moment(job.started_at),
        "completed_at": moment(job.completed_at),
        "ticker": job.ticker,
        "date": job.date,
        "error": job.error,
        "error_type": job.error_type,
        "retry_count": max(0, job.attempts - 1),
        "arm": job.arm,
        "attempts": job.attempts,
        "cause": job.cause,
        "progress": progress,
        "notes": list(job.notes),
        "reused": job.reused,
        "cell_id": job.cell_id,
        "month": job.month,
        "callback": job.callback,
    }


def result_body(job: Job, receipt: Row | None) -> dict[str, Any]:
    """The body of GET /jobs/{id}/result; without a receipt its fields are null."""
    row: Row = receipt or {}
    texts = dict(row.get("reports") or [])
    return {
        "job_id": job.job_id,
        "ticker": job.ticker,
        "date": job.date,
        "decision": action_of(row) if job.status == COMPLETED else None,
        "final_state": final_state(job, texts) if texts else None,
        "reports": {name: texts.get(role) for name, role in _REPORTS.items()},
        "status": job.status,
        "error": job.error,
        "error_type": job.error_type,
        "cause": job.cause,
        "arm": job.arm,
        "rating": row.get("rating"),
        "confidence": row.get("confidence"),
        "target_price": row.get("target_price"),
        "horizon": row.get("horizon"),
        "rationale": row.get("rationale"),
        "decision_status": row.get("decision_status"),
        "stage_ratings": dict(row.get("stage_ratings") or []),
        "cost_usd": row.get("cost_usd"),
        "cost_basis": row.get("cost_basis"),
        "tokens": {name: row.get(f"{name}_tokens") for name in ("input", "cached", "output", "reasoning")},
        "llm_calls": row.get("llm_calls"),
        "latency_s": row.get("wall_s"),
        "service_s": row.get("service_s"),
        "queued_s": row.get("queued_s"),
        "reused": job.reused,
        "notes": list(job.notes),
    }


def read_result(job: Job, store: Store) -> dict[str, Any]:
    """The result from the run folder; blocks for some milliseconds."""
    return result_body(job, store.whole_receipt(job.cell_id) if job.cell_id else None)


def action_of(row: Mapping[str, Any]) -> str | None:
    """BUY, SELL or HOLD; None without a usable decision, which is never turned into HOLD."""
    rating = rating_of(row.get("rating"))
    return ACTIONS[rating] if rating else None


def final_state(job: Job, texts: Mapping[str, str]) -> dict[str, Any]:
    """The state of the former service's graph, from the text of each role."""
    debate = _debate(texts, ("bull", "bear"))
    risk = _debate(texts, ("aggressive", "conservative", "neutral"))
    final = texts.get(agents.final_role()) or texts.get("single_call")
    return {
        "company_of_interest": job.ticker,
        "trade_date": job.date,
        **{f"{name}_report": texts.get(role) for name, role in _REPORTS.items()},
        "investment_debate_state": debate | {"judge_decision": texts.get("research_manager")},
        "investment_plan": texts.get("research_manager"),
        "trader_investment_plan": texts.get("trader"),
        "risk_debate_state": risk | {"judge_decision": final},
        "final_trade_decision": final,
    }


def _debate(texts: Mapping[str, str], speakers: Iterable[str]) -> dict[str, Any]:
    names = tuple(speakers)
    spoken = [(key.partition("/")[0], text) for key, text in texts.items() if key.partition("/")[0] in names]
    said = {name: [f"{_SPEAKERS[name]}: {text}" for speaker, text in spoken if speaker == name] for name in names}
    everything = [f"{_SPEAKERS[speaker]}: {text}" for speaker, text in spoken]
    return {
        **{f"{name}_history": "\n".join(said[name]) for name in names},
        "history": "\n".join(everything),
        "current_response": everything[-1] if everything else "",
        "latest_speaker": _SPEAKERS[spoken[-1][0]] if spoken else "",
        "count": len(spoken),
    }


def ended_fields(receipt: Row) -> dict[str, Any]:
    """Fields of a job whose cell ended with this receipt (every column)."""
    status, rating = receipt["status"], receipt.get("rating")
    fields: dict[str, Any] = {
        "attempts": receipt.get("attempts") or 1,
        "progress": _spoken(receipt),
        "started_at": _unix(receipt.get("started_at")),
        "completed_at": _unix(receipt.get("finished_at")),
        "error": None,
        "error_type": None,
        "cause": None,
    }
    if status == "ok" and rating is not None:
        return fields | {"status": "completed"}
    if status == "ok":
        what = f"the answer of the last role holds no rating ({receipt.get('decision_status')})"
        return fields | failed("no_decision", what, "llm_error", "submit it again with fresh: true, or use another model")
    code, what = receipt.get("error_type") or status, receipt.get("error") or status
    return fields | failed(
        str(code), str(what), error_type_of(status, str(code)), "submit it again: answered calls are not paid twice"
    )


def failed(code: str, message: str, error_type: str, fix: str = "") -> dict[str, Any]:
    """Fields of a job that failed."""
    cause = {"code": code, "message": message, "fix": fix}
    return {"status": "failed", "error": message, "error_type": error_type, "cause": cause}


def error_type_of(status: str, cause: str) -> str:
    """The former service's word for what ended a cell; by what happened, never by the words of a message."""
    if status == "timeout" or cause == "timeout":
        return "timeout"
    if cause in agents.CAUSES or cause == "ModelCallError":
        return "llm_error"
    if cause in _DATA:
        return "data_error"
    return "invalid_config" if cause in _INVALID else "unknown"


def _spoken(receipt: Row) -> dict[str, list[int]] | None:
    counts: dict[str, int] = {}
    for key, _ in receipt.get("reports") or []:
        role = key.partition("/")[0]
        counts[role] = counts.get(role, 0) + 1
    return {role: [count, count] for role, count in counts.items()} or None


def _unix(at: dt.datetime | None) -> float | None:
    return at.timestamp() if at else None
