"""What is not sent yet, and what is with a provider: in memory and, before the step that needs it, in the mailbox.

Used by the sender of batches and that of background responses; the process may die between any two lines.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from agents import ModelCallError, OpenAILater, Server
from domain.lanes import LANES
from harness.deferred.mailbox import Mailbox, Outcome, Submission, WaitingCall, new_submission_id
from harness.deferred.stage_progress import CallStage, StageProgress
from harness.deferred.waiting_cells import WaitingCells

MOST_REFUSALS = 12
"""Creations that the provider refuses for now (429, 5xx) until their calls fail."""
MOST_UNREACHED = 100
"""Creations that reach no server until their calls fail; with the longest back-off that is a night."""
LONGEST_BACKOFF_S = 300.0
_LATE_S = 24 * 3600.0
"""After its window a call may take this much longer; then its end is unknown."""
_MOST_UNKNOWN = 3
"""Look-ups of a handle that the provider does not know."""
_FOR_NOW = frozenset({"rate_limited", "capacity", "server_error", "timeout", "connection", "cut_stream", "bad_answer"})


class SentGroup(NamedTuple):
    """What one batch file may hold."""

    server: str
    alias: str
    model: str
    lane: str
    path: str


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

    def backoff_s(self, tries: int) -> float:
        return min(LONGEST_BACKOFF_S, self.poll_s * 2.0 ** min(tries, 10))


@dataclass(frozen=True)
class UnsentCall:
    """A call of a suspended cell that is not part of a submission."""

    cell_id: str
    role: str
    worst_pico: int
    due_at: float
    """On the monotonic clock."""

    @property
    def is_due(self) -> bool:
        return self.due_at <= time.monotonic()


class _Sighting(NamedTuple):
    """When this process first knew of a submission, and its age then."""

    at: float
    """On the monotonic clock: the wall clock may jump, also between two processes."""
    age_s: float


def _advice(submission: Submission, error: ModelCallError) -> str:
    """What to do about a creation that is refused for good."""
    if error.http_status == 403 and submission.is_batch:
        return "batches need a key that may write files and batches: change its permissions, or use lane: now"
    return "if it does not offer this lane to this model or key, use lane: now"


class Submissions:
    """The deferred calls of one session."""

    def __init__(
        self,
        mailbox: Mailbox,
        servers: Mapping[str, Server],
        pace: Pace,
        run_id: str,
        cells: WaitingCells,
        stages: StageProgress,
    ) -> None:
        self.mailbox = mailbox
        self.stages = stages
        self.pace = pace
        self.run_id = run_id
        self.cells = cells
        self.unsent: dict[SentGroup, dict[str, UnsentCall]] = {}
        self.notes: list[str] = []
        """What the user must know, one sentence each."""
        self.last_arrival = time.monotonic()
        self.cancelled_aliases: frozenset[str] | None = frozenset()
        """Models of the experiment that nothing is sent to any more; None: all."""
        self._servers = servers
        self._clients: dict[str, OpenAILater] = {}
        self._lock = threading.Lock()
        self._sent: dict[str, Submission] = {}
        self._due: dict[str, float] = {}
        self._tries: dict[str, int] = {}
        self._seen: dict[str, _Sighting] = {}

    # --- what waits to be sent -------------------------------------------------------------------------------------

    def take_in(self, cell_ids: Collection[str]) -> None:
        """Queue the calls of cells that were suspended, except those that are answered or with a provider."""
        if not cell_ids:
            return
        already_sent = {call_id for submission in self._sent.values() for call_id in submission.calls}
        for cell_id in cell_ids:
            cell = self.mailbox.read_cell(cell_id)
            outcomes = self.mailbox.outcomes(cell_id)
            answered = {outcome.call_id for outcome in outcomes} | set(cell.entries if cell else ())
            if cell:
                self.stages.arrived(cell, outcomes)
            waiting = [call for call in cell.waiting if call.call_id not in answered] if cell else []
            for call in waiting:
                if call.call_id not in already_sent:
                    self.queue(cell_id, call)
                    self.last_arrival = time.monotonic()
            self.cells.expect(cell_id, [call.call_id for call in waiting])

    def queue(self, cell_id: str, call: WaitingCall, wait_s: float | None = None) -> None:
        """Send a call once it is due; default of `wait_s`: what is left of its back-off."""
        left_s = call.not_before - time.time() if wait_s is None else wait_s
        # A moment that is far away was written by a clock that was wrong.
        due_at = time.monotonic() + (left_s if left_s <= 2 * LONGEST_BACKOFF_S else 0.0)
        group = SentGroup(call.server, call.model_alias, call.model, call.lane, call.path)
        self.unsent.setdefault(group, {})[call.call_id] = UnsentCall(cell_id, call.role, call.worst_pico, due_at)

    def is_cancelled(self, alias: str) -> bool:
        """Whether nothing is sent to this model any more."""
        return self.cancelled_aliases is None or alias in self.cancelled_aliases

    def unsent_stages(self) -> list[CallStage]:
        """The stage of each call that is not sent yet."""
        groups = [(group, list(calls.values())) for group, calls in list(self.unsent.items())]
        return [CallStage.of(call.role, group.model, group.lane) for group, calls in groups for call in calls]

    # --- what is with a provider -----------------------------------------------------------------------------------

    def load(self) -> None:
        """Read what earlier sessions left with providers."""
        for submission in self.mailbox.submissions():
            self._sent[submission.submission_id] = submission
            self._seen[submission.submission_id] = _Sighting(time.monotonic(), max(0.0, time.time() - submission.created_at))
            # The request of a process that died may still be on its way.
            self.wait(submission, self.pace.grace_s if submission.is_uncertain else 0.0)

    def sent(self) -> list[Submission]:
        """Everything that is with a provider, may be, or is about to be sent."""
        return list(self._sent.values())

    def new(self, group: SentGroup, calls: Mapping[str, UnsentCall]) -> Submission:
        """A submission of these calls; nothing is kept yet."""
        return Submission(
            submission_id=new_submission_id(),
            **group._asdict(),
            calls={call_id: (call.cell_id, call.role) for call_id, call in calls.items()},
            worst_pico=sum(call.worst_pico for call in calls.values()),
            created_at=time.time(),
        )

    def keep(self, submission: Submission) -> Submission:
        # In memory first: a handle must not be lost because the disk is full.
        self._sent[submission.submission_id] = submission
        self._seen.setdefault(submission.submission_id, _Sighting(time.monotonic(), 0.0))
        self.mailbox.keep(submission)
        return submission

    def opened(self, submission: Submission, handle: str, status: str) -> None:
        """The provider has accepted it."""
        self._tries.pop(submission.submission_id, None)
        self.keep(submission.with_(state="open", handle=handle, status=status))
        self.wait(submission, self.pace.poll_s)

    def still_open(self, submission: Submission, status: str, back: int) -> None:
        """The provider has not ended it: look again later, but not for ever."""
        watched_s = time.monotonic() - self._seen[submission.submission_id].at
        if watched_s > LANES[submission.lane].window_s + _LATE_S:
            self.uncertain(submission, f"it has not ended in {watched_s / 3600:.0f} h of waiting for it")
            return
        if (status, back) != (submission.status, submission.back):
            self.keep(submission.with_(status=status, back=back))
        self.wait(submission, self.pace.interval_s(self.age_s(submission)))

    def forget(self, submission: Submission) -> None:
        """Its answers are stored, or it will never be sent."""
        self.mailbox.forget(submission)
        self._sent.pop(submission.submission_id, None)
        for by_submission in (self._due, self._tries, self._seen):
            by_submission.pop(submission.submission_id, None)

    def age_s(self, submission: Submission) -> float:
        """Seconds since it was created; a clock that jumps while we wait does not count."""
        sighting = self._seen[submission.submission_id]
        return sighting.age_s + time.monotonic() - sighting.at

    def ended_at(self, submission: Submission) -> float:
        """Now, in Unix time, by the clock with which its creation was recorded."""
        return submission.created_at + self.age_s(submission)

    # --- what became of it -----------------------------------------------------------------------------------------

    def store(self, submission: Submission, cell_id: str, outcomes: list[Outcome]) -> None:
        """Store what became of calls of one cell."""
        if self.mailbox.is_suspended(cell_id):
            self.mailbox.answer(cell_id, submission.submission_id, outcomes)
            self.stages.answered(submission, outcomes)
        self.cells.answered(cell_id, [outcome.call_id for outcome in outcomes])

    def store_all(self, submission: Submission, outcomes: Iterable[Outcome]) -> None:
        """Store what became of some of its calls, cell by cell."""
        by_cell: dict[str, list[Outcome]] = {}
        for outcome in outcomes:
            by_cell.setdefault(submission.calls[outcome.call_id][0], []).append(outcome)
        for cell_id, of_cell in by_cell.items():
            self.store(submission, cell_id, of_cell)

    def settle(self, submission: Submission, outcomes: Iterable[Outcome]) -> None:
        """Store what became of all its calls; then it is over."""
        self.store_all(submission, outcomes)
        self.forget(submission)

    def fail(self, submission: Submission, cause: str, message: str) -> None:
        """None of its calls is answered."""
        self.settle(submission, [self.failure(submission, call_id, cause, message) for call_id in submission.calls])

    def not_accepted(self, submission: Submission, error: ModelCallError) -> None:
        """The provider refuses it for good."""
        advice = "" if self.is_for_now(error) else f"; {_advice(submission, error)}"
        self.fail(submission, error.cause, f"lane {submission.lane} of {submission.model} was refused: {error}{advice}")

    def uncertain(self, submission: Submission, why: str) -> None:
        """It may have been computed and billed: it counts at its worst case, and the user sees that it is sent again."""
        count = len(submission.calls)
        self.note(
            f"{count} request{'s' if count > 1 else ''} of lane {submission.lane} may have been billed: {why}; counted at the "
            f"worst case (${submission.worst_pico / 1e12:.4f}) as uncertain, and sent again"
        )
        self.fail(submission, "uncertain", f"{why}; it may have been billed")

    def failure(self, submission: Submission, call_id: str, cause: str, message: str) -> Outcome:
        return Outcome(call_id, submission.created_at, self.ended_at(submission), cause=cause, message=message[:1000])

    # --- trying again ----------------------------------------------------------------------------------------------

    def attempt(self, submission: Submission, step: Callable[[Submission], None]) -> None:
        """Take a step; after a failure of the provider it is tried again later, a creation only so often."""
        try:
            step(submission)
        except ModelCallError as error:
            tries = self.count_try(submission.submission_id)
            wait_s = max(self.pace.backoff_s(tries), error.retry_after_s or 0.0)
            submission = self._sent.get(submission.submission_id, submission)
            self.wait(submission, max(wait_s, self.pace.grace_s if submission.is_uncertain else 0.0))
            if submission.handle is None and self.is_hopeless(error, tries):
                self.not_accepted(submission, error)
            else:
                self.note(f"{submission.lane} of {submission.model}: {error}; the next try is in {wait_s:.0f} s")

    def is_hopeless(self, error: ModelCallError, tries: int) -> bool:
        """Whether a creation must not be tried again."""
        most = MOST_REFUSALS if error.http_status is not None else MOST_UNREACHED
        return not self.is_for_now(error) or tries >= most

    def is_for_now(self, error: ModelCallError) -> bool:
        """Whether the same request may succeed later."""
        return error.cause in _FOR_NOW

    def count_try(self, name: str) -> int:
        """Count a failed step of a submission, or of a call; returns how many there were."""
        self._tries[name] = self._tries.get(name, 0) + 1
        return self._tries[name]

    def tries(self, name: str) -> int:
        return self._tries.get(name, 0)

    def clear_tries(self, name: str) -> None:
        self._tries.pop(name, None)

    def is_unknown(self, submission: Submission) -> bool:
        """Whether the provider has not known a handle often enough to believe it."""
        return self.tries(submission.submission_id) >= _MOST_UNKNOWN - 1

    def is_due(self, submission: Submission) -> bool:
        return time.monotonic() >= self._due.get(submission.submission_id, 0.0)

    def wait(self, submission: Submission, seconds: float) -> None:
        self._due[submission.submission_id] = time.monotonic() + seconds

    @property
    def next_look_s(self) -> float | None:
        """Seconds until the provider is asked next; None if nothing is with it."""
        due_at = min(self._due.values(), default=None)
        return None if due_at is None else max(0.0, due_at - time.monotonic())

    # --- clients and notes -----------------------------------------------------------------------------------------

    def client(self, server: str) -> OpenAILater:
        with self._lock:
            if server not in self._clients:
                self._clients[server] = OpenAILater(self._servers[server])
            return self._clients[server]

    def close(self) -> None:
        for client in self._clients.values():
            client.close()

    def note(self, sentence: str) -> None:
        if sentence not in self.notes:
            self.notes.append(sentence)
