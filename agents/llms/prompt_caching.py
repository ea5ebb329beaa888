"""Prompt caches that keep a prefix only where a request marks it: GPT-5.6 and later, and Anthropic.

A mark is set after a part of a prompt. A request reads the longest of its marked prefixes that the cache holds, and pays more
for what it writes up to its deepest mark. What a pipeline asks is known beforehand, so a prefix is marked only where later
requests repay that. Requests that start together cannot read what the others write.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from agents.llms.tokens import estimate_tokens
from agents.types import Part

LEAST_TOKENS = 1024
"""A shorter prefix is never kept."""
MOST_MARKS = 4
READ_RATE, WRITE_RATE = 0.1, 1.25
"""Price of a read and of a written token against other input: reads cost 5 to 10 %, the choice is the same over that range."""
STAGING_SAVES = 0.05
"""Share of the input's cost that sending one request of a step first must save to be worth its wait."""


@dataclass(frozen=True)
class CacheRequest:
    """One request of a flow as a cache sees it."""

    name: str
    prefixes: tuple[int, ...]
    """Id of the prefix that ends after each part; equal prefixes in one cache have the same id."""
    tokens: tuple[int, ...]
    """Tokens up to the end of each part."""
    wave: int
    """Requests of one wave start together."""
    cache: str | None
    """Name of the cache (a model at a server); None for a model whose cache takes no marks."""
    again: int = 0
    """How often later cells of the run send the same request."""
    was_sent: bool = False
    """Whether an earlier cell of the run has sent it."""

    @property
    def depth(self) -> int:
        return len(self.prefixes)

    def shared(self, other: CacheRequest) -> int:
        """Number of leading parts that both requests have in common."""
        if self.cache is None or self.cache != other.cache:
            return 0
        pairs = enumerate(zip(self.prefixes, other.prefixes, strict=False))
        return next((count for count, (left, right) in pairs if left != right), min(self.depth, other.depth))


Marks = tuple[int, ...]
"""Numbers of leading parts after which a prompt is marked, ascending; at most MOST_MARKS."""


class PrefixIds:
    """Numbers the prefixes of prompts: equal parts after equal prefixes in one cache have the same number."""

    def __init__(self) -> None:
        self._ids: dict[tuple[int | str, str, str], int] = {}

    def of(self, cache: str, parts: Sequence[Part]) -> tuple[int, ...]:
        ids: list[int] = []
        for part in parts:
            ids.append(self._ids.setdefault((ids[-1] if ids else cache, part.role, part.text), len(self._ids)))
        return tuple(ids)


def token_sums(parts: Sequence[Part], model: str) -> tuple[int, ...]:
    """Estimated tokens up to the end of each part."""
    sums, total = [], 0
    for part in parts:
        total += estimate_tokens(part.text, model) + 1
        sums.append(total)
    return tuple(sums)


def place(flow: Sequence[CacheRequest], held: frozenset[int] = frozenset()) -> list[Marks]:
    """The marks of each request of a flow, given the prefixes that its caches hold already."""
    placed: list[Marks] = []
    for wave, later in _waves(flow):
        writing: set[int] = set()
        for request in wave:
            marks = _marks(request, _readers(request, flow, later), held | left_behind(flow), writing)
            writing |= {request.prefixes[depth - 1] for depth in marks}
            placed.append(marks)
        held = held | writing
    return placed


def usage(flow: Sequence[CacheRequest], placed: Sequence[Marks], held: frozenset[int] = frozenset()) -> list[tuple[int, int]]:
    """(tokens read, tokens written) of each request."""
    used: list[tuple[int, int]] = []
    by_request = iter(placed)
    for wave, _ in _waves(flow):
        written: set[int] = set()
        for request in wave:
            marks = [depth for depth in next(by_request) if request.tokens[depth - 1] >= LEAST_TOKENS]
            read = max((request.tokens[depth - 1] for depth in marks if request.prefixes[depth - 1] in held), default=0)
            marked = max((request.tokens[depth - 1] for depth in marks), default=0)
            used.append((read, max(0, marked - read)))
            written |= {request.prefixes[depth - 1] for depth in marks}
        held = held | written
    return used


def cost(flow: Sequence[CacheRequest], placed: Sequence[Marks], held: frozenset[int] = frozenset()) -> float:
    """Cost of the flow's input in tokens at the plain rate."""
    used = usage(flow, placed, held)
    plain = sum(request.tokens[-1] for request in flow if request.tokens)
    return plain + sum(read * (READ_RATE - 1) + written * (WRITE_RATE - 1) for read, written in used)


