"""Start the service: the API in this process, and a dispatcher in a child of it."""

from __future__ import annotations

import contextlib
import fcntl
import gc
import importlib.util
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from redis import Redis, RedisError

from domain.lanes import LANES
from harness.checking import checks, data_check, preflight
from harness.checking.resolved import ResolvedRun
from harness.errors import InvalidInput, Problem
from harness.experiment import matrix, spec
from harness.queue.private_redis import private_redis
from harness.queue.process import die_with_parent
from harness.service import months
from harness.service.auth import LOCAL, READ, SUBMIT, Audit, TokenStore
from harness.service.errors import ApiError
from harness.service.service import Service, ServiceOptions, broker_of, service_folder
from harness.service.submitting import JobRequest
from harness.web.server import listen, make_server
from harness.workers.local_workers import LocalWorkers

if TYPE_CHECKING:
    from harness.experiment.spec import Experiment

_log = logging.getLogger(__name__)
_PAUSES_S = (0.2, 1.0, 2.0, 5.0, 10.0)
"""Before a dispatcher that died is started again; the last one from then on."""
_LONG_LIFE_S = 60.0
_STOP_S = 20.0
_REDIS_START_S = 60.0


def require_packages() -> None:
    """Raise InvalidInput if the extra of the service is not installed."""
    if importlib.util.find_spec("fastapi") is None:
        what = "the HTTP service needs FastAPI, which is not installed"
        raise InvalidInput([Problem("serve", what, "pip install 'tradingagents-harness[serve]'")])


def serve(options: ServiceOptions, say: Callable[[str], None]) -> int:
    """Serve until SIGTERM or SIGINT. Raises InvalidInput with everything that must be fixed."""
    require_packages()
    resolved = resolve(options)
    from harness.service.app import create_app

    service = Service(options, resolved)
    token = _first_token(options)
    listener = listen(options.host, options.port, shared=True)
    port = listener.getsockname()[1]
    with dispatcher(options, say):
        _wait_for_redis(service.broker)
        for line in _greeting(options, service, port, token):
            say(line)
        app = create_app(service)
        _warm_up(service)
        gc.collect()
        gc.freeze()
        with contextlib.suppress(KeyboardInterrupt):  # uvicorn raises the signal again once it has shut down
            make_server(app).run(sockets=[listener])
    return 0


def resolve(options: ServiceOptions) -> ResolvedRun:
    """The served experiment, its servers and prices. Raises InvalidInput."""
    experiment = load(options)
    looked = preflight.look(
        experiment,
        experiment_dir=options.experiment.resolve().parent,
        servers_file=options.servers,
        results=options.results,
        broker=options.broker,
        snapshots=options.snapshots,
        freezes=False,
    )
    checks.require([*looked.checks, *data_check.missing_packages(experiment.data)])
    resolved = looked.readable()
    check_servable(resolved)
    return replace(resolved, matrix=tuple(matrix.expand(_one_repeat(experiment))))


def load(options: ServiceOptions) -> Experiment:
    return spec.load(options.experiment, spec.of_archive(options.archive))


def check_servable(resolved: ResolvedRun) -> None:
    """Refuse what a service cannot do: spend without a cap, or wait for hours. Raises InvalidInput."""
    problems = []
    if resolved.hosted and months.cap_usd(resolved) is None:
        hosted = ", ".join(sorted(resolved.hosted))
        what = f"{hosted} bills by token, and no cap of the month is set"
        problems.append(Problem("budget.month_usd", what, "add budget: {month_usd: N} to the served experiment"))
    late = [name for name, model in resolved.experiment.models.items() if model.lane and LANES[model.lane].is_deferred]
    if late:
        what = f"answers of {', '.join(late)} come hours later, and a client waits for its job"
        problems.append(Problem("models", what, "use lane: now or flex for models of a service"))
    if problems:
        raise InvalidInput(problems)


def _one_repeat(experiment: Experiment) -> Experiment:
    from harness.experiment.cases import Repeats

    return experiment.model_copy(update={"repeats": Repeats(baseline=1, arms=1)})


def _first_token(options: ServiceOptions) -> str | None:
    """A token for a service that others reach, if there is none yet."""
    tokens = TokenStore(options.state_folder)
    if options.is_loopback or tokens.listed():
        return None
    token = tokens.create("first", frozenset({READ, SUBMIT}))
    Audit(options.state_folder / "audit.jsonl").write("serve", "token", name="first", scopes=[READ, SUBMIT])
    return token


def _greeting(options: ServiceOptions, service: Service, port: int, token: str | None) -> Iterator[str]:
    host = options.host if options.host not in ("0.0.0.0", "::") else "127.0.0.1"
    url = f"http://{host}:{port}"
    yield f"serving {service.experiment.name} on {url}; API: {url}/openapi.json"
    header = f" -H 'authorization: Bearer {token}'" if token else ""
    if token:
        yield "the next line holds the first token, which is not shown again"
    ticker = service.experiment.tickers[0]
    date = service.resolved.matrix[0].date if service.resolved.matrix else "YYYY-MM-DD"
    body = f'{{"ticker": "{ticker}", "date": "{date}"}}'
    yield f"try: curl -s{header} -H 'content-type: application/json' -d '{body}' {url}/jobs"


