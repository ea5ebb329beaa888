"""/jobs: submit a decision, list, follow, read the result, stop."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import APIRouter, Body, Depends, Header, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from harness.service import months, results
from harness.service.auth import Caller, needs
from harness.service.errors import RESPONSES, ApiError, not_found, unavailable
from harness.service.jobs import (
    CANCELLED,
    COMPLETED,
    OPEN,
    Job,
    JobFilter,
    JobStore,
    KeyReused,
    NewJob,
    StorageBusy,
    StorageFull,
    TooManyOpen,
)
from harness.service.submitting import JobRequest

if TYPE_CHECKING:
    from harness.service.service import Service

router = APIRouter(tags=["jobs"])
_CASE = {"ticker": "NVDA", "date": "2026-02-12"}
_EXAMPLES: dict[str, Any] = {
    "default": {"summary": "The first arm decides", "value": _CASE},
    "steps": {
        "summary": "Three rounds of debate, two analysts",
        "value": _CASE | {"pipeline": {"depth": "medium", "analysts": ["market", "news"]}},
    },
    "fresh": {"summary": "Decide again", "value": _CASE | {"fresh": True}},
    "former": {
        "summary": "Body of the former service",
        "value": _CASE | {"config": {"max_debate_rounds": 1, "selected_analysts": ["market", "social"]}},
    },
}
Status = Literal["pending", "running", "completed", "failed", "cancelled"]
Moment = Annotated[str | None, Field(json_schema_extra={"format": "date-time"})]


class _Answer(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True)


class Cause(_Answer):
    """Why a job failed or waits."""

    code: str
    message: str
    fix: str = ""


class Done(_Answer):
    """Answers of one role."""

    done: int
    total: int


class JobBody(_Answer):
    """One job."""

    job_id: str
    """Its id, a UUID."""
    status: Status
    created_at: Moment
    started_at: Moment = None
    completed_at: Moment = None
    ticker: str
    date: str
    error: str | None = None
    error_type: Literal["timeout", "llm_error", "data_error", "invalid_config", "unknown"] | None = None
    retry_count: int = 0
    """Executions after the first one."""
    arm: str
    """Who decides: an arm of the served experiment, or a name made from the request."""
    attempts: int = 0
    cause: Cause | None = None
    progress: dict[str, Done] | None = None
    """role -> answers so far, and in all."""
    notes: list[str] = []
    """How parts of the request were understood."""
    reused: bool = False
    """Whether this question was answered before: nothing was paid again."""
    cell_id: str | None = None
    month: str
    """The month's run that holds it."""
    callback: str | None = None


class JobListBody(_Answer):
    """One page of jobs, the newest first."""

    jobs: list[JobBody]
    total: int
    """Jobs that fit the filter."""
    next_cursor: int | None = None
    """Pass it as `cursor` for the next page; null on the last one."""


class ResultBody(_Answer):
    """The decision; every field but the first three is null until the job has ended."""

    job_id: str
    ticker: str
    date: str
    decision: Literal["BUY", "SELL", "HOLD"] | None
    final_state: dict[str, Any] | None
    """The state of the graph: reports, debates, plans, final_trade_decision."""
    reports: dict[str, str | None]
    """market, sentiment, news, fundamentals."""
    status: Status
    error: str | None
    error_type: str | None
    cause: Cause | None
    arm: str
    rating: Literal["Buy", "Overweight", "Hold", "Underweight", "Sell"] | None
    confidence: float | None
    """0 to 1, as stated by the model."""
    target_price: float | None
    horizon: str | None
    rationale: str | None
    decision_status: str | None
    stage_ratings: dict[str, str | None]
    cost_usd: float | None
    """Null if a price is unknown."""
    cost_basis: str | None
    tokens: dict[str, int | None]
    """input, cached, output, reasoning."""
    llm_calls: int | None
    latency_s: float | None
    service_s: float | None
    queued_s: float | None
    reused: bool
    notes: list[str]


class StoppedBody(_Answer):
    """What DELETE did."""

    job_id: str
    status: Literal["cancelled", "deleted"]


