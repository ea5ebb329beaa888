"""Input cost of one decision under prompt caching: with unmarked prompts, without a cache, as we mark it, and at best.

The minimum is found by trying every placement of at most four breakpoints on every request, with the analysts sent together
and with one of them sent first. Prices are the table's for MODEL; tokens are estimated.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from itertools import combinations, groupby, product
from typing import Any

from agents import Call, Context, Model, Pipeline, Sharing, Snapshot, analyst_roles, decide, role_names
from agents.llms.prompt_caching import LEAST_TOKENS, MOST_MARKS, CacheRequest, Marks, PrefixIds, staged, token_sums, usage
from harness.money.pricing import Tokens, public_usd
from tests.fakes.scripted import OpenAdmission, ScriptedClients

MODEL = Model("sol", "openai", "gpt-6.1-sol", {"reasoning_effort": "medium"}, "openai")


def tokens(case: Snapshot, script: Callable[..., Any]) -> tuple[int, int, int]:
    """Input tokens of one decision as we mark it: all, read from the cache, written to it."""
    calls, ids = _calls(case, script, 0, 1), PrefixIds()
    flow = _requests(calls, 0, ids)
    used = usage(*_in_stages(flow, [call.request.caching.marks if call.request.caching else () for call in calls]))
    return sum(request.tokens[-1] for request in flow), sum(read for read, _ in used), sum(written for _, written in used)


def input_usd(case: Snapshot, script: Callable[..., Any], repeats: int) -> dict[str, float]:
    """US dollars per decision for the input, over `repeats` decisions of one case that follow each other."""
    cells = [_calls(case, script, repeat, repeats) for repeat in range(repeats)]
    ids = PrefixIds()
    flow = [request for repeat, calls in enumerate(cells) for request in _requests(calls, repeat, ids)]
    ours = [call.request.caching.marks if call.request.caching else () for calls in cells for call in calls]
    is_staged = any(call.request.caching and call.request.caching.first_token for calls in cells for call in calls)
    today: list[Marks] = [(request.depth,) for request in flow]
    return {
        "as_today": _usd(flow, today) / repeats,
        "without_a_cache": _usd(flow, [()] * len(flow)) / repeats,
        "ours": _usd(*_in_stages(flow, ours) if is_staged else (flow, ours)) / repeats,
        "minimum": min(_least(flow), _least(staged(flow))) / repeats,
    }


def _calls(case: Snapshot, script: Callable[..., Any], repeat: int, repeats: int) -> list[Call]:
    """The calls of one cell, in the order of the flow."""
    gate = OpenAdmission()
    clients: Any = ScriptedClients(gate, script)
    others = {role: count for role in analyst_roles() for count in (repeats - 1 - repeat,)}
    sharing = Sharing(before=dict.fromkeys(others, repeat) if repeat else {}, after=others)
    result = asyncio.run(decide(Context(dict.fromkeys(role_names(), MODEL), Pipeline(), gate, clients, case, sharing=sharing)))
    if result.error is not None:
        raise result.error
    order = {id(request): at for at, (_, request) in enumerate(gate.admitted)}
    calls = sorted(gate.calls, key=lambda call: order[id(call.request)])
    return sorted(calls, key=lambda call: not _goes_first(call))


def _goes_first(call: Call) -> bool:
    return bool(call.request.caching and call.request.caching.first_token)


def _requests(calls: Sequence[Call], repeat: int, ids: PrefixIds) -> list[CacheRequest]:
    """A cell's requests; only analysts send the same in every repeat, since later roles read what was written before them."""
    requests = []
    for at, call in enumerate(calls):
        is_analyst = call.site.role in analyst_roles()
        name = "sol" if is_analyst else f"sol, repeat {repeat}"
        wave = 1_000 * repeat + 2 * (0 if is_analyst else at)
        prefixes = ids.of(name, call.request.parts)
        requests.append(CacheRequest(call.site.key, prefixes, token_sums(call.request.parts, MODEL.name), wave, "sol"))
    return requests


def _in_stages(flow: Sequence[CacheRequest], marks: Sequence[Marks]) -> tuple[list[CacheRequest], list[Marks]]:
    by_request = {(request.name, request.wave // 1_000): placed for request, placed in zip(flow, marks, strict=True)}
    ordered = staged(flow)
    return ordered, [by_request[request.name, request.wave // 1_000] for request in ordered]


def _usd(flow: Sequence[CacheRequest], placed: Sequence[Marks]) -> float:
    used = usage(flow, placed)
    return sum(_price(request.tokens[-1], read, written) for request, (read, written) in zip(flow, used, strict=True))


@cache
def _rates() -> tuple[float, float, float]:
    """US dollars per token: plain, read and written."""
    day, many = dt.datetime(2026, 11, 27, tzinfo=dt.UTC), 100_000
    each = (Tokens(many, 0), Tokens(many, 0, cached=many), Tokens(many, 0, cache_write=many))
    plain, read, written = (public_usd(MODEL.name, "openai", None, "default", tokens, day) for tokens in each)
    assert plain is not None
    assert read is not None
    assert written is not None
    return plain / many, read / many, written / many


def _price(tokens: int, read: int, written: int) -> float:
    plain, reading, writing = _rates()
    return (tokens - read - written) * plain + read * reading + written * writing


def _least(flow: Sequence[CacheRequest]) -> float:
    """The least cost over all placements, wave by wave over every state that the cache can be in."""
    waves = [list(group) for _, group in groupby(flow, key=lambda request: request.wave)]
    costs: dict[frozenset[int], float] = {frozenset(): 0.0}
    for number, wave in enumerate(waves):
        later = {prefix for rest in waves[number + 1 :] for request in rest for prefix in request.prefixes}
        choices = [_placements(request, flow) for request in wave]
        reached: dict[frozenset[int], float] = {}
        for held, spent in costs.items():
            for placed in product(*choices):
                used = usage([replace(request, wave=0) for request in wave], placed, held)
                total = spent + sum(_price(r.tokens[-1], *counts) for r, counts in zip(wave, used, strict=True))
                written = {r.prefixes[depth - 1] for r, marks in zip(wave, placed, strict=True) for depth in marks}
                state = frozenset((held | written) & later)
                reached[state] = min(total, reached.get(state, float("inf")))
        costs = reached
    return min(costs.values())


def _placements(request: CacheRequest, flow: Sequence[CacheRequest]) -> list[Marks]:
    """Every set of at most four marks where the prompt branches off another of the flow: no other place is ever better."""
    shared = {request.shared(other) for other in flow if other is not request}
    depths = sorted(depth for depth in shared if depth and request.tokens[depth - 1] >= LEAST_TOKENS)
    return [marks for count in range(MOST_MARKS + 1) for marks in combinations(depths, count)]