def _warm_up(service: Service) -> None:
    """Read one request, so that no client waits for imports and caches."""
    cell = next(iter(service.resolved.matrix), None)
    if cell is not None:
        with contextlib.suppress(ApiError):
            service.desk.new_job(JobRequest(ticker=cell.ticker, date=str(cell.date)), LOCAL)


def _wait_for_redis(url: str) -> None:
    """Until Redis answers, or for a minute: from then on the service says itself that Redis is away."""
    deadline = time.monotonic() + _REDIS_START_S
    with Redis.from_url(url, socket_connect_timeout=1) as client:
        while time.monotonic() < deadline:
            with contextlib.suppress(RedisError):
                client.ping()
                return
            time.sleep(0.1)


@contextlib.contextmanager
def dispatcher(options: ServiceOptions, say: Callable[[str], None]) -> Iterator[None]:
    """A dispatcher for as long as the block runs; started again if it dies."""
    keeper = _Keeper(options, say)
    keeper.start()
    try:
        yield
    finally:
        keeper.stop()


class _Keeper(threading.Thread):
    """Starts the dispatcher and waits for its end; the thread lives as long as the process, as `die_with_parent` needs."""

    def __init__(self, options: ServiceOptions, say: Callable[[str], None]) -> None:
        super().__init__(name="dispatcher", daemon=True)
        self._options, self._say = options, say
        self._stopping = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None

    def run(self) -> None:
        deaths = 0
        while not self._stopping.is_set():
            began = time.monotonic()
            self._process = start_dispatcher(self._options)
            code = self._process.wait()
            if self._stopping.is_set():
                return
            deaths = 0 if time.monotonic() - began > _LONG_LIFE_S else deaths + 1
            pause_s = _PAUSES_S[min(deaths, len(_PAUSES_S) - 1)]
            self._say(f"the dispatcher ended ({code}); it starts again in {pause_s:g} s")
            self._stopping.wait(pause_s)

    def stop(self) -> None:
        self._stopping.set()
        process = self._process
        if process is None or process.poll() is not None:
            return
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_STOP_S)
            return
        process.kill()


def start_dispatcher(options: ServiceOptions) -> subprocess.Popen[bytes]:
    parent = os.getpid()
    log = service_folder(options, load(options).name) / "dispatcher.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as stream:
        return subprocess.Popen(
            [sys.executable, "-m", "harness", "serve", "--dispatch", *_arguments(options)],
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            start_new_session=True,
            preexec_fn=lambda: die_with_parent(parent, signal.SIGTERM),
        )


def _arguments(options: ServiceOptions) -> list[str]:
    values: dict[str, Any] = {
        "--experiment": options.experiment,
        "--results": options.results,
        "--snapshots": options.snapshots,
        "--servers": options.servers,
        "--archive": options.archive,
        "--broker": options.broker,
        "--workers": options.starts_workers or None,
        "--keep": f"{options.keep_s:.0f}s",
        "--state": options.state,
    }
    words = [word for name, value in values.items() if value is not None for word in (name, str(value))]
    words += [] if options.starts_workers else ["--no-workers"]
    return words + [word for host in options.callbacks for word in ("--allow-callback", host)]


def dispatch(options: ServiceOptions) -> int:
    """The dispatcher's process: wait for the lock, start Redis and workers, then place jobs until SIGTERM."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    parent = os.getppid()
    experiment = load(options)
    folder = service_folder(options, experiment.name)
    with _only_dispatcher(folder / "dispatcher.lock"), contextlib.ExitStack() as stack:
        from harness.service.dispatcher import Dispatcher
        from harness.service.jobs import JobStore

        resolved = _resolved_here(options, experiment)
        url = broker_of(options, experiment.name)
        if options.broker is None:
            stack.enter_context(private_redis(folder / "redis"))
        workers = None
        if options.starts_workers:
            workers = LocalWorkers(_worker_arguments(options, resolved, url), folder / "workers.log")
            stack.callback(workers.close)
        if os.getppid() != parent:
            return 0
        _log.info("dispatching jobs of %s", experiment.name)
        jobs = JobStore(folder / "jobs.sqlite", is_durable=False)
        Dispatcher(options, resolved, jobs, url, workers).run()
    return 0


def _resolved_here(options: ServiceOptions, experiment: Experiment) -> ResolvedRun:
    """Servers and prices; the digests of models come with each job."""
    from harness.checking import resolved as resolving

    resolved = resolving.resolve(experiment, options.experiment.resolve().parent, options.servers)
    return replace(resolved, matrix=tuple(matrix.expand(_one_repeat(experiment))))


def _worker_arguments(options: ServiceOptions, resolved: ResolvedRun, url: str) -> list[str]:
    local = [server for server in resolved.servers.values() if not server.is_hosted]
    arguments = {
        "--broker": url,
        "--results": options.results,
        "--queues": "hosted,local" if local else "hosted",
        "--local-concurrency": str(1 + sum(server.slots for server in local)),
        "--processes": str(options.starts_workers),
    }
    if options.servers:
        arguments["--servers"] = str(options.servers)
    return [word for pair in arguments.items() for word in pair]


@contextlib.contextmanager
def _only_dispatcher(path: Path) -> Iterator[None]:
    """Hold the lock of a service; another dispatcher waits here without using the processor."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
