"""Jobs on disk: one SQLite file that every process of the service shares.

A job is committed and synced before its 202 leaves. Any number of API processes and the dispatcher may write at the same time.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from harness.errors import HarnessError

PENDING, RUNNING, COMPLETED, FAILED, CANCELLED = "pending", "running", "completed", "failed", "cancelled"
STATUSES = (PENDING, RUNNING, COMPLETED, FAILED, CANCELLED)
OPEN = (PENDING, RUNNING)
_BUSY_MS = 10_000
_SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    job_id TEXT NOT NULL UNIQUE,
    owner TEXT NOT NULL,
    idempotency_key TEXT,
    body_hash TEXT NOT NULL,
    status TEXT NOT NULL,
    created_at REAL NOT NULL,
    started_at REAL,
    completed_at REAL,
    ticker TEXT NOT NULL,
    date TEXT NOT NULL,
    arm TEXT NOT NULL,
    month TEXT NOT NULL,
    question TEXT NOT NULL,
    repeat INTEGER NOT NULL,
    request TEXT NOT NULL,
    notes TEXT NOT NULL DEFAULT '[]',
    cell TEXT NOT NULL,
    cell_id TEXT,
    placed INTEGER NOT NULL DEFAULT 0,
    retry_at REAL,
    tries INTEGER NOT NULL DEFAULT 0,
    attempts INTEGER NOT NULL DEFAULT 0,
    reused INTEGER NOT NULL DEFAULT 0,
    error TEXT,
    error_type TEXT,
    cause TEXT,
    progress TEXT,
    callback_url TEXT,
    callback TEXT
);
CREATE UNIQUE INDEX IF NOT EXISTS jobs_by_key ON jobs (owner, idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE INDEX IF NOT EXISTS jobs_by_status ON jobs (status, seq);
CREATE INDEX IF NOT EXISTS jobs_by_owner ON jobs (owner, seq);
CREATE INDEX IF NOT EXISTS jobs_by_owner_and_status ON jobs (owner, status);
CREATE INDEX IF NOT EXISTS jobs_by_ticker ON jobs (ticker, seq);
CREATE INDEX IF NOT EXISTS jobs_by_question ON jobs (question, repeat);
CREATE INDEX IF NOT EXISTS jobs_by_cell ON jobs (cell_id) WHERE cell_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS jobs_by_callback ON jobs (callback) WHERE callback IS NOT NULL;
"""


class StorageFull(HarnessError):
    """A job could not be written: the disk is full, or the folder cannot be written."""


class StorageBusy(HarnessError):
    """Another process holds the file for too long."""


class KeyReused(HarnessError):
    """An idempotency key was used for another request before."""


class TooManyOpen(HarnessError):
    """The caller has as many open jobs as it may have."""


@dataclass(frozen=True)
class NewJob:
    """A request that was checked, before it is stored."""

    owner: str
    ticker: str
    date: str
    arm: str
    month: str
    question: str
    """Hash of what is asked, without its repeat: the same question has the same answer unless a fresh one is wanted."""
    body_hash: str
    request: Mapping[str, Any]
    cell: Callable[[int], str]
    """The cell as JSON, by its repeat."""
    notes: Sequence[str] = ()
    idempotency_key: str | None = None
    callback_url: str | None = None
    fresh: bool = False


@dataclass(frozen=True)
class Job:
    """A stored job; times are Unix seconds."""

    seq: int
    job_id: str
    owner: str
    status: str
    created_at: float
    started_at: float | None
    completed_at: float | None
    ticker: str
    date: str
    arm: str
    month: str
    """Month (YYYY-MM) whose run holds its cell."""
    question: str
    repeat: int
    request: Mapping[str, Any]
    """The body as it was accepted."""
    notes: Sequence[str]
    """How parts of the request were understood."""
    cell: str
    """The cell as JSON, with its snapshot once the case is frozen."""
    cell_id: str | None
    """Known once the case is frozen."""
    placed: bool
    tries: int
    """How often it was put back because a server or a source did not answer."""
    attempts: int
    reused: bool
    """Whether an earlier job had paid for the answer."""
    error: str | None
    error_type: str | None
    """timeout, llm_error, data_error, invalid_config or unknown."""
    cause: Mapping[str, Any] | None
    """code, message and fix of what ended or delays it."""
    progress: Mapping[str, Any] | None
    callback_url: str | None
    callback: str | None
    """due, sent, or failed: and why."""

    @property
    def is_open(self) -> bool:
        return self.status in OPEN


@dataclass(frozen=True)
class JobFilter:
    """Which jobs a list shows."""

    owner: str | None = None
    status: str | None = None
    ticker: str | None = None
    arm: str | None = None
    date: str | None = None

    def clauses(self) -> tuple[str, list[Any]]:
        given = [(each.name, getattr(self, each.name)) for each in fields(self) if getattr(self, each.name) is not None]
        return " AND ".join(f"{name} = ?" for name, _ in given) or "1", [value for _, value in given]


@dataclass(frozen=True)
class JobPage:
    """One page of a list, the newest job first."""

    jobs: Sequence[Job]
    total: int
    next_cursor: int | None


