"""Cancel what is with a provider when a run is stopped or a budget is used up; its cells wait for the next command."""

from __future__ import annotations

import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

from agents import ModelCallError
from harness.deferred.batches import Batches
from harness.deferred.mailbox import Submission
from harness.deferred.submissions import MOST_REFUSALS, Submissions

_AT_ONCE = 8


class Cancelling:
    """What must not go on in this session: everything, or what some models are asked."""

    def __init__(self, submissions: Submissions, batches: Batches) -> None:
        self._submissions = submissions
        self._batches = batches
        self._retry_at: dict[str, float] = {}

    def request(self, aliases: Iterable[str] | None = None) -> None:
        """Cancel the calls of these models, by default of all, from the next step on."""
        cancelled = self._submissions.cancelled_aliases
        if cancelled is not None:
            self._submissions.cancelled_aliases = None if aliases is None else cancelled | set(aliases)

    def step(self) -> None:
        """Send nothing of these models any more, and request the cancellation of what was sent."""
        if self._submissions.cancelled_aliases == frozenset():
            return
        self._leave_unsent()
        open_submissions = []
        for submission in self.uncancelled():
            self._submissions.cells.leave(cell_id for cell_id, _ in submission.calls.values())
            if submission.handle is not None:
                open_submissions.append(submission)
            elif not submission.creating_at:
                self._submissions.forget(submission)
            elif submission.is_batch and self._submissions.is_due(submission):
                self._submissions.attempt(submission, self._find)
        if open_submissions:
            with ThreadPoolExecutor(_AT_ONCE) as pool:
                list(pool.map(self._cancel, open_submissions))

    def uncancelled(self) -> list[Submission]:
        """What is to be cancelled and was not requested yet."""
        sent = self._submissions.sent()
        cancelled = [submission for submission in sent if self._submissions.is_cancelled(submission.alias)]
        return [submission for submission in cancelled if submission.state != "cancelling"]

    def _leave_unsent(self) -> None:
        for group, calls in self._submissions.unsent.items():
            if calls and self._submissions.is_cancelled(group.alias):
                self._submissions.cells.leave(call.cell_id for call in calls.values())
                calls.clear()

    def _find(self, submission: Submission) -> None:
        """A batch whose handle was lost is cancelled once it is found; one that is not found stays for the next command."""
        if self._batches.find(submission) is None:
            self._submissions.wait(submission, self._submissions.pace.longest_poll_s)

    def _cancel(self, submission: Submission) -> None:
        assert submission.handle is not None
        attempts = f"cancel {submission.submission_id}"
        if time.monotonic() < self._retry_at.get(attempts, 0.0):
            return
        client = self._submissions.client(submission.server)
        cancel = client.cancel_batch if submission.is_batch else client.cancel_response
        try:
            cancel(submission.handle)
        except ModelCallError as error:
            tries = self._submissions.count_try(attempts)
            if self._submissions.is_for_now(error) and tries < MOST_REFUSALS:
                self._submissions.note(f"{submission.lane} of {submission.model} cannot be cancelled yet: {error}")
                self._retry_at[attempts] = time.monotonic() + self._submissions.pace.backoff_s(tries)
                return
            # It has ended, or the provider does not cancel it: the next look shows which.
            self._submissions.note(f"{submission.lane} of {submission.model} was not cancelled: {error}")
        self._submissions.clear_tries(attempts)
        self._submissions.keep(submission.with_(state="cancelling"))
        self._submissions.wait(submission, 0.0)
