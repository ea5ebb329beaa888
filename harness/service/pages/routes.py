"""Routes of the pages: /, a job, a run with its report, the form with its price, and signing in."""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response
from fastapi.routing import APIRoute
from pydantic import ValidationError

from harness.errors import Problem
from harness.service import experiment_routes, job_routes
from harness.service.auth import COOKIE, LOCAL, READ, SUBMIT, Caller, needs
from harness.service.errors import ApiError, not_found, of_problems
from harness.service.jobs import COMPLETED, STATUSES, JobFilter
from harness.service.pages import render
from harness.service.pages.prices import Prices
from harness.service.pages.reporting import REPORT, Reporting
from harness.service.pages.view import Watch
from harness.service.submitting import JobQuestion, JobRequest

if TYPE_CHECKING:
    from harness.service.service import Service
    from harness.storage.run_folder import RunFolder

_MOST_FIELDS = 20
_SIGNED_IN_S = 7 * 86_400
_REPORT_FILE = re.compile(r"report\.html|cases/[A-Za-z0-9._@~-]+\.(html|svg)")
_TYPES = {"html": "text/html; charset=utf-8", "svg": "image/svg+xml"}
_META_POLICY = re.compile(rb'http-equiv="Content-Security-Policy" content="([^"]*)"')
_SIGN_IN = "/page/sign-in"


class SignedOut(Exception):
    """The browser has no token: it is sent to the page where one is entered."""


class PageRoute(APIRoute):
    """A route for people: errors are pages, and only this page's own forms may change anything."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        answer = super().get_route_handler()

        async def for_people(request: Request) -> Response:
            try:
                if request.method == "POST":
                    _check_origin(request)
                return await answer(request)
            except SignedOut:
                return _to(_SIGN_IN)
            except ApiError as error:
                return render.page("error", error.status, error=error, experiment="", caller=None)

        return for_people


def _check_origin(request: Request) -> None:
    """Refuse a form of another site. Browsers say where a form is from; other programs have the JSON routes."""
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin", "")
    is_own = site == "same-origin" if site else urlsplit(origin).netloc == request.headers.get("host")
    if not is_own:
        raise ApiError(403, "other_origin", "the form is from another site", "open the page and send the form from there")


router = APIRouter(include_in_schema=False, route_class=PageRoute)


class Pages:
    """What the pages of one application remember."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.watch = Watch(service)
        self.prices = Prices(service.options)
        self.reporting = Reporting(service.options.results)


def _pages(request: Request) -> Pages:
    state = request.app.state
    if not hasattr(state, "pages"):
        state.pages = Pages(state.service)
    pages: Pages = state.pages
    return pages


_readers, _submitters = needs(READ), needs(SUBMIT)


def _reader(request: Request) -> Caller:
    """Who asks. Raises SignedOut."""
    try:
        return _readers(request)
    except ApiError as error:
        if error.status == 401:
            raise SignedOut from error
        raise


def _frame(pages: Pages, caller: Caller) -> dict[str, Any]:
    """What every page needs."""
    return {
        "experiment": pages.service.experiment.name,
        "caller": None if caller.name == LOCAL else caller.name,
        "may_submit": SUBMIT in caller.scopes,
    }


@router.get("/static/{name}")
async def static(name: str) -> Response:
    answer = render.asset(name)
    if answer is None:
        raise not_found("there is no such file")
    return answer


@router.get("/favicon.ico")
async def no_icon() -> Response:
    return Response(status_code=204)


@router.get("/")
async def home(request: Request) -> Response:
    return await _home(request)


async def _home(request: Request, fields: Mapping[str, str] | None = None, error: ApiError | None = None) -> Response:
    pages, caller = _pages(request), _reader(request)
    wanted, cursor, query = _filter(request, caller)
    view = await pages.watch.home(caller, wanted, cursor)
    experiment = pages.service.experiment
    return render.page(
        "home",
        error.status if error else 200,
        **_frame(pages, caller),
        **_live_values(view, wanted, query),
        fields=fields or {},
        error=error,
        arms=list(experiment.arms),
        default_arm=str(experiment.baseline),
        statuses=STATUSES,
        ticker=experiment.tickers[0],
    )


def _live_values(view: Any, wanted: JobFilter, query: str) -> dict[str, Any]:
    return {"view": view, "wanted": wanted, "query": query, "reads_all": wanted.owner is None}


def _filter(request: Request, caller: Caller) -> tuple[JobFilter, int | None, str]:
    """Which jobs the list shows; unknown values of the address count as not given."""
    given = request.query_params
    status = given.get("status") if given.get("status") in STATUSES else None
    ticker = given.get("ticker", "").strip().upper()[:16] or None
    cursor = int(given["cursor"]) if given.get("cursor", "").isascii() and given.get("cursor", "")[:18].isdigit() else None
    query = urlencode({name: value for name, value in (("status", status), ("ticker", ticker)) if value})
    return JobFilter(caller.sees_only, status, ticker), cursor, query


