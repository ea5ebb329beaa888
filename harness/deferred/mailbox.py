"""Deferred calls in files of the run folder: suspended cells, what was sent for them, and what came back.

    deferred/cells/CELL.cell.z                   a suspended cell: its recorded calls, and the calls that it waits for
    deferred/sent/SUBMISSION.sent.json           a batch or a background response, written before it is sent
    deferred/answers/CELL/SUBMISSION.answer.z    outcomes of calls of one cell

Every file is written atomically and may be written again. Redis holds none of this, so it may be lost.
"""

from __future__ import annotations

import base64
import json
import time
import uuid
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from harness.storage.folder import Folder

FOLDER = "deferred"
PROGRESS = "progress.json"
_CELL, _SENT, _ANSWER = ".cell.z", ".sent.json", ".answer.z"


@dataclass(frozen=True)
class WaitingCall:
    """A request that waits to be sent, or for its answer."""

    call_id: str
    call_site_key: str
    role: str
    request_hash: str
    server: str
    model_alias: str
    model: str
    """Its name at the provider."""
    lane: str
    path: str
    """Path of the API."""
    body: Mapping[str, Any] = field(repr=False)
    worst_pico: int
    """Reserved for it, in pico-dollars."""
    killed: str = field(repr=False)
    """Journal entry that counts for it while its end is unknown, base64."""
    since: float
    """Unix time from which it waits."""
    not_before: float = 0.0
    """Unix time of its back-off's end."""


@dataclass(frozen=True)
class SuspendedCell:
    """A cell whose calls are answered later."""

    cell_id: str
    attempt: int
    entries: Mapping[str, str]
    """call id -> journal entry of a recorded call, base64."""
    waiting: tuple[WaitingCall, ...]
    answered: tuple[tuple[str, str, str], ...] = ()
    """Role, model and lane of each deferred call among the entries that was answered."""


@dataclass(frozen=True)
class Outcome:
    """What became of one deferred call."""

    call_id: str
    sent_at: float
    finished_at: float
    status: int = 0
    """HTTP status of its answer; 0 if it has none."""
    body: str = field(default="", repr=False)
    request_id: str | None = None
    cause: str | None = None
    """One of agents.CAUSES if it was not answered."""
    message: str = ""
    submission_id: str = ""
    """Of the submission that it was part of; known once it is read from its file."""

    @property
    def is_answer(self) -> bool:
        """Whether the call needs no second try."""
        return self.cause is None and self.status < 400


@dataclass(frozen=True)
class Submission:
    """A batch, or a background response, from before it is sent until its answers are stored."""

    submission_id: str
    server: str
    model: str
    lane: str
    path: str
    calls: Mapping[str, tuple[str, str]]
    """call id -> its cell and its role."""
    worst_pico: int
    created_at: float
    state: str = "sending"
    """sending: no handle yet; open: has a handle; cancelling: the same, and its cancellation was requested."""
    creating_at: float = 0.0
    """When its creation was requested; 0: not yet."""
    file_id: str | None = None
    file_created_at: float = 0.0
    """Of its file, by the provider's clock."""
    alias: str = ""
    """Of the model, in the experiment."""
    handle: str | None = None
    """Id of the batch or response."""
    status: str = ""
    """As the provider reports it."""
    back: int = 0
    """Requests that the provider has answered so far."""

    @property
    def is_batch(self) -> bool:
        return self.lane == "batch"

    @property
    def is_uncertain(self) -> bool:
        """Whether the provider may have it although we have no handle."""
        return self.handle is None and self.creating_at > 0

    @property
    def roles(self) -> tuple[str, ...]:
        return tuple(sorted({role for _, role in self.calls.values()}))

    def with_(self, **changes: Any) -> Submission:
        return replace(self, **changes)


def new_submission_id() -> str:
    return uuid.uuid4().hex


