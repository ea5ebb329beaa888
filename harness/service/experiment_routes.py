"""/experiments and /plans: submit an experiment file, follow it, read its report and tables, pause and stop it."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from fastapi.responses import JSONResponse, RedirectResponse, StreamingResponse
from pydantic import BaseModel, ConfigDict
from redis import RedisError

from harness.cells import digest_of
from harness.checking import resolved as resolving
from harness.errors import InvalidInput, Problem
from harness.experiment import matrix, spec, yaml_file
from harness.queue import control
from harness.runs import status
from harness.service import accepted_keys, errors, months
from harness.service.auth import Caller, needs
from harness.service.errors import FIX_STORAGE, RESPONSES, ApiError
from harness.service.submissions import OPEN, RUNNING, SubmittedExperiment
from harness.storage import run_folder
from harness.storage.run_folder import RunFolder
from harness.web.live import REPORT, REPORT_FILE, REPORT_TYPES
from reports import exports, tables

if TYPE_CHECKING:
    from harness.experiment.spec import Experiment
    from harness.service.service import Service

router = APIRouter(tags=["experiments"])
MOST_OPEN = 20
_PLAN_S = 120.0
_EVENTS_S = 2.0
_MEDIA_TYPES = frozenset({"application/json", "application/yaml", "application/x-yaml", "text/yaml"})
_planning = asyncio.Semaphore(1)
_EXAMPLE = {
    "name": "two_models",
    "tickers": ["AAPL"],
    "dates": ["2026-02-12"],
    "repeats": 1,
    "models": {"small": {"provider": "openai", "model": "gpt-6-luna"}},
}
_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": {"type": "object"}, "example": _EXAMPLE},
            "application/yaml": {"schema": {"type": "string"}, "example": "name: two_models\ntickers: [AAPL]\n..."},
        },
    }
}
State = Literal["queued", "running", "stopping", "stopped", "done", "failed"]
Table = Literal["cells", "calls", "messages", "outcomes", "daily"]


class ExperimentBody(BaseModel):
    """A submitted experiment."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    experiment_id: str
    """Its id, a UUID."""
    name: str
    state: State
    run_id: str | None
    """Its run; null until it has begun."""
    submitted_at: str
    started_at: str | None
    ended_at: str | None
    exit_code: int | None
    """0 done; 2 something must be fixed; 3 stopped early; 4 a gate failed."""
    words: str
    """What the run printed last, once it has ended."""
    reason: str = ""
    """Why it waits, stopped or failed; empty if that needs no reason."""
    progress: dict[str, Any] | None = None
    """Cells, calls, tokens, cost and time left, as `status --json` prints them."""


class ExperimentListBody(BaseModel):
    """Submitted experiments, the newest first."""

    experiments: list[ExperimentBody]
    total: int


def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


def visible(request: Request, experiment_id: str, caller: Caller) -> SubmittedExperiment:
    """The submission, if this caller may see it. Raises ApiError (404)."""
    submission = _service(request).experiments.get(experiment_id)
    if submission is None or caller.sees_only not in (None, submission.owner):
        raise ApiError(404, "not_found", "there is no such experiment", "see GET /experiments")
    return submission


# --- submitting -----------------------------------------------------------------------------------------------------------


async def _document(request: Request) -> str:
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type not in _MEDIA_TYPES:
        what = f"the content type is {media_type or 'missing'}"
        raise ApiError(415, "unsupported_media_type", what, "send application/json or application/yaml")
    try:
        return (await request.body()).decode()
    except UnicodeDecodeError as error:
        raise ApiError(400, "bad_request", "the body is not UTF-8", "send the experiment as JSON or YAML in UTF-8") from error


def _checked(text: str, service: Service) -> tuple[str, Experiment]:
    """The submitted experiment as a YAML text with the service's cap. Raises ApiError (422) with all problems."""
    with _file(text) as path:
        try:
            document = yaml_file.load(path)
            if not isinstance(document.value, dict):
                raise InvalidInput([Problem("body", "no experiment: keys and values are expected", "send an object")])
            if refused := accepted_keys.problems(document.value, service.experiment.resolved()):
                raise InvalidInput(refused)
            cap_usd = months.cap_usd(service.resolved)
            overrides = {} if cap_usd is None else {"budget.month_usd": cap_usd}
            experiment = spec.load(path, overrides, service.options.experiment.resolve().parent)
            matrix.expand(experiment)
            _check_servers(experiment, service)
        except InvalidInput as error:
            named = [replace(problem, where=problem.where.replace(str(path), "body")) for problem in error.problems]
            raise errors.of_problems(named, "invalid_experiment") from error
    return experiment.to_yaml(), experiment


