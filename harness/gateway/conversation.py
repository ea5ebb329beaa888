"""The calls of one case of an attached program: who speaks, which model answers, and what a retry is."""

from __future__ import annotations

import asyncio
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any

import agents
from agents import Admission, Answer, CallSite, Clients, Halt, Lineup, Model, ModelCallError, Part, Pipeline, Request, ToolCall
from domain.providers import PROVIDERS
from harness.errors import OverBudget
from harness.experiment.attached import OTHER, Attached, played_by
from harness.gateway.asked import Asked, Refused
from harness.storage.rows import Row

MOST_IN_FLIGHT = 64
EMBEDDINGS = "embeddings"
"""Role of the calls that ask for vectors."""
_STATUS = {"rate_limited": 429, "capacity": 429, "quota": 429, "timeout": 504, "bad_request": 400, "too_long": 400}
_DIED = "this case has ended: its calls are not carried any more"


@dataclass(eq=False)
class Exchange:
    """One request and its answer, which outlives the connection that asked for it."""

    asked: Asked
    role: str
    fingerprint: str
    number: int
    """How often this very request was asked before."""
    is_forced_by_schema: bool
    site: CallSite = field(init=False)
    task: asyncio.Task[Answer] = field(init=False)
    waiters: int = 0
    deliveries: int = 0
    """Clients that got the answer, or the error: a client that hung up before it read all of it does not count."""

    @property
    def answer_id(self) -> str:
        return f"{self.fingerprint[:24]}{self.number}"

    def answer(self) -> Answer:
        """The answer as the program gets it. Raises Refused for a call that was refused or failed for good."""
        try:
            answer = self.task.result()
        except ModelCallError as error:
            status = (
                error.http_status if error.http_status and 400 <= error.http_status < 600 else _STATUS.get(error.cause, 502)
            )
            code = "context_length_exceeded" if error.cause == "too_long" else error.cause
            raise Refused(status, str(error), code) from error
        except agents.PromptTooLong as error:
            raise Refused(400, str(error), "context_length_exceeded") from error
        except (Halt, asyncio.CancelledError) as error:
            raise Refused(503, str(error) or _DIED) from error
        except agents.AgentsError as error:
            raise Refused(400, str(error)) from error
        return self._shaped(answer)

    def _shaped(self, answer: Answer) -> Answer:
        calls = answer.tool_calls
        if self.is_forced_by_schema and not answer.truncated and (arguments := _object(answer.text)):
            calls = (ToolCall("", self.asked.forced_tool, arguments),)
            answer = replace(answer, text="", finish_reason="tool_calls")
        if not calls:
            return answer
        if self.asked.parallel_tool_calls is False:
            calls = calls[:1]
        named = (replace(call, id=f"call_{self.answer_id}_{index}") for index, call in enumerate(calls))
        return replace(answer, tool_calls=tuple(named))