@router.get("/page/live")
async def live(request: Request) -> Response:
    """The part of the first page that changes by itself."""
    pages, caller = _pages(request), _reader(request)
    wanted, cursor, query = _filter(request, caller)
    view = await pages.watch.home(caller, wanted, cursor)
    return render.page("live", **_live_values(view, wanted, query))


@router.get("/page/jobs/{job_id}")
async def job_page(request: Request, job_id: str) -> Response:
    pages, caller, values = await _job_values(request, job_id)
    return render.page("job", **_frame(pages, caller), **values)


@router.get("/page/jobs/{job_id}/live")
async def job_live(request: Request, job_id: str) -> Response:
    _, _, values = await _job_values(request, job_id)
    answer = render.page("job_live", **values)
    if not values["job"].is_open:
        answer.headers["x-ended"] = "1"
    return answer


async def _job_values(request: Request, job_id: str) -> tuple[Pages, Caller, dict[str, Any]]:
    pages, caller = _pages(request), _reader(request)
    job = await job_routes.find(pages.service, caller, job_id)
    row = await pages.watch.row(job)
    progress = await pages.service.progress(job) if job.is_open else {}
    values = {"row": row, "job": job, "progress": progress, "result": row.result, "texts": _texts(row.result)}
    return pages, caller, values | {"may_stop": SUBMIT in caller.scopes and job.is_open}


