"""How the requests of one cell use a prompt cache that keeps marked prefixes: what to mark, and who goes first in a step."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from agents.llms.prompt_caching import (
    LEAST_TOKENS,
    CacheRequest,
    Marks,
    PrefixIds,
    left_behind,
    place,
    staged,
    staging_pays,
    token_sums,
    usage,
)
from agents.pipeline import prompts
from agents.types import Caching, Lineup, Model, Part, Pipeline
from domain.lanes import lane_of

if TYPE_CHECKING:
    from agents.inputs.snapshot import Snapshot
    from agents.llms import Clients
    from agents.pipeline.flow import Turn, TurnResult
    from agents.pipeline.prompts import PlannedPrompt


@dataclass(frozen=True)
class Sharing:
    """What a run knows of prompts that several cells send; decides what a prompt cache keeps, never what is asked."""

    first_request_first: bool | None = None
    """Whether one request of a step goes first, so that the others read what it wrote; default: where it saves enough."""
    before: Mapping[str, int] = field(default_factory=dict)
    """Role that reads the snapshot -> how many earlier cells have sent the same prompt to the same model."""
    after: Mapping[str, int] = field(default_factory=dict)
    """The same for later cells."""
    is_long: bool = False
    """Whether the later cells run more than half an hour later."""


@dataclass(frozen=True)
class _StepPlan:
    """The plan of one step."""

    marks: Mapping[str, Marks]
    """Turn -> marks of its prompt."""
    firsts: Mapping[str, str]
    """Turn that waits -> turn that goes first."""
    started: Mapping[str, asyncio.Event]
    """Turn that goes first -> set at its first token."""


class CachedCell(Protocol):
    """What the cache reads of a cell; the pipeline's `Context` is one."""

    lineup: Lineup
    pipeline: Pipeline
    clients: Clients
    sharing: Sharing

    @property
    def snapshot(self) -> Snapshot: ...
    def model(self, role: str) -> Model: ...
    def output_cap(self, role: str) -> int | None: ...


class CellCache:
    """The prompt cache as one cell uses it."""

    def __init__(self, ctx: CachedCell) -> None:
        self._ctx = ctx
        self._ids = PrefixIds()
        self._held: frozenset[int] = frozenset()
        self._steps: dict[str, _StepPlan] = {}
        self._tool_marks: dict[str, int] = {}

    @asynccontextmanager
    async def turn(self, turn: Turn, earlier: Sequence[TurnResult]) -> AsyncIterator[Caching | None]:
        """The caching of a turn's request, once its time to be sent has come; None for a model without marks."""
        if not self._takes_marks(turn.role.name):
            yield None
            return
        if turn.key not in self._steps:
            self._plan_step(turn, earlier)
        step = self._steps[turn.key]
        waited_s = await _wait(step.started[step.firsts[turn.key]]) if turn.key in step.firsts else 0.0
        first_token = step.started.get(turn.key)
        try:
            is_long = is_deferred(self._ctx.lineup) or (self._ctx.sharing.is_long and not earlier)
            yield Caching(step.marks[turn.key], is_long, first_token, waited_s)
        finally:
            if first_token:
                first_token.set()

    def tool_round(self, role: str, parts: Sequence[Part], *, goes_on: bool) -> Caching | None:
        """Each request of a conversation with tools repeats the one before: it is marked where the next one reads."""
        if not self._takes_marks(role):
            return None
        marks = [self._tool_marks[role]] if role in self._tool_marks else []
        # An assistant's message takes no mark.
        if goes_on and parts[-1].role != "assistant" and token_sums(parts, self._ctx.model(role).name)[-1] >= LEAST_TOKENS:
            self._tool_marks[role] = len(parts)
            marks.append(len(parts))
        return Caching(tuple(marks))

    def _takes_marks(self, role: str) -> bool:
        # There are no clients while a fingerprint is computed: nothing is sent.
        clients = self._ctx.clients
        return clients is not None and clients.takes_cache_marks(self._ctx.model(role))

    def _plan_step(self, turn: Turn, earlier: Sequence[TurnResult]) -> None:
        upcoming = list(prompts.upcoming(self._ctx.snapshot, self._ctx.pipeline, earlier, self._ctx.output_cap))
        first_step = next(number for number, other, _ in upcoming if other.key == turn.key)
        flow = [self._request(2 * (number - first_step), other, parts) for number, other, parts in upcoming]
        placed = _placed(flow, self._held, self._ctx.lineup, self._ctx.sharing)
        here = {request.name: (request, marks) for request, marks in placed if request.wave <= 1}
        firsts = _firsts([request for request, _ in here.values()])
        started = {first: asyncio.Event() for first in set(firsts.values())}
        step = _StepPlan({name: marks for name, (_, marks) in here.items()}, firsts, started)
        self._steps |= dict.fromkeys(here, step)
        self._held |= {request.prefixes[depth - 1] for request, marks in here.values() for depth in marks}

    def _request(self, wave: int, turn: Turn, parts: Sequence[Part]) -> CacheRequest:
        role = turn.role.name
        model = self._ctx.model(role)
        return _request(turn.key, role, parts, wave, model, self._takes_marks(role), self._ids, self._ctx.sharing)


