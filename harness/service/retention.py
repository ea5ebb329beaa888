"""What a service removes after `--keep`: ended jobs, submitted experiments that have ended, and the runs of both."""

from __future__ import annotations

import datetime as dt
import logging
import re
import shutil
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.service import months
from harness.storage import experiment_lock
from harness.storage.store import Store

if TYPE_CHECKING:
    from pathlib import Path

    from harness.service.jobs import JobStore
    from harness.service.submissions import SubmittedExperiment, SubmittedExperiments
    from harness.storage.folder import Folder

_log = logging.getLogger(__name__)
_OF_A_SERVICE = re.compile(r"/experiments/[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}/experiment\.yaml\b")
"""In the command of a run: the file is one that a service has stored."""


class _InUse(Exception):
    """A command executes this experiment now."""


@dataclass(frozen=True)
class Retention:
    """Removes what is older than `keep_s`; run folders on S3 stay."""

    experiment: str
    """Name of the served experiment."""
    results: Folder
    jobs: JobStore
    submissions: SubmittedExperiments
    keep_s: float

    def remove_old(self) -> None:
        """Raises HarnessError or OSError; what is left is removed by the next call."""
        before = time.time() - self.keep_s
        if removed := self.jobs.purge(before):
            _log.info("%d old jobs were removed", removed)
        self._remove_months(before)
        self._remove_experiments(before)

    def _remove_months(self, before: float) -> None:
        """Runs of months that no job refers to."""
        if self.results.local is None:
            return
        kept = {months.run_id(self.experiment, month) for month in (*self.jobs.months(), months.current_month())}
        for name in self.results.at(self.experiment).folders():
            month = name.removeprefix(f"{self.experiment}-")
            if name in kept or not _is_month(month) or name != months.run_id(self.experiment, month):
                continue
            if months.end_of(month).timestamp() < before:
                shutil.rmtree(self.results.local / self.experiment / name)
                _log.info("the run %s was removed", name)

    def _remove_experiments(self, before: float) -> None:
        """Submissions that ended before, and their runs; a run goes with the last submission that refers to it."""
        self.submissions.remove_unfinished(before)
        everything = self.submissions.all()
        old = [each for each in everything if each.is_over and 0 < _unix(each.now.ended_at) < before]
        in_use = {(each.name, each.now.run_id) for each in everything if each not in old}
        for submission in old:
            try:
                if (submission.name, submission.now.run_id) not in in_use:
                    self._remove_run(submission, before)
            except _InUse:
                continue
            self.submissions.remove(submission)
            _log.info("the experiment %s (%s) was removed", submission.experiment_id, submission.name)

    def _remove_run(self, submission: SubmittedExperiment, before: float) -> None:
        """Remove the run of a submission, unless a person has begun or continued it with `run`. Raises _InUse."""
        if self.results.local is None or submission.now.run_id is None:
            return
        with experiment_lock.experiment_lock(self.results, submission.name, _refuse, _log.warning) as state:
            folder: Path = self.results.local / submission.name / submission.now.run_id
            manifest = Store(self.results.at(f"{submission.name}/{submission.now.run_id}")).manifest()
            if state != experiment_lock.UNLOCKED and _is_of_a_service(manifest) and _last_begun(manifest) < before:
                shutil.rmtree(folder)
                _log.info("the run %s/%s was removed", submission.name, submission.now.run_id)


def _refuse(_holder: str) -> None:
    raise _InUse


def _is_of_a_service(manifest: dict[str, Any]) -> bool:
    """Whether a service began the run and was the last to execute it."""
    return all(_OF_A_SERVICE.search(str(manifest.get(key))) for key in ("begun_by", "command"))


def _last_begun(manifest: dict[str, Any]) -> float:
    sessions = manifest.get("sessions") or [None]
    return _unix(sessions[-1]) or float("inf")


def _unix(moment: str | None) -> float:
    """Unix seconds of an ISO time; 0 if there is none."""
    return dt.datetime.fromisoformat(moment).timestamp() if moment else 0.0


def _is_month(text: str) -> bool:
    try:
        dt.datetime.strptime(text, "%Y-%m")
    except ValueError:
        return False
    return len(text) == 7
