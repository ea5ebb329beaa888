"""Start waiting calls as background responses, one request each, and fetch their answers."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from agents import ModelCallError
from harness.deferred.mailbox import Outcome, Submission, WaitingCall
from harness.deferred.submissions import SentGroup, Submissions, UnsentCall

_AT_ONCE = 8


class BackgroundResponses:
    """The sender of the lanes `background_*`."""

    def __init__(self, submissions: Submissions) -> None:
        self._submissions = submissions

    def send(self) -> None:
        """Start every call that waits."""
        for submission in [s for s in self._submissions.sent() if not s.is_batch and s.state == "sending"]:
            # Its creation may have reached the provider, which has no list to look in.
            self._submissions.uncertain(submission, "its creation was cut off")
        for group, calls in list(self._submissions.unsent.items()):
            due = {call_id: call for call_id, call in calls.items() if call.is_due}
            if group.lane != "batch" and due:
                with ThreadPoolExecutor(_AT_ONCE) as pool:
                    list(pool.map(partial(self._start, group), due.keys(), due.values()))

    def _start(self, group: SentGroup, call_id: str, unsent: UnsentCall) -> None:
        cell = self._submissions.mailbox.read_cell(unsent.cell_id)
        call = next((call for call in cell.waiting if call.call_id == call_id), None) if cell else None
        self._submissions.unsent[group].pop(call_id)
        if call is None:
            return
        submission = self._submissions.new(group, {call_id: unsent})
        submission = self._submissions.keep(submission.with_(creating_at=submission.created_at))
        try:
            started = self._submissions.client(call.server).start(call.body)
        except ModelCallError as error:
            self._not_started(submission, call, error)
            return
        self._submissions.clear_tries(call_id)
        self._submissions.opened(submission, started.response_id, started.status)

    def _not_started(self, submission: Submission, call: WaitingCall, error: ModelCallError) -> None:
        was_refused = error.http_status is not None and error.http_status >= 400
        if not was_refused and not _never_connected(error):
            self._submissions.uncertain(submission, f"the answer to its creation was lost ({error})")
            return
        tries = self._submissions.count_try(call.call_id)
        if self._submissions.is_hopeless(error, tries):
            self._submissions.not_accepted(submission, error)
            return
        wait_s = max(self._submissions.pace.backoff_s(tries), error.retry_after_s or 0.0)
        cell_id, _ = submission.calls[call.call_id]
        self._submissions.queue(cell_id, call, wait_s=wait_s)
        self._submissions.forget(submission)

    def fetch(self, due: Sequence[Submission]) -> None:
        """Ask for these responses, and store the answers of those that have ended."""
        if due:
            with ThreadPoolExecutor(_AT_ONCE) as pool:
                list(pool.map(lambda submission: self._submissions.attempt(submission, self._ask), due))

    def _ask(self, submission: Submission) -> None:
        assert submission.handle is not None
        client = self._submissions.client(submission.server)
        try:
            state = client.response(submission.handle)
        except ModelCallError as error:
            if error.cause != "not_found" or not self._submissions.is_unknown(submission):
                raise
            self._submissions.uncertain(submission, f"the provider does not know response {submission.handle}")
            return
        if not state.has_ended:
            self._submissions.still_open(submission, state.status, 0)
            return
        (call_id,) = submission.calls
        cancelled = {"cause": "cancelled", "message": "it was cancelled"} if state.status == "cancelled" else {}
        ended_at, body = self._submissions.ended_at(submission), state.body.decode("utf-8", "replace")
        outcome = Outcome(call_id, submission.created_at, ended_at, 200, body, **cancelled)
        self._submissions.settle(submission, [outcome])
        with contextlib.suppress(ModelCallError):
            client.delete_response(submission.handle)


def _never_connected(error: ModelCallError) -> bool:
    """Whether a request cannot have reached the server."""
    link: BaseException | None = error
    while link is not None:
        if type(link).__name__ in ("ConnectError", "ConnectTimeout") or isinstance(link, ConnectionRefusedError):
            return True
        link = link.__cause__ or link.__context__
    return False
