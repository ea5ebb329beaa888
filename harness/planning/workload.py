"""The calls that cells will make, with their tokens: real prompts, rendered from frozen snapshots."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import agents
from agents import Model, Pipeline, PlannedPrompt, Snapshot
from harness.cells import Cell
from harness.planning import priors
from harness.planning.experience import Experience, key_of
from harness.storage.freeze import Case, Shelf

RENDERED_CASES = 12
SMALLEST_CACHED_PREFIX = 1024
"""Tokens below which hosted models cache nothing."""
LOCAL_SOURCES = frozenset({"archive", "demo"})
_PER_MESSAGE = 8


@dataclass(frozen=True)
class PlannedCall:
    """One request of a typical cell."""

    role: str
    model: Model
    input_tokens: float
    cacheable_tokens: float
    """Part of the input that an earlier request of the cell sent too, where it is long enough to be cached; what a cache
    really gave, where the input is measured."""
    output_tokens: float
    output_cap: int | None
    seconds: float
    busy_s: float
    """Seconds of hardware, for a local model."""
    is_measured: bool
    """Whether earlier runs told output and seconds; else they are priors."""
    input_is_measured: bool = False
    """Whether earlier runs with these very prompts told the input; else it is rendered and estimated."""


@dataclass(frozen=True)
class Workload:
    """The requests of one typical cell of an arm."""

    calls: tuple[PlannedCall, ...]
    spread: float
    """Standard deviation of input tokens between cases, as a share of their mean."""
    basis: str
    """Where the input tokens come from, in words."""

    @property
    def models(self) -> dict[str, Model]:
        """key -> model, of all that play."""
        return {key_of(call.model.provider, call.model.name, call.model.params): call.model for call in self.calls}


def snapshots(cells: Sequence[Cell], shared: Path, archive: str | None) -> list[Snapshot]:
    """Snapshots of a few cases, spread over the matrix: from the shelf, or frozen now where that needs no network."""
    by_case = {cell.case_id: cell for cell in cells}
    chosen = sorted(by_case, key=lambda case: sha256(case.encode()).hexdigest())[:RENDERED_CASES]
    shelf = Shelf(shared, archive)
    found = []
    for name in chosen:
        cell = by_case[name]
        if (snapshot := _snapshot(shelf, Case(cell.ticker, cell.date, cell.data))) is not None:
            found.append(snapshot)
    return found


def _snapshot(shelf: Shelf, case: Case) -> Snapshot | None:
    try:
        if not _needs_network(case):
            return Snapshot.from_bytes(shelf.get(case)[1])
        known = shelf.known(case)
        return Snapshot.from_bytes(known) if known else None
    except agents.SnapshotError:
        return None


def _needs_network(case: Case) -> bool:
    kinds = ("prices", "filings", "news", "macro", "social", "insiders")
    return not {case.data.get(kind) for kind in kinds} - {None} <= LOCAL_SOURCES


@dataclass(frozen=True)
class Prompt:
    """One request of a pipeline, averaged over the rendered cases; which model answers is not in it."""

    role: str
    input_tokens: float
    cacheable_tokens: float
    asked_tokens: int
    output_cap: int | None


@dataclass(frozen=True)
class Prompts:
    """All requests of one cell of a pipeline."""

    each: tuple[Prompt, ...]
    spread: float
    """Standard deviation of a cell's input tokens between cases, as a share of their mean."""
    cases: int


class Renderer:
    """Renders the prompts of a pipeline over a few snapshots, once however many arms share it."""

    def __init__(self, frozen: Sequence[Snapshot]) -> None:
        self._frozen = frozen
        self._rendered: dict[str, Prompts | None] = {}
        self._counted: dict[str, int] = {}

    def prompts(self, pipeline: Pipeline) -> Prompts | None:
        """None where there is no snapshot, or the flow is a user's own."""
        key = repr(pipeline)
        if key not in self._rendered:
            self._rendered[key] = self._render(pipeline)
        return self._rendered[key]

    def _render(self, pipeline: Pipeline) -> Prompts | None:
        cells = [prompts for snapshot in self._frozen if (prompts := agents.prompts_of(snapshot, pipeline))]
        if not cells:
            return None
        counts = [[self._tokens(prompt) for prompt in prompts] for prompts in cells]
        means = [_mean(column) for column in zip(*counts, strict=True)]
        each = tuple(
            Prompt(prompt.place.role, whole, shared, prompt.output_tokens, prompt.output_cap)
            for prompt, (whole, shared) in zip(cells[0], means, strict=True)
        )
        return Prompts(each, _deviation([sum(whole for whole, _ in count) for count in counts]), len(cells))

    def _tokens(self, planned: PlannedPrompt) -> tuple[float, float]:
        """Input tokens of a prompt, and those of its leading parts that an earlier request sent."""
        counts = [self._count(part.text) + _PER_MESSAGE for part in planned.parts]
        shared = float(sum(counts[: planned.cacheable_parts]))
        return float(sum(counts)), shared if shared >= SMALLEST_CACHED_PREFIX else 0.0

    def _count(self, text: str) -> int:
        """The snapshot stands in many prompts: it is counted once."""
        if text not in self._counted:
            self._counted[text] = agents.estimate_tokens(text)
        return self._counted[text]


