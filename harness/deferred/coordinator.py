"""The runner's side of deferred calls: one thread sends them, asks for their answers, and says which cells can go on.

Everything that must survive is in the mailbox before the step that needs it; the thread may die between any two lines.
"""

from __future__ import annotations

import contextlib
import tempfile
import threading
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from agents import MOST_REQUESTS, BatchState, ModelCallError, OpenAILater, Server
from domain.lanes import LANES
from harness.deferred import batch_files
from harness.deferred.mailbox import Mailbox, Outcome, Submission, WaitingCall, new_submission_id
from harness.errors import StoreError

_TICK_S = 0.1
_STARTS_AT_ONCE = 8
_MOST_REFUSALS = 12
"""Creations that the provider refuses for now (429, 5xx) until their calls fail."""
_MOST_UNREACHED = 100
"""Creations that reach no server until their calls fail; with the longest back-off that is a night."""
_LONGEST_BACKOFF_S = 300.0
_MOST_DOWNLOADS = 3
_MOST_UNKNOWN = 3
"""Look-ups of a handle that the provider does not know."""
_LATE_S = 24 * 3600.0
"""After its window a call may take this much longer; then its end is unknown."""
_FOR_NOW = frozenset({"rate_limited", "capacity", "server_error", "timeout", "connection", "cut_stream", "bad_answer"})


@dataclass(frozen=True)
class Pace:
    """How long the runner waits."""

    quiet_s: float = 60.0
    """A batch is sent when no further call became ready for so long, although some cell might still have one."""
    poll_s: float = 5.0
    """First interval between two questions for an answer; later a tenth of the age."""
    longest_poll_s: float = 60.0
    grace_s: float = 10.0
    """After a creation without an answer, before it is looked for."""

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Pace:
        """HARNESS_DEFERRED_QUIET_S and HARNESS_DEFERRED_POLL_S, for tests and rehearsals."""
        quiet_s = float(environment.get("HARNESS_DEFERRED_QUIET_S", cls.quiet_s))
        poll_s = float(environment.get("HARNESS_DEFERRED_POLL_S", cls.poll_s))
        return cls(quiet_s, poll_s, max(poll_s, cls.longest_poll_s) if poll_s >= 1 else poll_s, min(cls.grace_s, 4 * poll_s))

    def interval_s(self, age_s: float) -> float:
        return min(self.longest_poll_s, max(self.poll_s, age_s / 10))


@dataclass(frozen=True)
class _Unsent:
    cell_id: str
    role: str
    worst_pico: int
    not_before: float
    since: float


_Group = tuple[str, str, str, str]
"""Server, model, lane and path: what one batch file may hold."""