class Conversation:
    """Carries the calls of one case to our model client; belongs to one event loop."""

    def __init__(
        self,
        program: Attached,
        lineup: Lineup,
        pipeline: Pipeline,
        admission: Admission,
        clients: Clients,
        recorded: Iterable[Row] = (),
        capped: Callable[[OverBudget], Refused] | None = None,
    ) -> None:
        """`recorded`: calls of earlier attempts, whose places are kept where an answer is found again.

        `capped`: the error for a client whose call does not fit a budget; other calls are still carried. Default: none is."""
        self.program = program
        self.ended = asyncio.Event()
        """Set when no further call may be made: the reason is in `halt`."""
        self.halt: BaseException | None = None
        self.exchanges: list[Exchange] = []
        self.failures: list[tuple[str, str]] = []
        """(role, message) of the requests that were refused or failed for good."""
        self.last_asked_at = asyncio.get_running_loop().time()
        self._lineup, self._pipeline, self._admission, self._clients = lineup, pipeline, admission, clients
        self._patterns = program.patterns()
        self._capped = capped
        self._recorded = [row for row in recorded if row["outcome"] == "answered"]
        self._sites: set[CallSite] = set()
        self._in_flight = 0
        self._places = Counter[tuple[str, bool]]()
        self._alike: dict[str, list[Exchange]] = defaultdict(list)
        self._debaters = program.roles.debaters

    @property
    def model_names(self) -> list[str]:
        """The names under which the program may ask for models."""
        return [name for name in self.program.models if name != "*"] or ["deep", "quick"]

    def model(self, name: str, role: str = OTHER) -> Model:
        """The model that answers under a program's model name. Raises Refused for one that is not mapped."""
        target = self.program.models.get(name) or self.program.models.get("*")
        if target is None:
            known = ", ".join(self.model_names)
            raise Refused(404, f"model {name!r} is not mapped; add it to pipeline.models (mapped: {known})", "model_not_found")
        model = played_by(self._lineup, target, role)
        if model is None:
            raise Refused(404, f"model {name!r} is mapped to {target}, and this arm names no model for it", "model_not_found")
        return model

    def open(self, asked: Asked, *, is_retry: bool = False) -> Exchange:
        """The exchange of a request: a new one, or the one that a retry waits for. Raises Refused."""
        self.last_asked_at = asyncio.get_running_loop().time()
        role = self.program.roles.name(asked.forced_tool, asked.system, asked.first_user)
        try:
            return self._open(asked, role, is_retry=is_retry)
        except agents.PipelineError as error:
            self.refuse(role, str(error))
            raise Refused(400, str(error)) from error
        except Refused as refusal:
            self.refuse(role, str(refusal))
            raise

    def refuse(self, role: str, message: str) -> None:
        """Note a request that was not carried: a program may go on without its answer."""
        self.failures.append((role, message))

    def _open(self, asked: Asked, role: str, *, is_retry: bool) -> Exchange:
        if self.ended.is_set():
            raise Refused(503, str(self.halt or _DIED))
        model = self.model(asked.model, role)
        request, is_forced_by_schema = _request(asked, model, self._pipeline.output_cap(role, model))
        fingerprint = agents.request_fingerprint(request, self._patterns)
        if waiting := self._abandoned(fingerprint, is_retry=is_retry):
            return waiting
        if self._in_flight >= MOST_IN_FLIGHT:
            raise Refused(429, f"{MOST_IN_FLIGHT} requests of this case are in flight already")
        number = len(self._alike[fingerprint])
        exchange = Exchange(asked, role, fingerprint, number, is_forced_by_schema)
        site = exchange.site = self._site(exchange)
        program = dict(request.program) | self._inputs(asked)
        recorded_request = replace(request, fingerprint=fingerprint, program=program)
        exchange.task = asyncio.create_task(self._ask(site, recorded_request, role))
        self.exchanges.append(exchange)
        self._alike[fingerprint].append(exchange)
        return exchange

    def _inputs(self, asked: Asked) -> dict[str, Any]:
        """Hashes of what the program handed in, without volatile text: equal for arms that read the same."""
        texts = {part.message_id: part.text for part in asked.parts if part.role == "tool"}
        results = [
            {"tool": tool, "arguments": arguments, "message_id": message_id, "content": self._hash(texts[message_id])}
            for tool, arguments, message_id in asked.results()
        ]
        prompt = {"prompt": self._hash("\0".join(part.role + part.text for part in asked.parts))}
        return prompt | ({"results": results} if results else {})

    def _hash(self, text: str) -> str:
        for pattern in self._patterns:
            text = pattern.sub("", text)
        return sha256(text.encode()).hexdigest()[:16]

    def _abandoned(self, fingerprint: str, *, is_retry: bool) -> Exchange | None:
        """An equal request whose client hung up; to a request that calls itself a retry also one in flight."""
        for exchange in self._alike[fingerprint]:
            if exchange.deliveries:
                continue
            if exchange.waiters == 0 or (is_retry and not exchange.task.done()):
                return exchange
        return None

    async def _ask(self, site: CallSite, request: Request, role: str) -> Answer:
        self._in_flight += 1
        try:
            return await agents.ask(site, request, self._admission, self._clients)
        except Halt as halt:
            raise self._stopped(halt) from halt
        except agents.AgentsError as error:
            self.refuse(role, str(error))
            raise
        except Exception as error:
            self.stop(error)
            raise
        finally:
            self._in_flight -= 1

    async def embed(self, name: str, texts: Sequence[str]) -> list[list[float]]:
        """Vectors of a mapped embedding model. Raises Refused; an unmapped one is no failure of the case."""
        target = self.program.models.get(name)
        if target is None or f"model:{target}" not in self._lineup:
            raise Refused(404, f"no embedding model is mapped for {name!r}; add it to pipeline.models", "model_not_found")
        if self.ended.is_set():
            raise Refused(503, str(self.halt or _DIED))
        fingerprint = sha256(json.dumps([name, target, list(texts)]).encode()).hexdigest()[:32]
        site = CallSite(EMBEDDINGS, index=self._places[EMBEDDINGS, False])
        self._places[EMBEDDINGS, False] += 1
        try:
            model = self._lineup[f"model:{target}"]
            return await agents.embed(site, model, texts, self._admission, self._clients, fingerprint)
        except Halt as halt:
            stopped = self._stopped(halt)
            raise stopped if isinstance(stopped, Refused) else Refused(503, str(halt)) from halt
        except agents.AgentsError as error:
            self.refuse(EMBEDDINGS, str(error))
            raise Refused(502, str(error)) from error

    def _stopped(self, halt: Halt) -> Halt | Refused:
        """What ends the call that was halted, and the case with it unless it goes on without what a budget forbids."""
        if self._capped and isinstance(halt, OverBudget):
            self.halt = self.halt or halt
            return self._capped(halt)
        self.stop(halt)
        return halt

    def stop(self, reason: BaseException | None = None) -> None:
        """Carry no further call."""
        self.halt = self.halt or reason
        self.ended.set()

    async def close(self, *, cancel: bool) -> None:
        """Wait for the calls in flight, which are paid for; or cancel them."""
        self.ended.set()
        tasks = [exchange.task for exchange in self.exchanges]
        if cancel:
            for task in tasks:
                task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _site(self, exchange: Exchange) -> CallSite:
        site = self._recorded_site(exchange) or self._free_site(exchange)
        self._sites.add(site)
        return site

    def _recorded_site(self, exchange: Exchange) -> CallSite | None:
        """Where this very request stood in an earlier attempt, whatever the order of requests now."""
        for row in self._recorded:
            site = CallSite(row["role"], row["round"], row["kind"], row["index"])
            if row["request_hash"] == exchange.fingerprint and site not in self._sites:
                return site
        return None

    def _free_site(self, exchange: Exchange) -> CallSite:
        """The next place of this role: rounds of a debate, else positions."""
        asked, role = exchange.asked, exchange.role
        is_tool_round = bool(asked.tools) and not asked.forced_tool
        while True:
            place = self._places[role, is_tool_round]
            self._places[role, is_tool_round] += 1
            if is_tool_round:
                site = CallSite(role, 0, "tool_round", place)
            else:
                site = CallSite(role, place + 1) if role in self._debaters else CallSite(role, index=place)
            if site not in self._sites:
                return site


