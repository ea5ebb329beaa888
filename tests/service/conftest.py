"""A running service over the fake model server, shared by the tests of one file."""

from __future__ import annotations

import http.server
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from harness.service.service import ServiceOptions
from harness.service.serving import resolve
from tests.fakes.process import FakeModels
from tests.fixtures.runs import Lab, wait_for
from tests.service.in_process import Desk


class Receiver(http.server.ThreadingHTTPServer):
    """Records what is posted to it; /moved redirects."""

    def __init__(self) -> None:
        self.received: list[tuple[dict[str, str], bytes]] = []
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        assert isinstance(self.server, Receiver)
        self.server.received.append(({name.lower(): value for name, value in self.headers.items()}, body))
        self.send_response(302 if self.path == "/moved" else 200)
        self.send_header("location", "/elsewhere")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Print nothing."""


@dataclass
class Served:
    """One `harness serve` in a lab's folder."""

    lab: Lab
    process: subprocess.Popen[str]
    url: str
    token: str | None = None
    http: httpx.Client = field(init=False)

    def __post_init__(self) -> None:
        headers = {"authorization": f"Bearer {self.token}"} if self.token else {}
        self.http = httpx.Client(base_url=self.url, headers=headers, timeout=60)

    def submit(self, ticker: str = "AAPL", date: str = "2012-06-15", **more: Any) -> dict[str, Any]:
        """POST /jobs, which must be accepted."""
        answer = self.http.post("/jobs", json={"ticker": ticker, "date": date, **more})
        assert answer.status_code == 202, answer.text
        return dict(answer.json())

    def job(self, job_id: str) -> dict[str, Any]:
        return dict(self.http.get(f"/jobs/{job_id}").json())

    def ended(self, job_id: str) -> dict[str, Any]:
        """The job, once it has ended."""

        def look() -> dict[str, Any] | None:
            job = self.job(job_id)
            return None if job["status"] in ("pending", "running") else job

        return dict(wait_for(look, f"the end of job {job_id}"))

    def result(self, job_id: str) -> dict[str, Any]:
        self.ended(job_id)
        return dict(self.http.get(f"/jobs/{job_id}/result").json())

    def stop(self) -> None:
        self.http.close()
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(60)


def start(lab: Lab, *options: str) -> Served:
    """Start the service of `lab.yaml` and wait until it takes jobs."""
    return start_by(lab, "serve", "--experiment", "lab.yaml", "--port", "0", *options)


def start_by(lab: Lab, *command: str) -> Served:
    """The same by any command line."""
    process = lab.start(*command)
    assert process.stdout is not None
    lines: list[str] = []
    token = None
    while not (lines and lines[-1].startswith("try: ")):
        line = process.stdout.readline()
        assert line, "".join(lines)
        lines.append(line)
        if "Bearer " in line:
            token = line.partition("Bearer ")[2].partition("'")[0]
    url = lines[0].split(" on ")[1].partition(";")[0] if lines[0].startswith("serving") else ""
    assert url, "".join(lines)
    return Served(lab, process, url, token)


def service_lab(folder: Any, models: FakeModels, **changes: Any) -> Lab:
    """A lab whose experiment a service may serve."""
    lab = Lab(folder, models)
    given: dict[str, Any] = {"dates": 2, "budget": {"month_usd": 50}} | changes
    lab.experiment(**given)
    return lab


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, fake_models_process: FakeModels) -> Iterator[Served]:
    """A service for all tests of a file."""
    fake_models_process.reset()
    lab = service_lab(tmp_path_factory.mktemp("served"), fake_models_process)
    service = start(lab, "--allow-callback", "127.0.0.1", "--rate", "1000")
    yield service
    service.stop()
    lab.close()


@pytest.fixture
def serve(lab: Lab, fake_models: FakeModels) -> Iterator[Callable[..., Served]]:
    """Start services of an own lab, which end with the test."""
    lab.experiment(dates=2, budget={"month_usd": 50})
    started: list[Served] = []

    def begin(*options: str) -> Served:
        started.append(start(lab, *options))
        return started[-1]

    yield begin
    for service in started:
        service.stop()


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory, fake_models_process: FakeModels, redis_server: str) -> Iterator[Desk]:
    """Options of a service that others reach, and its experiment, resolved once for all tests of a file."""
    patch = pytest.MonkeyPatch()
    patch.setenv("FAKE_KEY", "sk-fake-key-of-the-model-server")
    fake_models_process.reset()
    folder = tmp_path_factory.mktemp("desk")
    lab = service_lab(folder, fake_models_process)
    options = ServiceOptions(
        folder / "lab.yaml", host="0.0.0.0", results=str(folder / "results"), broker=redis_server, rate_per_s=10_000.0
    )
    yield options, resolve(options)
    patch.undo()
    lab.close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    server = Receiver()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()