class Coordinator:
    """Deferred calls of the cells of one session."""

    def __init__(self, mailbox: Mailbox, servers: Mapping[str, Server], pace: Pace, run_id: str, cells: Iterable[str]) -> None:
        """`cells`: unfinished cells of this session that may have deferred calls."""
        self._mailbox = mailbox
        self._servers = servers
        self._pace = pace
        self._run_id = run_id
        self._clients: dict[str, OpenAILater] = {}
        self._lock = threading.Lock()
        self._active = set(cells)
        self._intake: list[str] = []
        self._ready: list[str] = []
        self._outstanding: dict[str, set[str]] = {}
        self._unsent: dict[_Group, dict[str, _Unsent]] = {}
        self._sent: dict[str, Submission] = {}
        self._due: dict[str, float] = {}
        self._tries: dict[str, int] = {}
        self._last_arrival = time.monotonic()
        self._is_cancelling = self._is_over = False
        self._shown: dict[str, Any] = {}
        self._written = ""
        self.error: BaseException | None = None
        """What ended the thread; the runner must not wait for it any longer."""
        self.notes: list[str] = []
        """What the user must know, one sentence each."""
        self._thread = threading.Thread(target=self._run, name="deferred calls", daemon=True)

    # --- called by the runner --------------------------------------------------------------------------------------

    def start(self) -> set[str]:
        """Read what earlier sessions left, and start; returns the cells that wait for answers."""
        for submission in self._mailbox.submissions():
            self._sent[submission.submission_id] = submission
            self._due[submission.submission_id] = 0.0
        waiting = set(self._mailbox.suspended_ids()) & self._active
        for cell_id in waiting:
            self.suspended(cell_id)
        self._thread.start()
        return waiting

    def suspended(self, cell_id: str) -> None:
        """A cell waits for answers, as its file says."""
        with self._lock:
            self._active.discard(cell_id)
            self._intake.append(cell_id)

    def ended(self, cell_id: str) -> None:
        """A cell will have no further deferred call."""
        with self._lock:
            self._active.discard(cell_id)

    def take_ready(self) -> list[str]:
        """Cells whose calls are all answered since the last call of this."""
        with self._lock:
            ready, self._ready = self._ready, []
            self._active.update(ready)
        return ready

    def cancel_left(self) -> None:
        """Instead of `start`: request the cancellation of everything that earlier sessions left with the provider."""
        for submission in self._mailbox.submissions():
            self._sent[submission.submission_id] = submission
        self._cancel_sent()

    def cancel(self) -> None:
        """Cancel what the provider has not answered yet; what it has begun is still billed."""
        self._is_cancelling = True

    @property
    def left(self) -> int:
        """Cells that wait for answers."""
        with self._lock:
            return len(self._intake) + len(self._outstanding) + len(self._ready)

    @property
    def reserved_usd(self) -> float:
        """Most that the calls cost that are with the provider now."""
        return sum(submission.worst_pico for submission in list(self._sent.values())) / 1e12

    @property
    def calls_out(self) -> int:
        """Calls that are with the provider now."""
        return sum(len(submission.calls) for submission in list(self._sent.values()))

    @property
    def progress(self) -> Mapping[str, Any]:
        return self._shown

    def close(self, patience_s: float = 5.0) -> None:
        """Stop asking; what was sent stays with the provider."""
        self._is_over = True
        if self._thread.is_alive():
            self._thread.join(patience_s)
        for client in self._clients.values():
            client.close()

    def wait_cancelled(self, patience_s: float) -> None:
        """Wait until the cancellation of everything was requested."""
        deadline = time.monotonic() + patience_s
        while time.monotonic() < deadline and self._thread.is_alive():
            if all(submission.state == "cancelling" for submission in list(self._sent.values())):
                return
            time.sleep(_TICK_S)

    # --- the thread ------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._is_over:
            try:
                self._step()
            except StoreError as error:
                self._note(str(error))
                time.sleep(1.0)
            except BaseException as error:  # noqa: BLE001 - the runner raises it
                self.error = error
                return
            time.sleep(_TICK_S)

    def _step(self) -> None:
        with self._lock:
            arrived, self._intake = self._intake, []
            for cell_id in arrived:
                self._outstanding.setdefault(cell_id, set())
        already_sent = {call_id for submission in self._sent.values() for call_id in submission.calls} if arrived else set()
        for cell_id in arrived:
            self._take_in(cell_id, already_sent)
        if self._is_cancelling:
            self._cancel_sent()
        else:
            self._start_background()
            self._send_batches()
        self._ask_for_answers()
        self._show()

    def _take_in(self, cell_id: str, already_sent: Collection[str]) -> None:
        cell = self._mailbox.read_cell(cell_id)
        answered = {outcome.call_id for outcome in self._mailbox.outcomes(cell_id)} | set(cell.entries if cell else ())
        waiting = [call for call in cell.waiting if call.call_id not in answered] if cell else []
        self._outstanding[cell_id] = {call.call_id for call in waiting}
        for call in waiting:
            if call.call_id not in already_sent:
                self._queue(cell_id, call)
                self._last_arrival = time.monotonic()
        self._check_ready(cell_id)

    def _queue(self, cell_id: str, call: WaitingCall) -> None:
        group = (call.server, call.model, call.lane, call.path)
        unsent = _Unsent(cell_id, call.role, call.worst_pico, call.not_before, call.since)
        self._unsent.setdefault(group, {})[call.call_id] = unsent

    def _check_ready(self, cell_id: str) -> None:
        if self._outstanding.get(cell_id):
            return
        with self._lock:
            if self._outstanding.pop(cell_id, None) is not None:
                self._ready.append(cell_id)

    # --- batches ---------------------------------------------------------------------------------------------------

    def _send_batches(self) -> None:
        for submission in [s for s in self._sent.values() if s.is_batch and s.state == "sending" and self._is_due(s)]:
            self._try(submission, self._advance)
        for group, calls in list(self._unsent.items()):
            if group[2] != "batch":
                continue
            due = {call_id: call for call_id, call in calls.items() if _has_passed(call.not_before)}
            if due and (self._is_stage_complete() or len(due) >= MOST_REQUESTS):
                self._send_batch(group, due)

    def _is_stage_complete(self) -> bool:
        """Whether every cell that is ready has reached its next call, or no further call came for a while."""
        with self._lock:
            is_complete = not (self._active or self._intake or self._ready)
        return is_complete or time.monotonic() - self._last_arrival > self._pace.quiet_s

    def _send_batch(self, group: _Group, due: Mapping[str, _Unsent]) -> None:
        server, model, lane, path = group
        with _scratch() as folder:
            order = batch_files.write_requests(
                self._mailbox, {call_id: call.cell_id for call_id, call in due.items()}, folder / "requests.jsonl"
            )
            for call_id in order or due:
                self._unsent[group].pop(call_id)
            if not order:
                return
            submission = Submission(
                new_submission_id(),
                server,
                model,
                lane,
                path,
                {call_id: (due[call_id].cell_id, due[call_id].role) for call_id in order},
                sum(due[call_id].worst_pico for call_id in order),
                time.time(),
            )
            self._keep(submission)
            self._try(submission, lambda sending: self._advance(sending, folder / "requests.jsonl"))

    def _advance(self, submission: Submission, requests: Path | None = None) -> None:
        """Bring a batch from its present state to its handle."""
        client = self._client(submission.server)
        if submission.creating_at:
            if 0 <= time.time() - submission.creating_at < self._pace.grace_s:
                self._wait(submission, self._pace.poll_s)
                return
            # Our clock may have been wrong then, or be wrong now.
            earliest = min(submission.created_at, time.time())
            if found := client.find_batch("submission", submission.submission_id, earliest):
                self._opened(submission, found)
                return
        if submission.file_id is None:
            submission = self._upload(client, submission, requests)
        submission = self._keep(submission.with_(creating_at=time.time()))
        assert submission.file_id is not None
        metadata = {"submission": submission.submission_id, "run": self._run_id}
        try:
            state = client.create_batch(submission.file_id, submission.path, metadata)
        except ModelCallError as error:
            if error.http_status is not None:
                self._keep(submission.with_(creating_at=0.0))
            raise
        self._opened(submission, state)

    def _upload(self, client: OpenAILater, submission: Submission, requests: Path | None) -> Submission:
        with _scratch() as folder:
            if requests is None:
                requests = folder / "requests.jsonl"
                batch_files.write_requests(
                    self._mailbox, {call_id: cell for call_id, (cell, _) in submission.calls.items()}, requests
                )
            file_id = client.upload(requests, f"{submission.submission_id}.jsonl")
        return self._keep(submission.with_(file_id=file_id))

    def _opened(self, submission: Submission, state: BatchState) -> None:
        self._tries.pop(submission.submission_id, None)
        self._keep(submission.with_(state="open", handle=state.batch_id, status=state.status))
        self._wait(submission, self._pace.poll_s)

    # --- background responses --------------------------------------------------------------------------------------

    def _start_background(self) -> None:
        for submission in [s for s in self._sent.values() if not s.is_batch and s.state == "sending"]:
            # Its creation may have reached the provider, which has no list to look in.
            self._uncertain(submission, "its creation was cut off")
        for group, calls in list(self._unsent.items()):
            due = {call_id: call for call_id, call in calls.items() if _has_passed(call.not_before)}
            if group[2] != "batch" and due:
                with ThreadPoolExecutor(_STARTS_AT_ONCE) as pool:
                    list(pool.map(partial(self._start_one, group), due.keys(), due.values()))

    def _start_one(self, group: _Group, call_id: str, unsent: _Unsent) -> None:
        server, model, lane, path = group
        cell = self._mailbox.read_cell(unsent.cell_id)
        call = next((call for call in cell.waiting if call.call_id == call_id), None) if cell else None
        self._unsent[group].pop(call_id)
        if call is None:
            return
        now = time.time()
        submission = Submission(
            new_submission_id(), server, model, lane, path, {call_id: (unsent.cell_id, unsent.role)}, unsent.worst_pico, now
        )
        submission = self._keep(submission.with_(creating_at=now))
        try:
            started = self._client(server).start(call.body)
        except ModelCallError as error:
            self._not_started(submission, call, error)
            return
        self._tries.pop(call_id, None)
        self._keep(submission.with_(state="open", handle=started.response_id, status=started.status))
        self._wait(submission, self._pace.poll_s)

    def _not_started(self, submission: Submission, call: WaitingCall, error: ModelCallError) -> None:
        was_refused = error.http_status is not None and error.http_status >= 400
        if not was_refused and not _never_connected(error):
            self._uncertain(submission, f"the answer to its creation was lost ({error})")
            return
        tries = self._tries[call.call_id] = self._tries.get(call.call_id, 0) + 1
        if error.cause not in _FOR_NOW or tries >= (_MOST_REFUSALS if was_refused else _MOST_UNREACHED):
            self._settle(submission, [self._failure(submission, call.call_id, error.cause, str(error))])
            return
        wait_s = max(self._backoff_s(tries), error.retry_after_s or 0.0)
        group = (call.server, call.model, call.lane, call.path)
        cell_id = submission.calls[call.call_id][0]
        self._unsent[group][call.call_id] = _Unsent(cell_id, call.role, call.worst_pico, time.time() + wait_s, call.since)
        self._forget(submission)

    # --- answers ---------------------------------------------------------------------------------------------------

    def _ask_for_answers(self) -> None:
        due = [s for s in self._sent.values() if s.handle and self._is_due(s)]
        if not due:
            return
        batches = [submission for submission in due if submission.is_batch]
        for submission in batches:
            self._try(submission, self._ask_batch)
        if responses := [submission for submission in due if not submission.is_batch]:
            with ThreadPoolExecutor(_STARTS_AT_ONCE) as pool:
                list(pool.map(lambda submission: self._try(submission, self._ask_response), responses))

    def _ask_batch(self, submission: Submission) -> None:
        assert submission.handle is not None
        client = self._client(submission.server)
        try:
            state = client.batch(submission.handle)
        except ModelCallError as error:
            if error.cause != "not_found" or not self._is_unknown(submission):
                raise
            found = client.find_batch("submission", submission.submission_id, min(submission.created_at, time.time()))
            if found is None:
                self._uncertain(submission, f"the provider does not know batch {submission.handle}")
                return
            state = found
        if state.has_ended:
            self._collect(client, submission, state)
        else:
            self._still_open(submission, state.status, state.completed + state.failed)

    def _ask_response(self, submission: Submission) -> None:
        assert submission.handle is not None
        client = self._client(submission.server)
        try:
            state = client.response(submission.handle)
        except ModelCallError as error:
            if error.cause != "not_found" or not self._is_unknown(submission):
                raise
            self._uncertain(submission, f"the provider does not know response {submission.handle}")
            return
        if not state.has_ended:
            self._still_open(submission, state.status, 0)
            return
        (call_id,) = submission.calls
        cancelled = {"cause": "cancelled", "message": "it was cancelled"} if state.status == "cancelled" else {}
        outcome = Outcome(call_id, submission.created_at, time.time(), 200, state.body.decode("utf-8", "replace"), **cancelled)
        self._settle(submission, [outcome])
        with contextlib.suppress(ModelCallError):
            client.delete_response(submission.handle)

    def _still_open(self, submission: Submission, status: str, back: int) -> None:
        age_s = time.time() - submission.created_at
        if age_s > LANES[submission.lane].window_s + _LATE_S:
            self._uncertain(submission, f"it has not ended after {age_s / 3600:.0f} h")
            return
        if (status, back) != (submission.status, submission.back):
            self._keep(submission.with_(status=status, back=back))
        self._wait(submission, self._pace.interval_s(age_s))

    def _collect(self, client: OpenAILater, submission: Submission, state: BatchState) -> None:
        if state.status == "failed":
            self._refused(client, submission, state)
            return
        with _scratch() as folder:
            files = self._download(client, submission, state, folder)
            if files is None:
                return
            finished_at = time.time()
            if state.total_tokens is not None and not files.broken_lines and state.total_tokens != files.total_tokens:
                self._note(
                    f"batch {state.batch_id}: the provider counts {state.total_tokens:,} tokens, "
                    f"its lines {files.total_tokens:,}"
                )
            for cell_id, outcomes in files.outcomes(submission, finished_at, _missing(state)):
                self._store(submission, cell_id, outcomes)
        self._forget(submission)
        self._delete_files(client, submission.file_id, state.output_file, state.error_file)

    def _download(
        self, client: OpenAILater, submission: Submission, state: BatchState, folder: Path
    ) -> batch_files.AnswerFiles | None:
        """The answers of an ended batch; None if they must be fetched again later."""
        paths = []
        tries = self._tries.get(submission.submission_id, 0)
        for name, file_id in (("output", state.output_file), ("error", state.error_file)):
            if file_id is None:
                continue
            try:
                client.download(file_id, folder / name)
                paths.append(folder / name)
            except ModelCallError as error:
                if error.cause != "not_found" or tries < _MOST_DOWNLOADS:
                    raise
                self._note(f"batch {state.batch_id}: the provider has deleted its {name} file; its answers are lost")
        files = batch_files.AnswerFiles(tuple(paths))
        files.index()
        is_short = files.broken_lines > 0 or len(files.places) < state.completed
        if is_short and tries < _MOST_DOWNLOADS:
            self._tries[submission.submission_id] = tries + 1
            self._wait(submission, self._backoff_s(tries))
            return None
        return files

    def _refused(self, client: OpenAILater, submission: Submission, state: BatchState) -> None:
        """A failed validation: the named lines fail, the others are sent again without them."""
        refused = batch_files.refused_calls(submission, state.refusals)
        messages = "; ".join(message for _, message in state.refusals) or "no reason given"
        self._note(f"batch {state.batch_id} failed its validation: {'; '.join(refused.values()) or messages}"[:300])
        for call_id in () if refused else submission.calls:
            self._tries[call_id] = self._tries.get(call_id, 0) + 1
            if self._tries[call_id] >= _MOST_DOWNLOADS:
                refused[call_id] = f"its batch was refused {_MOST_DOWNLOADS} times: {messages}"
        by_cell: dict[str, list[Outcome]] = {}
        for call_id, message in refused.items():
            outcome = self._failure(submission, call_id, "bad_request", message)
            by_cell.setdefault(submission.calls[call_id][0], []).append(outcome)
        for cell_id, outcomes in by_cell.items():
            self._store(submission, cell_id, outcomes)
        self._forget(submission)
        self._send_again(submission, [call_id for call_id in submission.calls if call_id not in refused])
        self._delete_files(client, submission.file_id)

    def _send_again(self, submission: Submission, call_ids: Collection[str]) -> None:
        for cell_id in {submission.calls[call_id][0] for call_id in call_ids}:
            cell = self._mailbox.read_cell(cell_id)
            for call in cell.waiting if cell else ():
                if call.call_id in call_ids:
                    self._queue(cell_id, call)

    # --- steps that several share ----------------------------------------------------------------------------------

    def _cancel_sent(self) -> None:
        for submission in [s for s in self._sent.values() if s.state != "cancelling"]:
            if submission.handle is None:
                if not submission.creating_at:
                    self._forget(submission)
                elif submission.is_batch:
                    self._try(submission, self._advance)
                continue
            with contextlib.suppress(ModelCallError):
                client = self._client(submission.server)
                cancel = client.cancel_batch if submission.is_batch else client.cancel_response
                cancel(submission.handle)
            self._keep(submission.with_(state="cancelling"))

    def _try(self, submission: Submission, step: Any) -> None:
        """One step of a submission; a failure is answered by a back-off, or ends it."""
        submission_id = submission.submission_id
        try:
            step(submission)
        except ModelCallError as error:
            tries = self._tries[submission_id] = self._tries.get(submission_id, 0) + 1
            wait_s = max(self._backoff_s(tries), error.retry_after_s or 0.0)
            submission = self._sent.get(submission_id, submission)
            self._wait(submission, wait_s)
            is_sending = submission.handle is None
            most = _MOST_REFUSALS if error.http_status is not None else _MOST_UNREACHED
            if is_sending and (error.cause not in _FOR_NOW or tries >= most):
                outcomes = [self._failure(submission, call_id, error.cause, str(error)) for call_id in submission.calls]
                self._settle(submission, outcomes)
            else:
                self._note(f"{submission.lane} of {submission.model}: {error}; the next try is in {wait_s:.0f} s")

    def _settle(self, submission: Submission, outcomes: Iterable[Outcome]) -> None:
        """Store what became of all calls of a submission, which then is over."""
        by_cell: dict[str, list[Outcome]] = {}
        for outcome in outcomes:
            by_cell.setdefault(submission.calls[outcome.call_id][0], []).append(outcome)
        for cell_id, of_cell in by_cell.items():
            self._store(submission, cell_id, of_cell)
        self._forget(submission)

    def _uncertain(self, submission: Submission, why: str) -> None:
        """It may have been computed and billed: it counts at its worst case, and is sent again for all to see."""
        count = len(submission.calls)
        self._note(
            f"{count} request{'s' if count > 1 else ''} of lane {submission.lane} may have been billed: {why}; counted at the "
            f"worst case (${submission.worst_pico / 1e12:.4f}) as uncertain, and sent again"
        )
        message = f"{why}; it may have been billed"
        self._settle(submission, [self._failure(submission, call_id, "uncertain", message) for call_id in submission.calls])

    def _store(self, submission: Submission, cell_id: str, outcomes: list[Outcome]) -> None:
        if self._mailbox.is_suspended(cell_id):
            self._mailbox.answer(cell_id, submission.submission_id, outcomes)
        if (outstanding := self._outstanding.get(cell_id)) is not None:
            outstanding.difference_update(outcome.call_id for outcome in outcomes)
            self._check_ready(cell_id)

    def _failure(self, submission: Submission, call_id: str, cause: str, message: str) -> Outcome:
        return Outcome(call_id, submission.created_at, time.time(), cause=cause, message=message[:1000])

    def _keep(self, submission: Submission) -> Submission:
        # In memory first: a handle must not be lost because the disk is full.
        self._sent[submission.submission_id] = submission
        self._mailbox.keep(submission)
        return submission

    def _forget(self, submission: Submission) -> None:
        self._mailbox.forget(submission)
        self._sent.pop(submission.submission_id, None)
        self._due.pop(submission.submission_id, None)
        self._tries.pop(submission.submission_id, None)

    def _delete_files(self, client: OpenAILater, *file_ids: str | None) -> None:
        for file_id in file_ids:
            if file_id is not None:
                with contextlib.suppress(ModelCallError):
                    client.delete_file(file_id)

    def _is_unknown(self, submission: Submission) -> bool:
        """Whether the provider has not known a handle often enough to believe it."""
        return self._tries.get(submission.submission_id, 0) >= _MOST_UNKNOWN - 1

    def _is_due(self, submission: Submission) -> bool:
        return time.monotonic() >= self._due.get(submission.submission_id, 0.0)

    def _wait(self, submission: Submission, seconds: float) -> None:
        self._due[submission.submission_id] = time.monotonic() + seconds

    def _backoff_s(self, tries: int) -> float:
        return min(_LONGEST_BACKOFF_S, self._pace.poll_s * 2.0 ** min(tries, 10))

    def _client(self, server: str) -> OpenAILater:
        with self._lock:
            if server not in self._clients:
                self._clients[server] = OpenAILater(self._servers[server])
            return self._clients[server]

    def _note(self, sentence: str) -> None:
        if sentence not in self.notes:
            self.notes.append(sentence)

    # --- progress --------------------------------------------------------------------------------------------------

    def _show(self) -> None:
        now = time.time()
        stages = [
            {
                "roles": list(submission.roles),
                "model": submission.model,
                "lane": submission.lane,
                "submitted": len(submission.calls),
                "back": submission.back,
                "status": submission.status or submission.state,
            }
            for submission in list(self._sent.values())
        ]
        unsent = [call for calls in self._unsent.values() for call in calls.values()]
        ages = [now - submission.created_at for submission in self._sent.values()]
        next_poll_s = min((due - time.monotonic() for due in self._due.values()), default=None)
        self._shown = {
            "cells": self.left,
            "stages": _merged(stages),
            "collecting": len(unsent),
            "oldest_s": round(max(ages), 1) if ages else None,
            "next_poll_s": None if next_poll_s is None else round(max(0.0, next_poll_s), 1),
        }
        steady = repr([self._shown[key] for key in ("cells", "stages", "collecting")])
        if steady != self._written:
            self._mailbox.write_progress(self._shown)
            self._written = steady


