"""The gateway as a long-running service: calls of any program are grouped into cases, recorded, priced and capped."""

from __future__ import annotations

import asyncio
import datetime as dt
import hmac
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
from harness.errors import OverBudget
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

    def __init__(self, terms: ProxyTerms, resolved: ResolvedRun, store: Store, run_id: str, broker: str) -> None:
        """`run_id`: the month, YYYY-MM, whose bill it counts to."""
        super().__init__(terms.host_names)
        self._terms, self._resolved, self._store, self._run_id = terms, resolved, store, run_id
        servers = resolved.servers
        self._clients = Clients({name: spec.as_agents_server() for name, spec in servers.items()}, f"proxy {terms.name}")
        caps = Caps.of(resolved.experiment.resolved().get("budget"))
        self._context = AdmissionContext(broker, f"{terms.name}-{run_id}", servers, resolved.prices, caps, month=run_id)
        self._open: dict[str, OpenCase] = {}
        self._opening = asyncio.Lock()
        self._repeats = Counter(receipt["case_id"] for receipt in store.receipts().values())

    async def run(self, stopped: asyncio.Event, is_over: Callable[[], bool]) -> None:
        """End silent cases until `stopped` or `is_over`, then all of them."""
        await self._context.start()
        try:
            while not (stopped.is_set() or is_over()):
                await self._end_silent(self._terms.silence_s)
                try:
                    await asyncio.wait_for(stopped.wait(), _LOOK_S)
                except TimeoutError:
                    continue
            await self._end_silent(-1.0)
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
        async with self._opening:
            return (await self._case(label)).conversation, route(rest)

    async def _case(self, label: str) -> OpenCase:
        if label not in self._open:
            try:
                self._open[label] = await self._begin(label)
            except OverBudget as error:
                raise Refused(429, f"{error} (the cap of the month)", "insufficient_quota") from error
        return self._open[label]

    async def _begin(self, label: str) -> OpenCase:
        cell = self._cell(label)
        session = await open_session(self._context, cell)
        conversation = Conversation(self._terms.program, cell.lineup, cell.pipeline, session, self._clients, session.calls)
        return OpenCase(cell, session, conversation, time.time())

    def _cell(self, label: str) -> Cell:
        """A label that is no TICKER@DATE is the case's name, on the day of its first call."""
        experiment = self._resolved.experiment
        arm = matrix.arms(experiment)[self._terms.name]
        match = _LABEL.match(label)
        plain = re.sub(r"[^A-Z0-9.^=-]", "-", (label or self._terms.name).upper()).strip("-")[:15] or "PROXY"
        ticker = match[1] if match else plain
        date = dt.date.fromisoformat(match[2]) if match else dt.datetime.now(dt.UTC).date()
        cell = Cell(
            experiment=experiment.name,
            arm=self._terms.name,
            ticker=ticker,
            date=date,
            repeat=0,
            lineup=matrix.lineup(experiment, arm),
            pipeline=matrix.pipeline(experiment, arm),
            data=matrix.data_of(experiment),
            fingerprint=digest_of({"proxy": self._run_id}),
            extra={"attached": {"proxy": self._run_id}},
        )
        repeat = self._repeats[cell.case_id]
        self._repeats[cell.case_id] += 1
        return replace(cell, repeat=repeat)

    async def _end_silent(self, silence_s: float) -> None:
        now = asyncio.get_running_loop().time()
        for label, case in list(self._open.items()):
            is_busy = any(not exchange.task.done() for exchange in case.conversation.exchanges)
            if not is_busy and now - case.conversation.last_asked_at > silence_s:
                del self._open[label]
                await self._end(case)

    async def _end(self, case: OpenCase) -> None:
        """Write the receipt of a case. One that asked nothing leaves none."""
        await case.conversation.close(cancel=False)
        if case.session.calls:
            await asyncio.to_thread(self._store.put, self._files(case))
            _log.info("case %s ended with %d calls", case.cell.case_id, len(case.session.calls))
        await case.session.close(ended=True)

    def _files(self, case: OpenCase) -> Mapping[str, bytes]:
        calls, finished_at = case.session.calls, time.time()
        outcome = result(self._terms.program, case.conversation, None)
        halt, error = case.conversation.halt, outcome.error
        status = "over_budget" if isinstance(halt, OverBudget) else "failed" if error else "ok"
        ending = Ending(
            status,
            1,
            case.started_at,
            finished_at,
            sum(call["duration_s"] or 0.0 for call in calls),
            "proxy",
            outcome,
            type(halt or error).__name__ if halt or error else None,
            str(halt or error) if halt or error else None,
        )
        hosted = self._resolved.hosted
        receipt = rows.cell_row(case.cell, ending, calls, run_id=self._run_id, hosted=hosted)
        return files_of(case.cell.cell_id, 1, calls, case.session.messages, receipt)


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