def staged(flow: Sequence[CacheRequest]) -> list[CacheRequest]:
    """The flow with one request per cache of each wave sent first. Expects even wave numbers."""
    firsts: set[tuple[int, str | None]] = set()
    requests = []
    for request in flow:
        is_first = request.cache is None or (request.wave, request.cache) not in firsts
        firsts.add((request.wave, request.cache))
        requests.append(request if is_first else replace(request, wave=request.wave + 1))
    return sorted(requests, key=lambda request: request.wave)


def staging_pays(flow: Sequence[CacheRequest], held: frozenset[int] = frozenset()) -> bool:
    """Whether sending one request of each step first saves more than STAGING_SAVES of the input's cost."""
    together, in_stages = cost(flow, place(flow, held), held), cost(staged(flow), place(staged(flow), held), held)
    return together - in_stages > STAGING_SAVES * together


def _waves(flow: Sequence[CacheRequest]) -> Iterator[tuple[list[CacheRequest], list[CacheRequest]]]:
    """Each wave, and the requests after it."""
    start = 0
    for _, group in groupby(flow, key=lambda request: request.wave):
        wave = list(group)
        start += len(wave)
        yield wave, list(flow[start:])


def left_behind(flow: Sequence[CacheRequest]) -> frozenset[int]:
    """Prefixes that an earlier cell has marked: what its requests shared, and the whole prompts."""
    sent = [request for request in flow if request.was_sent]
    shared = {request.prefixes[depth - 1] for request in sent for other in sent if (depth := request.shared(other))}
    return frozenset(shared)


def _readers(request: CacheRequest, flow: Sequence[CacheRequest], later: Sequence[CacheRequest]) -> Mapping[int, int]:
    """Number of leading parts that later requests share with this one -> how many requests."""
    readers: dict[int, int] = {}
    for other in later:
        depth = request.shared(other)
        readers[depth] = readers.get(depth, 0) + 1
    for other in flow:
        if other.again and (depth := request.shared(other)):
            readers[depth] = readers.get(depth, 0) + other.again
    return {depth: count for depth, count in readers.items() if depth and request.tokens[depth - 1] >= LEAST_TOKENS}


def _marks(request: CacheRequest, readers: Mapping[int, int], held: frozenset[int], writing: set[int]) -> Marks:
    if request.cache is None:
        return ()
    long_enough = [depth for depth in range(1, request.depth + 1) if request.tokens[depth - 1] >= LEAST_TOKENS]
    readable = [depth for depth in long_enough if request.prefixes[depth - 1] in held]
    read = max(readable, default=0)
    new = [depth for depth in sorted(readers) if depth > read]
    written = _most_useful(request, new[: _worth_writing(request, new, read, readers, writing)], readers, read)
    # Shallower prefixes cost nothing, and are read if the deepest is gone.
    spare = MOST_MARKS - len(written)
    return (*readable[len(readable) - min(spare, len(readable)) :], *written)


def _worth_writing(
    request: CacheRequest, depths: Sequence[int], read: int, readers: Mapping[int, int], writing: set[int]
) -> int:
    """How many of the depths to write: up to the one with the largest gain over what later requests would read anyway."""
    best, best_gain, gain, start = 0, 0.0, 0.0, read
    for count, depth in enumerate(depths, start=1):
        is_written_anyway = request.prefixes[depth - 1] in writing
        readings = 0 if is_written_anyway else sum(times for at, times in readers.items() if at >= depth)
        gain += (_upto(request, depth) - _upto(request, start)) * (readings * (1 - READ_RATE) - (WRITE_RATE - 1))
        if gain > best_gain:
            best, best_gain = count, gain
        start = depth
    return best


def _most_useful(request: CacheRequest, depths: Sequence[int], readers: Mapping[int, int], read: int) -> list[int]:
    """At most MOST_MARKS of the depths, one less if something is read; the deepest stays, the least missed go."""
    kept = list(depths)
    while len(kept) > MOST_MARKS - bool(read):
        shallower = [read, *kept]
        losses = [
            readers[depth] * (_upto(request, depth) - _upto(request, before))
            for before, depth in zip(shallower, kept[:-1], strict=False)
        ]
        kept.pop(losses.index(min(losses)))
    return kept


def _upto(request: CacheRequest, depth: int) -> int:
    return request.tokens[depth - 1] if depth else 0
