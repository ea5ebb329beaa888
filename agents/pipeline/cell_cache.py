"""How the requests of one cell use a prompt cache that keeps marked prefixes: what to mark, and who goes first in a step."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from agents.llms.prompt_caching import (
    LEAST_TOKENS,
    CacheRequest,
    Marks,
    PrefixIds,
    place,
    staged,
    staging_pays,
    token_sums,
)
from agents.pipeline import prompts
from agents.types import Caching, Model, Part

if TYPE_CHECKING:
    from agents.pipeline.context import Context
    from agents.pipeline.flow import Turn, TurnResult


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
class _Step:
    """The plan of one step."""

    marks: Mapping[str, Marks]
    """Turn -> marks of its prompt."""
    firsts: Mapping[str, str]
    """Turn that waits -> turn that goes first."""
    started: Mapping[str, asyncio.Event]
    """Turn that goes first -> set at its first token."""


class CellCache:
    """The prompt cache as one cell uses it."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._ids = PrefixIds()
        self._held: frozenset[int] = frozenset()
        self._steps: dict[str, _Step] = {}
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
            yield Caching(step.marks[turn.key], self._ctx.sharing.is_long and not earlier, first_token, waited_s)
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
        sharing = self._ctx.sharing
        is_staged = sharing.first_request_first
        if is_staged is None:
            is_staged = not self._is_deferred() and staging_pays(flow, self._held)
        ordered = staged(flow) if is_staged else flow
        here = {request.name: (request, marks) for request, marks in zip(ordered, place(ordered, self._held), strict=True)}
        here = {name: (request, marks) for name, (request, marks) in here.items() if request.wave <= 1}
        firsts = _firsts([request for request, _ in here.values()])
        started = {first: asyncio.Event() for first in set(firsts.values())}
        step = _Step({name: marks for name, (_, marks) in here.items()}, firsts, started)
        self._steps |= dict.fromkeys(here, step)
        self._held |= {request.prefixes[depth - 1] for request, marks in here.values() for depth in marks}

    def _request(self, wave: int, turn: Turn, parts: Sequence[Part]) -> CacheRequest:
        role = turn.role.name
        model = self._ctx.model(role)
        cache = cache_name(model) if self._takes_marks(role) else None
        return CacheRequest(
            turn.key,
            self._ids.of(cache or "", parts),
            token_sums(parts, model.name),
            wave,
            cache,
            self._ctx.sharing.after.get(role, 0),
            self._ctx.sharing.before.get(role, 0) > 0,
        )

    def _is_deferred(self) -> bool:
        """Whether answers of this lineup come later: then a stage more costs hours."""
        return any(model.params.get("lane") in ("background", "batch") for model in self._ctx.lineup.values())


def cache_name(model: Model) -> str:
    """Requests to one model at one server share a cache, whatever their parameters."""
    return f"{model.server or model.provider}/{model.name}"


def _firsts(step: Sequence[CacheRequest]) -> dict[str, str]:
    """Request of the second wave -> the one of its cache in the first wave."""
    by_cache = {request.cache: request.name for request in step if request.wave == 0}
    return {request.name: by_cache[request.cache] for request in step if request.wave == 1}


async def _wait(event: asyncio.Event) -> float:
    """Wait for another request's first token: seconds waited."""
    started = time.perf_counter()
    await event.wait()
    return time.perf_counter() - started
