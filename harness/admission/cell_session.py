"""Admission of one attempt at a cell: what its pipeline asks before and after each request to a model."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections import Counter
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar, cast

from agents import Answer, Call, CallSite, ComposedRequest, Failure, Part, Permit, Request, Suspended, Timing, WorstCase
from harness.admission import journal
from harness.admission.deferring import MONEY_RETRY_S, DeferredCalls
from harness.admission.journal import JournalEntry
from harness.admission.lease import RECHECK_S, Lease
from harness.admission.ledger import Caps, pace_name, pico
from harness.admission.retries import DEFER_OVER_S, RETRIES, is_away, pause_s
from harness.deferred.mailbox import Outcome, SuspendedCell, decoded
from harness.errors import Deferred, Draining, LeaseLost, OverBudget, Unserved
from harness.money import pricing
from harness.money.pricing import Priced
from harness.storage import rows
from harness.storage.rows import Row
from reports.tables import CALLS

if TYPE_CHECKING:
    from agents import Halt, Model
    from harness.admission.context import AdmissionContext
    from harness.admission.slots import SlotLimit
    from harness.cells import Cell
    from harness.experiment.servers import ServerSpec


_MONEY_PAUSE_S = 0.25
_MONEY_PATIENCE_S = 900.0
_log = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass(frozen=True)
class _InFlight:
    """A request that was admitted and has not ended yet."""

    request: Request
    request_hash: str
    killed: JournalEntry
    """What the tables show if its end is never recorded."""
    worst_usd: float | None
    sent_at: float


class CellSession:
    """Implements agents.Admission for one cell, starting from the calls in its journal."""

    def __init__(
        self,
        context: AdmissionContext,
        cell: Cell,
        lease: Lease,
        journalled: Mapping[bytes, bytes],
        recorded: Iterable[Row] = (),
        suspended: SuspendedCell | None = None,
        outcomes: Sequence[Outcome] = (),
        *,
        ends_capped: bool = True,
    ) -> None:
        """`recorded`: calls of attempts that ended before; an answer among them that fits a request is used again.

        `suspended`: what the cell left when it was suspended; `outcomes`: what came back since. `ends_capped`: whether no
        further call is sent after one that did not fit a budget.
        """
        self._ends_capped = ends_capped
        self._context = context
        self._cell = cell
        self.lease = lease
        kept = {key.encode(): decoded(entry) for key, entry in suspended.entries.items()} if suspended else {}
        entries = journal.decode_entries(kept | dict(journalled), CALLS.names)
        self._entries = {key: entry for key, entry in entries.items() if entry.row["cell_id"] == cell.cell_id}
        self._borrowed = {row["call_id"]: JournalEntry(row, row["request_hash"] or "") for row in recorded}
        self._borrowed |= {key: entry for key, entry in entries.items() if key not in self._entries}
        self.deferred = DeferredCalls(context, cell, lease, self._entries, suspended, outcomes)
        self._parts: dict[str, Part] = {}
        self._out: dict[str, _InFlight] = {}
        self._failed_at: dict[str, float] = {}
        self._delivered: set[str] = set()
        """Answered calls that this attempt's pipeline has got the answer of."""
        self._halt: Halt | None = None
        self._call_ended = asyncio.Event()

    @property
    def calls(self) -> list[Row]:
        """Rows of all journalled calls of the cell, those of earlier attempts included, in the order they were sent."""
        recorded = [entry.row for entry in self._entries.values()]
        return sorted([*recorded, *self.deferred.unknown_rows], key=lambda row: row["started_at"])

    @property
    def is_waiting(self) -> bool:
        """Whether some call is answered later."""
        return self.deferred.is_waiting

    @property
    def messages(self) -> list[Row]:
        """Rows of the message parts of this attempt's requests."""
        return rows.message_rows(self._parts.values())

    async def recall(self, place: CallSite, request: Request) -> Answer | None:
        """The answer already paid for at this call site, if it answers exactly this request."""
        self._parts.update((part.message_id, part) for part in request.parts)
        if request.fingerprint:
            return self._recall_by_fingerprint(request) or self._recall_by_call_site(place, request)
        site_key = place.key
        answered = [entry for entry in self._entries.values() if entry.call_site_key == site_key and _is_answered(entry)]
        matching = [entry for entry in answered if journal.answers(entry, request)]
        if answered and not matching:
            _log.warning("the request at %s of cell %s has changed: sending it again", site_key, self._cell.cell_id[:12])
        return matching[-1].answer() if matching else self._recall_borrowed(place, request)

    def _recall_by_fingerprint(self, request: Request) -> Answer | None:
        """Equal requests are samples: each recorded answer is given once, in the order they were sent."""
        for call_id, entry in self._undelivered():
            if entry.request_hash == request.fingerprint:
                return self._deliver(call_id, entry)
        return None

    def _recall_by_call_site(self, place: CallSite, request: Request) -> Answer | None:
        """The answer to nearly the same prompt at the same place: what a program fetches may change between two attempts."""
        for call_id, entry in self._undelivered():
            if entry.call_site_key == place.key and journal.likeness(entry, request) >= journal.LEAST_ALIKE:
                asked_now = {"recalled_for": list(request.message_ids)}
                return self._deliver(call_id, replace(entry, row=entry.row | asked_now))
        return None

    def _undelivered(self) -> list[tuple[str, JournalEntry]]:
        """Recorded answers that this attempt's pipeline has not got, those of ended attempts last."""
        entries = [*self._entries.items(), *self._borrowed.items()]
        return [(call_id, entry) for call_id, entry in entries if _is_answered(entry) and call_id not in self._delivered]

    def _deliver(self, call_id: str, entry: JournalEntry) -> Answer:
        self._delivered.add(call_id)
        identity = {"cell_id": self._cell.cell_id, "arm": self._cell.arm}
        self._entries[call_id] = replace(entry, row=entry.row | identity)
        recorded_parts = (Part(cast("Any", role), text) for role, text in entry.prompt)
        self._parts.update((part.message_id, part) for part in recorded_parts)
        return entry.answer()

    def _recall_borrowed(self, place: CallSite, request: Request) -> Answer | None:
        """What an ended attempt, or the cell of an earlier parser, was answered; only an answer that is used becomes a call
        of this attempt."""
        for call_id, entry in self._borrowed.items():
            if entry.call_site_key == place.key and _is_answered(entry) and journal.answers(entry, request):
                identity = {"cell_id": self._cell.cell_id, "arm": self._cell.arm, "parsed": None}
                self._entries[call_id] = replace(entry, row=entry.row | identity)
                return entry.answer()
        return None

    async def admit(self, place: CallSite, request: Request, worst_case: WorstCase) -> Permit:
        """Wait for budget and a slot. Raises Halt, but only after the cell's requests in flight have ended."""
        arrived = time.monotonic()
        backoff_s = arrived - self._failed_at.pop(place.key, arrived)
        call_id = uuid.uuid4().hex
        out = self._prepare(call_id, place, request, worst_case)
        try:
            await self._enter(call_id, out)
        except BaseException:
            await _uncancelled(self._withdraw(call_id, request.model))
            raise
        self._out[call_id] = replace(out, sent_at=time.time())
        return Permit(call_id, time.monotonic() - arrived, backoff_s)

    async def record(self, call: Call) -> float | None:
        """Journal the call; returns the back-off before a retry, or None. Raises Deferred for a long back-off."""
        out = self._out[call.call_id]
        priced = pricing.price(call, self._server(call.request.model), self._context.prices)
        entry = self._entry(call, out.request_hash, "answered" if call.answer else "failed", priced)
        lesson = RETRIES[call.failure.cause].lesson if call.failure else "grow"
        self._delivered.add(call.call_id)
        answered_at = await _uncancelled(self._keep(call.call_id, entry, out, lesson, call.failure))
        return await self._answer_failure(call, answered_at) if call.failure else None

    async def discard(self, place: CallSite, permit: Permit) -> None:
        """The request was cut off. It may be billed, so its worst case counts as an estimate."""
        out = self._out[permit.call_id]
        entry = out.killed
        if not self._server(out.request.model).is_hosted:
            entry = self._local_killed(permit, place, out)
        await _uncancelled(self._keep(permit.call_id, entry, out, "", None, is_cut_off=True))

    async def defer(self, place: CallSite, request: Request, worst_case: WorstCase, composed: ComposedRequest) -> Failure:
        """Reserve money for a request that is sent later, and raise Suspended; or return why it must not be sent again."""
        request_hash = journal.request_hash(request)
        self.deferred.check_not_waiting(place, request_hash)
        await self._stop_if_halted()
        failure, pause = self._last_failure(place)
        if failure is not None and pause is None:
            return failure
        call = Call(uuid.uuid4().hex, place, request, Timing(time.time()), params=composed.params)
        worst_usd = self._context.worst_case_usd(request, worst_case)
        killed = self._entry(call, request_hash, "killed", self._worst_price(request.model, worst_usd))
        reply, *details = await self.deferred.reserve(place, request, composed, killed, pico(worst_usd), pause or 0.0)
        if reply == b"ok" or (reply == b"over" and self.deferred.is_waiting):
            raise Suspended(f"{place.key} is answered later")
        if reply == b"money":
            raise Deferred(f"{place.key} waits for money that is reserved by other calls", delay_s=MONEY_RETRY_S)
        self._halt = self._halt or _halt_for(reply, details, self._cell, request.model)
        await self._stop_if_halted()
        raise self._halt

    def _last_failure(self, place: CallSite) -> tuple[Failure | None, float | None]:
        """The last failure at a call site, and the back-off after it; no back-off if it must not be repeated."""
        failed = [entry.row for entry in self._entries.values() if _failed_at(entry, place)]
        if not failed:
            return None, None
        last = max(failed, key=lambda row: row["started_at"])
        failure = Failure(last["error_type"], last["error"] or "", "Deferred", last["http_status"])
        return failure, pause_s(failure, Counter(row["error_type"] for row in failed))

    async def is_still_held(self) -> bool:
        """Whether the lease is held; also picks up late results of an earlier holder's requests."""
        reply: Any = await self._context.run("confirm", self._cell.cell_id, "", [self.lease.token])
        if reply[0] == b"lost":
            return False
        late = dict(zip(reply[1][::2], reply[1][1::2], strict=True))
        self._entries.update(journal.decode_entries(late, CALLS.names))
        return True

    async def close(self, *, ended: bool, suspended: bool = False) -> None:
        """Release the lease; the journal is deleted once the cell has its receipt (`ended`) or a file has it, else kept."""
        outcome = "ended" if ended else "suspended" if suspended else "released"
        await _uncancelled(self._context.run("close", self._cell.cell_id, "", [self.lease.token, outcome]))

    async def _enter(self, call_id: str, out: _InFlight) -> None:
        waited_from = time.monotonic()
        while True:
            await self._stop_if_halted()
            reply, *details = await self._context.run("admit", self._cell.cell_id, *self._admission(call_id, out))
            if reply == b"ok":
                return
            if reply == b"wait":
                await self._context.waiters.wait(call_id, self._limit(out.request.model))
            elif reply == b"money" and time.monotonic() - waited_from < _MONEY_PATIENCE_S:
                await asyncio.sleep(_MONEY_PAUSE_S)
            else:
                halt = _halt_for(reply, details, self._cell, out.request.model)
                if isinstance(halt, OverBudget) and not self._ends_capped:
                    raise halt
                self._halt = self._halt or halt

    def _admission(self, call_id: str, out: _InFlight) -> tuple[str, list[Any]]:
        model, context = out.request.model, self._context
        limit = self._limit(model)
        worst = pico(out.worst_usd)
        return limit.key, [
            self.lease.token,
            context.holder,
            call_id,
            model.alias,
            worst,
            out.killed.encoded,
            *context.caps.of_call(model.alias),
            *limit.words,
            model.name,
            round(1000 * limit.unreachable_after_s),
            context.caps.of_month,
        ]

    async def _stop_if_halted(self) -> None:
        """Requests in flight end before the halt is raised: they are paid for."""
        if self._halt is None:
            return
        while self._out:
            self._call_ended.clear()
            await self._call_ended.wait()
        raise self._halt

    async def _answer_failure(self, call: Call, answered_at: float) -> float | None:
        """The back-off; `answered_at`: when the server last answered anybody."""
        assert call.failure is not None
        if call.failure.cause == "not_found":
            self._halt = self._halt or _unserved(call.request.model, "model", _trouble(call.failure))
            await self._stop_if_halted()
        failed = [entry.row for entry in self._entries.values() if _failed_at(entry, call.site)]
        while_away = [row for row in failed if is_away(row["error_type"], row["http_status"]) and _ended_at(row) > answered_at]
        failures = Counter(row["error_type"] for row in failed if row not in while_away)
        wait_s = pause_s(call.failure, failures, away=len(while_away))
        if wait_s is None:
            return None
        if wait_s > DEFER_OVER_S:
            self._halt = self._halt or Deferred(f"{call.site.key}: {call.failure.message}", delay_s=wait_s)
            await self._stop_if_halted()
        self._failed_at[call.site.key] = time.monotonic()
        return wait_s

    async def _keep(
        self,
        call_id: str,
        entry: JournalEntry,
        out: _InFlight,
        lesson: str,
        failure: Failure | None,
        *,
        is_cut_off: bool = False,
    ) -> float:
        """Journal the end of a request; returns when its server last answered anybody, in Unix seconds."""
        row, model = entry.row, out.request.model
        is_hosted = self._server(model).is_hosted
        args = [
            self.lease.token,
            call_id,
            entry.encoded,
            model.alias,
            pico(row["cost_usd"]) if is_hosted else 0,
            "settled" if row["cost_basis"] in ("api_price", "provider") else "estimated",
            lesson,
            round(1000 * (failure.retry_after_s or 0.0)) if failure else 0,
            *("" if row[name] is None else row[name] for name in ("input_tokens", "output_tokens")),
            "-" if is_cut_off else failure.cause if failure else "",
            _trouble(failure),
            model.name,
            "" if is_cut_off else pace_name(row["arm"], row["role"]),
            round(1000 * (row["duration_s"] or 0.0)),
        ]
        self._entries[call_id] = entry
        try:
            reply = await self._context.run("record", self._cell.cell_id, self._limit(model).key, args)
            return int(reply[1]) / 1000
        finally:
            self._out.pop(call_id, None)
            self._call_ended.set()

    async def _withdraw(self, call_id: str, model: Model) -> None:
        args = [call_id, self._context.holder, model.name]
        await self._context.run("withdraw", self._cell.cell_id, self._limit(model).key, args)

    def _prepare(self, call_id: str, place: CallSite, request: Request, worst_case: WorstCase) -> _InFlight:
        worst_usd = self._context.worst_case_usd(request, worst_case)
        now, request_hash = time.time(), journal.request_hash(request)
        estimate = self._worst_price(request.model, worst_usd)
        killed = self._entry(Call(call_id, place, request, Timing(now)), request_hash, "killed", estimate)
        return _InFlight(request, request_hash, killed, worst_usd, now)

    def _worst_price(self, model: Model, worst_usd: float | None) -> Priced:
        is_known = self._server(model).is_hosted and worst_usd is not None
        return Priced(worst_usd, "estimate", self._context.prices.version) if is_known else pricing.UNKNOWN

    def _local_killed(self, permit: Permit, place: CallSite, out: _InFlight) -> JournalEntry:
        timing = Timing(out.sent_at, duration_s=time.time() - out.sent_at)
        call = Call(permit.call_id, place, out.request, timing, queued_s=permit.queued_s, backoff_s=permit.backoff_s)
        priced = pricing.price(call, self._server(out.request.model), self._context.prices)
        return self._entry(call, out.request_hash, "killed", priced)

    def _entry(self, call: Call, request_hash: str, outcome: str, priced: Priced) -> JournalEntry:
        row = rows.call_row(
            call,
            self._cell,
            run_id=self._context.run_id,
            attempt=self.lease.attempt,
            outcome=outcome,
            price=asdict(priced),
            request_hash=request_hash,
        )
        parts = call.request.parts if call.request.fingerprint else ()
        return JournalEntry(row, request_hash, tuple((part.role, part.text) for part in parts))

    def _server(self, model: Model) -> ServerSpec:
        return self._context.server(model)

    def _limit(self, model: Model) -> SlotLimit:
        return self._context.limit(model)


