"""Experiments that were submitted over HTTP: a folder for each, written before it is acknowledged.

`experiment.yaml` and `request.json` are written once, by the API; `state.json` by the dispatcher while it runs the experiment;
`stop` is a wish of the API that the dispatcher reads. So any of the processes may be killed at any time.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import re
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

QUEUED, RUNNING, STOPPING, STOPPED, DONE, FAILED = "queued", "running", "stopping", "stopped", "done", "failed"
OPEN = frozenset({QUEUED, RUNNING, STOPPING})
_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
_LAST_WORDS = 4000


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

    @property
    def file(self) -> Path:
        return self.folder / "experiment.yaml"

    @property
    def log(self) -> Path:
        return self.folder / "output.log"

    @property
    def is_to_stop(self) -> bool:
        return (self.folder / "stop").exists()

    def wish_stop(self) -> None:
        _write(self.folder / "stop", b"")

    def wish_resume(self) -> None:
        """Let the dispatcher run it again."""
        (self.folder / "stop").unlink(missing_ok=True)
        _write(self.folder / "state.json", json.dumps(asdict(replace(self.now, state=QUEUED, attempts=0))).encode())

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
    """Every submitted experiment of one service."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "experiments"

    def create(self, *, name: str, owner: str, text: str, content: str, key: str | None) -> SubmittedExperiment:
        """Store an experiment; it is on disk when this returns. Raises OSError."""
        experiment_id = str(uuid.uuid4())
        folder = self.folder / experiment_id
        folder.mkdir(parents=True)
        _write(folder / "experiment.yaml", text.encode())
        now = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
        request: dict[str, Any] = {"name": name, "owner": owner, "submitted_at": now, "key": key, "content": content}
        _write(folder / "request.json", json.dumps(request).encode())
        _sync_folder(self.folder)
        return SubmittedExperiment(experiment_id, folder, **request)

    def get(self, experiment_id: str) -> SubmittedExperiment | None:
        """The submission with this id; None for any other text."""
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
        found = [submission for name in names if (submission := self.get(name))]
        return sorted(found, key=lambda one: (one.submitted_at, one.experiment_id), reverse=True)

    def with_key(self, owner: str, key: str) -> SubmittedExperiment | None:
        return next((one for one in self.all() if one.owner == owner and one.key == key), None)


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
