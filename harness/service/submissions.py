"""Experiments that were submitted over HTTP: a folder for each, written before it is acknowledged.

`experiment.yaml` and `request.json` are written once, by the API; `state.json` by the dispatcher while it runs the experiment;
`stop` is a wish of the API that the dispatcher reads. So any of the processes may be killed at any time.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
import re
import shutil
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from redis import RedisError

if TYPE_CHECKING:
    from redis import Redis

QUEUED, RUNNING, STOPPING, STOPPED, DONE, FAILED = "queued", "running", "stopping", "stopped", "done", "failed"
OPEN = frozenset({QUEUED, RUNNING, STOPPING})
_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
_PROBLEMS = re.compile(r"\d+ problems?:")
_LAST_WORDS = 4000
_REASON_CHARS = 300
MOST_AT_ONCE = 2
"""Experiments that run at the same time; the others are queued."""


@dataclass(frozen=True)
class RunState:
    """How far a submitted experiment is."""

    state: str = QUEUED
    run_id: str | None = None
    attempts: int = 0
    started_at: str | None = None
    ended_at: str | None = None
    exit_code: int | None = None
    words: str = ""
    """What `run` printed last, of an experiment that ended."""


@dataclass(frozen=True)
class UnstoredState:
    """The state of an experiment that the disk does not take."""

    now: RunState
    problem: str
    """The operating system's reason, in its words."""
    is_given_up: bool
    """Whether the dispatcher has stopped trying: the experiment goes on once it is resumed."""


@dataclass(frozen=True)
class UnstoredStates:
    """States that the disk refused, in Redis: the dispatcher writes them, the API shows them."""

    client: Redis
    experiment: str
    """Name of the served experiment."""

    @property
    def _key(self) -> str:
        return f"tah:service:{self.experiment}:unstored"

    def read(self) -> dict[str, UnstoredState]:
        """Experiment id -> its state. Raises RedisError."""
        raw: Any = self.client.hgetall(self._key)
        states = {key.decode(): json.loads(value) for key, value in raw.items()}
        return {key: UnstoredState(**value | {"now": RunState(**value["now"])}) for key, value in states.items()}

    def update(self, before: Mapping[str, UnstoredState], after: Mapping[str, UnstoredState]) -> None:
        """Write what is new and remove what is gone: what was forgotten in between stays away. Raises RedisError."""
        changed: dict[Any, Any] = {key: json.dumps(asdict(state)) for key, state in after.items() if before.get(key) != state}
        if changed:
            self.client.hset(self._key, mapping=changed)
        if gone := before.keys() - after.keys():
            self.client.hdel(self._key, *gone)

    def clear(self) -> None:
        """A new dispatcher tries all of them. Raises RedisError."""
        self.client.delete(self._key)

    def forget(self, experiment_id: str) -> None:
        """The experiment was resumed: the dispatcher tries it again. Raises RedisError."""
        self.client.hdel(self._key, experiment_id)


@dataclass(frozen=True)
class SubmittedExperiment:
    """One submitted experiment."""

    experiment_id: str
    folder: Path
    name: str
    owner: str
    submitted_at: str
    key: str | None = None
    """Its Idempotency-Key."""
    content: str = ""
    """Hash of what was submitted."""
    now: RunState = RunState()
    unstored: UnstoredState | None = None
    """If the disk has refused its state: that is `now`."""

    @property
    def file(self) -> Path:
        return self.folder / "experiment.yaml"

    @property
    def log(self) -> Path:
        return self.folder / "output.log"

    @property
    def is_over(self) -> bool:
        """Whether it changes only if a person resumes it."""
        return self.unstored.is_given_up if self.unstored else self.now.state not in OPEN

    @property
    def can_resume(self) -> bool:
        """Whether the dispatcher has done what it can, and a person may let it go on."""
        return self.unstored.is_given_up if self.unstored else self.now.state in (STOPPED, FAILED)

    @property
    def reason(self) -> str:
        """Why it is in its state, in one line; empty if that needs no reason."""
        if self.unstored and not self.unstored.is_given_up:
            return f"its state cannot be stored: {self.unstored.problem}; it is tried again"
        if self.now.exit_code is not None and self.now.exit_code < 0 and self.now.state in (QUEUED, FAILED):
            return f"attempt {self.now.attempts} was ended by signal {-self.now.exit_code}"
        if self.now.state == QUEUED:
            return f"waits for its turn: {MOST_AT_ONCE} experiments run at a time"
        if self.now.state in (STOPPED, FAILED):
            return _in_one_line(self.now.words.replace(str(self.file), "the experiment")) or "it was stopped before it began"
        return ""

    @property
    def is_to_stop(self) -> bool:
        return (self.folder / "stop").exists()

    def wish_stop(self) -> None:
        _write(self.folder / "stop", b"")

    def wish_resume(self) -> None:
        """Let the dispatcher run it again."""
        (self.folder / "stop").unlink(missing_ok=True)
        queued = replace(self.now, state=QUEUED, attempts=0, exit_code=None, ended_at=None, words="")
        _write(self.folder / "state.json", json.dumps(asdict(queued)).encode())

    def record(self, **changes: Any) -> SubmittedExperiment:
        """Store a new state and return the submission with it."""
        now = replace(self.now, **changes)
        _write(self.folder / "state.json", json.dumps(asdict(now)).encode())
        return replace(self, now=now)

    def words(self) -> str:
        """What `run` has printed."""
        try:
            return self.log.read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return ""

    def last_words(self) -> str:
        return self.words().strip()[-_LAST_WORDS:]