def cached_shares(
    planned: Sequence[PlannedPrompt], lineup: Lineup, takes_marks: Callable[[Model], bool], sharing: Sharing
) -> list[tuple[float, float]]:
    """(share read from the cache, share written to it) of each planned prompt; zeros for a model without marks."""
    ids, models = PrefixIds(), [lineup[prompt.site.role] for prompt in planned]
    flow = [
        _request(prompt.site.key, prompt.site.role, prompt.parts, 2 * prompt.step, model, takes_marks(model), ids, sharing)
        for prompt, model in zip(planned, models, strict=True)
    ]
    placed = _placed(flow, frozenset(), lineup, sharing)
    ordered = [request for request, _ in placed]
    used = usage(ordered, [marks for _, marks in placed], left_behind(flow))
    shares = {
        request.name: (read / request.tokens[-1], written / request.tokens[-1])
        for request, (read, written) in zip(ordered, used, strict=True)
    }
    return [shares[prompt.site.key] for prompt in planned]


def _request(
    name: str,
    role: str,
    parts: Sequence[Part],
    wave: int,
    model: Model,
    takes_marks: bool,
    ids: PrefixIds,
    sharing: Sharing,
) -> CacheRequest:
    # Requests to one model at one server share a cache, whatever their parameters.
    cache = f"{model.server or model.provider}/{model.name}" if takes_marks else None
    prefixes, tokens = ids.of(cache or "", parts), token_sums(parts, model.name)
    return CacheRequest(name, prefixes, tokens, wave, cache, sharing.after.get(role, 0), sharing.before.get(role, 0) > 0)


def _placed(
    flow: Sequence[CacheRequest], held: frozenset[int], lineup: Lineup, sharing: Sharing
) -> list[tuple[CacheRequest, Marks]]:
    """The flow in the order in which it is sent, with the marks of each request."""
    is_staged = sharing.first_request_first
    if is_staged is None:
        is_staged = not is_deferred(lineup) and staging_pays(flow, held)
    ordered = staged(flow) if is_staged else flow
    return list(zip(ordered, place(ordered, held), strict=True))


def is_deferred(lineup: Lineup) -> bool:
    """Whether answers of this lineup come hours later: then one more stage costs hours, and so does each step."""
    return any(lane_of(model.params).is_deferred for model in lineup.values())


def _firsts(step: Sequence[CacheRequest]) -> dict[str, str]:
    """Request of the second wave -> the one of its cache in the first wave."""
    by_cache = {request.cache: request.name for request in step if request.wave == 0}
    return {request.name: by_cache[request.cache] for request in step if request.wave == 1}


async def _wait(event: asyncio.Event) -> float:
    """Wait for another request's first token: seconds waited."""
    started = time.perf_counter()
    await event.wait()
    return time.perf_counter() - started
