"""Deferred calls of one attempt at a cell: what it waits for, what has come back, and the money reserved for them."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, MutableMapping, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import agents
from agents import Answer, Call, CallSite, ComposedRequest, Failure, Model, Request, Suspended, Timing
from domain.lanes import LANES
from harness.admission.journal import JournalEntry
from harness.admission.ledger import PICO
from harness.deferred.mailbox import Outcome, SuspendedCell, WaitingCall, decoded, encoded
from harness.money import pricing
from harness.money.pricing import Priced
from harness.storage import rows
from harness.storage.rows import Row
from reports.tables import CALLS

if TYPE_CHECKING:
    from agents import Model
    from harness.admission.context import AdmissionContext
    from harness.admission.lease import Lease
    from harness.cells import Cell

_DEFERRED = frozenset(name for name, lane in LANES.items() if lane.is_deferred)
MONEY_RETRY_S = 15.0
"""After which a cell asks again whether its deferred call fits the budget."""


class DeferredCalls:
    """The deferred calls of a cell whose lease is held; shares the entries of its session."""

    def __init__(
        self,
        context: AdmissionContext,
        cell: Cell,
        lease: Lease,
        entries: MutableMapping[str, JournalEntry],
        suspended: SuspendedCell | None,
        outcomes: Sequence[Outcome],
    ) -> None:
        self._context = context
        self._cell = cell
        self._lease = lease
        self._entries = entries
        waiting = suspended.waiting if suspended else ()
        self._waiting = {call.call_id: call for call in waiting if call.call_id not in entries}
        self._outcomes = [outcome for outcome in outcomes if outcome.call_id in self._waiting]
        self.recorded = frozenset(outcome.submission_id for outcome in outcomes)
        """Submissions whose answers are among the entries, once they are taken."""

    def _caps(self, model: Model) -> list[str | int]:
        caps = self._context.caps
        return [*caps.of_call(model.alias), caps.of_month]

    @property
    def is_waiting(self) -> bool:
        return bool(self._waiting)

    @property
    def unknown_rows(self) -> list[Row]:
        """Rows of the calls whose end is unknown, billed at their worst case."""
        return [JournalEntry.decode(decoded(call.killed), CALLS.names).row for call in self._waiting.values()]

    def suspension(self) -> SuspendedCell:
        """What must be kept until the answers come."""
        entries = {key: encoded(entry.encoded) for key, entry in self._entries.items()}
        rows = [entry.row for entry in self._entries.values() if entry.row["outcome"] == "answered"]
        answered = [(row["role"], row["model_requested"], row["lane"]) for row in rows if row["lane"] in _DEFERRED]
        return SuspendedCell(self._cell.cell_id, self._lease.attempt, entries, tuple(self._waiting.values()), tuple(answered))

    async def take_answers(self) -> None:
        """Correct the reservations, and record what came back; once, right after the lease was taken."""
        held = [word for call in self._waiting.values() for word in (call.call_id, call.worst_pico, call.model_alias)]
        await self._context.run("hold", self._cell.cell_id, "", [self._lease.token, *held])
        for outcome in self._outcomes:
            await self._record(outcome)
        self._outcomes = []

    def check_not_waiting(self, site: CallSite, request_hash: str) -> None:
        """Raises Suspended for a request that was handed over before."""
        for call in self._waiting.values():
            if (call.call_site_key, call.request_hash) == (site.key, request_hash):
                raise Suspended(f"{site.key} is answered later")

    async def reserve(
        self, site: CallSite, request: Request, composed: ComposedRequest, killed: JournalEntry, worst_pico: int, pause_s: float
    ) -> list[bytes]:
        """Reserve money, and keep the request until it is handed over; returns the reply of the script."""
        call_id, model = str(killed.row["call_id"]), request.model
        args = [self._lease.token, call_id, model.alias, worst_pico, *self._caps(model)]
        reply: list[bytes] = await self._context.run("defer", self._cell.cell_id, "", args)
        if reply[0] == b"ok":
            self._waiting[call_id] = WaitingCall(
                call_id=call_id,
                call_site_key=site.key,
                role=site.role,
                request_hash=killed.request_hash,
                server=model.server or model.provider,
                model_alias=model.alias,
                model=model.name,
                lane=model.lane.name,
                path=composed.path,
                body=dict(composed.body),
                worst_pico=worst_pico,
                killed=encoded(killed.encoded),
                since=time.time(),
                not_before=time.time() + pause_s,
            )
        return reply

    async def forget(self, call_ids: Collection[str]) -> None:
        """Release the reservations of calls that could not be kept in a file, so will never be handed over."""
        for call_id in call_ids:
            self._waiting.pop(call_id, None)
        held = [word for call in self._waiting.values() for word in (call.call_id, call.worst_pico, call.model_alias)]
        await self._context.run("hold", self._cell.cell_id, "", [self._lease.token, *held])

    async def _record(self, outcome: Outcome) -> None:
        waiting = self._waiting.pop(outcome.call_id)
        killed = JournalEntry.decode(decoded(waiting.killed), CALLS.names).row
        model = _model(self._cell, waiting)
        call = _call(waiting, killed, model, outcome)
        priced = self._price(call, waiting)
        row = rows.call_row(
            call,
            self._cell,
            run_id=killed["run_id"],
            attempt=killed["cell_attempt"],
            outcome="answered" if call.answer else "failed",
            price=asdict(priced),
            request_hash=waiting.request_hash,
        )
        row |= {name: killed[name] for name in ("message_ids", "params", "not_sent")}
        entry = JournalEntry(row, waiting.request_hash)
        self._entries[outcome.call_id] = entry
        args = [
            self._lease.token,
            outcome.call_id,
            entry.encoded,
            waiting.model_alias,
            round((priced.cost_usd or 0.0) * PICO),
            "settled" if priced.cost_basis == "api_price" else "estimated",
            "",
            0,
            *("" if row[name] is None else row[name] for name in ("input_tokens", "output_tokens")),
        ]
        await self._context.run("record", self._cell.cell_id, self._context.limit(model).key, args)

    def _price(self, call: Call, waiting: WaitingCall) -> Priced:
        """By tokens; a call of unknown usage that may have been computed counts at its worst case."""
        usage = call.answer.usage if call.answer else None
        is_counted = usage is not None and usage.input_tokens is not None and usage.output_tokens is not None
        priced = pricing.price(call, self._context.server(call.request.model), self._context.prices)
        if is_counted or priced.cost_basis != "estimate":
            return priced
        return replace(priced, cost_usd=waiting.worst_pico / PICO, cold_usd=None)


def _model(cell: Cell, waiting: WaitingCall) -> Model:
    """The model as it was asked, in the lane in which it was asked: the run may be in another one today."""
    model = next(model for model in cell.lineup.values() if model.alias == waiting.model_alias)
    return replace(model, params={**model.params, "lane": waiting.lane})


def _call(waiting: WaitingCall, killed: Mapping[str, Any], model: Model, outcome: Outcome) -> Call:
    timing = Timing(outcome.sent_at, duration_s=outcome.finished_at - outcome.sent_at)
    read: Answer | Failure
    if outcome.cause is not None:
        read = Failure(outcome.cause, outcome.message, "Deferred", request_id=outcome.request_id)
    else:
        read = agents.read_deferred(waiting.path, outcome.status, outcome.body.encode())
    answer = replace(read, timing=timing) if isinstance(read, Answer) else None
    if answer and outcome.request_id:
        answer = replace(answer, request_id=outcome.request_id)
    return Call(
        call_id=waiting.call_id,
        site=rows.place_of(dict(killed)),
        request=Request(model, ()),
        timing=timing,
        answer=answer,
        failure=read if isinstance(read, Failure) else None,
        queued_s=max(0.0, outcome.sent_at - waiting.since),
        backoff_s=0.0,
    )
