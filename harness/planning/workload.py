"""The calls that cells will make, with their tokens, seconds and hardware."""

from __future__ import annotations

from dataclasses import dataclass

import agents
from agents import Model, Pipeline
from domain.providers import PROVIDERS
from harness.cells import Cell
from harness.planning import counted, priors
from harness.planning.counted import Counted
from harness.planning.experience import Experience, key_of
from harness.planning.rendering import Prompt, Renderer


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
    counted: Counted
    """How its input tokens were counted."""
    handed_share: float
    """Part of its input that earlier roles will have written: as sure as their output."""


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

    @property
    def counted(self) -> dict[str, Counted]:
        """alias -> how its prompts were counted; the least sure way, where its roles differ."""
        found: dict[str, Counted] = {}
        for call in sorted(self.calls, key=lambda call: call.counted.spread):
            found[call.model.alias] = call.counted
        return found


def of_arm(cell: Cell, renderer: Renderer, experience: Experience) -> Workload:
    """What a typical cell of this cell's arm asks; empty for a rule."""
    if not cell.lineup:
        return Workload((), 0.0, "a rule asks no model")
    by_role = {role: renderer.prompts(cell.pipeline, agents.counter_of(model)) for role, model in cell.lineup.items()}
    prompts = by_role.get("portfolio_manager") or next(iter(by_role.values()))
    if prompts is None:
        return _assumed(cell, experience)
    calls = tuple(
        call(cell, (by_role.get(one.role) or prompts).each[place], experience) for place, one in enumerate(prompts.each)
    )
    return Workload(_with_tools(calls, cell.pipeline), prompts.spread, counted.rendered(prompts.cases))


def call(cell: Cell, prompt: Prompt, experience: Experience, *, is_rendered: bool = True) -> PlannedCall:
    """One request of a role, as measured where earlier runs tell, else as assumed."""
    model, role = _model(cell, prompt.role), prompt.role
    cap = priors.output_cap(model, prompt.output_cap)
    measured, read = experience.of(model, role), experience.input_of(cell.fingerprint, model, role)
    how = counted.of_model(model, experience, is_measured=read is not None, is_rendered=is_rendered)
    whole, shared = read or (prompt.input_tokens * how.ratio, prompt.cacheable_tokens * how.ratio)
    told = measured.output_tokens if measured else priors.output_tokens(model, prompt.asked_tokens, cap)
    speed = PROVIDERS[model.provider].speed
    seconds = measured.duration_s if measured else speed.overhead_s + whole / speed.prefill + told / speed.decode
    busy = measured.busy_s if measured and measured.busy_s is not None else seconds
    return PlannedCall(role, model, whole, shared, told, cap, seconds, busy, measured is not None, how, prompt.handed_share)


def _model(cell: Cell, role: str) -> Model:
    return cell.lineup.get(role) or cell.lineup["portfolio_manager"]


def _with_tools(calls: tuple[PlannedCall, ...], pipeline: Pipeline) -> tuple[PlannedCall, ...]:
    """Analysts that call tools ask again after each round, with what the tools gave in the prompt."""
    if pipeline.inputs != "tools":
        return calls
    rounds = int(min(priors.TOOL_ROUNDS, pipeline.tool_rounds))
    more = [call for call in calls if call.role.endswith("_analyst") for _ in range(rounds)]
    return (*calls, *more)


_HANDED = 0.4
"""Share of a later role's prompt that earlier ones wrote, as rendered prompts have it."""


def _assumed(cell: Cell, experience: Experience) -> Workload:
    """Without a frozen snapshot: the token budgets where there are any, else what twelve roles usually read."""
    roles = list(cell.lineup)
    budget = {f"{name}_analyst": float(tokens) for name, tokens in cell.pipeline.budget_tokens.items()}
    given = sum(budget.get(role, 2_500.0) for role in roles if role.endswith("_analyst"))
    calls = []
    for role in roles:
        whole = budget.get(role, 2_500.0) + 600 if role.endswith("_analyst") else 3_500.0 + _handed(cell.pipeline, given)
        handed = 0.0 if role.endswith("_analyst") else _HANDED
        prompt = Prompt(role, whole, 0.0, 350, None, handed)
        calls += [call(cell, prompt, experience, is_rendered=False)] * _times(role, cell.pipeline)
    return Workload(_with_tools(tuple(calls), cell.pipeline), 0.3, counted.NOT_RENDERED)


def _handed(pipeline: Pipeline, given: float) -> float:
    return given + 1_000 if pipeline.depth == "single_call" else min(pipeline.history_tokens, 2_500)


def _times(role: str, pipeline: Pipeline) -> int:
    rounds = {"medium": 3, "deep": 5}.get(pipeline.depth, 1)
    return rounds if role in ("bull", "bear", "aggressive", "conservative", "neutral") else 1