class Mailbox:
    """The deferred calls of one run."""

    def __init__(self, run: Folder) -> None:
        self._root = run.at(FOLDER)
        self._cells = self._root.at("cells")
        self._sent = self._root.at("sent")
        self._answers = self._root.at("answers")

    def is_used(self) -> bool:
        """Whether some cell is, or was, suspended in this run."""
        return bool(self._cells.files())

    def suspend(self, cell: SuspendedCell, recorded: Iterable[str] = ()) -> None:
        """`recorded`: submissions whose answers are among the entries of the cell, so that their files can go.

        Raises StoreError."""
        self._cells.write(cell.cell_id + _CELL, _packed(asdict(cell)))
        for submission_id in recorded:
            self._answers.at(cell.cell_id).delete(submission_id + _ANSWER)

    def suspended_ids(self) -> list[str]:
        return [name.removesuffix(_CELL) for name in self._cells.files() if name.endswith(_CELL)]

    def is_suspended(self, cell_id: str) -> bool:
        """Whether the cell waits, or has waited and has not ended yet."""
        return self._cells.exists(cell_id + _CELL)

    def read_cell(self, cell_id: str) -> SuspendedCell | None:
        raw = self._cells.read_if_there(cell_id + _CELL)
        if raw is None:
            return None
        plain = _unpacked(raw)
        waiting = tuple(WaitingCall(**call) for call in plain["waiting"])
        answered = tuple(tuple(call) for call in plain.get("answered", ()))
        return SuspendedCell(plain["cell_id"], plain["attempt"], plain["entries"], waiting, answered)

    def outcomes(self, cell_id: str) -> list[Outcome]:
        """What came back for a cell since it was suspended last."""
        folder = self._answers.at(cell_id)
        ids = [name.removesuffix(_ANSWER) for name in sorted(folder.files()) if name.endswith(_ANSWER)]
        raws = {submission_id: folder.read_if_there(submission_id + _ANSWER) for submission_id in ids}
        return [
            Outcome(**outcome | {"submission_id": submission_id})
            for submission_id, raw in raws.items()
            if raw is not None
            for outcome in _unpacked(raw)
        ]

    def answer(self, cell_id: str, submission_id: str, outcomes: Iterable[Outcome]) -> None:
        """Store what came back for one cell. Raises StoreError."""
        self._answers.at(cell_id).write(submission_id + _ANSWER, _packed([asdict(outcome) for outcome in outcomes]))

    def remove(self, cell_id: str) -> None:
        """Forget a cell that has its receipt."""
        self._cells.delete(cell_id + _CELL)
        folder = self._answers.at(cell_id)
        for name in folder.files():
            folder.delete(name)
        if folder.local is not None and folder.local.is_dir():
            folder.local.rmdir()

    def keep(self, submission: Submission) -> None:
        self._sent.write(submission.submission_id + _SENT, json.dumps(asdict(submission)).encode())

    def forget(self, submission: Submission) -> None:
        """Its answers are stored, or it will never be sent."""
        self._sent.delete(submission.submission_id + _SENT)

    def submissions(self) -> Iterator[Submission]:
        """Everything that was sent, or may have been, and whose answers are not stored yet."""
        for name in sorted(self._sent.files()):
            if name.endswith(_SENT) and (raw := self._sent.read_if_there(name)) is not None:
                plain = json.loads(raw)
                yield Submission(**plain | {"calls": {key: tuple(value) for key, value in plain["calls"].items()}})

    def sweep(self) -> None:
        """Remove temporary files of killed writers; only while nothing writes."""
        for folder in (self._root, self._cells, self._sent, *(self._answers.at(name) for name in self._answers.folders())):
            folder.sweep()

    def write_progress(self, progress: Mapping[str, Any]) -> None:
        self._root.write(PROGRESS, json.dumps(dict(progress) | {"written_at": time.time()}).encode())

    def progress(self) -> dict[str, Any] | None:
        """What the runner last wrote about deferred calls."""
        raw = self._root.read_if_there(PROGRESS)
        return None if raw is None else dict(json.loads(raw))


def encoded(entry: bytes) -> str:
    """A journal entry as text."""
    return base64.b64encode(entry).decode()


def decoded(text: str) -> bytes:
    return base64.b64decode(text)


def _packed(value: Any) -> bytes:
    return zlib.compress(json.dumps(value, separators=(",", ":")).encode(), 1)


def _unpacked(raw: bytes) -> Any:
    return json.loads(zlib.decompress(raw))
