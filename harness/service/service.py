"""The object that every route of the service uses: the served experiment, its jobs, Redis, tokens and limits."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from redis import Redis as BlockingRedis
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

import agents
from harness.admission.journal import JournalEntry
from harness.admission.keys import Keys
from harness.cells import Cell
from harness.queue.private_redis import url_of
from harness.service import months
from harness.service.auth import Audit, Caller, RateLimit, TokenStore
from harness.service.callbacks import CallbackRules
from harness.service.errors import unavailable
from harness.service.jobs import RUNNING, Job, JobStore
from harness.service.months import Bill
from harness.service.submissions import SubmittedExperiments, UnstoredStates
from harness.service.submitting import Desk
from harness.storage.folder import open_folder

if TYPE_CHECKING:
    from harness.checking.resolved import ResolvedRun
    from harness.experiment.spec import Experiment
    from harness.storage.store import Store

MOST_BODY_BYTES = 1 << 20
_REDIS_S = 2.0
_ACCEPTING = "tah:service:accepting"
_ACCEPTING_MS = 60_000
_BILL_S = 1.0
_REDIS_ERRORS = (RedisError, OSError)


@dataclass(frozen=True)
class ServiceOptions:
    """The options of `harness serve`."""

    experiment: Path
    host: str = "127.0.0.1"
    port: int = 8123
    results: str = "results"
    snapshots: Path = Path("snapshots")
    servers: Path | None = None
    archive: str | None = None
    broker: str | None = None
    workers: int | None = None
    """Worker processes that the service starts; None: one with a private Redis, none with a broker."""
    keep_s: float = 90 * 86_400.0
    state: Path | None = None
    callbacks: tuple[str, ...] = ()
    """Hosts, host:port or networks that callbacks may be sent to."""
    host_names: tuple[str, ...] = ()
    """Further names under which clients reach the service."""
    rate_per_s: float = 50.0
    most_open: int = 5_000

    @property
    def is_loopback(self) -> bool:
        return self.host in ("127.0.0.1", "localhost", "::1")

    @property
    def starts_workers(self) -> int:
        return self.workers if self.workers is not None else 0 if self.broker else 1

    @property
    def state_folder(self) -> Path:
        """Where tokens, the audit log and the jobs of every service over these results are."""
        if self.state is not None:
            return self.state
        return Path(self.results) / ".service" if "://" not in self.results else Path(".service")


@dataclass
class Service:
    """One for each API process; `request.app.state.service` in a route."""

    options: ServiceOptions
    resolved: ResolvedRun
    tokens: TokenStore = field(init=False)
    jobs: JobStore = field(init=False)
    redis: Redis = field(init=False)
    desk: Desk = field(init=False)
    limits: RateLimit = field(init=False)
    callbacks: CallbackRules = field(init=False)
    client: BlockingRedis = field(init=False)
    """For what runs in threads."""
    experiments: SubmittedExperiments = field(init=False)
    started_at: float = field(default_factory=time.time)

    def __post_init__(self) -> None:
        state = self.options.state_folder
        self.tokens, self._audit = TokenStore(state), Audit(state / "audit.jsonl")
        self.jobs = JobStore(self.folder / "jobs.sqlite")
        self.results = open_folder(self.options.results)
        self.redis = connect(self.broker)
        self.desk = Desk(self.resolved)
        self.limits = RateLimit(self.options.rate_per_s, max(1, int(4 * self.options.rate_per_s)))
        self.callbacks = CallbackRules(self.options.callbacks)
        self.client = BlockingRedis.from_url(self.broker, socket_timeout=_REDIS_S, socket_connect_timeout=_REDIS_S)
        self.experiments = SubmittedExperiments(self.folder, UnstoredStates(self.client, self.experiment.name))
        self._bill: tuple[float, Bill] | None = None

    @property
    def experiment(self) -> Experiment:
        return self.resolved.experiment

    @property
    def folder(self) -> Path:
        """Files of this service: jobs, the private Redis, logs."""
        return service_folder(self.options, self.experiment.name)

    @property
    def broker(self) -> str:
        return broker_of(self.options, self.experiment.name)

    @property
    def is_open(self) -> bool:
        """Whether no token is needed: only this machine reaches the service."""
        return self.options.is_loopback

    def audit(self, caller: Caller, action: str, **fields: Any) -> None:
        self._audit.write(caller.name, action, **fields)

    def store_of(self, month: str) -> Store:
        """The run folder of a month's jobs."""
        return months.store_of(self.results, self.experiment.name, month)

    def run_id(self, month: str) -> str:
        return months.run_id(self.experiment.name, month)

    async def check_accepting(self) -> None:
        """Raise ApiError (503) if Redis is away or full; a job that could not be sent to a worker is not accepted."""
        try:
            await self.redis.set(_ACCEPTING, 1, px=_ACCEPTING_MS)
        except _REDIS_ERRORS as error:
            raise unavailable(f"Redis does not take jobs: {_sentence(error)}") from error

    async def ring(self, cancelled: Job | None = None) -> None:
        """Tell the dispatcher that a job was stored or stopped; without that it looks within a second."""
        try:
            await self.redis.xadd(
                doorbell_key(self.experiment.name),
                {"month": cancelled.month, "cell_id": cancelled.cell_id or ""} if cancelled else {"month": ""},
                maxlen=1000,
            )
        except _REDIS_ERRORS:
            return

    async def bill(self, month: str | None = None) -> Bill:
        """What the month has cost so far; at most a second old. Raises ApiError (503) if Redis is away."""
        month = month or months.current_month()
        now = time.monotonic()
        if self._bill is None or now - self._bill[0] > _BILL_S or self._bill[1].month != month:
            try:
                ledger: Any = await self.redis.hgetall(months.bill_key(month))
            except _REDIS_ERRORS as error:
                raise unavailable(f"Redis does not answer: {_sentence(error)}") from error
            self._bill = now, Bill.of(month, months.cap_usd(self.resolved), ledger)
        return self._bill[1]

    async def progress(self, job: Job) -> dict[str, dict[str, int]]:
        """role -> answers so far and in all; from Redis while it runs."""
        if job.progress:
            return {role: {"done": done, "total": total} for role, (done, total) in job.progress.items()}
        total = turns_of(Cell.from_json(job.cell))
        done: Counter[str] = Counter()
        if job.status == RUNNING and job.cell_id:
            done = await self._answered(job)
        roles = total or dict(done)
        return {role: {"done": min(done[role], count), "total": count} for role, count in roles.items()}

    async def _answered(self, job: Job) -> Counter[str]:
        try:
            key = Keys(self.run_id(job.month)).journal(str(job.cell_id))
            entries: Any = await self.redis.hvals(key)
        except _REDIS_ERRORS:
            return Counter()
        rows = await asyncio.to_thread(lambda: [JournalEntry.decode(raw, ()).row for raw in entries])
        return Counter(row["role"] for row in rows if row.get("kind") == "primary" and row.get("outcome") == "answered")

    async def aclose(self) -> None:
        await self.redis.aclose()
        self.client.close()
        self.jobs.close()


def connect(url: str) -> Redis:
    """A client that answers or fails at once: routes turn that into a 503."""
    return Redis.from_url(url, socket_timeout=_REDIS_S, socket_connect_timeout=_REDIS_S, retry=Retry(NoBackoff(), 0))


def service_folder(options: ServiceOptions, experiment: str) -> Path:
    return options.state_folder / experiment


def broker_of(options: ServiceOptions, experiment: str) -> str:
    """URL of --broker, else of the private Redis that the dispatcher starts."""
    return options.broker or url_of(service_folder(options, experiment) / "redis")


def doorbell_key(experiment: str) -> str:
    """Stream: an entry for each job that was stored or stopped."""
    return f"tah:service:{experiment}:doorbell"


def trouble_key(experiment: str) -> str:
    """String that expires: why the dispatcher waits for its disk."""
    return f"tah:service:{experiment}:trouble"


def turns_of(cell: Cell) -> Mapping[str, int]:
    """role -> number of its answers in a cell; empty where only the program knows."""
    if cell.is_attached or cell.pipeline.rule or not cell.lineup:
        return {}
    turns = agents.role_turns(cell.pipeline)
    return {role: count for role, count in turns.items() if role in cell.lineup}


def _sentence(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:200]
