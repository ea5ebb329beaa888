"""What the dispatcher does besides jobs: callbacks, tables of the month, the bill, and the removal of what is old."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from harness.admission.ledger import pico
from harness.errors import HarnessError
from harness.service import callbacks, months, results
from harness.service.callbacks import TRIES, CallbackRefused, CallbackRules
from harness.service.jobs import StorageBusy, StorageFull
from harness.service.retention import Retention

if TYPE_CHECKING:
    from redis import Redis

    from harness.checking.resolved import ResolvedRun
    from harness.service.jobs import Job, JobStore
    from harness.service.service import ServiceOptions
    from harness.service.submissions import SubmittedExperiments
    from harness.storage.folder import Folder
    from harness.storage.store import Store

_log = logging.getLogger(__name__)
_COMPACT_S = 600.0
_COMPACT_SHARE = 20.0
"""Tables are derived again after at least so many times the time that it took."""
_PURGE_S = 3600.0
_CALLBACK_THREADS = 4
_CALLBACKS_S = 1.0
"""A job that is stored as answered has a callback, too, and no cell of it ends here."""
_FIRST_PAUSE_S = 2.0
_STORE_PAUSE_S, _LONGEST_STORE_PAUSE_S = 1.0, 30.0
"""Between two tries to store how callbacks went, while the disk takes nothing; the pause doubles."""


class Upkeep:
    """Runs in threads of the dispatcher, so that jobs never wait for it."""

    def __init__(
        self,
        options: ServiceOptions,
        resolved: ResolvedRun,
        jobs: JobStore,
        folder: Folder,
        submissions: SubmittedExperiments,
    ) -> None:
        self._jobs = jobs
        self._retention = Retention(resolved.experiment.name, folder, jobs, submissions, options.keep_s)
        self._rules = CallbackRules(options.callbacks)
        self._secret = callbacks.load_secret(options.state_folder)
        self._senders = ThreadPoolExecutor(_CALLBACK_THREADS, thread_name_prefix="callback")
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="upkeep")
        self._sending: set[str] = set()
        """Jobs whose callback is not stored as sent or failed yet."""
        self._outcomes: dict[str, str] = {}
        """How callbacks went, from before it is written until it is on disk."""
        self._refusals = 0
        self._store_at = 0.0
        self._lock = threading.Lock()
        self._has_callbacks = True
        self._callbacks_at = 0.0
        self._has_ended = False
        self._compact_at = time.monotonic() + _COMPACT_S
        self._purge_at = 0.0
        self._closing = threading.Event()

    def ended(self, jobs: Sequence[Job]) -> None:
        """Jobs ended: their callbacks are due, and the tables are old."""
        self._has_ended = True
        self._has_callbacks = self._has_callbacks or any(job.callback_url for job in jobs)

    def step(self, runs: Mapping[str, Any]) -> None:
        """Start what is due."""
        now = time.monotonic()
        if self._has_callbacks or now > self._callbacks_at:
            self._has_callbacks, self._callbacks_at = False, now + _CALLBACKS_S
            self._send_due()
        if self._has_ended and now > self._compact_at:
            self._has_ended, self._compact_at = False, float("inf")
            for run in list(runs.values()):
                self._worker.submit(self.compact, run.store)
        if now > self._purge_at:
            self._purge_at = now + _PURGE_S
            self._worker.submit(self._remove_old)
        if self._refusals and now > self._store_at:
            self._store_outcomes()

    def compact(self, store: Store) -> None:
        """Derive the tables of a month's run from the receipts."""
        began = time.monotonic()
        try:
            store.compact()
        except (HarnessError, OSError):
            _log.exception("the tables of %s cannot be derived", store.folder.url)
        ended = time.monotonic()
        self._compact_at = ended + max(_COMPACT_S, _COMPACT_SHARE * (ended - began))

    def restore_bill(self, client: Redis, month: str, run_id: str) -> None:
        """Count what the jobs of the month have cost if Redis has lost the bill."""
        from harness.admission import ledger

        if not client.exists(months.bill_key(month)):
            spent_usd = ledger.totals(client, run_id).money.spent_usd
            if spent_usd > 0:
                client.hset(months.bill_key(month), "run|settled", pico(spent_usd))

    def close(self) -> None:
        self._closing.set()
        self._senders.shutdown(wait=True, cancel_futures=True)
        if self._outcomes:
            self._store_outcomes()
        self._worker.shutdown(wait=True, cancel_futures=True)

    def _send_due(self) -> None:
        for job in self._jobs.due_callbacks():
            with self._lock:
                if job.job_id in self._sending:
                    continue
                self._sending.add(job.job_id)
            self._senders.submit(self._send, job)

    def _send(self, job: Job) -> None:
        """Try until it arrives, a few times; then the job records why it did not."""
        import httpx

        outcome = "failed: the service stopped"
        for attempt in range(TRIES):
            try:
                callbacks.post(self._rules, self._secret, str(job.callback_url), results.job_body(job))
                outcome = "sent"
                break
            except CallbackRefused as error:
                outcome = f"failed: {error}"
                break
            except (OSError, httpx.HTTPError) as error:
                outcome = f"failed: {type(error).__name__}: {error}"
            if self._closing.wait(_FIRST_PAUSE_S * 2**attempt):
                return
        with self._lock:
            self._outcomes[job.job_id] = outcome[:300]
        if not self._refusals:
            self._store_outcomes()

    def _store_outcomes(self) -> None:
        """Write how callbacks went. What the disk refuses is kept and written later: a callback is not posted again for it."""
        with self._lock:
            outcomes = dict(self._outcomes)
            try:
                self._jobs.update_all([(job_id, {"callback": outcome}) for job_id, outcome in outcomes.items()])
            except (StorageFull, StorageBusy) as error:
                pause_s = min(_LONGEST_STORE_PAUSE_S, _STORE_PAUSE_S * 2**self._refusals)
                self._refusals, self._store_at = self._refusals + 1, time.monotonic() + pause_s
                _log.error("%s; how callbacks went is written again in %.0f s", error, pause_s)
                return
            self._refusals, self._has_callbacks = 0, True
            for job_id in outcomes:
                del self._outcomes[job_id]
                self._sending.discard(job_id)

    def _remove_old(self) -> None:
        try:
            self._retention.remove_old()
        except (HarnessError, OSError):
            _log.exception("what is old cannot be removed")