def _is_answered(entry: JournalEntry) -> bool:
    return bool(entry.row["outcome"] == "answered")


def _failed_at(entry: JournalEntry, site: CallSite) -> bool:
    return bool(entry.row["outcome"] == "failed") and entry.call_site_key == site.key


def _ended_at(row: Row) -> float:
    return float(row["started_at"].timestamp() + (row["duration_s"] or 0.0))


def _trouble(failure: Failure | None) -> str:
    return f"{failure.cause}: {failure.message[:300]}" if failure else ""


def _unserved(model: Model, kind: str, text: str) -> Unserved:
    return Unserved(model.server or model.provider, kind, text, model.name if kind == "model" else "")


def _halt_for(reply: bytes, details: list[bytes], cell: Cell, model: Model) -> Halt:
    if reply == b"unserved":
        kind, text = (detail.decode() for detail in details)
        return _unserved(model, kind, text)
    if reply == b"lost":
        return LeaseLost(f"cell {cell.cell_id[:12]} is now held by another worker")
    if reply == b"stop":
        return Draining("the run is being stopped")
    scope, cap, spent = (detail.decode() for detail in details)
    # What a call may cost at most is reserved before it is sent.
    left = ", and the next call may cost more than is left" if int(spent) < int(cap) else ""
    spent_of_cap = f"{int(spent) / 1e12:.4f} of {int(cap) / 1e12:.4f} USD"
    message = f"the budget of the {scope} is used up: {spent_of_cap}{left}; raise budget.{scope}_usd"
    return OverBudget(message, scope=scope)


