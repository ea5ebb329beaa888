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
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from harness.queue.process import die_with_parent
from harness.service.submissions import (
    DONE,
    FAILED,
    OPEN,
    QUEUED,
    RUNNING,
    STOPPED,
    STOPPING,
    SubmittedExperiment,
    SubmittedExperiments,
)

if TYPE_CHECKING:
    from harness.service.service import ServiceOptions

_log = logging.getLogger(__name__)
MOST_AT_ONCE = 2
MOST_ATTEMPTS = 3
"""Starts of an experiment whose process is killed."""
_LOOK_S = 1.0
_STOP_S = 30.0
_HEADLINE = re.compile(r"^(?:new run|continuing) [^/\s]+/(\S+): ", re.MULTILINE)
_FIRST_WORDS = 4000
_EARLY, _GATE = 3, 4


@dataclass
class ExperimentRunner:
    """Starts, watches and stops the processes; the dispatcher calls `step` about once a second."""

    options: ServiceOptions
    submissions: SubmittedExperiments
    broker: str
    _processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    """Experiment id -> its process; forked by the dispatcher's main thread, as `die_with_parent` needs."""
    _looked_at: float = float("-inf")

    def step(self) -> None:
        now = time.monotonic()
        if now - self._looked_at < _LOOK_S:
            return
        self._looked_at = now
        for submission in reversed([each for each in self.submissions.all() if each.now.state in OPEN]):
            self._look_at(submission)

    def _look_at(self, submission: SubmittedExperiment) -> None:
        process = self._processes.get(submission.experiment_id)
        if process is None:
            if submission.is_to_stop:
                self._end(submission, STOPPED)
            elif len(self._processes) < MOST_AT_ONCE:
                self._start(submission)
            return
        code = process.poll()
        if code is not None:
            del self._processes[submission.experiment_id]
            self._ended(submission, code)
            return
        if submission.is_to_stop and submission.now.state != STOPPING:
            process.send_signal(signal.SIGINT)
            submission = submission.record(state=STOPPING)
        if submission.now.run_id is None and (run_id := _run_id(submission)):
            submission.record(run_id=run_id)

    def _start(self, submission: SubmittedExperiment) -> None:
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
        started_at = submission.now.started_at or _now()
        submission.record(state=RUNNING, started_at=started_at, attempts=submission.now.attempts + 1, ended_at=None)
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
            submission.record(state=QUEUED, exit_code=code)
        else:
            self._end(submission, FAILED, code)

    def _end(self, submission: SubmittedExperiment, state: str, code: int | None = None) -> None:
        run_id = _run_id(submission) or submission.now.run_id
        submission.record(state=state, exit_code=code, ended_at=_now(), words=submission.last_words(), run_id=run_id)
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
    """The run that the process said it works on."""
    found = _HEADLINE.search(submission.words()[:_FIRST_WORDS])
    return found[1] if found else None


def _now() -> str:
    return dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