@dataclass
class JobStore:
    """The jobs of one service. Every method blocks for some milliseconds; any thread may call it."""

    path: Path
    is_durable: bool = True
    """Whether each change is synced to disk; the dispatcher can derive its changes again."""
    _connection: sqlite3.Connection = field(init=False, repr=False)
    _reader: sqlite3.Connection = field(init=False, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)
    _reader_lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)

    def __post_init__(self) -> None:
        with _as_storage_error(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = self._connect()
            self._connection.executescript(_SCHEMA)
            self._reader = self._connect()

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, timeout=_BUSY_MS / 1000, isolation_level=None, check_same_thread=False)
        connection.row_factory = sqlite3.Row
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {'FULL' if self.is_durable else 'NORMAL'}")
        return connection

    def close(self) -> None:
        with self._lock, self._reader_lock:
            self._connection.close()
            self._reader.close()

    def create(self, new: NewJob, most_open: int | None = None) -> tuple[Job, bool]:
        """Store a job; returns it and whether it is new. Raises KeyReused, TooManyOpen, StorageFull or StorageBusy.

        The same idempotency key gives the same job. The same question shares the cell of the job that asked it before."""
        with self._change() as db:
            if new.idempotency_key is not None and (known := self._of_key(db, new)):
                return known, False
            if most_open is not None:
                self._check_open(db, new.owner, most_open)
            values = self._values(new, self._asked_before(db, new.question))
            names = ", ".join(values)
            marks = ", ".join("?" * len(values))
            db.execute(f"INSERT INTO jobs ({names}) VALUES ({marks})", list(values.values()))
            return _job(db.execute("SELECT * FROM jobs WHERE job_id = ?", [values["job_id"]]).fetchone()), True

    def _of_key(self, db: sqlite3.Connection, new: NewJob) -> Job | None:
        query = "SELECT * FROM jobs WHERE owner = ? AND idempotency_key = ?"
        row = db.execute(query, [new.owner, new.idempotency_key]).fetchone()
        if row is not None and row["body_hash"] != new.body_hash:
            raise KeyReused(f"the idempotency key was used for another request: job {row['job_id']}")
        return _job(row) if row is not None else None

    def _check_open(self, db: sqlite3.Connection, owner: str, most_open: int) -> None:
        query = "SELECT count(*) FROM jobs WHERE owner = ? AND status IN ('pending', 'running')"
        count = db.execute(query, [owner]).fetchone()[0]
        if count >= most_open:
            raise TooManyOpen(f"{count} jobs of this token are open, and {most_open} may be")

    def _asked_before(self, db: sqlite3.Connection, question: str) -> Job | None:
        query = "SELECT * FROM jobs WHERE question = ? ORDER BY repeat DESC, seq DESC LIMIT 1"
        row = db.execute(query, [question]).fetchone()
        return _job(row) if row is not None else None

    def _values(self, new: NewJob, earlier: Job | None) -> dict[str, Any]:
        now = time.time()
        repeat = 0 if earlier is None else earlier.repeat + 1 if new.fresh else earlier.repeat
        values: dict[str, Any] = {
            "job_id": str(uuid.uuid4()),
            **{name: getattr(new, name) for name in _COPIED},
            "status": PENDING,
            "created_at": now,
            "repeat": repeat,
            "request": json.dumps(new.request),
            "notes": json.dumps(list(new.notes)),
        }
        if earlier is not None and not new.fresh and earlier.status in (*OPEN, COMPLETED):
            values |= {"month": earlier.month, "cell": earlier.cell, "cell_id": earlier.cell_id}
            values |= _answered(earlier, now) if earlier.status == COMPLETED else {}
            if earlier.status == COMPLETED and new.callback_url:
                values["callback"] = "due"
        else:
            values["cell"] = new.cell(repeat)
        return values

    def get(self, job_id: str) -> Job | None:
        rows = self._rows("SELECT * FROM jobs WHERE job_id = ?", [job_id])
        return rows[0] if rows else None

    def page(self, wanted: JobFilter, limit: int = 50, cursor: int | None = None) -> JobPage:
        """The newest jobs that fit; `cursor`: the `next_cursor` of the page before."""
        where, values = wanted.clauses()
        before, more = ("seq < ? AND ", [cursor]) if cursor is not None else ("", [])
        rows = self._rows(f"SELECT * FROM jobs WHERE {before}{where} ORDER BY seq DESC LIMIT ?", [*more, *values, limit + 1])
        with self._reader_lock, _as_storage_error(self.path):
            total = self._reader.execute(f"SELECT count(*) FROM jobs WHERE {where}", values).fetchone()[0]
        return JobPage(rows[:limit], int(total), rows[limit - 1].seq if len(rows) > limit else None)

    def counts(self, owner: str | None = None) -> dict[str, int]:
        """status -> number of jobs."""
        where, values = JobFilter(owner=owner).clauses()
        with self._reader_lock, _as_storage_error(self.path):
            rows = self._reader.execute(f"SELECT status, count(*) FROM jobs WHERE {where} GROUP BY status", values).fetchall()
        return dict.fromkeys(STATUSES, 0) | {row[0]: row[1] for row in rows}

    def counts_by_owner(self) -> dict[tuple[str, str], int]:
        """(name of a token, status) -> number of jobs."""
        with self._reader_lock, _as_storage_error(self.path):
            rows = self._reader.execute("SELECT owner, status, count(*) FROM jobs GROUP BY owner, status").fetchall()
        return {(row[0], row[1]): row[2] for row in rows}

    def to_place(self, now: float, limit: int = 200) -> list[Job]:
        """Open jobs that the dispatcher has not placed yet, the oldest first."""
        query = (
            "SELECT * FROM jobs WHERE status IN ('pending', 'running') AND placed = 0 AND (retry_at IS NULL OR retry_at <= ?) "
            "ORDER BY seq LIMIT ?"
        )
        return self._rows(query, [now, limit])

    def of_cell(self, cell_id: str) -> list[Job]:
        """The open jobs that wait for this cell."""
        return self._rows("SELECT * FROM jobs WHERE cell_id = ? AND status IN ('pending', 'running')", [cell_id])

    def due_callbacks(self, limit: int = 100) -> list[Job]:
        return self._rows("SELECT * FROM jobs WHERE callback = 'due' ORDER BY seq LIMIT ?", [limit])

    def update(self, job_id: str, *, only: Sequence[str] = STATUSES, **values: Any) -> bool:
        """Change fields of a job if its status is one of `only`; returns whether it was."""
        return self.update_all([(job_id, values)], only=only) == 1

    def update_all(self, changes: Sequence[tuple[str, Mapping[str, Any]]], only: Sequence[str] = STATUSES) -> int:
        """The same for several jobs in one commit; returns how many were changed."""
        changed = 0
        marks = ", ".join("?" * len(only))
        with self._change() as db:
            for job_id, values in changes:
                plain = {name: _stored(value) for name, value in values.items()}
                names = ", ".join(f"{name} = ?" for name in plain)
                query = f"UPDATE jobs SET {names} WHERE job_id = ? AND status IN ({marks})"
                changed += db.execute(query, [*plain.values(), job_id, *only]).rowcount
        return changed

    def place_again(self) -> None:
        """A new dispatcher places every open job again."""
        with self._change() as db:
            db.execute("UPDATE jobs SET placed = 0 WHERE status IN ('pending', 'running')")

    def delete(self, job_id: str) -> bool:
        """Remove a job that has ended."""
        query = "DELETE FROM jobs WHERE job_id = ? AND status NOT IN ('pending', 'running')"
        with self._change() as db:
            return bool(db.execute(query, [job_id]).rowcount)

    def purge(self, before: float) -> int:
        """Remove jobs that ended before this moment; returns how many."""
        query = "DELETE FROM jobs WHERE status NOT IN ('pending', 'running') AND coalesce(completed_at, created_at) < ?"
        with self._change() as db:
            return int(db.execute(query, [before]).rowcount)

    def months(self) -> set[str]:
        """Months whose run some job refers to."""
        with self._reader_lock, _as_storage_error(self.path):
            return {row[0] for row in self._reader.execute("SELECT DISTINCT month FROM jobs")}

    def _rows(self, query: str, values: Sequence[Any]) -> list[Job]:
        with self._reader_lock, _as_storage_error(self.path):
            return [_job(row) for row in self._reader.execute(query, values).fetchall()]

    @contextmanager
    def _change(self) -> Iterator[sqlite3.Connection]:
        """One transaction, taken at once so that what is read in it stays true until it is committed."""
        with self._lock, _as_storage_error(self.path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise


_COPIED = ("owner", "ticker", "date", "arm", "month", "question", "body_hash", "idempotency_key", "callback_url")
_JSON = ("request", "notes", "cause", "progress")


def _answered(earlier: Job, now: float) -> dict[str, Any]:
    """Fields of a job whose question an earlier one has answered."""
    progress = json.dumps(earlier.progress) if earlier.progress else None
    times = {"started_at": now, "completed_at": now}
    return {"status": COMPLETED, "reused": 1, "attempts": earlier.attempts, "progress": progress, "placed": 1, **times}


def _stored(value: Any) -> Any:
    if isinstance(value, Mapping | list | tuple):
        return json.dumps(value)
    return value.encode(errors="replace").decode() if isinstance(value, str) else value


def _job(row: sqlite3.Row) -> Job:
    values = {each.name: row[each.name] for each in fields(Job)}
    for name in _JSON:
        values[name] = json.loads(values[name]) if values[name] else None
    return Job(**values | {"placed": bool(values["placed"]), "reused": bool(values["reused"])})


@contextmanager
def _as_storage_error(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        if "locked" in str(error) or "busy" in str(error):
            raise StorageBusy(f"{path} is in use for too long: {error}") from error
        raise StorageFull(f"cannot write {path}: {error}; free space or fix the permissions") from error
    except (OSError, sqlite3.DatabaseError) as error:
        if isinstance(error, sqlite3.IntegrityError | sqlite3.ProgrammingError):
            raise
        raise StorageFull(f"cannot write {path}: {error}; free space or fix the permissions") from error