def of_arm(cell: Cell, renderer: Renderer, experience: Experience) -> Workload:
    """What a typical cell of this cell's arm asks; empty for a rule."""
    if not cell.lineup:
        return Workload((), 0.0, "a rule asks no model")
    prompts = renderer.prompts(cell.pipeline)
    if prompts is None:
        return _assumed(cell, experience)
    calls = tuple(
        _call(cell, one.role, one.input_tokens, one.cacheable_tokens, one.asked_tokens, one.output_cap, experience)
        for one in prompts.each
    )
    basis = f"real prompts of {prompts.cases} frozen case{'s' if prompts.cases > 1 else ''}"
    return Workload(_with_tools(calls, cell.pipeline), prompts.spread, basis)


def _call(
    cell: Cell, role: str, whole: float, shared: float, asked: int, pipeline_cap: int | None, experience: Experience
) -> PlannedCall:
    model = cell.lineup.get(role) or cell.lineup["portfolio_manager"]
    cap = priors.output_cap(model, pipeline_cap)
    measured = experience.of(model, role)
    read = experience.input_of(cell.fingerprint, model, role)
    if read is not None:
        whole, shared = read
    told = measured.output_tokens if measured else priors.output_tokens(model, asked, cap)
    speed = priors.speed(model.provider)
    seconds = measured.duration_s if measured else speed.overhead_s + whole / speed.prefill + told / speed.decode
    busy = measured.busy_s if measured and measured.busy_s is not None else seconds
    return PlannedCall(role, model, whole, shared, told, cap, seconds, busy, measured is not None, read is not None)


def _mean(pairs: Iterable[tuple[float, float]]) -> tuple[float, float]:
    listed = list(pairs)
    return sum(whole for whole, _ in listed) / len(listed), sum(shared for _, shared in listed) / len(listed)


def _deviation(totals: Sequence[float]) -> float:
    mean = sum(totals) / len(totals)
    if len(totals) < 2 or not mean:
        return 0.0
    return float((sum((one - mean) ** 2 for one in totals) / (len(totals) - 1)) ** 0.5 / mean)


def _with_tools(calls: tuple[PlannedCall, ...], pipeline: Pipeline) -> tuple[PlannedCall, ...]:
    """Analysts that call tools ask again after each round, with what the tools gave in the prompt."""
    if pipeline.inputs != "tools":
        return calls
    rounds = int(min(priors.TOOL_ROUNDS, pipeline.tool_rounds))
    more = [call for call in calls if call.role.endswith("_analyst") for _ in range(rounds)]
    return (*calls, *more)


_ASSUMED_INPUT: Mapping[str, float] = {"single_call": 8_000.0}


def _assumed(cell: Cell, experience: Experience) -> Workload:
    """Without a frozen snapshot: the token budgets where there are any, else what twelve roles usually read."""
    roles = list(cell.lineup)
    budget = {f"{name}_analyst": float(tokens) for name, tokens in cell.pipeline.budget_tokens.items()}
    given = sum(budget.get(role, 2_500.0) for role in roles if role.endswith("_analyst"))
    calls = []
    for role in roles:
        whole = budget.get(role, 2_500.0) + 600 if role.endswith("_analyst") else 3_500.0 + _handed(cell.pipeline, given)
        calls += [_call(cell, role, whole, 0.0, 350, None, experience)] * _times(role, cell.pipeline)
    return Workload(_with_tools(tuple(calls), cell.pipeline), 0.3, "no frozen snapshot yet: token budgets and priors")


def _handed(pipeline: Pipeline, given: float) -> float:
    return given + 1_000 if pipeline.depth == "single_call" else min(pipeline.history_tokens, 2_500)


def _times(role: str, pipeline: Pipeline) -> int:
    rounds = {"medium": 3, "deep": 5}.get(pipeline.depth, 1)
    return rounds if role in ("bull", "bear", "aggressive", "conservative", "neutral") else 1
