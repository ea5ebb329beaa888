"""Send waiting calls as batches, stage by stage, and fetch what came back."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from agents import BatchState, ModelCallError, OpenAILater
from harness.deferred import batch_files
from harness.deferred.batch_files import BatchLimits
from harness.deferred.mailbox import Outcome, Submission
from harness.deferred.submissions import SentGroup, Submissions, UnsentCall

_MOST_DOWNLOADS = 3


class Batches:
    """The sender of lane `batch`."""

    def __init__(self, submissions: Submissions, limits: BatchLimits) -> None:
        self._submissions = submissions
        self._limits = limits

    def send(self) -> None:
        """Send each group whose stage is complete, and go on with batches whose creation failed."""
        for submission in [s for s in self._submissions.sent() if s.is_batch and s.state == "sending"]:
            if self._submissions.is_due(submission) and not self._submissions.is_cancelled(submission.alias):
                self._submissions.attempt(submission, self.advance)
        for group, calls in list(self._submissions.unsent.items()):
            due = {call_id: call for call_id, call in calls.items() if call.is_due}
            if group.lane == "batch" and due and (self._is_stage_complete() or len(due) >= self._limits.requests):
                while due:
                    due = self._send(group, due)

    def _is_stage_complete(self) -> bool:
        """Whether every cell that is ready has reached its next call, or no further call came for a while."""
        quiet_s = time.monotonic() - self._submissions.last_arrival
        return self._submissions.cells.are_all_waiting or quiet_s > self._submissions.pace.quiet_s

    def _send(self, group: SentGroup, due: Mapping[str, UnsentCall]) -> dict[str, UnsentCall]:
        """Send as many of these calls as fit into one file; returns the others."""
        with _scratch() as folder:
            requests = folder / "requests.jsonl"
            cells_of_calls = {call_id: call.cell_id for call_id, call in due.items()}
            order = batch_files.write_requests(self._submissions.mailbox, cells_of_calls, requests, self._limits)
            for call_id in order or due:
                self._submissions.unsent[group].pop(call_id)
            if order:
                submission = self._submissions.new(group, {call_id: due[call_id] for call_id in order})
                self._submissions.keep(submission)
                self._submissions.attempt(submission, lambda sending: self.advance(sending, requests))
        return {call_id: call for call_id, call in due.items() if call_id in self._submissions.unsent[group]}

    def advance(self, submission: Submission, requests: Path | None = None) -> None:
        """Bring a batch from its present state to its handle."""
        client = self._submissions.client(submission.server)
        if submission.is_uncertain and self.find(submission):
            return
        if submission.file_id is None:
            submission = self._upload(client, submission, requests)
        submission = self._submissions.keep(submission.with_(creating_at=time.time()))
        assert submission.file_id is not None
        metadata = {"submission": submission.submission_id, "run": self._submissions.run_id}
        try:
            state = client.create_batch(submission.file_id, submission.path, metadata)
        except ModelCallError as error:
            if error.http_status is not None:
                self._submissions.keep(submission.with_(creating_at=0.0))
            raise
        self._submissions.opened(submission, state.batch_id, state.status)

    def find(self, submission: Submission) -> BatchState | None:
        """Look for a batch whose handle was lost, and keep it."""
        client = self._submissions.client(submission.server)
        state = client.find_batch("submission", submission.submission_id, submission.file_created_at)
        if state is not None:
            self._submissions.opened(submission, state.batch_id, state.status)
        return state

    def _upload(self, client: OpenAILater, submission: Submission, requests: Path | None) -> Submission:
        with _scratch() as folder:
            if requests is None:
                requests = folder / "requests.jsonl"
                cells_of_calls = {call_id: cell_id for call_id, (cell_id, _) in submission.calls.items()}
                batch_files.write_requests(self._submissions.mailbox, cells_of_calls, requests, self._limits)
            uploaded = client.upload(requests, f"{submission.submission_id}.jsonl")
        return self._submissions.keep(submission.with_(file_id=uploaded.file_id, file_created_at=uploaded.created_at))

    # --- answers ---------------------------------------------------------------------------------------------------

    def fetch(self, due: Sequence[Submission]) -> None:
        """Ask for these batches, and store the answers of those that have ended."""
        for submission in due:
            self._submissions.attempt(submission, self._ask)

    def _ask(self, submission: Submission) -> None:
        assert submission.handle is not None
        client = self._submissions.client(submission.server)
        try:
            state = client.batch(submission.handle)
        except ModelCallError as error:
            if error.cause != "not_found" or not self._submissions.is_unknown(submission):
                raise
            found = client.find_batch("submission", submission.submission_id, submission.file_created_at)
            if found is None:
                self._submissions.uncertain(submission, f"the provider does not know batch {submission.handle}")
                return
            state = found
        if not state.has_ended:
            self._submissions.still_open(submission, state.status, state.completed + state.failed)
        elif state.status == "failed":
            self._refused(client, submission, state)
        else:
            self._collect(client, submission, state)

    def _collect(self, client: OpenAILater, submission: Submission, state: BatchState) -> None:
        with _scratch() as folder:
            files = self._download(client, submission, state, folder)
            if files is None:
                return
            if state.total_tokens is not None and not files.broken_lines and state.total_tokens != files.total_tokens:
                self._submissions.note(
                    f"batch {state.batch_id}: the provider counts {state.total_tokens:,} tokens, "
                    f"its lines {files.total_tokens:,}"
                )
            for cell_id, outcomes in files.outcomes(submission, self._submissions.ended_at(submission), _missing(state)):
                self._submissions.store(submission, cell_id, outcomes)
        self._submissions.forget(submission)
        _delete_files(client, submission.file_id, state.output_file, state.error_file)

    def _download(
        self, client: OpenAILater, submission: Submission, state: BatchState, folder: Path
    ) -> batch_files.AnswerFiles | None:
        """The answers of an ended batch; None if they must be fetched again later."""
        paths = []
        tries = self._submissions.tries(submission.submission_id)
        for name, file_id in (("output", state.output_file), ("error", state.error_file)):
            if file_id is None:
                continue
            try:
                client.download(file_id, folder / name)
                paths.append(folder / name)
            except ModelCallError as error:
                if error.cause != "not_found" or tries < _MOST_DOWNLOADS:
                    raise
                self._submissions.note(
                    f"batch {state.batch_id}: the provider has deleted its {name} file; its answers are lost"
                )
        files = batch_files.AnswerFiles(tuple(paths))
        files.index()
        is_short = files.broken_lines > 0 or len(files.places) < state.completed
        if is_short and tries < _MOST_DOWNLOADS:
            self._submissions.count_try(submission.submission_id)
            self._submissions.wait(submission, self._submissions.pace.backoff_s(tries))
            return None
        return files

    def _refused(self, client: OpenAILater, submission: Submission, state: BatchState) -> None:
        """A failed validation: the named lines fail, the others are sent again without them."""
        refused = batch_files.refused_calls(submission, state.refusals)
        messages = "; ".join(message for _, message in state.refusals) or "no reason given"
        self._submissions.note(f"batch {state.batch_id} failed its validation: {'; '.join(refused.values()) or messages}"[:300])
        for call_id in () if refused else submission.calls:
            if self._submissions.count_try(call_id) >= _MOST_DOWNLOADS:
                refused[call_id] = f"its batch was refused {_MOST_DOWNLOADS} times: {messages}"
        failures = [
            self._submissions.failure(submission, call_id, "bad_request", message) for call_id, message in refused.items()
        ]
        self._submissions.settle(submission, failures)
        self._send_again(submission, submission.calls.keys() - refused.keys())
        _delete_files(client, submission.file_id)

    def _send_again(self, submission: Submission, call_ids: Collection[str]) -> None:
        for cell_id in {submission.calls[call_id][0] for call_id in call_ids}:
            cell = self._submissions.mailbox.read_cell(cell_id)
            for call in cell.waiting if cell else ():
                if call.call_id in call_ids:
                    self._submissions.queue(cell_id, call)


def _missing(state: BatchState) -> Outcome:
    """What became of a request without a line."""
    cause = {"expired": "expired", "cancelled": "cancelled"}.get(state.status, "bad_answer")
    return Outcome(
        "", 0.0, 0.0, cause=cause, message=f"batch {state.batch_id} is {state.status} and has no line for this request"
    )


def _delete_files(client: OpenAILater, *file_ids: str | None) -> None:
    for file_id in file_ids:
        if file_id is not None:
            with contextlib.suppress(ModelCallError):
                client.delete_file(file_id)


@contextlib.contextmanager
def _scratch() -> Iterator[Path]:
    """A temporary folder."""
    with tempfile.TemporaryDirectory(prefix="harness-batch-") as name:
        yield Path(name)
