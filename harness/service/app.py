"""The FastAPI application: routers, limits, headers and the one error body."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from fastapi import APIRouter, FastAPI, Request
from fastapi.middleware.trustedhost import TrustedHostMiddleware
from fastapi.responses import JSONResponse, Response

from harness.queue import registry
from harness.service import errors
from harness.service.errors import ApiError
from harness.service.service import MOST_BODY_BYTES, Service

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Message = dict[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]

ROUTERS: Sequence[str] = (
    "harness.service.job_routes",
    "harness.service.experiment_routes",
    "harness.service.readiness",
    "harness.service.pages.routes",
)
"""Modules with a `router`; a new group of routes is one line here."""
_HEADERS = {
    b"cache-control": b"no-store",
    b"cross-origin-resource-policy": b"same-origin",
    b"referrer-policy": b"no-referrer",
    b"x-content-type-options": b"nosniff",
    b"x-frame-options": b"DENY",
    b"content-security-policy": b"default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
}
"""Headers of every answer; a route that sets one of them keeps its own."""
_HEALTH_S = 2.0
_READING = frozenset({"GET", "HEAD", "OPTIONS"})
health = APIRouter(tags=["health"])


def create_app(service: Service) -> FastAPI:
    """The application of one service."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await service.aclose()

    app = FastAPI(
        title="TradingAgents harness",
        version=registry.package_version(),
        description="Decisions as jobs: POST one, follow it, read the result.",
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
    )
    app.state.service = service
    errors.handle(app)
    app.include_router(health)
    for name in ROUTERS:
        app.include_router(import_module(name).router)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=_hosts(service), www_redirect=False)
    app.add_middleware(BodyLimit)
    app.add_middleware(OwnOrigin)
    app.add_middleware(SafeHeaders)
    return app


def _hosts(service: Service) -> list[str]:
    """Names in the Host header that are answered: a foreign page whose name resolves here gets nothing."""
    options = service.options
    loopback = ["127.0.0.1", "localhost", "[::1]"]
    return [*loopback, *options.host_names] if options.is_loopback or options.host_names else ["*"]


@health.get("/health", summary="Whether jobs are taken", responses={503: {"description": "Redis or the storage is away"}})
async def get_health(request: Request) -> Response:
    """200 `healthy`, or 503 `unhealthy` with the reason."""
    service: Service = request.app.state.service
    problems = {}
    try:
        async with asyncio.timeout(_HEALTH_S):
            await service.check_accepting()
    except (ApiError, TimeoutError) as error:
        problems["redis"] = str(error) or "does not answer"
    body = {"status": "unhealthy" if problems else "healthy", "problems": problems}
    return JSONResponse(body, 503 if problems else 200)


class SafeHeaders:
    """Adds the security headers to every answer."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = {name.lower() for name, _ in message["headers"]}
                message["headers"] = [*message["headers"], *(pair for pair in _HEADERS.items() if pair[0] not in given)]
            await send(message)

        await self._app(scope, receive, with_headers if scope["type"] == "http" else send)


class OwnOrigin:
    """Answers 403 to what a browser sends for a page of another site: it could submit wherever no token is needed."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] not in _READING and _is_foreign(dict(scope["headers"])):
            fix = "send it from a page of this service, or from a program"
            return await _refuse(send, ApiError(403, "other_origin", "the request is from a page of another site", fix))
        await self._app(scope, receive, send)
        return None


def _is_foreign(headers: Mapping[bytes, bytes]) -> bool:
    """Only browsers say where a request is from."""
    site, origin = headers.get(b"sec-fetch-site"), headers.get(b"origin")
    if site is not None:
        return site not in (b"same-origin", b"none")
    return origin is not None and urlsplit(origin.decode("latin-1")).netloc != headers.get(b"host", b"").decode("latin-1")


class BodyLimit:
    """Answers 413 to a body that is longer than 1 MB, whatever its Content-Length says."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)  # type: ignore[no-any-return]
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if not declared.isdigit() or int(declared[:20]) > MOST_BODY_BYTES:
            return await _too_large(send)
        body, more = bytearray(), True
        while more:
            message = await receive()
            if message["type"] != "http.request":
                return None
            body += message.get("body", b"")
            more = message.get("more_body", False)
            if len(body) > MOST_BODY_BYTES:
                return await _too_large(send)
        whole: list[Message] = [{"type": "http.request", "body": bytes(body), "more_body": False}]

        async def replay() -> Message:
            return whole.pop() if whole else await receive()

        await self._app(scope, replay, send)
        return None


async def _too_large(send: Send) -> None:
    await _refuse(send, ApiError(413, "too_large", "the body is longer than 1 MB", "a job needs a few hundred bytes"))


async def _refuse(send: Send, error: ApiError) -> None:
    body = json.dumps(error.body()).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