async def _uncancelled(work: Coroutine[Any, Any, T]) -> T:
    """Finish this step even if the cell is cancelled meanwhile, then raise the cancellation."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await task
        raise


async def open_session(
    context: AdmissionContext,
    cell: Cell,
    attempts_before: int = 0,
    recorded: Iterable[Row] = (),
    suspended: SuspendedCell | None = None,
    outcomes: Sequence[Outcome] = (),
    *,
    ends_capped: bool = True,
) -> CellSession:
    """Take the cell's lease and its journal; `recorded`: calls of its attempts that ended before.

    `ends_capped`: whether a budget that is used up ends the cell, also before it begins, or only refuses calls that do not fit.
    Raises Deferred while another worker holds it, OverBudget if a budget is used up and the cell has no paid call yet.
    """
    models = frozenset(model.alias for model in cell.lineup.values())
    # A suspended cell has begun, although its journal is not in Redis: it may go on while it fits.
    caps = context.caps.of_cell(models) if ends_capped and not suspended else Caps().of_cell(frozenset())
    attempts_before = max(attempts_before, suspended.attempt) if suspended else attempts_before
    args = [context.holder, uuid.uuid4().hex, attempts_before, *caps]
    reply, *rest = await context.run("open", cell.cell_id, "", args)
    if reply == b"held":
        raise Deferred(f"cell {cell.cell_id[:12]} is held by {rest[0].decode()}", delay_s=RECHECK_S)
    if reply == b"over":
        scope, *names = (word.decode() for word in rest)
        capped = " ".join([scope, *names])
        raise OverBudget(f"the budget of the {capped} is used up; raise budget.{scope}_usd", scope=scope)
    token, attempt, entries = rest
    journalled = dict(zip(entries[::2], entries[1::2], strict=True))
    lease = Lease(cell.cell_id, int(token), int(attempt))
    return CellSession(context, cell, lease, journalled, recorded, suspended, outcomes, ends_capped=ends_capped)