def _request(asked: Asked, model: Model, cap: int | None) -> tuple[Request, bool]:
    """The request as our model client takes it, and whether a schema replaces the forced tool."""
    caps = [each for each in (asked.max_output_tokens, cap) if each]
    common: dict[str, Any] = {
        "model": model,
        "max_output_tokens": min(caps, default=None),
        "sampling": {} if model.params.get("temperature") is not None else asked.sampling,
        "dropped": asked.dropped,
    }
    program: dict[str, Any] = {"model": asked.model, "wire": asked.wire, "stream": asked.stream}
    forces = PROVIDERS[model.provider].forces_tools if model.provider in PROVIDERS else True
    if asked.forced_tool and not forces:
        program["changed"] = [f"the forced tool {asked.forced_tool} is asked for as JSON of its arguments"]
        program["forced"] = asked.forced_tool
        tool = next(tool for tool in asked.tools if tool.name == asked.forced_tool)
        parts = (*asked.parts, _described(asked.forced_tool, tool.description, tool.parameters))
        return Request(parts=parts, schema=dict(tool.parameters), program=program, **common), True
    if asked.forced_tool:
        program["forced"] = asked.forced_tool
    tools: dict[str, Any] = {
        "tools": asked.tools,
        "tool_choice": asked.tool_choice,
        "parallel_tool_calls": asked.parallel_tool_calls,
    }
    return Request(parts=asked.parts, schema=asked.schema, program=program, **tools, **common), False


def _described(name: str, description: str, parameters: Mapping[str, Any]) -> Part:
    """The tool as text: such servers do not show a schema to their model."""
    schema = json.dumps(parameters, ensure_ascii=False)
    text = f"Answer with one JSON object only: the arguments of {name}. {description}\nIts JSON schema:\n{schema}"
    return Part("user", text, joined=False)


def _object(text: str) -> str | None:
    """The text if it is one JSON object."""
    try:
        return text if isinstance(json.loads(text), dict) else None
    except ValueError:
        return None
