"""One case of an attached program: its process, its calls, and the result that they prove."""

from __future__ import annotations

import asyncio
import re
import shutil
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from agents import Admission, Clients, Result, final_role
from harness.cells import Cell
from harness.errors import ProgramFailed
from harness.experiment import servers
from harness.experiment.attached import OTHER, Attached
from harness.gateway import decision, environment, kept_files, program
from harness.gateway.conversation import Conversation, Exchange
from harness.gateway.program import ProgramEnd, Watchdog
from harness.gateway.server import Gateway, LocalServer
from harness.storage.rows import Row

_SHOWN_CHARS = 4000
_ERROR_LINE = re.compile(r"[\w.]+(Error|Exception)\b")
_NO_CALL = (
    "no call reached the gateway: the program asked another address, or no model at all. Pass BACKEND_URL to its configuration "
    "(TradingAgents before 0.2.4 and TradingAgents-CN ignore OPENAI_BASE_URL: set config['backend_url'] in the driver)"
)


class AttachedPrograms:
    """What a worker process needs to run attached programs: the gateway on loopback, and the watchdog of its children."""

    def __init__(self) -> None:
        self.gateway = Gateway()
        self._server = LocalServer(self.gateway)
        self._watchdog = Watchdog()
        self._starting = asyncio.Lock()
        self._has_started = False

    async def start(self) -> None:
        """Start with the first case that needs it."""
        async with self._starting:
            if not self._has_started:
                await self._server.start()
                await self._watchdog.start()
                self._has_started = True

    async def aclose(self) -> None:
        if self._has_started:
            await self._server.stop()
            await self._watchdog.stop()

    async def decide(
        self,
        attached: Attached,
        cell: Cell,
        admission: Admission,
        clients: Clients,
        recorded: Sequence[Row],
        keep: Callable[[Mapping[str, bytes]], str] | None = None,
    ) -> Result:
        """Run the program for one case. Raises Halt, and whatever else ends the calls of a cell.

        `keep` writes the files that the experiment wants kept and returns their folder below that of the cell; it may block."""
        await self.start()
        conversation = Conversation(attached, cell.lineup, cell.pipeline, admission, clients, recorded)
        token = self.gateway.add(conversation)
        home = await asyncio.to_thread(environment.private_home, attached)
        is_cut_short = True
        machine = servers.read_environment(attached.experiment_dir)
        secrets = kept_files.Secrets(token, attached.env, machine)
        values = {"ticker": cell.ticker, "date": cell.date.isoformat(), "repeat": str(cell.repeat)}
        files: Mapping[str, Any] = {}
        started_at = time.time()
        try:
            variables = environment.variables(attached, home, self._server.url, token, machine)
            words = attached.words(values)
            ended = await program.run(words, attached.folder, variables, conversation.ended, self._watchdog)
            if attached.keep and keep:
                kept = await asyncio.to_thread(kept_files.read, attached, values, home, started_at, secrets)
                files = kept.described(await asyncio.to_thread(keep, kept.contents))
            is_cut_short = False
        finally:
            await conversation.close(cancel=is_cut_short)
            self.gateway.remove(token)
            await asyncio.to_thread(shutil.rmtree, home, ignore_errors=True)
        if conversation.halt is not None:
            raise conversation.halt
        ended = replace(ended, stdout=secrets.removed(ended.stdout), stderr=secrets.removed(ended.stderr))
        made = result(attached, conversation, ended)
        return replace(made, program={**made.program, "files": files}) if files else made


def result(attached: Attached, conversation: Conversation, ended: ProgramEnd | None) -> Result:
    """The result of a case; `ended` is None for calls that came without a process of ours."""
    exchanges = conversation.exchanges
    read = decision.read(attached, exchanges, ended.stdout if ended else "")
    error = _problem(conversation, ended)
    # Of a case that cannot count there is no decision, whatever the program made of it.
    counts = read.decision if error is None else None
    ratings = {exchange.role: rating for exchange in exchanges if (rating := decision.stage_rating(exchange))}
    ratings.pop(final_role(), None)
    return Result(
        decision=counts,
        decision_status=read.status if counts or error is None else "missing",
        reports=_reports(conversation),
        stage_ratings={**ratings, final_role(): counts.rating if counts else None},
        parsed={exchange.site.key: text for exchange in exchanges if (text := decision.rated(exchange))},
        error=error,
        program=_described(conversation, read, ended),
    )


def _reports(conversation: Conversation) -> dict[str, str]:
    """Last text of each role; of a debater, of each round."""
    debaters = conversation.program.roles.debaters
    texts: dict[str, str] = {}
    rounds = Counter[str]()
    for exchange in conversation.exchanges:
        if text := decision.text_of(exchange):
            rounds[exchange.role] += 1
            texts[f"{exchange.role}/{rounds[exchange.role]}" if exchange.role in debaters else exchange.role] = text
    return texts


def _problem(conversation: Conversation, ended: ProgramEnd | None) -> ProgramFailed | None:
    """Why the case cannot count, the cause before its consequences."""
    if ended and ended.problem:
        return ProgramFailed(ended.problem)
    if conversation.failures:
        role, message = conversation.failures[0]
        went_on = "; the program went on without its answer" if ended and ended.exit_code == 0 else ""
        return ProgramFailed(f"{role}: {message}{went_on}")
    if not conversation.exchanges:
        return ProgramFailed(f"{_no_call(ended)}{_last_line(ended)}")
    if ended and ended.exit_code:
        return ProgramFailed(f"the program ended with exit code {ended.exit_code}{_last_line(ended)}")
    return None


def _no_call(ended: ProgramEnd | None) -> str:
    """A crash before the first call is no wrong address, unless it is the connection that failed."""
    if ended and ended.exit_code and "Traceback" in ended.stderr and "Connection error" not in ended.stderr:
        return f"the program ended with exit code {ended.exit_code} before it asked a model"
    return _NO_CALL


def _last_line(ended: ProgramEnd | None) -> str:
    """The last error that the program printed; notes may follow it. Else its last line."""
    lines = (ended.stderr.strip() or ended.stdout.strip()).splitlines() if ended else []
    errors = [line for line in lines if _ERROR_LINE.match(line)]
    return f"; its last line: {(errors or lines)[-1][:300]}" if lines else ""


def _described(conversation: Conversation, read: decision.Read, ended: ProgramEnd | None) -> dict[str, Any]:
    exchanges = conversation.exchanges
    named = sum(exchange.role != OTHER for exchange in exchanges)
    described = {
        "calls": len(exchanges),
        "named": named,
        "roles": dict(Counter(exchange.role for exchange in exchanges)),
        "wires": dict(Counter(exchange.asked.wire for exchange in exchanges)),
        "asked_models": dict(Counter(exchange.asked.model for exchange in exchanges)),
        "source": read.source,
        "word": read.word,
        "cut": _cut_roles(exchanges),
        "failures": [f"{role}: {message}"[:500] for role, message in conversation.failures[:20]],
    }
    if ended is not None:
        output = {"stdout": ended.stdout[-_SHOWN_CHARS:], "stderr": ended.stderr[-_SHOWN_CHARS:]}
        described |= {"exit_code": ended.exit_code, **output}
    return described


def _cut_roles(exchanges: Sequence[Exchange]) -> list[str]:
    cut = {exchange.role: answer for exchange in exchanges if (answer := decision.answered(exchange)) and answer.truncated}
    return sorted(cut)
