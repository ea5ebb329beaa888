"""Jobs in flight while the processes of the service die: each accepted job ends, and nothing is paid twice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import httpx
import pytest

from harness.queue.private_redis import private_redis
from tests.faults.stage import Promise, Stage, read_ledger

CASES = [(ticker, day) for day in ("2010-03-15", "2010-04-15") for ticker in ("AAPL", "IBM", "MSFT")]
GONE_S = 20.0


@dataclass
class Service:
    """`harness serve` on a stage; several may share its address."""

    stage: Stage
    port: int = 0
    accepted: dict[str, tuple[str, str]] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self, *options: str) -> subprocess.Popen[str]:
        """Start it and wait until it takes jobs."""
        log = self.stage.folder / "serve.log"
        before = log.read_text().count("serving fault on ") if log.exists() else 0
        words = ["-m", "harness", "serve", "--experiment", "fault.yaml", "--port", str(self.port), *options]
        process = self.stage._spawn([sys.executable, *words], "serve.log")
        self.stage.until(lambda: log.read_text().count("serving fault on ") > before, "a service")
        self.port = int(log.read_text().rpartition("serving fault on ")[2].partition(";")[0].rpartition(":")[2])
        self.stage.until(lambda: self._get("/health").get("status") == "healthy", "a healthy service")
        return process

    def submit_all(self) -> None:
        """Submit every case, again until it is accepted, as a client with an idempotency key does."""
        for ticker, day in CASES:
            body, key = {"ticker": ticker, "date": day}, {"idempotency-key": f"{ticker}-{day}"}
            answer = self.stage.until(partial(self._post, body, key), f"a 202 for {body}")
            assert answer is not None
            self.accepted[answer["job_id"]] = (ticker, day)

    def all_ended(self) -> None:
        def ended() -> bool:
            jobs = self._get("/jobs").get("jobs", [])
            return bool(jobs) and all(job["status"] not in ("pending", "running") for job in jobs)

        self.stage.until(ended, "the end of all jobs")
        jobs = {job["job_id"]: job for job in self._get("/jobs")["jobs"]}
        assert set(jobs) == set(self.accepted), "every accepted job is there, and none twice"
        assert {job["status"] for job in jobs.values()} == {"completed"}, [job["cause"] for job in jobs.values()]

    def stop(self, process: subprocess.Popen[str]) -> None:
        process.terminate()
        self.stage.end(process)

    def dispatchers(self) -> list[int]:
        return [pid for pid, command in self.stage.processes().items() if "--dispatch" in command]

    def derive_tables(self) -> None:
        self.stage.end(
            self.stage._spawn([sys.executable, "-m", "harness", "report", f"fault/{self.stage.run.name}"], "report.log")
        )

    def _get(self, path: str) -> dict[str, Any]:
        try:
            return dict(httpx.get(self.url + path, timeout=30).json())
        except httpx.HTTPError:
            return {}

    def _post(self, body: dict[str, str], key: dict[str, str]) -> dict[str, Any] | None:
        try:
            answer = httpx.post(f"{self.url}/jobs", json=body, headers=key, timeout=30)
        except httpx.HTTPError:
            return None
        assert answer.status_code in (202, 503), answer.text
        return dict(answer.json()) if answer.status_code == 202 else None


@pytest.fixture
def service(on_stage: Stage) -> Service:
    on_stage.describe(dates=2, budget={"month_usd": 100.0})
    return Service(on_stage)


def test_worker_dispatcher_redis_and_all_of_it_killed(service: Service, on_stage: Stage, chance: Random) -> None:
    on_stage.models.control(defaults={"latency_s": 0.3})
    process = service.start()
    service.submit_all()
    on_stage.answered(chance.randint(1, 10))
    _kill(chance.choice(on_stage.until(on_stage.workers, "a worker")))
    on_stage.answered(chance.randint(11, 20))
    _kill(on_stage.until(service.dispatchers, "a dispatcher")[0])
    on_stage.answered(chance.randint(21, 30))
    _kill(on_stage.until(lambda: _redis_servers(on_stage), "a Redis")[0])
    on_stage.answered(chance.randint(31, 50))
    on_stage.kill_all()
    process.wait()
    process = service.start()
    service.submit_all()
    service.all_ended()
    service.stop(process)
    service.derive_tables()
    Promise(len(CASES)).check(on_stage)


def test_two_apis_at_one_address_are_one_service(service: Service, on_stage: Stage, broker: str) -> None:
    """The kernel spreads requests over both; when the one with the working dispatcher dies, the other takes over."""
    first = service.start("--broker", broker, "--workers", "1")
    second = service.start("--broker", broker, "--workers", "1")
    service.submit_all()
    on_stage.answered(3)
    _kill(first.pid)
    first.wait()
    service.submit_all()
    service.all_ended()
    service.stop(second)
    service.derive_tables()
    Promise(len(CASES)).check(on_stage, read_ledger(broker))


def test_redis_gone_for_20_s_is_503_and_loses_nothing(service: Service, on_stage: Stage, tmp_path: Path) -> None:
    folder = tmp_path / "shared"
    with private_redis(folder) as url:
        process = service.start("--broker", url, "--workers", "1")
        service.submit_all()
        on_stage.answered(3)
    answer = httpx.post(f"{service.url}/jobs", json={"ticker": "FB", "date": "2013-03-15"}, timeout=30)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    time.sleep(GONE_S)
    with private_redis(folder) as url:
        service.all_ended()
        service.stop(process)
        service.derive_tables()
        Promise(len(CASES), cut_off=0).check(on_stage, read_ledger(url))


def _redis_servers(stage: Stage) -> list[int]:
    """Found by its folder: it overwrites its environment with its title."""
    folder = stage.folder / "results" / ".service" / "fault" / "redis"
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit() and _cwd(entry) == folder]


def _cwd(entry: Path) -> Path | None:
    try:
        return (entry / "cwd").readlink()
    except OSError:
        return None


def _kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
