"""/ready and /metrics: what monitoring and orchestration ask."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from redis import RedisError

import agents
from agents import Model
from harness.errors import HarnessError
from harness.service.auth import LOCAL, Caller, needs
from harness.service.errors import FIX_STORAGE, RESPONSES, ApiError
from harness.service.jobs import STATUSES
from harness.service.service import trouble_key

if TYPE_CHECKING:
    from collections.abc import Awaitable
    from pathlib import Path

    from prometheus_client.core import Metric

    from harness.experiment.servers import ServerSpec
    from harness.service.service import Service

router = APIRouter(tags=["health"])
_KEEP_S = 10.0
"""Servers are asked at most so often, however often /ready is called."""
_SERVER_S = 5.0
_PART_S = 3.0


class ServicePart(BaseModel):
    """One thing that the service needs."""

    ready: bool
    reason: str = ""
    """Why it is not ready."""


class ReadyBody(BaseModel):
    """Whether a job that is submitted now can be decided."""

    ready: bool
    parts: dict[str, ServicePart]
    """redis, storage, dispatcher, experiments, and `server NAME` for each model server."""


@dataclass
class Readiness:
    """Asks every part, and remembers the answers for some seconds."""

    service: Service
    _parts: Mapping[str, ServicePart] = field(default_factory=dict, init=False)
    _asked_at: float = field(default=float("-inf"), init=False)
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock, init=False)

    async def parts(self) -> Mapping[str, ServicePart]:
        async with self._lock:
            if time.monotonic() - self._asked_at > _KEEP_S:
                self._parts, self._asked_at = await self._ask(), time.monotonic()
        return self._parts

    async def _ask(self) -> Mapping[str, ServicePart]:
        servers = self.service.resolved.servers
        questions = {
            "redis": _within(_PART_S, self._redis()),
            "storage": _within(_PART_S, asyncio.to_thread(self._storage)),
            "dispatcher": _within(_PART_S, self._dispatcher()),
            "experiments": _within(_PART_S, asyncio.to_thread(self._experiments)),
            # In threads with loops of their own: some servers are asked by calls that block.
            **{
                f"server {name}": _within(_SERVER_S, asyncio.to_thread(_server, spec, self._models(name)))
                for name, spec in servers.items()
            },
        }
        return dict(zip(questions, await asyncio.gather(*questions.values()), strict=True))

    def _models(self, server: str) -> list[Model]:
        return self.service.resolved.models_by_server[server]

    async def _redis(self) -> str:
        try:
            await self.service.check_accepting()
        except ApiError as error:
            return error.message
        return ""

    def _storage(self) -> str:
        """Writes where jobs and where results are written."""
        name = f".ready-{uuid.uuid4().hex[:8]}"
        try:
            _write_to(self.service.folder)
            self.service.results.write(name, b"x")
            self.service.results.delete(name)
        except (OSError, HarnessError) as error:
            return str(error)
        return ""

    async def _dispatcher(self) -> str:
        """Why it waits; Redis has a part of its own."""
        try:
            trouble: Any = await self.service.redis.get(trouble_key(self.service.experiment.name))
        except (RedisError, OSError):
            return ""
        return trouble.decode() if trouble else ""

    def _experiments(self) -> str:
        """Whether the disk still refuses the state of an experiment."""
        refused = [submission for submission in self.service.experiments.all() if submission.unstored]
        for submission in refused:
            try:
                _write_to(submission.folder)
            except OSError as error:
                what = f"the state of {len(refused)} submitted experiments cannot be stored: {error.strerror}"
                return f"{what}; {FIX_STORAGE}, then resume those that have failed (GET /experiments)"
        return ""


def _write_to(folder: Path) -> None:
    """Write a file and remove it. Raises OSError."""
    probe = folder / f".ready-{uuid.uuid4().hex[:8]}"
    try:
        with probe.open("xb") as stream:
            stream.write(b"x")
            stream.flush()
            os.fsync(stream.fileno())
    finally:
        with contextlib.suppress(OSError):
            probe.unlink()


async def _within(seconds: float, answer: Awaitable[str]) -> ServicePart:
    try:
        async with asyncio.timeout(seconds):
            reason = await answer
    except TimeoutError:
        reason = f"no answer within {seconds:g} s"
    return ServicePart(ready=not reason, reason=reason)


def _server(spec: ServerSpec, models: Sequence[Model]) -> str:
    """Why a server cannot decide; empty if it can. Nothing is spent and no model is loaded. Blocks: see _ask."""
    try:
        report = asyncio.run(agents.probe(spec.as_agents_server(), models))
    except agents.AgentsError as error:
        return str(error)
    missing = [model for model in report.models.values() if not model.present]
    problem = report.problem or (missing[0].problem or f"has no model {missing[0].name!r}" if missing else None)
    return problem or ("" if report.reachable else "does not answer")


def _readiness(request: Request) -> Readiness:
    state = request.app.state
    if not hasattr(state, "readiness"):
        state.readiness = Readiness(state.service)
    readiness: Readiness = state.readiness
    return readiness


@router.get(
    "/ready",
    response_model=ReadyBody,
    responses={503: {"model": ReadyBody, "description": "A part is not ready; the body says which and why"}},
    summary="Whether a job can be decided now",
)
async def ready(request: Request) -> Response:
    """Redis, storage, dispatcher, experiments and every model server, each with its reason; 503 if one is not ready."""
    parts = await _readiness(request).parts()
    is_ready = all(part.ready for part in parts.values())
    body = ReadyBody(ready=is_ready, parts=dict(parts))
    return JSONResponse(body.model_dump(), 200 if is_ready else 503)


class _Collected:
    """The figures of one moment, as a collector of prometheus_client."""

    def __init__(self, figures: list[Metric]) -> None:
        self._figures = figures

    def collect(self) -> Iterator[Metric]:
        yield from self._figures


@router.get(
    "/metrics",
    responses={
        200: {"content": {"text/plain": {"schema": {"type": "string"}}}, "description": "Prometheus text"},
        401: RESPONSES[401],
        403: RESPONSES[403],
        503: RESPONSES[503],
    },
    response_class=Response,
    summary="Figures for Prometheus",
)
async def metrics(request: Request, caller: Annotated[Caller, Depends(needs("read"))]) -> Response:
    """Jobs by token and status, the month's bill, and whether each part is ready: for the operator, with a `read` token.

    Workers have figures of their own."""
    if caller.sees_only is not None:
        what = "the figures count the jobs of every token, and this one sees its own only"
        raise ApiError(403, "forbidden", what, "`python -m harness token create --scope read --name prometheus`")
    from prometheus_client import CollectorRegistry
    from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

    service: Service = request.app.state.service
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collected(await _figures(service, _readiness(request))))
    return Response(generate_latest(registry), headers={"content-type": CONTENT_TYPE_LATEST})


async def _figures(service: Service, readiness: Readiness) -> list[Any]:
    from prometheus_client.core import GaugeMetricFamily

    experiment = service.experiment.name
    jobs = GaugeMetricFamily(
        "harness_jobs", "Stored jobs by the name of their token.", labels=["experiment", "token", "status"]
    )
    counts = await asyncio.to_thread(service.jobs.counts_by_owner)
    tokens = {LOCAL} if service.is_open else {str(entry["name"]) for entry in service.tokens.listed()}
    for token in sorted(tokens | {token for token, _ in counts}):
        for status in STATUSES:
            jobs.add_metric([experiment, token, status], counts.get((token, status), 0))
    parts = GaugeMetricFamily("harness_ready", "Whether a part answers.", labels=["part"])
    for name, part in (await readiness.parts()).items():
        parts.add_metric([name], float(part.ready))
    started = GaugeMetricFamily("harness_start_timestamp_seconds", "Start of this API process.", value=service.started_at)
    return [jobs, parts, started, *await _bill(service)]


async def _bill(service: Service) -> list[Any]:
    """Missing while Redis is away: an unknown figure is not zero."""
    from prometheus_client.core import GaugeMetricFamily

    try:
        bill = await service.bill()
    except ApiError:
        return []
    money = GaugeMetricFamily("harness_month_usd", "Cost of hosted models in this month.", labels=["month", "kind"])
    money.add_metric([bill.month, "spent"], bill.spent_usd)
    money.add_metric([bill.month, "reserved"], bill.reserved_usd)
    if bill.cap_usd is not None:
        money.add_metric([bill.month, "cap"], bill.cap_usd)
    return [money]
