"""Follow a run: feed the queues, read what happened to each cell, show progress, and detect the end."""

from __future__ import annotations

import contextlib
import json
import signal
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from redis import Redis, RedisError

from harness.admission import lease, ledger, slots
from harness.admission.ledger import Caps, LedgerTotals
from harness.errors import Unserved
from harness.queue import control, in_flight, registry
from harness.queue.control import NOT_RUN, SUSPENDED, UNFINISHED, UNSERVED, CellEvent
from harness.runs import answered_later, server_warnings
from harness.runs.progress import RunOutcome
from harness.workers.local_workers import MOST_STARTS

if TYPE_CHECKING:
    from harness.cells import Cell
    from harness.deferred.coordinator import Coordinator
    from harness.queue.feed import Feed
    from harness.queue.registry import RunInfo
    from harness.runs.display import Display
    from harness.runs.progress import Progress
    from harness.storage.store import Store
    from harness.workers.local_workers import LocalWorkers


TICK_S = 0.25
_SHOW_S = 0.5
_RESEND_S = 5.0
_LOST_ROLL_S = 10.0
_SAME_SIGNAL_S = 0.5
_NO_REDIS_S = 5.0
_FIRST_CELLS = 2
"""Cells of each arm whose calls are looked at while the run goes on."""


class Follower:
    """The runner's side of a run while cells are out."""

    def __init__(
        self,
        client: Redis,
        info: RunInfo,
        store: Store,
        feed: Feed,
        progress: Progress,
        display: Display,
        workers: LocalWorkers | None,
        cells: Mapping[str, Cell],
        deferring: Coordinator | None = None,
    ) -> None:
        self._client = client
        self._deferring = deferring
        self._info = info
        self._store = store
        self._feed = feed
        self._progress = progress
        self._display = display
        self._workers = workers
        self._cells = cells
        self._interrupts = 0
        self._interrupted_at = -_SAME_SIGNAL_S
        self._not_run: set[str] = set()
        self._caps = Caps.of(info.terms.get("budget"))
        self._used_up: set[str | None] = set()
        """Models, None for the run, whose budget is used up: their calls were cancelled."""
        self._looked_into: Counter[str] = Counter()
        self._warned: set[str] = set()
        self._unserved: dict[str, tuple[Unserved, set[str]]] = {}
        """Stored form of what cannot be asked -> the same, and the cells that left their worker for it."""
        self._request = control.RUN
        self._looked_at = self._resent_at = time.monotonic()
        self._quiet_since = time.monotonic()
        self._none_alive_since: float | None = None

    def follow(self) -> RunOutcome:
        """Return when every cell has ended, or when a stopped run has no cell in flight."""
        with self._signals(), self._display.showing():
            while not self._is_over():
                self._tick()
            if self._interrupts > 1 and self._workers:
                self._workers.kill()
            with contextlib.suppress(RedisError):
                self._look()
            if self._deferring:
                self._leave_deferred(self._deferring)
            self._display.show(self._progress, now=True)
        unserved = {reason: len(cell_ids) for reason, cell_ids in self._unserved.values()}
        return RunOutcome(self._is_stopping, len(self._not_run) + self._undone(), unserved)

    def _leave_deferred(self, deferring: Coordinator) -> None:
        """Cancel what is with the provider if the user stopped the run; else it stays there. Say what that costs."""
        if not deferring.calls_out:
            return
        if self._interrupts:
            calls, run = answered_later.with_provider(deferring.calls_out), f"{self._info.experiment}/{self._info.run_id}"
            answers, them = ("its answer", "it") if deferring.calls_out == 1 else ("their answers", "them")
            self._display.say(f"{calls}; the same command fetches {answers}, `python -m harness stop {run}` cancels {them}")
            return
        deferring.cancel()
        self._display.say(answered_later.cancelled(deferring))

    def _resume_answered(self, deferring: Coordinator) -> None:
        """Queue cells whose deferred calls are answered."""
        if deferring.error is not None:
            raise deferring.error
        for cell_id in deferring.take_ready():
            if cell_id in self._cells:
                self._feed.add(cell_id, self._cells[cell_id])
        answered_later.see(self._progress, deferring)

    def _undone(self) -> int:
        """Cells that were not started, or wait for cancelled calls, because the budget was used up."""
        if not self._not_run and not (self._deferring and self._deferring.left):
            return 0
        unserved = sum(len(cell_ids) for _, cell_ids in self._unserved.values())
        return self._progress.wanted - self._progress.ended - len(self._not_run) - unserved

    def _tick(self) -> None:
        try:
            if self._interrupts and self._request != control.STOP:
                self._stop()
            if self._deferring:
                self._resume_answered(self._deferring)
            if self._request == control.RUN:
                self._feed.fill()
            for event in control.read_events(self._client, self._info.run_id, wait_s=TICK_S):
                self._handle(event)
            if time.monotonic() - self._looked_at > _SHOW_S:
                self._look()
            if time.monotonic() - self._resent_at > _RESEND_S:
                self._keep_alive()
        except RedisError as error:
            self._progress.note(f"Redis does not answer: {error}")
            time.sleep(1.0)
            if self._interrupts and time.monotonic() - self._interrupted_at > _NO_REDIS_S:
                self._interrupts += 1  # Redis is being stopped too: no request in flight can be recorded
        if self._workers and not self._is_stopping and not self._workers.are_running():
            self._workers_ended(self._workers)
        self._display.show(self._progress)

    @property
    def _is_stopping(self) -> bool:
        return self._request == control.STOP or self._interrupts > 0

    def _workers_ended(self, workers: LocalWorkers) -> None:
        """Start workers again that died; stop the run if they were asked to end, or die again and again."""
        cause = workers.died_of
        if cause is None:
            self._interrupt()
        elif workers.restart():
            self._progress.note(f"the worker processes ended ({cause}) and are started again")
        else:
            self._progress.note(f"the worker processes ended {MOST_STARTS} times ({cause}): the run stops here")
            self._interrupt()

    def _stop(self) -> None:
        control.request(self._client, self._info.run_id, control.STOP)
        self._request = control.STOP
        self._display.say("stopping: requests in flight still end, nothing new is sent; Ctrl-C again stops at once")

    def _handle(self, event: CellEvent) -> None:
        self._quiet_since = time.monotonic()
        self._feed.ended(event.cell_id)
        if event.outcome == SUSPENDED and self._deferring:
            self._deferring.suspended(event.cell_id)
            return
        if self._deferring:
            self._deferring.ended(event.cell_id)
        if event.outcome == NOT_RUN:
            self._capped(event)
        elif event.outcome == UNSERVED:
            self._leave_unserved(event)
        elif event.outcome != UNFINISHED:
            self._ended(event.cell_id)

    def _ended(self, cell_id: str) -> None:
        receipt = self._store.receipt(cell_id)
        if receipt is not None:
            self._progress.add(receipt)
            self._warn_early(cell_id, str(receipt["arm"]))

    def _warn_early(self, cell_id: str, arm: str) -> None:
        """Say what the first cells of an arm show about its servers: later the user could only read that it was slow."""
        self._looked_into[arm] += 1
        if self._looked_into[arm] > _FIRST_CELLS:
            return
        for warning in server_warnings.of_calls(self._store.parts_of(cell_id, "calls"), self._info.run_id):
            subject = warning.partition(":")[0].partition(" queues")[0]
            if subject not in self._warned:
                self._warned.add(subject)
                self._display.say(warning)

    def _capped(self, event: CellEvent) -> None:
        self._not_run.add(event.cell_id)
        self._progress.not_run = len(self._not_run)
        self._progress.note(f"the budget of the {event.detail} is used up: no further cell starts; raise it and run again")
        if event.detail in ("run", "month"):
            self._feed.drop()
            if self._deferring:
                self._deferring.cancel()

    def _cancel_over_budget(self, deferring: Coordinator, totals: LedgerTotals) -> None:
        """Cancel what is with a provider once a budget of the run, or of a model, is used up."""
        for alias in self._caps.used_up(totals) - self._used_up:
            self._used_up.add(alias)
            deferring.cancel(None if alias is None else [alias])
            budget = "run" if alias is None else f"model {alias}"
            self._progress.note(f"the budget of the {budget} is used up: its requests with a provider are cancelled")

    def _leave_unserved(self, event: CellEvent) -> None:
        """Start no further cell that asks this server or model; the cells of others go on."""
        if event.detail not in self._unserved:
            unserved = Unserved(**json.loads(event.detail))
            self._unserved[event.detail] = unserved, set()
            self._progress.note(f"{unserved}: its cells are left for later")
        unserved, cell_ids = self._unserved[event.detail]
        cell_ids.add(event.cell_id)
        cell_ids.update(self._feed.drop(lambda cell: _asks(cell, unserved)))

    def _look(self) -> None:
        """Read what changes between events: running cells, cost, tokens, the user's request."""
        self._looked_at = time.monotonic()
        run_id = self._info.run_id
        self._request = control.requested(self._client, run_id)
        self._progress.see_running(lease.held(self._client, run_id, in_flight.running(self._client, run_id)))
        totals = ledger.totals(self._client, run_id)
        self._progress.see_ledger(totals)
        if self._deferring:
            self._deferring.so_far = self._progress.so_far
            self._cancel_over_budget(self._deferring, totals)
        control.publish_left(self._client, run_id, self._progress.left_by_arm)
        self._reopened()

    def _reopened(self) -> None:
        """Queue cells that `retry` in another shell reopened."""
        key = control.reopen_key(self._info.run_id)
        while (cell_id := self._client.lpop(key)) is not None:
            name = cell_id.decode()  # type: ignore[union-attr]
            if name in self._cells:
                self._progress.forget(name)
                self._feed.add(name, self._cells[name])

    def _keep_alive(self) -> None:
        """Every few seconds: extend the heartbeat, and queue lost cells again."""
        self._resent_at = time.monotonic()
        registry.keep_alive(self._client, self._info)
        for name, usage in slots.slot_usage(self._client, self._info.run_id).items():
            if usage.trouble:
                self._progress.note(f"{name.partition('@')[0]} does not answer ({usage.trouble}): its cells wait for it")
        if self._workers is None and self._feed.out and not lease.holders(self._client, self._info.run_id):
            self._progress.note("no worker serves this run yet: `python -m harness worker --broker URL --results ...` does")
        if time.monotonic() - self._quiet_since > _LOST_ROLL_S and self._feed.out and (resent := self._feed.resend_lost()):
            self._progress.note(f"{resent} cells were lost from the queue; they are queued again")

    def _is_over(self) -> bool:
        if self._interrupts > 1:
            return True
        if self._is_stopping and self._workers and not self._workers.are_running():
            return True  # killed, or a machine that shuts down, which ends Redis too
        if self._request == control.STOP:
            return self._is_drained()
        return self._feed.left == 0 and not (self._deferring and self._deferring.waiting)

    def _is_drained(self) -> bool:
        """Whether no process that lives has a cell of this run: a cell of a dead one will not end."""
        try:
            entries = in_flight.running(self._client, self._info.run_id)
            living = lease.held(self._client, self._info.run_id, entries)
        except RedisError:
            return True
        if living:
            self._none_alive_since = None
            return False
        self._none_alive_since = self._none_alive_since or time.monotonic()
        return not entries or time.monotonic() - self._none_alive_since > lease.RECHECK_S

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        previous = {number: signal.signal(number, self._interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def _interrupt(self, *_: Any) -> None:
        # Only counted here, since a handler may run anywhere. A wrapper often forwards a signal that its whole process
        # group got as well: two at once count as one.
        now = time.monotonic()
        if now - self._interrupted_at > _SAME_SIGNAL_S:
            self._interrupts += 1
        self._interrupted_at = now


def _asks(cell: Cell, unserved: Unserved) -> bool:
    """Whether the cell asks this server, or this model on it."""
    models = [model for model in cell.lineup.values() if (model.server or model.provider) == unserved.server]
    return any(unserved.model in ("", model.name) for model in models)
