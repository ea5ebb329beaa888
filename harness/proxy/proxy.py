"""The gateway as a long-running service: calls of any program are grouped into cases, recorded, priced and capped."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import hmac
import json
import logging
import re
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import unquote

import agents
from agents import Clients
from harness.admission.cell_session import CellSession, open_session
from harness.admission.context import AdmissionContext
from harness.admission.ledger import Caps
from harness.cells import IDENTITY, Cell, digest_of
from harness.checking.resolved import ResolvedRun
from harness.errors import Deferred, InvalidInput, OverBudget, Problem
from harness.experiment import matrix
from harness.experiment.attached import Attached
from harness.gateway.asked import Refused
from harness.gateway.attached import result
from harness.gateway.conversation import Conversation
from harness.gateway.server import Gateway, Headers, route
from harness.storage import rows
from harness.storage.rows import Ending
from harness.storage.store import Store, files_of

_log = logging.getLogger(__name__)
_LABEL = re.compile(r"^([A-Z0-9][A-Z0-9.^=-]{0,14})@(\d{4}-\d\d-\d\d)$")
_ROUTES = frozenset({"", "v1", "api", "chat", "responses", "models", "embeddings", "messages"})
"""First part of an address that is no label of a case."""
_LOOK_S = 1.0
_DRAIN_S = 45.0
"""Longest wait for calls in flight, which are paid for, once the proxy is to stop."""
_LEASE_S = 30.0
"""Longest wait for a case that a killed proxy held."""
_OPEN_CASES = "open_cases.json"


@dataclass(frozen=True)
class ProxyTerms:
    """What a proxy carries, and for whom."""

    name: str
    token: str = field(repr=False)
    program: Attached
    silence_s: float
    host_names: frozenset[str] = frozenset()


@dataclass(eq=False)
class OpenCase:
    """One case that is being asked."""

    cell: Cell
    session: CellSession
    conversation: Conversation
    started_at: float


class Proxy(Gateway):
    """ASGI application: /c/TOKEN/v1/... and /c/TOKEN/TICKER@DATE/v1/...; a case ends after a silence."""

    def __init__(
        self, terms: ProxyTerms, resolved: ResolvedRun, store: Store, run_id: str, broker: str, say: Callable[[str], None]
    ) -> None:
        """`run_id`: the month, YYYY-MM, whose bill it counts to."""
        super().__init__(terms.host_names)
        self._terms, self._resolved, self._store, self._run_id, self._say = terms, resolved, store, run_id, say
        self._is_capped = self._is_stopping = False
        servers = resolved.servers
        self._clients = Clients({name: spec.as_agents_server() for name, spec in servers.items()}, f"proxy {terms.name}")
        caps = Caps.of(resolved.experiment.resolved().get("budget"))
        self._context = AdmissionContext(broker, f"{terms.name}-{run_id}", servers, resolved.prices, caps, month=run_id)
        self._open: dict[str, OpenCase] = {}
        self._opening = asyncio.Lock()
        self._repeats = Counter(receipt["case_id"] for receipt in store.receipts().values())

    async def run(self, stopped: asyncio.Event, is_over: Callable[[], bool]) -> None:
        """End silent cases until `stopped` or `is_over`, then all of them, once their calls in flight are answered."""
        await self._context.start()
        try:
            await self._recover()
            while not (stopped.is_set() or is_over()):
                await self._end_silent(self._terms.silence_s)
                try:
                    await asyncio.wait_for(stopped.wait(), _LOOK_S)
                except TimeoutError:
                    continue
            self._is_stopping = True
            in_flight = [exchange.task for case in self._open.values() for exchange in case.conversation.exchanges]
            if in_flight:
                await asyncio.wait(in_flight, timeout=_DRAIN_S)
            for case in self._open.values():
                await self._end(case, cancel=True)
            self._open.clear()
            await self._note_open()
        finally:
            await self._clients.aclose()
            await self._context.aclose()

    async def _find(self, path: str, headers: Headers) -> tuple[Conversation, str]:
        token, rest = self._token_and_rest(path)
        if not hmac.compare_digest(token.encode(), self._terms.token.encode()):
            raise Refused(401, "unknown token")
        label = unquote(headers.get(b"x-case", b"").decode("latin-1"))
        first, _, after = rest.removeprefix("/").partition("/")
        if first not in _ROUTES:
            label, rest = label or unquote(first), f"/{after}"
        if self._is_stopping:
            raise Refused(503, "the proxy is being stopped; ask again once it runs", "retry")
        async with self._opening:
            return (await self._case(label)).conversation, route(rest)

    async def _case(self, label: str) -> OpenCase:
        if label in self._open and self._open[label].conversation.ended.is_set():
            # A server that failed for good ended it; the next call is tried in a case of its own.
            await self._end(self._open.pop(label))
        if label not in self._open:
            cell = self._cell(label)
            case = await self._begin(cell)
            self._repeats[cell.case_id] += 1
            self._open[label] = case
            await self._note_open()
        return self._open[label]

    async def _begin(self, cell: Cell) -> OpenCase:
        session = await self._session(cell)
        program, recorded = self._terms.program, session.calls
        conversation = Conversation(
            program, cell.lineup, cell.pipeline, session, self._clients, recorded, capped=self._refuse_capped
        )
        return OpenCase(cell, session, conversation, time.time())

    async def _session(self, cell: Cell) -> CellSession:
        """The session of a case, once a proxy that was killed holds it no longer. Raises Refused."""
        until = time.monotonic() + _LEASE_S
        while True:
            try:
                # At the cap of the month its self-hosted models still answer.
                return await open_session(self._context, cell, ends_capped=False)
            except Deferred as held:
                if time.monotonic() > until:
                    raise Refused(503, f"case {cell.case_id} is carried by another proxy of this name", "retry") from held
                await asyncio.sleep(held.delay_s)

    async def _note_open(self) -> None:
        """Write down which cases are open, for the proxy that is started after this one was killed."""
        cells = {label: [case.cell.ticker, str(case.cell.date), case.cell.repeat] for label, case in self._open.items()}
        await asyncio.to_thread(self._store.folder.write, _OPEN_CASES, json.dumps(cells).encode())

    async def _recover(self) -> None:
        """Open the cases of a proxy that was killed: their calls are paid for, and belong into the report."""
        with contextlib.suppress(FileNotFoundError):
            for label, (ticker, date, repeat) in json.loads(self._store.folder.read(_OPEN_CASES)).items():
                cell = self._cell_of(ticker, dt.date.fromisoformat(date), repeat)
                async with self._opening:
                    if label in self._open:
                        continue
                    try:
                        self._open[label] = await self._begin(cell)
                    except Refused as held:
                        raise InvalidInput([Problem("--name", str(held), "stop that one, or choose another name")]) from held
                    self._repeats[cell.case_id] = max(self._repeats[cell.case_id], repeat + 1)

    def _refuse_capped(self, error: OverBudget) -> Refused:
        """The error for a client at the cap of the month; the first one is also printed for the operator of the proxy."""
        reason = _reason(error)
        if not self._is_capped:
            self._is_capped = True
            self._say(f"{dt.datetime.now(dt.UTC):%Y-%m-%d %H:%M} UTC: calls to hosted models are refused: {reason}")
        return Refused(429, reason, "insufficient_quota")

    def _cell(self, label: str) -> Cell:
        """A label that is no TICKER@DATE is the case's name, on the day of its first call."""
        match = _LABEL.match(label)
        plain = re.sub(r"[^A-Z0-9.^=-]", "-", (label or self._terms.name).upper()).strip("-")[:15] or "PROXY"
        ticker = match[1] if match else plain
        date = dt.date.fromisoformat(match[2]) if match else dt.datetime.now(dt.UTC).date()
        first = self._cell_of(ticker, date, 0)
        return replace(first, repeat=self._repeats[first.case_id])

    def _cell_of(self, ticker: str, date: dt.date, repeat: int) -> Cell:
        experiment = self._resolved.experiment
        arm = matrix.arms(experiment)[self._terms.name]
        return Cell(
            experiment=experiment.name,
            arm=self._terms.name,
            ticker=ticker,
            date=date,
            repeat=repeat,
            lineup=matrix.lineup(experiment, arm),
            pipeline=matrix.pipeline(experiment, arm),
            data=matrix.data_of(experiment),
            fingerprint=digest_of({"proxy": self._run_id}),
            extra={"attached": {"proxy": self._run_id}},
        )

    async def _end_silent(self, silence_s: float) -> None:
        now = asyncio.get_running_loop().time()
        for label, case in list(self._open.items()):
            is_busy = any(not exchange.task.done() for exchange in case.conversation.exchanges)
            if not is_busy and now - case.conversation.last_asked_at > silence_s:
                del self._open[label]
                await self._end(case)
                await self._note_open()

    async def _end(self, case: OpenCase, *, cancel: bool = False) -> None:
        """Write the receipt of a case. One that asked nothing leaves none."""
        await case.conversation.close(cancel=cancel)
        if case.session.calls:
            await asyncio.to_thread(self._store.put, self._files(case))
            _log.info("case %s ended with %d calls", case.cell.case_id, len(case.session.calls))
        await case.session.close(ended=True)

    def _files(self, case: OpenCase) -> Mapping[str, bytes]:
        # The run is named after the month; in Redis after the proxy, too, because proxies may share one.
        calls, finished_at = [call | {"run_id": self._run_id} for call in case.session.calls], time.time()
        outcome = result(self._terms.program, case.conversation, None)
        halt, error = case.conversation.halt, outcome.error
        reason = halt or error
        status = "over_budget" if isinstance(halt, OverBudget) else "failed" if error else "ok"
        ending = Ending(
            status,
            1,
            case.started_at,
            finished_at,
            sum(call["duration_s"] or 0.0 for call in calls),
            "proxy",
            outcome,
            type(reason).__name__ if reason else None,
            _reason(reason) if reason else None,
        )
        hosted = self._resolved.hosted
        receipt = rows.cell_row(case.cell, ending, calls, run_id=self._run_id, hosted=hosted)
        return files_of(case.cell.cell_id, 1, calls, case.session.messages, receipt)


def _reason(error: BaseException) -> str:
    """An error in the words of this command, which has an option in place of a key."""
    return str(error).replace("raise budget.month_usd", "start the proxy with a higher --monthly-usd")


def manifest(terms: ProxyTerms, resolved: ResolvedRun, run_id: str) -> dict[str, Any]:
    """The manifest of a month; it is always done, so that its report shows what there is."""
    now = dt.datetime.now(dt.UTC).isoformat()
    return {
        "run_id": run_id,
        "experiment": terms.name,
        "identity": IDENTITY,
        "state": "done",
        "command": f"python -m harness proxy --name {terms.name}",
        "roles": agents.role_records(),
        "budget": resolved.experiment.resolved().get("budget"),
        "prices": resolved.prices.manifest(),
        "started_at": now,
        "sessions": [now],
    }
