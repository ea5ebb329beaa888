"""What the dispatcher does besides jobs: callbacks, and the removal of what is old."""

from __future__ import annotations

import datetime as dt
import json
import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from harness.service import callbacks, months
from harness.service.callbacks import CallbackRefused, CallbackRules
from harness.service.jobs import JobStore, NewJob
from harness.service.retention import Retention
from harness.service.submissions import SubmittedExperiment, SubmittedExperiments
from harness.service.upkeep import Upkeep
from harness.storage.experiment_lock import experiment_lock
from harness.storage.folder import open_folder
from tests.fixtures.runs import wait_for
from tests.service.conftest import Receiver
from tests.service.in_process import Desk, refusing_disk


def test_a_redirect_is_not_followed_and_counts_as_not_arrived(receiver: Receiver) -> None:
    rules = CallbackRules(("127.0.0.1",))
    with pytest.raises(OSError, match="302"):
        callbacks.post(rules, b"secret", f"{receiver.url}/moved", {})
    assert len(receiver.received) == 1


def test_a_listed_name_that_resolves_to_a_private_address_is_refused(receiver: Receiver) -> None:
    port = receiver.server_address[1]
    with pytest.raises(CallbackRefused, match="private address"):
        callbacks.post(CallbackRules(("localhost",)), b"secret", f"http://localhost:{port}/", {})
    assert not receiver.received
    callbacks.post(CallbackRules(("localhost", "127.0.0.0/8", "::1")), b"secret", f"http://localhost:{port}/", {})
    assert len(receiver.received) == 1


def test_how_a_callback_went_is_stored_once_the_disk_takes_it_and_it_is_posted_once(
    desk: Desk, tmp_path: Path, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    options, resolved = desk
    options = replace(options, state=tmp_path / "state", callbacks=("127.0.0.1",))
    jobs = JobStore(tmp_path / "jobs.sqlite")
    job, _ = jobs.create(NewJob("local", "AAPL", "2012-06-15", "paid", "2012-06", "q", "h", {}, lambda repeat: "{}"))
    jobs.update(job.job_id, status="completed", callback_url=f"{receiver.url}/done", callback="due")
    upkeep = Upkeep(options, resolved, jobs, open_folder(tmp_path), SubmittedExperiments(tmp_path))

    def stored() -> str | None:
        upkeep.step({})
        current = jobs.get(job.job_id)
        return current.callback if current else None

    with refusing_disk():
        wait_for(lambda: stored() == "due" and "how callbacks went is written again" in caplog.text, "a refusal")
    wait_for(lambda: stored() == "sent", "a disk that takes it")

    assert len(receiver.received) == 1
    upkeep.close()
    jobs.close()


def test_old_jobs_and_months_without_jobs_are_removed(tmp_path: Path) -> None:
    jobs = JobStore(tmp_path / "jobs.sqlite")

    def add(month: str, ended_days_ago: float | None) -> str:
        new = NewJob("local", "AAPL", "2012-06-15", "paid", month, month, "h", {}, lambda repeat: "{}", fresh=True)
        job, _ = jobs.create(new)
        if ended_days_ago is not None:
            jobs.update(job.job_id, status="completed", completed_at=time.time() - 86_400 * ended_days_ago)
        return job.job_id

    folders = {}
    for month in ("2001-01", "2001-02", "2001-03", months.current_month()):
        folders[month] = tmp_path / "lab" / months.run_id("lab", month)
        folders[month].mkdir(parents=True)
    other = tmp_path / "lab" / "20010101-000000-abcd"
    other.mkdir()
    old, recent, still_open = add("2001-01", 3), add("2001-02", 0.5), add("2001-03", None)
    Retention("lab", open_folder(tmp_path), jobs, SubmittedExperiments(tmp_path / "state"), 86_400.0).remove_old()
    assert jobs.get(old) is None
    assert jobs.get(recent)
    assert jobs.get(still_open)
    assert [folder.exists() for folder in folders.values()] == [False, True, True, True]
    assert other.exists(), "runs of `run` are not the service's to remove"
    jobs.close()


def test_old_experiments_are_removed_with_their_runs_unless_a_person_or_a_later_one_uses_the_run(tmp_path: Path) -> None:
    submissions, jobs = SubmittedExperiments(tmp_path / "state"), JobStore(tmp_path / "jobs.sqlite")

    def submit(name: str, run_id: str, ended_days_ago: float | None) -> SubmittedExperiment:
        created = submissions.create(name=name, owner="local", text=f"name: {name}\n", content="", key=None)
        if ended_days_ago is None:
            return created.record(state="running", run_id=run_id)
        return created.record(state="done", run_id=run_id, ended_at=days_ago(ended_days_ago))

    def run_of(submission: SubmittedExperiment, *, begun_by: str = "", last_begun_days_ago: float = 3) -> Path:
        command = f"python -m harness run {submission.file} --yes"
        manifest = {"begun_by": begun_by or command, "command": command, "sessions": [days_ago(last_begun_days_ago)]}
        folder = tmp_path / submission.name / str(submission.now.run_id)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "manifest.json").write_text(json.dumps(manifest))
        return folder

    old, recent, still_open = submit("a", "1", 2), submit("b", "1", 0.5), submit("c", "1", None)
    shared, shares = submit("d", "1", 2), submit("d", "1", 0.5)
    by_person, continued, in_use = submit("e", "1", 2), submit("f", "1", 2), submit("g", "1", 2)
    removed = run_of(old)
    kept = [run_of(each) for each in (recent, still_open, shared, in_use)]
    kept += [run_of(by_person, begun_by="python -m harness run mine.yaml"), run_of(continued, last_begun_days_ago=0.1)]
    unfinished = submissions.folder / "never-acknowledged"
    unfinished.mkdir()
    os.utime(unfinished, (0, 0))

    results = open_folder(tmp_path)
    with experiment_lock(results, "g", wait=lambda holder: None, warn=lambda text: None):
        Retention("lab", results, jobs, submissions, 86_400.0).remove_old()
    jobs.close()

    assert {each.experiment_id for each in submissions.all()} == {
        each.experiment_id for each in (recent, still_open, shares, in_use)
    }
    assert not removed.exists()
    assert [folder for folder in kept if not folder.exists()] == []
    assert not unfinished.exists()


def days_ago(days: float) -> str:
    return (dt.datetime.now(dt.UTC) - dt.timedelta(days=days)).isoformat()
