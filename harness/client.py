"""A client of the HTTP service: `harness serve`.

from harness.client import Client

with Client("http://127.0.0.1:8123", token="...") as service:
    decision = service.decide("NVDA", "2026-02-12", arm="gpt-6.1-sol")
    print(decision.rating, decision.cost_usd)
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx

JOB_OVER = frozenset({"completed", "failed", "cancelled"})
EXPERIMENT_OVER = frozenset({"done", "stopped", "failed"})
_FIRST_POLL_S, _LONGEST_POLL_S = 0.5, 10.0
_TRIES = 5
_Kind = TypeVar("_Kind", bound="_Record")


class ServiceError(Exception):
    """An error that the service answered: `code` is stable, `fix` says what to do."""

    def __init__(self, status: int, code: str, message: str, fix: str) -> None:
        super().__init__(f"{message}; {fix}" if fix else message)
        self.status, self.code, self.fix = status, code, fix


@dataclass(frozen=True)
class _Record:
    raw: Mapping[str, Any] = field(repr=False)
    """The whole answer, with fields that this version of the client does not know."""

    @classmethod
    def of(cls: type[_Kind], raw: Mapping[str, Any]) -> _Kind:
        known = {each.name for each in fields(cls)} - {"raw"}
        return cls(raw=raw, **{name: raw[name] for name in known if name in raw})


@dataclass(frozen=True)
class JobInfo(_Record):
    """One submitted decision."""

    job_id: str = ""
    status: str = ""
    """pending, running, completed, failed or cancelled."""
    ticker: str = ""
    date: str = ""
    arm: str = ""
    created_at: str = ""
    started_at: str | None = None
    completed_at: str | None = None
    attempts: int = 0
    error: str | None = None
    error_type: str | None = None
    progress: Mapping[str, Mapping[str, int]] | None = None
    """role -> {done, total}."""


@dataclass(frozen=True)
class JobDecision(_Record):
    """The result of a job."""

    job_id: str = ""
    ticker: str = ""
    date: str = ""
    arm: str = ""
    decision: str | None = None
    """BUY, SELL or HOLD."""
    rating: str | None = None
    """Buy, Overweight, Hold, Underweight or Sell."""
    confidence: float | None = None
    target_price: float | None = None
    horizon: str | None = None
    rationale: str | None = None
    cost_usd: float | None = None
    """None if a price is unknown."""
    tokens: Mapping[str, int | None] | None = None
    latency_s: float | None = None


@dataclass(frozen=True)
class ExperimentInfo(_Record):
    """A submitted experiment."""

    experiment_id: str = ""
    name: str = ""
    state: str = ""
    """queued, running, stopping, stopped, done or failed."""
    run_id: str | None = None
    exit_code: int | None = None
    words: str = ""
    progress: Mapping[str, Any] | None = None


class Client:
    """One service. Methods raise ServiceError for what it refuses and httpx.HTTPError when it cannot be reached.

    An answer 503 is tried again, a few times, after the pause that it names."""

    def __init__(self, url: str = "http://127.0.0.1:8123", token: str | None = None, timeout_s: float = 30.0) -> None:
        headers = {} if token is None else {"authorization": f"Bearer {token}"}
        self._http = httpx.Client(base_url=url, headers=headers, timeout=timeout_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    # --- decisions --------------------------------------------------------------------------------------------------------

    def decide(self, ticker: str, date: str, *, timeout_s: float = 3600.0, **more: Any) -> JobDecision:
        """Submit one decision and wait for it; `more`: arm, lineup, model, pipeline, fresh. Raises TimeoutError."""
        job = self.submit(ticker, date, **more)
        return self.result(self.wait(job.job_id, timeout_s).job_id)

    def submit(self, ticker: str, date: str, *, key: str | None = None, **more: Any) -> JobInfo:
        """Submit one decision; the same `key` again is the same job."""
        return JobInfo.of(self._send("POST", "/jobs", json={"ticker": ticker, "date": date, **more}, key=key))

    def job(self, job_id: str) -> JobInfo:
        return JobInfo.of(self._send("GET", f"/jobs/{job_id}"))

    def jobs(self, **wanted: Any) -> Iterator[JobInfo]:
        """Every job that fits; `wanted`: status, ticker, arm."""
        cursor: int | None = None
        while True:
            page = self._send("GET", "/jobs", params=wanted | ({"cursor": cursor} if cursor is not None else {}))
            yield from (JobInfo.of(raw) for raw in page["jobs"])
            cursor = page.get("next_cursor")
            if cursor is None:
                return

    def wait(self, job_id: str, timeout_s: float = 3600.0) -> JobInfo:
        """Wait until a job has ended. Raises TimeoutError."""
        for _ in _polls(timeout_s, f"job {job_id}"):
            if (job := self.job(job_id)).status in JOB_OVER:
                return job
        raise AssertionError("unreachable")

    def result(self, job_id: str) -> JobDecision:
        """The decision of a completed job."""
        return JobDecision.of(self._send("GET", f"/jobs/{job_id}/result"))

    def cancel(self, job_id: str) -> None:
        self._send("DELETE", f"/jobs/{job_id}")

    # --- experiments ------------------------------------------------------------------------------------------------------

    def run(self, experiment: str | Path | Mapping[str, Any], *, key: str | None = None) -> ExperimentInfo:
        """Submit an experiment: a YAML file, its text, or its keys."""
        return ExperimentInfo.of(self._send("POST", "/experiments", **_body(experiment), key=key))

    def plan(self, experiment: str | Path | Mapping[str, Any]) -> Mapping[str, Any]:
        """What an experiment would cost and take; spends nothing."""
        forecast: Mapping[str, Any] = self._send("POST", "/plans", **_body(experiment), timeout=180.0)
        return forecast

    def experiment(self, experiment_id: str) -> ExperimentInfo:
        return ExperimentInfo.of(self._send("GET", f"/experiments/{experiment_id}"))

    def experiments(self, **wanted: Any) -> list[ExperimentInfo]:
        """Experiments that fit, the newest first; `wanted`: state, limit."""
        return [ExperimentInfo.of(raw) for raw in self._send("GET", "/experiments", params=wanted)["experiments"]]

    def wait_for(self, experiment_id: str, timeout_s: float = 86_400.0) -> ExperimentInfo:
        """Wait until an experiment has ended. Raises TimeoutError."""
        for _ in _polls(timeout_s, f"experiment {experiment_id}"):
            if (experiment := self.experiment(experiment_id)).state in EXPERIMENT_OVER:
                return experiment
        raise AssertionError("unreachable")

    def pause(self, experiment_id: str) -> ExperimentInfo:
        return self._steer(experiment_id, "pause")

    def resume(self, experiment_id: str) -> ExperimentInfo:
        return self._steer(experiment_id, "resume")

    def stop(self, experiment_id: str) -> ExperimentInfo:
        return self._steer(experiment_id, "stop")

    def table(self, experiment_id: str, name: str, format: str = "parquet") -> bytes:
        """A result table as a Parquet or CSV file."""
        path = f"/experiments/{experiment_id}/tables/{name}"
        return self._answer("GET", path, params={"format": format}, timeout=180.0).content

    def _steer(self, experiment_id: str, wish: str) -> ExperimentInfo:
        return ExperimentInfo.of(self._send("POST", f"/experiments/{experiment_id}/{wish}"))

    def _send(self, method: str, path: str, **more: Any) -> Any:
        return self._answer(method, path, **more).json()

    def _answer(self, method: str, path: str, *, key: str | None = None, **more: Any) -> httpx.Response:
        headers = {**more.pop("headers", {}), **({} if key is None else {"idempotency-key": key})}
        for attempt in range(_TRIES):
            answer = self._http.request(method, path, headers=headers, **more)
            if answer.status_code != 503 or attempt == _TRIES - 1:
                break
            time.sleep(float(answer.headers.get("retry-after", 1)))
        if answer.is_success:
            return answer
        raise _error(answer)


def _error(answer: httpx.Response) -> ServiceError:
    try:
        error = answer.json()["error"]
    except (ValueError, KeyError, TypeError):
        error = {}
    error = error if isinstance(error, Mapping) else {"message": str(error)}
    message = error.get("message") or f"HTTP {answer.status_code}"
    return ServiceError(answer.status_code, error.get("code", "error"), message, error.get("fix", ""))


def _body(experiment: str | Path | Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(experiment, Mapping):
        return {"json": dict(experiment)}
    text = experiment.read_text(encoding="utf-8") if isinstance(experiment, Path) else experiment
    return {"content": text.encode(), "headers": {"content-type": "application/yaml"}}


def _polls(timeout_s: float, what: str) -> Iterator[None]:
    """One item for each look at it, with growing pauses between them. Raises TimeoutError."""
    deadline, pause_s = time.monotonic() + timeout_s, _FIRST_POLL_S
    while True:
        yield
        if time.monotonic() + pause_s > deadline:
            raise TimeoutError(f"{what} has not ended within {timeout_s:g} s; it goes on")
        time.sleep(pause_s)
        pause_s = min(_LONGEST_POLL_S, 1.5 * pause_s)