def _only(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {status: RESPONSES[status] for status in (401, 422, 503, 507, *statuses)}


def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


@router.post(
    "/jobs",
    status_code=202,
    response_model=JobBody,
    responses=_only(400, 403, 413, 429)
    | {409: {**RESPONSES[422], "description": "The idempotency key was used for another request"}},
    summary="Submit one decision",
)
async def submit(
    request: Request,
    body: Annotated[JobRequest, Body(openapi_examples=_EXAMPLES)],
    caller: Annotated[Caller, Depends(needs("submit"))],
    idempotency_key: Annotated[
        str | None,
        Header(min_length=1, max_length=200, pattern=r"^[!-~]+$", description="A repeated POST with it is the same job."),
    ] = None,
) -> Response:
    """Answers at once with the job's id; the request is on disk by then."""
    service = _service(request)
    service.limits.take(caller.name)
    new = _new_job(service, caller, body, idempotency_key)
    await service.check_accepting()
    await _check_budget(service)
    try:
        job, is_new = await asyncio.to_thread(service.jobs.create, new, service.options.most_open)
        if is_new:
            await asyncio.to_thread(
                service.audit, caller, "submit", job_id=job.job_id, ticker=job.ticker, date=job.date, arm=job.arm
            )
    except KeyReused as error:
        raise ApiError(409, "key_reused", str(error), "use another Idempotency-Key") from error
    except TooManyOpen as error:
        raise ApiError(429, "too_many_open", str(error), "wait until some have ended", {"retry-after": "30"}) from error
    except (StorageFull, OSError) as error:
        raise _full(error) from error
    except StorageBusy as error:
        raise unavailable(str(error)) from error
    await service.ring()
    return JSONResponse(results.job_body(job), 202, {"location": f"/jobs/{job.job_id}"})


def _new_job(service: Service, caller: Caller, body: JobRequest, idempotency_key: str | None) -> NewJob:
    if body.callback_url is not None:
        service.callbacks.check(str(body.callback_url))
    return service.desk.new_job(body, caller.name, idempotency_key)


async def _check_budget(service: Service) -> None:
    bill = await service.bill()
    if bill.is_used_up:
        what = f"the month's budget is used up: ${bill.spent_usd:.2f} of ${bill.cap_usd:.2f}"
        wait_s = max(1, int(months.end_of(bill.month).timestamp() - months.now()))
        fix = "raise budget.month_usd in the served experiment, or wait for the next month"
        raise ApiError(429, "over_budget", what, fix, {"retry-after": str(wait_s)})


@router.get("/jobs", response_model=JobListBody, responses=_only(), summary="List jobs, the newest first")
async def list_jobs(
    request: Request,
    caller: Annotated[Caller, Depends(needs("read"))],
    status: Annotated[Status | None, Query(description="Only jobs with this status.")] = None,
    ticker: Annotated[str | None, Query(max_length=16, description="Only jobs of this ticker.")] = None,
    arm: Annotated[str | None, Query(max_length=200, description="Only jobs of this arm.")] = None,
    date: Annotated[
        str | None, Query(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$", description="Only jobs of this decision date.")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=200, description="Jobs on the page.")] = 50,
    cursor: Annotated[int | None, Query(ge=1, le=2**62, description="`next_cursor` of the page before.")] = None,
) -> Response:
    wanted = JobFilter(caller.sees_only, status, ticker.upper() if ticker else None, arm, date)
    page = await _stored(_service(request).jobs.page, wanted, limit, cursor)
    jobs = [results.job_body(job) for job in page.jobs]
    return JSONResponse({"jobs": jobs, "total": page.total, "next_cursor": page.next_cursor})


@router.get("/jobs/{job_id}", response_model=JobBody, responses=_only(404), summary="Follow a job")
async def get_job(request: Request, job_id: str, caller: Annotated[Caller, Depends(needs("read"))]) -> Response:
    service = _service(request)
    job = await find(service, caller, job_id)
    return JSONResponse(results.job_body(job, await service.progress(job)))


@router.get(
    "/jobs/{job_id}/result",
    response_model=ResultBody,
    responses=_only(404)
    | {409: {"model": ResultBody, "description": "The job has not completed; the body has the same fields"}},
    summary="Read the decision",
)
async def get_result(request: Request, job_id: str, caller: Annotated[Caller, Depends(needs("read"))]) -> Response:
    service = _service(request)
    job = await find(service, caller, job_id)
    if job.is_open or job.cell_id is None:
        return JSONResponse(results.result_body(job, None), 409)
    body = await asyncio.to_thread(results.read_result, job, service.store_of(job.month))
    return JSONResponse(body, 200 if job.status == COMPLETED else 409)


@router.delete(
    "/jobs/{job_id}", response_model=StoppedBody, responses=_only(403, 404), summary="Stop a job, or remove an ended one"
)
async def delete_job(request: Request, job_id: str, caller: Annotated[Caller, Depends(needs("submit"))]) -> Response:
    """An open job is cancelled: no further request is sent for it. An ended one leaves the list; the tables keep it."""
    service = _service(request)
    job = await find(service, caller, job_id)
    if caller.sees_only is None and job.owner != caller.name and not service.is_open:
        raise ApiError(403, "forbidden", "the job belongs to another token", "use the token that submitted it")
    await service.check_accepting()
    now = months.now()
    cause = {"code": "cancelled", "message": f"cancelled by {caller.name}", "fix": ""}
    change = {"status": CANCELLED, "completed_at": now, "error": cause["message"], "cause": cause}
    status = "deleted"
    if await _stored(_update_open, service.jobs, job.job_id, change):
        status = "cancelled"
        await service.ring(cancelled=job)
    elif not await _stored(service.jobs.delete, job.job_id):
        raise not_found()
    await _stored(service.audit, caller, "stop" if status == "cancelled" else "delete", job_id=job.job_id)
    return JSONResponse({"job_id": job.job_id, "status": status})


def _update_open(jobs: JobStore, job_id: str, change: dict[str, Any]) -> bool:
    return jobs.update(job_id, only=OPEN, **change)


async def find(service: Service, caller: Caller, job_id: str) -> Job:
    """The job, if there is one and this caller may see it. Raises ApiError (404)."""
    job = await _stored(service.jobs.get, job_id) if len(job_id) == 36 and job_id.isascii() else None
    if job is None or caller.sees_only not in (None, job.owner):
        raise not_found()
    return job  # type: ignore[no-any-return]


async def _stored(step: Any, *args: Any, **kwargs: Any) -> Any:
    try:
        return await asyncio.to_thread(step, *args, **kwargs)
    except StorageBusy as error:
        raise unavailable(str(error)) from error
    except (StorageFull, OSError) as error:
        raise _full(error) from error


def _full(error: Exception) -> ApiError:
    return ApiError(
        507, "storage_full", f"the request was not stored: {error}", "free space on the disk of the service, then send it again"
    )