@contextmanager
def _file(text: str) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="experiment-") as folder:
        path = Path(folder) / "experiment.yaml"
        path.write_text(text, encoding="utf-8")
        yield path


def _check_servers(experiment: Experiment, service: Service) -> None:
    """Refuse servers that the service does not have, and spending without a cap. Raises InvalidInput."""
    options = service.options
    resolved = resolving.resolve(experiment, options.experiment.resolve().parent, options.servers)
    if resolved.hosted and months.cap_usd(service.resolved) is None:
        what = f"{', '.join(sorted(resolved.hosted))} bills by token, and this service has no budget.month_usd"
        raise InvalidInput([Problem("models", what, "use its local models, or let its owner set budget: {month_usd: N}")])


@router.post("/experiments", status_code=202, responses=RESPONSES, openapi_extra=_BODY, summary="Run an experiment")
async def submit_experiment(
    request: Request,
    caller: Annotated[Caller, Depends(needs("submit"))],
    idempotency_key: Annotated[str | None, Header(max_length=200)] = None,
) -> ExperimentBody:
    """Accept an experiment file, as JSON or YAML. The same Idempotency-Key again returns the same experiment."""
    service, text = _service(request), await _document(request)
    service.limits.take(caller.name)
    return await asyncio.to_thread(_submit, service, caller, text, idempotency_key)


def _submit(service: Service, caller: Caller, text: str, key: str | None) -> ExperimentBody:
    submissions, content = service.experiments, digest_of([text])
    if key is not None and (earlier := submissions.with_key(caller.name, key)):
        if earlier.content != content:
            what = "this Idempotency-Key was used for another experiment"
            raise ApiError(409, "key_reused", what, "use another Idempotency-Key")
        return _body(service, earlier)
    checked, experiment = _checked(text, service)
    if sum(one.now.state in OPEN for one in submissions.all()) >= MOST_OPEN:
        what = f"{MOST_OPEN} experiments are open already"
        raise ApiError(429, "too_many_open", what, "wait until one has ended, or stop one", {"retry-after": "60"})
    try:
        submission = submissions.create(name=experiment.name, owner=caller.name, text=checked, content=content, key=key)
    except OSError as error:
        raise ApiError(507, "storage_full", f"the experiment cannot be stored: {error.strerror}", FIX_STORAGE) from error
    service.audit(caller, "submit_experiment", experiment_id=submission.experiment_id, name=experiment.name)
    return _body(service, submission)


@router.post("/plans", responses=RESPONSES, openapi_extra=_BODY, summary="Forecast an experiment")
async def plan(request: Request, caller: Annotated[Caller, Depends(needs("read"))]) -> JSONResponse:
    """What an experiment would cost and take, and what it can show, as `plan --json` prints it. Spends nothing."""
    service, text = _service(request), await _document(request)
    service.limits.take(caller.name)
    checked, _ = await asyncio.to_thread(_checked, text, service)
    async with _planning:
        return JSONResponse(await asyncio.to_thread(_plan, service, checked))


def _plan(service: Service, text: str) -> Any:
    """In a process of its own: a forecast computes for seconds."""
    options = service.options
    with _file(text) as path:
        words = [sys.executable, "-m", "harness", "plan", str(path), "--json", "--results", options.results]
        words += ["--folder", str(options.experiment.resolve().parent), "--snapshots", str(options.snapshots)]
        words += ["--servers", str(options.servers)] if options.servers else []
        try:
            ended = subprocess.run(words, capture_output=True, text=True, timeout=_PLAN_S, check=False)
        except subprocess.TimeoutExpired as error:
            what = f"the forecast took longer than {_PLAN_S:g} s"
            raise ApiError(422, "too_large_to_plan", what, "plan a part of it, or run `plan` on the machine") from error
    if ended.returncode != 0:
        raise ApiError(422, "invalid_experiment", ended.stderr.strip().replace(str(path), "body"), "correct the experiment")
    return json.loads(ended.stdout)


# --- following ------------------------------------------------------------------------------------------------------------


