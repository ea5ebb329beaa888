"""The gate of one attempt at a cell: what the pipeline asks before and after each request to a model."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections import Counter
from collections.abc import Coroutine, Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from agents import Answer, Call, Failure, Part, Permit, Place, Request, Timing, WorstCase
from harness.errors import Deferred, Draining, LeaseLost, OverBudget
from harness.gate import journal
from harness.gate.journal import Entry
from harness.gate.ledger import pico
from harness.gate.retries import DEFER_OVER_S, RETRIES, pause_s
from harness.money import pricing
from harness.money.pricing import Priced
from harness.storage import rows
from harness.storage.rows import Row
from reports.tables import CALLS

if TYPE_CHECKING:
    from agents import Halt, Model
    from harness.cells import Cell
    from harness.experiment.servers import ServerSpec
    from harness.gate.gatehouse import Gatehouse
    from harness.gate.lease import Lease
    from harness.gate.limits import Limit

_MONEY_PAUSE_S = 0.25
_MONEY_PATIENCE_S = 900.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Out:
    """A request that was admitted and of which the end is not known yet."""

    request: Request
    asked: str
    """Hash of the request."""
    killed: Entry
    """What stands in the tables if nobody ever hears the end."""
    worst_usd: float | None
    sent_at: float


class CellGate:
    """Implements agents.Gate; begins with what the journal knows of the cell."""

    def __init__(self, house: Gatehouse, cell: Cell, lease: Lease, known: Mapping[bytes, bytes]) -> None:
        self._house = house
        self._cell = cell
        self.lease = lease
        self._entries = journal.rows_of(known, CALLS.names)
        self._parts: dict[str, Part] = {}
        self._out: dict[str, _Out] = {}
        self._failed_at: dict[str, float] = {}
        self._halt: Halt | None = None
        self._landed = asyncio.Event()

    @property
    def calls(self) -> list[Row]:
        """Rows of the cell's calls that its journal holds, in the order in which they left, earlier attempts' included."""
        return [entry.row for entry in sorted(self._entries.values(), key=lambda entry: entry.row["started_at"])]

    @property
    def messages(self) -> list[Row]:
        """Rows of the parts that this attempt sent or would have sent."""
        return rows.message_rows(self._parts.values())

    async def recall(self, place: Place, request: Request) -> Answer | None:
        """The answer that this place already paid for, if it answers this very request."""
        self._parts.update((part.message_id, part) for part in request.parts)
        found = [entry for entry in self._entries.values() if entry.place_key == place.key and _is_answered(entry)]
        if not found:
            return None
        asked = journal.request_hash(request)
        fits = [entry for entry in found if entry.request_hash == asked]
        if not fits:
            _log.warning("%s of cell %s is asked otherwise than before: asking again", place.key, self._cell.cell_id[:12])
        return fits[-1].answer() if fits else None

    async def admit(self, place: Place, request: Request, worst_case: WorstCase) -> Permit:
        """Wait for money and a slot. Raises Halt once none of the cell's other requests is out any more."""
        arrived = time.monotonic()
        backoff_s = arrived - self._failed_at.pop(place.key, arrived)
        call_id = uuid.uuid4().hex
        out = self._prepare(call_id, place, request, worst_case)
        try:
            await self._enter(call_id, out)
        except BaseException:
            await _whatever_comes(self._withdraw(call_id, request.model))
            raise
        self._out[call_id] = replace(out, sent_at=time.time())
        return Permit(call_id, time.monotonic() - arrived, backoff_s)

    async def record(self, call: Call) -> float | None:
        """Keep the call, whatever comes; then say whether its place may be asked again. Raises Deferred for a long back-off."""
        out = self._out[call.call_id]
        priced = pricing.price(call, self._server(call.request.model), self._house.prices)
        entry = self._entry(call, out.asked, "answered" if call.answer else "failed", priced)
        lesson = RETRIES[call.failure.cause].lesson if call.failure else "grow"
        await _whatever_comes(self._keep(call.call_id, entry, out, lesson, call.failure))
        return await self._answer_failure(call) if call.failure else None

    async def discard(self, place: Place, permit: Permit) -> None:
        """The request was cut off: it may be billed, so its worst case is an estimate."""
        out = self._out[permit.call_id]
        entry = out.killed
        if not self._server(out.request.model).is_hosted:
            entry = self._local_killed(permit, place, out)
        await _whatever_comes(self._keep(permit.call_id, entry, out, "", None))

    async def still_ours(self) -> bool:
        """Whether the cell is held; also learns what became of requests that an earlier holder had out."""
        reply: Any = await self._house.run("confirm", self._cell.cell_id, "", [self.lease.token])
        if reply[0] == b"lost":
            return False
        late = dict(zip(reply[1][::2], reply[1][1::2], strict=True))
        self._entries.update(journal.rows_of(late, CALLS.names))
        return True

    async def close(self, *, ended: bool) -> None:
        """Leave the cell: forget everything once its receipt stands, else give the lease back and keep the journal."""
        how = "ended" if ended else "released"
        await _whatever_comes(self._house.run("close", self._cell.cell_id, "", [self.lease.token, how]))

    async def _enter(self, call_id: str, out: _Out) -> None:
        waited_from = time.monotonic()
        while True:
            await self._stop_if_halted()
            said, *details = await self._house.run("admit", self._cell.cell_id, *self._admission(call_id, out))
            if said == b"ok":
                return
            if said == b"wait":
                await self._house.waiters.wait(call_id, self._limit(out.request.model))
            elif said == b"money" and time.monotonic() - waited_from < _MONEY_PATIENCE_S:
                await asyncio.sleep(_MONEY_PAUSE_S)
            else:
                self._halt = self._halt or _halt(said, details, self._cell)

    def _admission(self, call_id: str, out: _Out) -> tuple[str, list[Any]]:
        model, house = out.request.model, self._house
        limit = self._limit(model)
        worst = pico(out.worst_usd)
        return limit.key, [
            self.lease.token,
            house.holder,
            call_id,
            model.alias,
            worst,
            out.killed.encode(),
            *house.caps.of_call(model.alias),
            *limit.words,
            model.name,
        ]

    async def _stop_if_halted(self) -> None:
        """Once the cell must stop, its requests that are out still land: they are paid for."""
        if self._halt is None:
            return
        while self._out:
            self._landed.clear()
            await self._landed.wait()
        raise self._halt

    async def _answer_failure(self, call: Call) -> float | None:
        assert call.failure is not None
        failures = Counter(
            entry.row["error_type"]
            for entry in self._entries.values()
            if entry.place_key == call.place.key and entry.row["outcome"] == "failed"
        )
        wait_s = pause_s(call.failure, failures)
        if wait_s is None:
            return None
        if wait_s > DEFER_OVER_S:
            self._halt = self._halt or Deferred(f"{call.place.key}: {call.failure.message}", delay_s=wait_s)
            await self._stop_if_halted()
        self._failed_at[call.place.key] = time.monotonic()
        return wait_s

    async def _keep(self, call_id: str, entry: Entry, out: _Out, lesson: str, failure: Failure | None) -> None:
        row, model = entry.row, out.request.model
        is_hosted = self._server(model).is_hosted
        args = [
            self.lease.token,
            call_id,
            entry.encode(),
            model.alias,
            pico(row["cost_usd"]) if is_hosted else 0,
            "settled" if row["cost_basis"] == "api_price" else "estimated",
            lesson,
            round(1000 * (failure.retry_after_s or 0.0)) if failure else 0,
            *("" if row[name] is None else row[name] for name in ("input_tokens", "output_tokens")),
        ]
        self._entries[call_id] = entry
        try:
            await self._house.run("record", self._cell.cell_id, self._limit(model).key, args)
        finally:
            self._out.pop(call_id, None)
            self._landed.set()

    async def _withdraw(self, call_id: str, model: Model) -> None:
        args = [call_id, self._house.holder, model.name]
        await self._house.run("withdraw", self._cell.cell_id, self._limit(model).key, args)

    def _prepare(self, call_id: str, place: Place, request: Request, worst_case: WorstCase) -> _Out:
        server, prices = self._server(request.model), self._house.prices
        worst_usd = self._house.worst_case_usd(request, worst_case)
        now, asked = time.time(), journal.request_hash(request)
        estimate = (
            Priced(worst_usd, "estimate", prices.version) if server.is_hosted and worst_usd is not None else pricing.UNKNOWN
        )
        killed = self._entry(Call(call_id, place, request, Timing(now)), asked, "killed", estimate)
        return _Out(request, asked, killed, worst_usd, now)

    def _local_killed(self, permit: Permit, place: Place, out: _Out) -> Entry:
        timing = Timing(out.sent_at, duration_s=time.time() - out.sent_at)
        call = Call(permit.call_id, place, out.request, timing, queued_s=permit.queued_s, backoff_s=permit.backoff_s)
        priced = pricing.price(call, self._server(out.request.model), self._house.prices)
        return self._entry(call, out.asked, "killed", priced)

    def _entry(self, call: Call, asked: str, outcome: str, priced: Priced) -> Entry:
        lease, run_id = self.lease, self._house.run_id
        row = rows.call_row(call, self._cell, run_id=run_id, attempt=lease.attempt, outcome=outcome, price=asdict(priced))
        return Entry(row, asked)

    def _server(self, model: Model) -> ServerSpec:
        return self._house.server(model)

    def _limit(self, model: Model) -> Limit:
        return self._house.limit(model)


def _is_answered(entry: Entry) -> bool:
    return bool(entry.row["outcome"] == "answered")


def _halt(said: bytes, details: list[bytes], cell: Cell) -> Halt:
    if said == b"lost":
        return LeaseLost(f"cell {cell.cell_id[:12]} is held by another worker now")
    if said == b"stop":
        return Draining("the run is being stopped")
    scope, cap, spent = (detail.decode() for detail in details)
    message = (
        f"the cap of the {scope} binds: {int(cap) / 1e12:.4f} USD, {int(spent) / 1e12:.4f} USD spent; raise budget.{scope}_usd"
    )
    return OverBudget(message, scope=scope)


async def _whatever_comes(work: Coroutine[Any, Any, Any]) -> None:
    """Finish this step even when the cell is cancelled meanwhile, then be cancelled."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await task
        raise
