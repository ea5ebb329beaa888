"""One decision without a server: a job like that of the service, waited for."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from pydantic import ValidationError

from harness.errors import InvalidInput, Problem
from harness.service import results, serving
from harness.service.auth import LOCAL
from harness.service.errors import ApiError
from harness.service.jobs import Job, JobStore
from harness.service.months import store_of
from harness.service.service import ServiceOptions, service_folder
from harness.service.submitting import Desk, JobRequest
from harness.storage.folder import open_folder

_LOOK_S = 0.2


def decide(options: ServiceOptions, asked: dict[str, Any], say: Callable[[str], None]) -> dict[str, Any]:
    """Submit, wait, and return the result; a service that runs over the same results decides, else this process does.

    Raises InvalidInput."""
    resolved = serving.resolve(options)
    jobs = JobStore(service_folder(options, resolved.experiment.name) / "jobs.sqlite")
    try:
        new = Desk(resolved).new_job(JobRequest.model_validate(asked), LOCAL)
    except (ApiError, ValidationError) as error:
        raise InvalidInput(_problems(error)) from error
    job, _ = jobs.create(new)
    if job.is_open:
        say(f"{job.ticker} on {job.date}: {job.arm} decides")
        with serving.dispatcher(options, say):
            job = _ended(jobs, job, say)
    store = store_of(open_folder(options.results), resolved.experiment.name, job.month)
    return results.read_result(job, store) | {"folder": store.folder.url}


def _ended(jobs: JobStore, job: Job, say: Callable[[str], None]) -> Job:
    """Wait for the end, and show why the job waits."""
    shown = None
    while job.is_open:
        time.sleep(_LOOK_S)
        job = jobs.get(job.job_id) or job
        if job.cause and job.cause != shown:
            shown = job.cause
            say(f"{shown['message']}; {shown['fix']}")
    return job


def _problems(error: ApiError | ValidationError) -> list[Problem]:
    if isinstance(error, ApiError):
        where, colon, what = error.message.partition(": ")
        return [Problem(where if colon else "decide", what or error.message, error.fix)]
    return [
        Problem(".".join(map(str, each["loc"])), each["msg"], "see `python -m harness decide --help`")
        for each in error.errors()
    ]
