"""Errors of the service: one class, one body, whatever went wrong.

Every error answers `{"error": {"code", "message", "fix"}}`; `code` is stable, `message` and `fix` are for people.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from domain.text import valid_utf8
from harness.errors import HarnessError, Problem

if TYPE_CHECKING:
    from fastapi import FastAPI, Request
    from fastapi.responses import Response

RETRY_AFTER_S = 5
"""Seconds after which a client may try again while a part of the service is away."""
FIX_STORAGE = "free space on the disk or make its folder writable"
_SHOWN_PROBLEMS = 5
_LONGEST = 2000
_CODES = {400: "bad_request", 404: "not_found", 405: "method_not_allowed", 413: "too_large"}


class ErrorDetail(BaseModel):
    """What went wrong."""

    code: str
    """Stable name of the error."""
    message: str
    """What is wrong, and what is allowed."""
    fix: str = ""
    """What to do."""


class ErrorBody(BaseModel):
    """Body of every error."""

    error: ErrorDetail


class ApiError(HarnessError):
    """An error with its HTTP status."""

    def __init__(self, status: int, code: str, message: str, fix: str = "", headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.fix = status, code, message, fix
        self.headers = dict(headers or {})

    def body(self) -> dict[str, Any]:
        message, fix = (valid_utf8(text.replace("\0", "?"))[:_LONGEST] for text in (self.message, self.fix))
        return {"error": {"code": self.code, "message": message, "fix": fix}}


def unavailable(what: str, fix: str = "try again; nothing was stored") -> ApiError:
    """503: a part of the service is away for now."""
    return ApiError(503, "unavailable", what, fix, {"retry-after": str(RETRY_AFTER_S)})


def not_found(what: str = "there is no such job") -> ApiError:
    """404, for what does not exist and for what belongs to another token."""
    return ApiError(404, "not_found", what, "see GET /jobs for the jobs that this token may see")


def of_problems(problems: Sequence[Problem], code: str = "invalid") -> ApiError:
    """422 with the problems of a request."""
    shown = problems[:_SHOWN_PROBLEMS]
    message = "; ".join(f"{problem.where}: {problem.what}" for problem in shown)
    return ApiError(422, code, message, "; ".join(dict.fromkeys(problem.fix for problem in shown if problem.fix)))


def handle(app: FastAPI) -> None:
    """Let the application answer every error with the one body."""
    from fastapi.exceptions import RequestValidationError
    from starlette.exceptions import HTTPException

    async def api_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, ApiError)
        return _answer(error)

    async def invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return _answer(of_problems([_problem(each) for each in error.errors()]))

    async def http_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        code = _CODES.get(error.status_code, "error")
        return _answer(ApiError(error.status_code, code, str(error.detail), headers=error.headers))

    app.add_exception_handler(ApiError, api_error)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, http_error)


def _answer(error: ApiError) -> Response:
    from fastapi.responses import Response

    headers = {"cache-control": "no-store", **error.headers}
    return Response(json.dumps(error.body()), error.status, headers, "application/json")


def _problem(raw: Mapping[str, Any]) -> Problem:
    """One of pydantic's errors; the input is not repeated, since it may be long or secret."""
    where = ".".join(str(part)[:80] for part in raw["loc"]) or "body"
    return Problem(where, str(raw["msg"]), str((raw.get("ctx") or {}).get("fix", "")))


RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorBody, "description": description}
    for status, description in {
        400: "The request cannot be read",
        401: "No token, or an unknown one",
        403: "The token does not have this scope",
        404: "There is no such job, or it belongs to another token",
        415: "The body is neither JSON nor YAML",
        409: "The Idempotency-Key was used for another request, or the state does not allow it",
        413: "The body is longer than 1 MB",
        422: "A value is not allowed",
        429: "Too many requests, too many open jobs, or the month's budget is used up",
        503: "Redis is away or full; try again after Retry-After seconds",
        507: "The disk is full",
    }.items()
}
"""Documented errors of every route."""
