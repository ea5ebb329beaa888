"""The runner's side of deferred calls: one thread sends them, asks for their answers, and reports which cells can go on.

Everything that must survive is in the mailbox before the step that needs it; the thread may die between any two lines.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

from agents import Server
from harness.deferred.background import BackgroundResponses
from harness.deferred.batch_files import BatchLimits
from harness.deferred.batches import Batches
from harness.deferred.cancelling import Cancelling
from harness.deferred.mailbox import Mailbox
from harness.deferred.stage_progress import CallStage, StageProgress
from harness.deferred.submissions import Pace, Submissions
from harness.deferred.waiting_cells import WaitingCells
from harness.errors import StoreError

_TICK_S = 0.1
_AT_ONCE_S = 5.0
_SHOW_S = 0.5
_WRITE_S = 5.0
"""Between two notes of when the provider is asked next, if nothing else has changed."""


class Coordinator:
    """Deferred calls of the cells of one session."""

    def __init__(
        self,
        mailbox: Mailbox,
        servers: Mapping[str, Server],
        pace: Pace,
        run_id: str,
        cells: Iterable[str],
        limits: BatchLimits = BatchLimits(),  # noqa: B008 - frozen
        planned: Mapping[CallStage, int] = MappingProxyType({}),
    ) -> None:
        """`cells`: unfinished cells of this session that may have deferred calls; `planned`: their calls, as far as known."""
        self._mailbox = mailbox
        self._cells = WaitingCells(cells)
        self._submissions = Submissions(mailbox, servers, pace, run_id, self._cells, StageProgress(planned))
        self._batches = Batches(self._submissions, limits)
        self._background = BackgroundResponses(self._submissions)
        self._cancelling = Cancelling(self._submissions, self._batches)
        self._is_over = False
        self._shown: dict[str, Any] = {}
        self._shown_at = 0.0
        self._written = ""
        self._written_at = 0.0
        self.so_far: Mapping[str, Any] = (mailbox.progress() or {}).get("so_far", {})
        """Calls, tokens and dollars of the run as the runner knows them, kept for `status` when no Redis answers any more."""
        self.other_cells = 0
        """Suspended cells that do not belong to this session."""
        self.error: BaseException | None = None
        """What ended the thread; the runner must not wait for it any longer."""
        self._thread = threading.Thread(target=self._run, name="deferred calls", daemon=True)

    # --- called by the runner --------------------------------------------------------------------------------------

    def start(self) -> set[str]:
        """Read what earlier sessions left, and start; returns the cells that wait for answers."""
        self._submissions.load()
        waiting = self._cells.active_among(self._mailbox.suspended_ids())
        for cell_id in waiting:
            self._cells.suspended(cell_id)
        self._thread.start()
        return waiting

    def suspended(self, cell_id: str) -> None:
        """A cell waits for answers, as its file records."""
        self._cells.suspended(cell_id)

    def ended(self, cell_id: str) -> None:
        """A cell will have no further deferred call."""
        self._cells.ended(cell_id)

    def take_ready(self) -> list[str]:
        """Cells whose calls are all answered since the last call of this."""
        return self._cells.take_ready()

    def cancel(self, aliases: Iterable[str] | None = None) -> None:
        """Cancel the calls of these models, by default of all; what the provider has begun is still billed.

        Their cells do not go on in this session; what is answered nevertheless is fetched while it lasts."""
        self._cancelling.request(aliases)

    @property
    def waiting(self) -> int:
        """Cells that wait for answers, and go on when they are there."""
        return self._cells.waiting

    @property
    def left(self) -> int:
        """Suspended cells that do not go on in this session, because their calls were cancelled."""
        return self._cells.left

    @property
    def reserved_usd(self) -> float:
        """Most that the calls cost that are with the provider now."""
        return sum(submission.worst_pico for submission in self._submissions.sent()) / 1e12

    @property
    def calls_out(self) -> int:
        """Calls that are with the provider now."""
        return sum(len(submission.calls) for submission in self._submissions.sent())

    @property
    def calls_out_by_lane(self) -> Mapping[tuple[str, str], int]:
        """(model of the experiment, lane) -> calls that are with the provider now."""
        calls: Counter[tuple[str, str]] = Counter()
        for submission in self._submissions.sent():
            calls[submission.alias, submission.lane] += len(submission.calls)
        return calls

    @property
    def notes(self) -> list[str]:
        """What the user must know, one sentence each."""
        return self._submissions.notes

    @property
    def progress(self) -> Mapping[str, Any]:
        return self._shown

    def close(self, patience_s: float = 5.0) -> None:
        """Stop asking; what was sent stays with the provider."""
        self._is_over = True
        if self._thread.is_alive():
            self._thread.join(patience_s)
        if not self._thread.is_alive():
            self._written = ""
            with contextlib.suppress(StoreError):
                self._show()
        self._submissions.close()

    def wait_cancelled(self, patience_s: float) -> None:
        """Wait until the cancellation was requested, and then a moment for providers that cancel at once."""
        deadline = time.monotonic() + patience_s
        while self._cancelling.uncancelled() and time.monotonic() < deadline and self._thread.is_alive():
            time.sleep(_TICK_S)
        deadline = min(deadline, time.monotonic() + _AT_ONCE_S)
        while self.calls_out and time.monotonic() < deadline and self._thread.is_alive():
            time.sleep(_TICK_S)

    # --- the thread ------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._is_over:
            try:
                self._step()
            except StoreError as error:
                self._submissions.note(str(error))
                time.sleep(1.0)
            except BaseException as error:  # noqa: BLE001 - the runner raises it
                self.error = error
                return
            time.sleep(_TICK_S)

    def _step(self) -> None:
        self._submissions.take_in(self._cells.take_arrived())
        self._cancelling.step()
        self._background.send()
        self._batches.send()
        due = [s for s in self._submissions.sent() if s.handle and self._submissions.is_due(s)]
        self._batches.fetch([submission for submission in due if submission.is_batch])
        self._background.fetch([submission for submission in due if not submission.is_batch])
        if time.monotonic() - self._shown_at >= _SHOW_S:
            self._show()

    # --- progress --------------------------------------------------------------------------------------------------

    def _show(self) -> None:
        """Publish the progress, and write it for `status` in another shell."""
        self._shown_at = time.monotonic()
        sent, next_look_s = self._submissions.sent(), self._submissions.next_look_s
        self._shown = {
            "cells": self.waiting + self.left + self.other_cells,
            "stages": self._submissions.stages.rows(sent, self._submissions.unsent_stages()),
            **self._unsent_counts(),
            "so_far": dict(self.so_far),
            "oldest_s": round(max(map(self._submissions.age_s, sent)), 1) if sent else None,
            "next_poll_s": None if next_look_s is None else round(next_look_s, 1),
        }
        steady = repr([self._shown[key] for key in ("cells", "stages", "collecting", "backing_off")])
        is_outdated = next_look_s is not None and self._shown_at - self._written_at >= _WRITE_S
        if steady != self._written or is_outdated:
            self._mailbox.write_progress(self._shown)
            self._written, self._written_at = steady, self._shown_at

    def _unsent_counts(self) -> dict[str, int]:
        """Calls that wait for their batch, and those that wait for their next try."""
        unsent = [(group.lane, call) for group, calls in self._submissions.unsent.items() for call in calls.values()]
        collecting = sum(lane == "batch" and call.is_due for lane, call in unsent)
        return {"collecting": collecting, "backing_off": sum(not call.is_due for _, call in unsent)}
