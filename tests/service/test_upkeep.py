"""What the dispatcher does besides jobs: callbacks, and the removal of what is old."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest

from harness.service import callbacks, months
from harness.service.callbacks import CallbackRefused, CallbackRules
from harness.service.jobs import JobStore, NewJob
from harness.service.upkeep import Upkeep
from harness.storage.folder import open_folder
from tests.service.conftest import Receiver
from tests.service.in_process import Desk


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


def test_old_jobs_and_months_without_jobs_are_removed(desk: Desk, tmp_path: Path) -> None:
    options, resolved = desk
    options = replace(options, results=str(tmp_path), state=tmp_path / "state", keep_s=86_400.0)
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
    upkeep = Upkeep(options, resolved, jobs, open_folder(tmp_path))
    upkeep._purge()
    upkeep.close()
    assert jobs.get(old) is None
    assert jobs.get(recent)
    assert jobs.get(still_open)
    assert [folder.exists() for folder in folders.values()] == [False, True, True, True]
    assert other.exists(), "runs of `run` are not the service's to remove"
    jobs.close()
