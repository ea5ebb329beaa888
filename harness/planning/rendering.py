"""The prompts of a pipeline as they will be sent, rendered over a few frozen snapshots and counted per tokenizer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import agents
from agents import Model, Pipeline, PlannedPrompt, Sharing, Snapshot, TokenCounter
from domain.data_kinds import DATA_KINDS
from harness.cells import Cell
from harness.storage.snapshots import CaseInputs, SnapshotLibrary

RENDERED_CASES = 12
CACHED_CASES = 3
"""Cases over which reads and writes of a prompt cache are averaged."""
SMALLEST_CACHED_PREFIX = 1024
"""Tokens below which hosted models cache nothing."""


def snapshots(cells: Sequence[Cell], shared: Path, archive: str | None) -> list[Snapshot]:
    """Snapshots of a few cases, spread over the matrix; frozen now if that needs no network."""
    by_case = {cell.case_id: cell for cell in cells}
    chosen = sorted(by_case, key=lambda case: sha256(case.encode()).hexdigest())[:RENDERED_CASES]
    shelf = SnapshotLibrary(shared, archive)
    frozen = []
    for name in chosen:
        cell = by_case[name]
        if (snapshot := _snapshot(shelf, CaseInputs(cell.ticker, cell.date, cell.data))) is not None:
            frozen.append(snapshot)
    return frozen


def _snapshot(shelf: SnapshotLibrary, case: CaseInputs) -> Snapshot | None:
    try:
        if not _needs_network(case):
            return Snapshot.from_bytes(shelf.get(case)[1])
        stored = shelf.find(case)
        return Snapshot.from_bytes(stored) if stored else None
    except agents.SnapshotError:
        return None


def over_network(cells: Iterable[Cell]) -> tuple[str, ...]:
    """Sources of these cells that are asked over the network."""
    return tuple(sorted({name for cell in cells for name in _named(cell.data) if agents.source_host(name)}))


def _needs_network(case: CaseInputs) -> bool:
    return any(agents.source_host(name) for name in _named(case.data))


def _named(data: Mapping[str, Any]) -> set[str]:
    return {data[kind] for kind in DATA_KINDS if data.get(kind)}


@dataclass(frozen=True)
class Prompt:
    """One request of a pipeline, averaged over the rendered cases; which model answers is not in it."""

    role: str
    input_tokens: float
    cacheable_tokens: float
    asked_tokens: int
    output_cap: int | None
    handed_share: float
    """Part of the input that earlier roles will have written."""


@dataclass(frozen=True)
class Prompts:
    """All requests of one cell of a pipeline."""

    each: tuple[Prompt, ...]
    cases: int


class Renderer:
    """Renders a pipeline's prompts over a few snapshots, once however many arms share it, and counts them per tokenizer."""

    def __init__(self, frozen: Sequence[Snapshot], takes_marks: Callable[[Model], bool] = lambda model: False) -> None:
        """`takes_marks`: whether the prompt cache of a model keeps marked prefixes."""
        self._frozen = frozen
        self.takes_marks = takes_marks
        self._rendered: dict[str, list[tuple[PlannedPrompt, ...]]] = {}
        self._summed: dict[tuple[str, str], Prompts | None] = {}
        self._counted: dict[tuple[str, str], int] = {}

    def prompts(self, pipeline: Pipeline, counter: TokenCounter) -> Prompts | None:
        """None where there is no snapshot, or the flow is a user's own."""
        key = (repr(pipeline), counter.name)
        if key not in self._summed:
            self._summed[key] = self._sum(self._cells(pipeline), replace(counter, count=self._once(counter)))
        return self._summed[key]

    def cached_shares(self, cell: Cell, sharings: Sequence[tuple[Sharing, int]]) -> list[tuple[float, float]]:
        """(share read, share written) of each request of a cell, over the cases and over what cells share with others."""
        rendered = self._cells(cell.pipeline)
        each = [
            (times, agents.cached_shares(prompts, cell.lineup, self.takes_marks, sharing))
            for prompts in rendered[:CACHED_CASES]
            for sharing, times in sharings
        ]
        total = sum(times for times, _ in each)
        columns = zip(*(shares for _, shares in each), strict=True)
        return [
            (
                sum(times * read for (times, _), (read, _) in zip(each, column, strict=True)) / total,
                sum(times * written for (times, _), (_, written) in zip(each, column, strict=True)) / total,
            )
            for column in columns
        ]

    def of_reference(
        self, cell: Cell, sharings: Sequence[tuple[Sharing, int]]
    ) -> tuple[tuple[Prompt, ...], list[tuple[float, float] | None]]:
        """The requests of a cell over the small reference case, and the shares that a cache with marks reads and writes of
        each; None for other caches, and nothing at all for a flow that cannot be rendered."""
        reference = Renderer([agents.reference_snapshot()], self.takes_marks)
        prompts = reference.prompts(cell.pipeline, agents.counter_of(next(iter(cell.lineup.values()))))
        if prompts is None:
            return (), []
        marked = [self.takes_marks(cell.lineup[prompt.role]) for prompt in prompts.each]
        shares = reference.cached_shares(cell, sharings) if any(marked) else []
        return prompts.each, [
            each if is_marked else None for each, is_marked in zip(shares, marked, strict=True)
        ] if shares else []

    def _cells(self, pipeline: Pipeline) -> list[tuple[PlannedPrompt, ...]]:
        key = repr(pipeline)
        if key not in self._rendered:
            each = [agents.prompts_of(snapshot, pipeline) for snapshot in self._frozen]
            self._rendered[key] = [prompts for prompts in each if prompts]
        return self._rendered[key]

    def _sum(self, cells: Sequence[tuple[PlannedPrompt, ...]], counter: TokenCounter) -> Prompts | None:
        if not cells:
            return None
        counts = [[_tokens(prompt, counter) for prompt in prompts] for prompts in cells]
        means = [_mean(column) for column in zip(*counts, strict=True)]
        each = tuple(
            Prompt(prompt.site.role, tokens, shared, prompt.output_tokens, prompt.output_cap, prompt.handed_tokens / tokens)
            for prompt, (tokens, shared) in zip(cells[0], means, strict=True)
        )
        return Prompts(each, len(cells))

    def _once(self, counter: TokenCounter) -> Callable[[str], int]:
        """The snapshot is part of many prompts: it is counted once."""

        def count(text: str) -> int:
            key = (counter.name, text)
            if key not in self._counted:
                self._counted[key] = counter.count(text)
            return self._counted[key]

        return count


def _tokens(planned: PlannedPrompt, counter: TokenCounter) -> tuple[float, float]:
    """Input tokens of a prompt, and those of its leading parts that an earlier request sent."""
    counts = counter.of_parts(planned.parts)
    shared = float(sum(counts[: planned.cacheable_parts]))
    return float(sum(counts)), shared if shared >= SMALLEST_CACHED_PREFIX else 0.0


def _mean(pairs: Iterable[tuple[float, float]]) -> tuple[float, float]:
    listed = list(pairs)
    return sum(tokens for tokens, _ in listed) / len(listed), sum(shared for _, shared in listed) / len(listed)
