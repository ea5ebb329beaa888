"""Runs submitted experiments: `python -m harness run` in a child process each, on the service's Redis and workers.

The command is the one that a person would use, so that everything that it promises holds: it continues what an earlier process
left, and pays for nothing twice.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import logging
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from harness.queue.process import die_with_parent
from harness.service.errors import FIX_STORAGE
from harness.service.submissions import (
    DONE,
    FAILED,
    MOST_AT_ONCE,
    OPEN,
    QUEUED,
    RUNNING,
    STOPPED,
    STOPPING,
    RunState,
    SubmittedExperiment,
    SubmittedExperiments,
    UnstoredState,
    UnstoredStates,
)

if TYPE_CHECKING:
    from harness.service.service import ServiceOptions

_log = logging.getLogger(__name__)
MOST_ATTEMPTS = 3
"""Starts of an experiment whose process is killed."""
MOST_REFUSALS = 8
"""Tries to store a state that the disk refuses; the pauses between them double, about two minutes in all."""
_STOP_S = 30.0
_HEADLINE = re.compile(r"^(?:new run|continuing) [^/\s]+/(\S+): ", re.MULTILINE)
_FIRST_WORDS = 4000
_EARLY, _GATE = 3, 4


@dataclass
class _Refusal:
    """The disk does not take the state of one experiment."""

    now: RunState
    problem: str
    tries: int
    again_at: float
    is_given_up: bool = False


@dataclass
class ExperimentRunner:
    """Starts, watches and stops the processes; the dispatcher calls `step` about once a second."""

    options: ServiceOptions
    submissions: SubmittedExperiments
    broker: str
    unstored: UnstoredStates
    pace_s: float = 1.0
    """Between two looks, and before the second try to store a state."""
    _processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    """Experiment id -> its process; forked by the dispatcher's main thread, as `die_with_parent` needs."""
    _changed: dict[str, RunState] = field(default_factory=dict)
    """Experiment id -> its state, from before it is written until it is on disk."""
    _refusals: dict[str, _Refusal] = field(default_factory=dict)
    _published: dict[str, UnstoredState] = field(default_factory=dict)
    _looked_at: float = float("-inf")

    def step(self) -> None:
        now = time.monotonic()
        if now - self._looked_at < self.pace_s:
            return
        self._looked_at = now
        self._drop_resumed()
        for submission in reversed([each for each in self.submissions.all() if each.now.state in OPEN]):
            refusal = self._refusals.get(submission.experiment_id)
            if refusal is None or (not refusal.is_given_up and now >= refusal.again_at):
                self._try(submission, refusal)
        self._publish()

    def _try(self, submission: SubmittedExperiment, refusal: _Refusal | None) -> None:
        """Look at one experiment; what the disk refuses of it must not keep the others waiting."""
        try:
            if refusal is not None:
                submission = self._record(submission, **asdict(refusal.now))
            if submission.now.state in OPEN:
                self._look_at(submission)
        except OSError as error:
            state = self._changed.get(submission.experiment_id, submission.now)
            self._refused(submission, state, error, 1 if refusal is None else refusal.tries + 1)
        else:
            self._refusals.pop(submission.experiment_id, None)

    def _refused(self, submission: SubmittedExperiment, state: RunState, error: OSError, tries: int) -> None:
        pause_s, problem = self.pace_s * 2 ** (tries - 1), error.strerror or str(error)
        refusal = _Refusal(state, problem, tries, time.monotonic() + pause_s, is_given_up=tries >= MOST_REFUSALS)
        self._refusals[submission.experiment_id] = refusal
        what = f"the state of experiment {submission.experiment_id} ({submission.name}) cannot be stored: {error}"
        if not refusal.is_given_up:
            _log.error("%s; it is tried again in %.0f s", what, pause_s)
            return
        _log.error("%s; given up after %d tries: %s, then resume it", what, tries, FIX_STORAGE)
        if state.state in OPEN:
            words = f"its state cannot be stored: {problem}; {FIX_STORAGE}, then resume it"
            refusal.now = replace(state, state=FAILED, ended_at=_now(), words=words)
        if process := self._processes.get(submission.experiment_id):
            process.send_signal(signal.SIGINT)

    def _drop_resumed(self) -> None:
        """Go on with experiments that were given up and that have been resumed since."""
        ended = [key for key, refusal in self._refusals.items() if refusal.is_given_up and self._has_ended(key)]
        resumed = set(ended) & set(self._published) - set(self.unstored.read()) if ended else ()
        for experiment_id in resumed:
            self._processes.pop(experiment_id, None)
            self._changed.pop(experiment_id, None)
            del self._refusals[experiment_id], self._published[experiment_id]

    def _has_ended(self, experiment_id: str) -> bool:
        process = self._processes.get(experiment_id)
        return process is None or process.poll() is not None

    def _publish(self) -> None:
        """Let the API show what the disk does not have."""
        states = {key: UnstoredState(each.now, each.problem, each.is_given_up) for key, each in self._refusals.items()}
        if states != self._published:
            self.unstored.update(self._published, states)
            self._published = states

    def _record(self, submission: SubmittedExperiment, **changes: Any) -> SubmittedExperiment:
        """Store a state; it is remembered if the disk refuses it. Raises OSError."""
        self._changed[submission.experiment_id] = replace(submission.now, **changes)
        stored = submission.record(**changes)
        del self._changed[submission.experiment_id]
        return stored

    def _look_at(self, submission: SubmittedExperiment) -> None:
        process = self._processes.get(submission.experiment_id)
        if process is None:
            if submission.is_to_stop:
                self._end(submission, STOPPED)
            elif self._running() < MOST_AT_ONCE:
                self._start(submission)
            return
        code = process.poll()
        if code is not None:
            del self._processes[submission.experiment_id]
            self._ended(submission, code)
            return
        if submission.is_to_stop and submission.now.state != STOPPING:
            process.send_signal(signal.SIGINT)
            submission = self._record(submission, state=STOPPING)
        if submission.now.run_id is None and (run_id := _run_id(submission)):
            self._record(submission, run_id=run_id)

    def _running(self) -> int:
        return sum(process.poll() is None for process in self._processes.values())

    def _start(self, submission: SubmittedExperiment) -> None:
        """Its state is stored first: what the disk refuses is not begun."""
        started_at = submission.now.started_at or _now()
        attempts = submission.now.attempts + 1
        submission.record(state=RUNNING, started_at=started_at, attempts=attempts, ended_at=None)
        with submission.log.open("wb") as stream:
            process = subprocess.Popen(
                self._command(submission),
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                env=os.environ | {"COLUMNS": "120", "NO_COLOR": "1"},
                start_new_session=True,
                preexec_fn=partial(die_with_parent, os.getpid()),
            )
        self._processes[submission.experiment_id] = process
        _log.info("experiment %s (%s) started", submission.experiment_id, submission.name)

    def _command(self, submission: SubmittedExperiment) -> list[str]:
        options = self.options
        words = [sys.executable, "-m", "harness", "run", str(submission.file), "--yes", "--broker", self.broker]
        words += ["--folder", str(options.experiment.resolve().parent), "--results", options.results]
        words += ["--snapshots", str(options.snapshots)]
        return [*words, *(["--servers", str(options.servers)] if options.servers else [])]

    def _ended(self, submission: SubmittedExperiment, code: int) -> None:
        if code in (0, _GATE):
            self._end(submission, DONE, code)
        elif code == _EARLY or submission.is_to_stop:
            self._end(submission, STOPPED, code)
        elif code < 0 and submission.now.attempts < MOST_ATTEMPTS:
            self._record(submission, state=QUEUED, exit_code=code)
        else:
            self._end(submission, FAILED, code)

    def _end(self, submission: SubmittedExperiment, state: str, code: int | None = None) -> None:
        run_id = _run_id(submission) or submission.now.run_id
        self._record(submission, state=state, exit_code=code, ended_at=_now(), words=submission.last_words(), run_id=run_id)
        _log.info("experiment %s (%s) is %s", submission.experiment_id, submission.name, state)

    def close(self) -> None:
        """End the processes; the next dispatcher goes on with their experiments."""
        for process in self._processes.values():
            process.send_signal(signal.SIGINT)
        deadline = time.monotonic() + _STOP_S
        for process in self._processes.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, deadline - time.monotonic()))
                continue
            process.kill()


def _run_id(submission: SubmittedExperiment) -> str | None:
    """The run that the process reported."""
    found = _HEADLINE.search(submission.words()[:_FIRST_WORDS])
    return found[1] if found else None


def _now() -> str:
    return dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