def _texts(result: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What the roles wrote, in the order of the debate."""
    state = result.get("final_state") or {}
    reports = result.get("reports") or {}
    debate, risk = state.get("investment_debate_state") or {}, state.get("risk_debate_state") or {}
    texts = [
        ("Final decision", state.get("final_trade_decision")),
        *((f"{name.capitalize()} report", text) for name, text in reports.items()),
        ("Debate: bull and bear", debate.get("history")),
        ("Research manager", state.get("investment_plan")),
        ("Trader", state.get("trader_investment_plan")),
        ("Debate: risk", risk.get("history")),
    ]
    return [(title, text) for title, text in texts if text]


@router.post("/page/jobs/{job_id}/stop")
async def stop(request: Request, job_id: str) -> Response:
    _reader(request)
    await job_routes.delete_job(request, job_id, _submitters(request))
    return _to(f"/page/jobs/{job_id}")


@router.get("/page/experiments/{experiment_id}")
async def experiment_page(request: Request, experiment_id: str) -> Response:
    pages, caller, values = await _experiment_values(request, experiment_id)
    text = await asyncio.to_thread(values["submission"].file.read_text, "utf-8")
    return render.page("experiment", **_frame(pages, caller), **values, text=text)


@router.get("/page/experiments/{experiment_id}/live")
async def experiment_live(request: Request, experiment_id: str) -> Response:
    pages, caller, values = await _experiment_values(request, experiment_id)
    answer = render.page("experiment_live", **_frame(pages, caller), **values)
    if not values["is_open"]:
        answer.headers["x-ended"] = "1"
    return answer


async def _experiment_values(request: Request, experiment_id: str) -> tuple[Pages, Caller, dict[str, Any]]:
    pages, caller = _pages(request), _reader(request)
    submission = await asyncio.to_thread(experiment_routes.visible, request, experiment_id, caller)
    run = await asyncio.to_thread(experiment_routes.run_of, pages.service, submission)
    has_report = run is not None and await asyncio.to_thread(run.store.folder.exists, REPORT)
    values = {"submission": submission, "run": run, "has_report": has_report, "reads_all": caller.sees_only is None}
    return pages, caller, values | {"is_open": not submission.is_over}


@router.post("/page/experiments/{experiment_id}/stop")
async def stop_experiment(request: Request, experiment_id: str) -> Response:
    return await _steer_experiment(request, experiment_id, experiment_routes.stop)


@router.post("/page/experiments/{experiment_id}/resume")
async def resume_experiment(request: Request, experiment_id: str) -> Response:
    return await _steer_experiment(request, experiment_id, experiment_routes.resume)


async def _steer_experiment(request: Request, experiment_id: str, steer: Callable[..., Any]) -> Response:
    _reader(request)
    await asyncio.to_thread(steer, request, experiment_id, _submitters(request))
    return _to(f"/page/experiments/{experiment_id}")


@router.post("/page/price")
async def price(request: Request) -> Response:
    """The price of one decision, and the button that submits it."""
    pages = _pages(request)
    _reader(request)
    caller = _submitters(request)
    fields = await _form(request)
    try:
        body, question = _asked(pages.service, fields)
        cell = pages.service.desk.cell(question)
    except ApiError as error:
        return await _home(request, fields, error)
    typical_s, mean_usd, count = pages.watch.measured(question.arm_name)
    earlier = pages.service.jobs.page(
        JobFilter(status=COMPLETED, ticker=question.case.ticker, arm=question.arm_name, date=str(question.case.date)), 5
    ).jobs
    return render.page(
        "price",
        **_frame(pages, caller),
        fields=fields,
        body=body,
        arm=question.arm_name,
        price=await pages.prices.of(question.arm_name),
        answered=next((job for job in earlier if job.question == cell.cell_id), None),
        measured={"seconds": typical_s, "usd": mean_usd, "count": count},
        key=secrets.token_urlsafe(16),
    )


@router.post("/page/jobs")
async def submit(request: Request) -> Response:
    """Submit the decision whose price was shown; the key of the form makes a second click the same job."""
    pages = _pages(request)
    _reader(request)
    caller = _submitters(request)
    fields = await _form(request)
    key = fields.get("key", "")
    try:
        body, _ = _asked(pages.service, fields)
        answer = await job_routes.submit(request, body, caller, key if re.fullmatch(r"[!-~]{1,200}", key) else None)
    except ApiError as error:
        return await _home(request, fields, error)
    return _to(f"/page{answer.headers['location']}")


def _asked(service: Service, fields: Mapping[str, str]) -> tuple[JobRequest, JobQuestion]:
    """The form as a request. Raises ApiError (422)."""
    plain: dict[str, Any] = {name: fields.get(name, "").strip() for name in ("ticker", "date", "arm") if fields.get(name)}
    plain["ticker"] = str(plain.get("ticker", "")).upper()
    try:
        body = JobRequest.model_validate(plain | {"fresh": fields.get("fresh") == "on"})
    except ValidationError as error:
        raise of_problems([_problem(each) for each in error.errors()]) from error
    return body, service.desk.question(body)


def _problem(raw: Mapping[str, Any]) -> Problem:
    return Problem(".".join(map(str, raw["loc"])), str(raw["msg"]), "correct the form")


async def _form(request: Request) -> dict[str, str]:
    """The fields of a form as browsers send it."""
    raw = await request.body()
    try:
        return dict(parse_qsl(raw.decode("ascii"), keep_blank_values=True, max_num_fields=_MOST_FIELDS, errors="strict"))
    except ValueError as error:
        raise ApiError(400, "bad_request", "the form cannot be read", "send it from the page") from error


@router.get("/page/runs/{experiment}/{run_id}")
async def run_page(request: Request, experiment: str, run_id: str) -> Response:
    pages, caller, values = await _run_values(request, experiment, run_id)
    return render.page("run", **_frame(pages, caller), **values)


@router.get("/page/runs/{experiment}/{run_id}/live")
async def run_live(request: Request, experiment: str, run_id: str) -> Response:
    _, _, values = await _run_values(request, experiment, run_id)
    return render.page("run_live", **values)


async def _run_values(request: Request, experiment: str, run_id: str) -> tuple[Pages, Caller, dict[str, Any]]:
    pages, caller = _pages(request), _reader(request)
    run = _run(pages, caller, experiment, run_id)
    is_month = pages.watch.is_month(run)
    values = {
        "run": run,
        "seen": None if is_month else await pages.watch.run(run),
        "counts": await pages.watch.counts(caller) if is_month else None,
        "report": await pages.reporting.renewed(run),
    }
    return pages, caller, values


def _run(pages: Pages, caller: Caller, experiment: str, run_id: str) -> RunFolder:
    """The run, if there is one and the caller may read everything. Raises ApiError (404)."""
    run = pages.watch.find_run(experiment, run_id) if caller.sees_only is None else None
    if run is None:
        raise not_found("there is no such run")
    return run


@router.get("/page/runs/{experiment}/{run_id}/{file:path}")
async def report_file(request: Request, experiment: str, run_id: str, file: str) -> Response:
    """The report and its pages of cases, under their own policy."""
    pages, caller = _pages(request), _reader(request)
    run = _run(pages, caller, experiment, run_id)
    content = run.store.folder.read_if_there(file) if _REPORT_FILE.fullmatch(file) else None
    if content is None:
        raise not_found("there is no such page of a report")
    policy = _META_POLICY.search(content[:20_000])
    declared = policy[1].decode().replace("&#39;", "'") if policy else "default-src 'none'"
    headers = {"content-security-policy": f"{declared}; frame-ancestors 'none'"}
    return Response(content, headers=headers, media_type=_TYPES[file.rpartition(".")[2]])


@router.get(_SIGN_IN)
async def sign_in_form(request: Request) -> Response:
    if request.app.state.service.is_open:
        return _to("/")
    return render.page("sign_in", experiment=request.app.state.service.experiment.name, caller=None, wrong=False)


@router.post(_SIGN_IN)
async def sign_in(request: Request) -> Response:
    """Keep the token in a cookie that no script can read and no other site can send."""
    service: Service = request.app.state.service
    token = (await _form(request)).get("token", "").strip()
    if service.tokens.caller(token) is None:
        return render.page("sign_in", 401, experiment=service.experiment.name, caller=None, wrong=True)
    answer = _to("/")
    is_secure = request.url.scheme == "https"
    answer.set_cookie(COOKIE, token, max_age=_SIGNED_IN_S, httponly=True, samesite="strict", secure=is_secure)
    return answer


@router.post("/page/sign-out")
async def sign_out() -> Response:
    answer = _to(_SIGN_IN)
    answer.delete_cookie(COOKIE, httponly=True, samesite="strict")
    return answer


def _to(address: str) -> RedirectResponse:
    return RedirectResponse(address, 303)