class SubmittedExperiments:
    """Every submitted experiment of one service; `unstored`: shows the states that the disk has refused as well."""

    def __init__(self, folder: Path, unstored: UnstoredStates | None = None) -> None:
        self.folder = folder / "experiments"
        self.unstored = unstored

    def create(self, *, name: str, owner: str, text: str, content: str, key: str | None) -> SubmittedExperiment:
        """Store an experiment; it is on disk when this returns. Raises OSError."""
        experiment_id = str(uuid.uuid4())
        folder = self.folder / experiment_id
        folder.mkdir(parents=True)
        _write(folder / "experiment.yaml", text.encode())
        now = dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds")
        request: dict[str, Any] = {"name": name, "owner": owner, "submitted_at": now, "key": key, "content": content}
        _write(folder / "request.json", json.dumps(request).encode())
        _sync_folder(self.folder)
        return SubmittedExperiment(experiment_id, folder, **request)

    def remove(self, submission: SubmittedExperiment) -> None:
        """Forget a submission. Raises OSError."""
        (submission.folder / "request.json").unlink(missing_ok=True)  # first: without it nothing reads the rest
        shutil.rmtree(submission.folder)

    def remove_unfinished(self, before: float) -> None:
        """Remove folders that were never acknowledged, since the disk was full or the process died. Raises OSError."""
        for path in self.folder.glob("*/"):
            if not (path / "request.json").exists() and path.stat().st_mtime < before:
                shutil.rmtree(path)

    def get(self, experiment_id: str) -> SubmittedExperiment | None:
        """The submission with this id; None for any other text."""
        submission = self._stored(experiment_id)
        return self._with_unstored([submission])[0] if submission else None

    def _stored(self, experiment_id: str) -> SubmittedExperiment | None:
        if not _ID.fullmatch(experiment_id):
            return None
        folder = self.folder / experiment_id
        request = _read(folder / "request.json")
        if request is None:
            return None
        state = _read(folder / "state.json")
        return SubmittedExperiment(experiment_id, folder, **request, now=RunState(**state) if state else RunState())

    def all(self) -> list[SubmittedExperiment]:
        """Every submission, the newest first."""
        names = os.listdir(self.folder) if self.folder.is_dir() else []
        submissions = self._with_unstored([submission for name in names if (submission := self._stored(name))])
        return sorted(submissions, key=lambda each: (each.submitted_at, each.experiment_id), reverse=True)

    def _with_unstored(self, submissions: list[SubmittedExperiment]) -> list[SubmittedExperiment]:
        """While Redis does not answer, what is on disk is the best that is known."""
        states: Mapping[str, UnstoredState] = {}
        if self.unstored and any(each.now.state in OPEN for each in submissions):
            with contextlib.suppress(RedisError, OSError):
                states = self.unstored.read()
        return [
            replace(each, now=states[each.experiment_id].now, unstored=states[each.experiment_id])
            if each.experiment_id in states
            else each
            for each in submissions
        ]

    def with_key(self, owner: str, key: str) -> SubmittedExperiment | None:
        return next((one for one in self.all() if one.owner == owner and one.key == key), None)


def _in_one_line(words: str) -> str:
    """The problems that `run` has listed, else what it printed last."""
    lines = [line.strip() for line in words.splitlines() if line.strip()]
    for number, line in enumerate(lines):
        if _PROBLEMS.fullmatch(line):
            return " ".join(lines[number + 1 :]).replace(" fix: ", "; fix: ")[:_REASON_CHARS]
    return " ".join(lines)[-_REASON_CHARS:]


def _read(path: Path) -> Mapping[str, Any] | None:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None


def _write(path: Path, data: bytes) -> None:
    """Atomically, and on disk when this returns."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    with temporary.open("wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(path)
    _sync_folder(path.parent)


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