@router.get("/experiments", responses=RESPONSES, summary="List experiments")
def list_experiments(
    request: Request,
    caller: Annotated[Caller, Depends(needs("read"))],
    state: Annotated[State | None, Query()] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> ExperimentListBody:
    """Submitted experiments that this token may see, the newest first."""
    seen = [one for one in _service(request).experiments.all() if caller.sees_only in (None, one.owner)]
    wanted = [one for one in seen if state in (None, one.now.state)]
    return ExperimentListBody(experiments=[_plain(one) for one in wanted[:limit]], total=len(wanted))


@router.get("/experiments/{experiment_id}", responses=RESPONSES, summary="Progress of an experiment")
def get_experiment(request: Request, experiment_id: str, caller: Annotated[Caller, Depends(needs("read"))]) -> ExperimentBody:
    """State and progress."""
    return _body(_service(request), visible(request, experiment_id, caller))


@router.get(
    "/experiments/{experiment_id}/events",
    responses={**RESPONSES, 200: {"content": {"text/event-stream": {}}, "description": "Progress as server-sent events"}},
    summary="Progress as server-sent events",
    response_class=StreamingResponse,
)
def follow_experiment(
    request: Request, experiment_id: str, caller: Annotated[Caller, Depends(needs("read"))]
) -> StreamingResponse:
    """An event `progress` at each change, and `end` as the last one; the data is that of GET /experiments/{id}."""
    visible(request, experiment_id, caller)
    return StreamingResponse(_events(request, experiment_id, caller), media_type="text/event-stream")


async def _events(request: Request, experiment_id: str, caller: Caller) -> AsyncIterator[str]:
    service, last = _service(request), ""
    while not await request.is_disconnected():
        submission = await asyncio.to_thread(visible, request, experiment_id, caller)
        text = (await asyncio.to_thread(_body, service, submission)).model_dump_json()
        is_over = submission.is_over
        if text != last or is_over:
            yield f"event: {'end' if is_over else 'progress'}\ndata: {text}\n\n"
        else:
            yield ": waiting\n\n"
        if is_over:
            return
        last = text
        await asyncio.sleep(_EVENTS_S)


@router.get("/experiments/{experiment_id}/report", responses=RESPONSES, summary="The report, as a page")
def report(request: Request, experiment_id: str, caller: Annotated[Caller, Depends(needs("read"))]) -> RedirectResponse:
    """Leads to the page; 409 while there is none."""
    submission = visible(request, experiment_id, caller)
    run = run_of(_service(request), submission)
    if run is None or not run.store.folder.exists(REPORT):
        raise ApiError(409, "no_report_yet", f"the experiment is {submission.now.state} and has no report", "wait for its end")
    return RedirectResponse(f"/experiments/{experiment_id}/report/{REPORT}")


@router.get("/experiments/{experiment_id}/report/{name:path}", responses=RESPONSES, include_in_schema=False)
def report_file(request: Request, experiment_id: str, name: str, caller: Annotated[Caller, Depends(needs("read"))]) -> Response:
    """A file of the report, and nothing else of the run folder."""
    run = run_of(_service(request), visible(request, experiment_id, caller))
    content = run.store.folder.read_if_there(name) if run and REPORT_FILE.fullmatch(name) else None
    if content is None:
        raise ApiError(404, "not_found", "the report has no such file")
    # The page has the policy for its content; this one lets nobody else frame it.
    headers = {"content-security-policy": "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"}
    return Response(content, headers=headers, media_type=REPORT_TYPES[name.rpartition(".")[2]])


@router.get("/experiments/{experiment_id}/tables/{table}", responses=RESPONSES, summary="A result table")
def table(
    request: Request,
    experiment_id: str,
    table: Table,
    caller: Annotated[Caller, Depends(needs("read"))],
    format: Annotated[Literal["parquet", "csv"], Query()] = "parquet",
) -> Response:
    """A table of the run with what has ended so far, as Parquet or CSV."""
    service = _service(request)
    run = run_of(service, visible(request, experiment_id, caller))
    if run is None:
        raise ApiError(409, "not_started", "the experiment has no results yet", "wait until it has begun")
    address = run_folder.with_tables(service.options.results, f"{run.experiment}/{run.run_id}")
    name = f"{run.run_id}-{table}.{format}"
    disposition = {"content-disposition": f'attachment; filename="{name}"'}
    if format == "csv":
        return Response(exports.export(address, "csv", table), headers=disposition, media_type="text/csv; charset=utf-8")
    assert table in tables.TABLES
    content = run.store.folder.read_if_there(f"{table}.parquet")
    if content is None:
        raise ApiError(409, "no_such_table_yet", f"the run has no table {table} yet", "wait for its end")
    return Response(content, headers=disposition, media_type="application/vnd.apache.parquet")


# --- steering -------------------------------------------------------------------------------------------------------------


@router.post("/experiments/{experiment_id}/pause", responses=RESPONSES, summary="Start no further cell")
def pause(request: Request, experiment_id: str, caller: Annotated[Caller, Depends(needs("submit"))]) -> ExperimentBody:
    """Cells that run go on to their end."""
    return _steer(request, visible(request, experiment_id, caller), caller, control.PAUSE)


@router.post("/experiments/{experiment_id}/resume", responses=RESPONSES, summary="Continue after a pause, a stop or a failure")
def resume(request: Request, experiment_id: str, caller: Annotated[Caller, Depends(needs("submit"))]) -> ExperimentBody:
    """A stopped or failed experiment is continued where it was; nothing is paid again."""
    service, submission = _service(request), visible(request, experiment_id, caller)
    if not submission.can_resume:
        return _steer(request, submission, caller, control.RUN)
    with _as_api_error():
        submission.wish_resume()
        if submission.unstored and service.experiments.unstored:
            service.experiments.unstored.forget(experiment_id)
    service.audit(caller, "resume_experiment", experiment_id=experiment_id)
    return _body(service, visible(request, experiment_id, caller))


@router.post("/experiments/{experiment_id}/stop", responses=RESPONSES, summary="Stop; resume continues")
def stop(request: Request, experiment_id: str, caller: Annotated[Caller, Depends(needs("submit"))]) -> ExperimentBody:
    """Requests in flight end first. An experiment that has ended stays as it is."""
    service, submission = _service(request), visible(request, experiment_id, caller)
    if submission.now.state in OPEN:
        with _as_api_error():
            submission.wish_stop()
        service.audit(caller, "stop_experiment", experiment_id=experiment_id)
    return _body(service, submission)


@contextmanager
def _as_api_error() -> Iterator[None]:
    try:
        yield
    except RedisError as error:
        raise errors.unavailable("Redis does not answer", "try again") from error
    except OSError as error:
        raise ApiError(
            507, "storage_full", f"the disk refuses it: {error.strerror}", f"{FIX_STORAGE}, then try again"
        ) from error


def _steer(request: Request, submission: SubmittedExperiment, caller: Caller, wish: str) -> ExperimentBody:
    service = _service(request)
    if submission.now.state != RUNNING or submission.now.run_id is None:
        raise ApiError(409, "not_running", f"the experiment is {submission.now.state}", "only a running one can be paused")
    try:
        control.request(service.client, submission.now.run_id, wish)
    except (RedisError, OSError) as error:
        raise errors.unavailable("Redis does not answer", "try again; nothing has changed") from error
    service.audit(caller, f"{wish}_experiment", experiment_id=submission.experiment_id)
    return _body(service, submission)


# --- bodies ---------------------------------------------------------------------------------------------------------------


def run_of(service: Service, submission: SubmittedExperiment) -> RunFolder | None:
    """The run of an experiment, once it has begun."""
    if submission.now.run_id is None:
        return None
    try:
        return run_folder.find(service.options.results, f"{submission.name}/{submission.now.run_id}")
    except InvalidInput:
        return None


def _plain(submission: SubmittedExperiment) -> ExperimentBody:
    now = submission.now
    return ExperimentBody(
        experiment_id=submission.experiment_id,
        name=submission.name,
        state=now.state,  # type: ignore[arg-type]  # pydantic checks it
        run_id=now.run_id,
        submitted_at=submission.submitted_at,
        started_at=now.started_at,
        ended_at=now.ended_at,
        exit_code=now.exit_code,
        words=now.words,
        reason=submission.reason,
    )


def _body(service: Service, submission: SubmittedExperiment) -> ExperimentBody:
    body, run = _plain(submission), run_of(service, submission)
    if run is not None:
        progress = status.read_status(run, service.broker).as_json()
        body.progress = {key: value for key, value in progress.items() if key != "folder"}
    return body