def _merged(stages: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One line per set of roles, model and lane."""
    merged: dict[tuple[Any, ...], dict[str, Any]] = {}
    for stage in stages:
        key = (tuple(stage["roles"]), stage["model"], stage["lane"])
        if key in merged:
            merged[key]["submitted"] += stage["submitted"]
            merged[key]["back"] += stage["back"]
        else:
            merged[key] = dict(stage)
    return list(merged.values())


def _missing(state: BatchState) -> Outcome:
    """What became of a request without a line."""
    cause = {"expired": "expired", "cancelled": "cancelled"}.get(state.status, "bad_answer")
    return Outcome(
        "", 0.0, 0.0, cause=cause, message=f"batch {state.batch_id} is {state.status} and has no line for this request"
    )


def _never_connected(error: ModelCallError) -> bool:
    """Whether a request cannot have reached the server."""
    link: BaseException | None = error
    while link is not None:
        if type(link).__name__ in ("ConnectError", "ConnectTimeout") or isinstance(link, ConnectionRefusedError):
            return True
        link = link.__cause__ or link.__context__
    return False


def _has_passed(moment: float) -> bool:
    """Whether a moment is over; one that is far away was written by a clock that was wrong."""
    return moment <= time.time() or moment - time.time() > 2 * _LONGEST_BACKOFF_S


@contextlib.contextmanager
def _scratch() -> Iterator[Path]:
    """A temporary folder."""
    with tempfile.TemporaryDirectory(prefix="harness-batch-") as name:
        yield Path(name)
