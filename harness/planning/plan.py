"""The plan of a run: forecasts of all arms, replays and judges, likely effects of the budget, and what it can prove."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import agents
from domain.models import family_of
from harness.cells import Cell
from harness.checking.checks import Check, warn
from harness.checking.resolved import ResolvedRun
from harness.experiment import lineups, replay_cells
from harness.experiment.replay_cells import ReplayRequest
from harness.experiment.servers import ServerSpec
from harness.experiment.spec import Experiment
from harness.experiment.terms import Budget
from harness.planning import experience, forecast, lanes, rendering, workload
from harness.planning.experience import Experience, Reused
from harness.planning.forecast import ArmForecast, CostPart, Forecaster, Interval
from harness.planning.lanes import LaneForecast
from harness.planning.rendering import Prompt, Renderer
from harness.planning.workload import Counted, PlannedCall, Workload
from harness.storage.folder import open_folder

if TYPE_CHECKING:
    from harness.planning.answers import Answers
    from harness.planning.forecast import Draws
    from reports.design import Assumptions


LIKELY = 0.1
"""Chance from which a cap is reported as likely to bind."""


@dataclass(frozen=True)
class CapForecast:
    """A cap of the budget, and the chance that it takes effect."""

    name: str
    usd: float
    chance: float
    """Share of the draws in which it binds; of the cells where it is a cell's cap, of the calls where it is a call's."""
    would_need: float | None
    """Budget that is enough in nine of ten draws."""
    binds: str
    """run | model | cell | call: what the chance is about."""

    def to_plain(self) -> dict[str, Any]:
        return asdict(self)


def caps_of_budget(budget: Budget, arms: Mapping[str, ArmForecast], api: Draws | None) -> tuple[CapForecast, ...]:
    """Every declared cap that can be forecast; empty if a price is unknown."""
    priced_arms = [arm for arm in arms.values() if arm.calls and arm.api_cost.mid is not None]
    run = _cap("run_usd", budget.run_usd, api, "run") if budget.run_usd is not None and api is not None else ()
    return (
        *run,
        *_models(budget.model_usd, priced_arms),
        *_cells(budget.cell_usd, priced_arms),
        *_calls(budget.call_usd, priced_arms),
    )


def _cap(name: str, usd: float, cost: Draws, binds: str) -> Iterator[CapForecast]:
    import numpy as np

    yield CapForecast(name, usd, float(np.mean(cost > usd)), float(np.percentile(cost, 90)), binds)


def _models(caps: Mapping[str, float], arms: list[ArmForecast]) -> Iterator[CapForecast]:
    for alias, usd in caps.items():
        paid = [arm.model_draws[alias] for arm in arms if alias in arm.model_draws]
        if paid:
            yield from _cap(f"model_usd.{alias}", usd, sum(paid[1:], paid[0]), "model")


def _cells(usd: float | None, arms: list[ArmForecast]) -> Iterator[CapForecast]:
    """The cells of the arm that costs most."""
    if usd is not None and arms:
        dearest = max(arms, key=lambda arm: float(arm.cell_draws.mean()))
        yield from _cap("cell_usd", usd, dearest.cell_draws, "cell")


def _calls(usd: float | None, arms: list[ArmForecast]) -> Iterator[CapForecast]:
    """A call is not sent when its worst case, with all the output that it may write, passes the cap."""
    import numpy as np

    worst = [cost for arm in arms for cost in arm.worst_calls_usd]
    if usd is not None and worst:
        yield CapForecast("call_usd", usd, sum(cost > usd for cost in worst) / len(worst), float(np.max(worst)), "call")


_VERDICT_TOKENS = 90
_FRAME_TOKENS = 330
"""Tokens of a judge's instructions, besides the recorded prompt and the two answers."""
_ORDERS = 2


def replay_parts(experiment: Experiment, cells: Sequence[Cell], renderer: Renderer, learnt: Experience) -> list[CostPart]:
    """One part per replay, then one per judge; an upper bound, since existing replays are not repeated."""
    wish = ReplayRequest.declared(experiment)
    if wish is None:
        return []
    replays, judgements = replay_cells.planned(experiment, wish, cells)
    loads = {cell.arm: _replay(cell, renderer, learnt) for cell in _first(replays)}
    loads |= {cell.arm: _judge(cell, renderer, learnt) for cell in _first(judgements)}
    counts = replay_cells.per_arm([*replays, *judgements])
    return [CostPart(arm, counts[arm], load) for arm, load in loads.items()]


def _first(cells: Iterable[Cell]) -> list[Cell]:
    """One cell of each arm."""
    first_cells: dict[str, Cell] = {}
    for cell in cells:
        first_cells.setdefault(cell.arm, cell)
    return list(first_cells.values())


def _replay(cell: Cell, renderer: Renderer, learnt: Experience) -> Workload:
    """The source's prompts of the roles that are replayed, a turn that used tools left out."""
    everybody = dict.fromkeys(agents.role_names(), next(iter(cell.lineup.values()))) | dict(cell.lineup)
    typical = replace(cell, lineup=everybody, pipeline=replace(cell.pipeline, inputs="prefetch"))
    full_cell = workload.of_arm(typical, renderer, learnt)
    return replace(full_cell, calls=tuple(call for call in full_cell.calls if call.role in cell.lineup))


def _judge(cell: Cell, renderer: Renderer, learnt: Experience) -> Workload:
    """Each replayed prompt twice, with both answers; outputs of the judge's model in that role do not predict verdicts."""
    full_cell = _replay(cell, renderer, learnt)
    calls = tuple(_verdict(cell, call) for call in full_cell.calls for _ in range(_ORDERS))
    return replace(full_cell, calls=calls)


def _verdict(cell: Cell, replayed_call: PlannedCall) -> PlannedCall:
    shown = replayed_call.input_tokens + 2 * replayed_call.output_tokens + _FRAME_TOKENS
    handed = (replayed_call.handed_share * replayed_call.input_tokens + 2 * replayed_call.output_tokens) / shown
    prompt = Prompt(
        replayed_call.role, shown, replayed_call.cacheable_tokens, _VERDICT_TOKENS, replayed_call.output_cap, handed
    )
    return workload.call(cell, prompt, Experience())


@dataclass(frozen=True)
class Where:
    """The folders that a plan reads."""

    results: str = "results"
    snapshots: Path = Path("snapshots")


@dataclass(frozen=True)
class Plan:
    """Everything known before the first call."""

    experiment: str
    cells: int
    """Cells of the matrix."""
    to_run: int
    reused: Reused
    arms: Mapping[str, ArmForecast]
    total_cost: Interval
    total_api_cost: Interval
    total_time: Interval
    local_time: Interval
    """Seconds that self-hosted servers compute, whatever the lane of the others."""
    caps: tuple[CapForecast, ...]
    answers: Answers | None
    """What the matrix settles; None if it compares nothing."""
    counted: Mapping[str, Counted]
    """model -> how its input tokens were counted."""
    unrendered: tuple[str, ...]
    """Network sources that prevented rendering prompts; empty if prompts were rendered."""
    runs_learnt_from: int
    price_version: str
    checks: tuple[Check, ...] = ()
    again: Mapping[str, ArmForecast] = field(default_factory=dict)
    """Declared replays and judges, run after the matrix; part of every total."""
    servers: Mapping[str, ServerSpec] = field(default_factory=dict)
    """Where the models answer, and which of these servers bill by token."""
    unknown_models: tuple[str, ...] = ()
    """Names that the table of models does not know; their intervals are wider."""
    lanes: tuple[LaneForecast, ...] = ()
    """All hosted models in each lane that they offer, in place of the declared ones."""
    cards: Mapping[str, str] = field(default_factory=dict)
    """Name of a model in the experiment -> what the hardware cards of its server measured."""
    energy_kwh: Interval = forecast.UNKNOWN
    """Electricity above idle of self-hosted models; unknown if the power of one of their machines is."""
    planned_calls: Mapping[str, tuple[PlannedCall, ...]] = field(default_factory=dict)
    """arm -> the requests of a typical cell."""
    failed: int = 0
    """Cells that failed in the run that would be continued."""
    exchanged: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Numbered lineup of a swap design -> the roles that ask the other model."""

    @property
    def calls(self) -> int:
        return sum(arm.calls for arm in self.arms.values())

    def to_plain(self) -> dict[str, Any]:
        """The plan as one JSON object."""
        return {
            "experiment": self.experiment,
            "cells": self.cells,
            "to_run": self.to_run,
            "failed": self.failed,
            "reused": {"cells": self.reused.cells, "saved_usd": self.reused.saved_usd},
            "calls": self.calls,
            "input_tokens": round(sum(arm.input_tokens for arm in self.arms.values())),
            "output_tokens": round(sum(arm.output_tokens for arm in self.arms.values())),
            "cost_usd": self.total_cost.to_plain(),
            "api_cost_usd": self.total_api_cost.to_plain(),
            "time_s": self.total_time.to_plain(),
            "energy_kwh": self.energy_kwh.to_plain(),
            "arms": {name: _plain_arm(arm) for name, arm in self.arms.items()},
            "again": {name: _plain_arm(arm) for name, arm in self.again.items()},
            "exchanged": {name: list(roles) for name, roles in self.exchanged.items()},
            "servers": {name: _plain_server(spec) for name, spec in self.servers.items()},
            "lanes": lanes.to_plain(self.lanes),
            "caps": [cap.to_plain() for cap in self.caps],
            "models": {name: value.to_plain() for name, value in self.counted.items()},
            "unknown_models": list(self.unknown_models),
            "hardware_cards": dict(self.cards),
            "not_rendered_because_of": list(self.unrendered),
            "answers": self.answers.to_plain() if self.answers else None,
            "learnt_from_runs": self.runs_learnt_from,
            "price_version": self.price_version,
            "interval": "80 %",
            "preflight": [check.to_plain() for check in self.checks],
        }


def make(
    resolved: ResolvedRun,
    cells: Sequence[Cell],
    where: Where,
    checks: tuple[Check, ...] = (),
    left: frozenset[str] | None = None,
    windows: Mapping[str, int] | None = None,
    failed: frozenset[str] = frozenset(),
    assumptions: Assumptions | None = None,
    left_out: frozenset[str] = frozenset(),
) -> Plan:
    """Forecast the cells that no earlier run has ended; `left`: keys of the missing cells, if known.

    `failed`: keys of cells that run again only after `retry`; `assumptions`: spreads that an earlier run measured;
    `left_out`: ids under which earlier runs recorded cells that must not be reused; `windows`: model's name in the experiment
    -> context that its server was started with. Freezes a few cases where that needs no network."""
    from harness.planning import answers

    experiment, results = resolved.experiment, open_folder(where.results)
    known_keys = {cell.cell_key for cell in cells} - (left or frozenset())
    reused = experience.reused_results(results, experiment.name, known_keys, left_out)
    ended = reused.keys | failed
    waiting = [cell for cell in cells if (cell.cell_key in left if left is not None else cell.cell_key not in ended)]
    learnt = _learnt(resolved, where)
    renderer = _renderer(resolved, cells, where)
    parts = _parts(experiment, cells, waiting, renderer, learnt)
    later = replay_parts(experiment, cells, renderer, learnt)
    forecaster = Forecaster(resolved.servers, resolved.prices, learnt)
    arms, again = ({part.arm: forecaster.arm(part) for part in some} for some in (parts, later))
    every = [*arms.values(), *again.values()]
    cost = forecast.total([arm.cost_draws for arm in every])
    api = forecast.total([None if arm.api_cost.mid is None else arm.api_draws for arm in every])
    counted = _counted(parts)
    return Plan(
        experiment=experiment.name,
        cells=len(cells),
        to_run=len(waiting),
        failed=len(failed & {cell.cell_key for cell in cells}),
        reused=reused,
        arms=arms,
        total_cost=forecast.interval(cost),
        total_api_cost=forecast.interval(api),
        total_time=forecast.interval(forecaster.seconds_of_step(parts) + forecaster.seconds_of_step(later)),
        again=again,
        servers=resolved.servers,
        exchanged=lineups.swapped_roles(experiment.arms or {}),
        caps=caps_of_budget(experiment.budget, arms, api),
        counted=counted,
        unrendered=rendering.over_network(cells) if any(count.how == workload.ASSUMED for count in counted.values()) else (),
        answers=answers.of_matrix(experiment, cells, assumptions),
        runs_learnt_from=learnt.runs,
        price_version=resolved.prices.version,
        checks=(*checks, *_too_long(parts, windows or {})),
        planned_calls={part.arm: part.workload.calls for part in parts},
        local_time=forecast.interval(forecaster.local_seconds(parts) + forecaster.local_seconds(later)),
        lanes=lanes.options(forecaster, [parts, later], resolved.servers, resolved.arms_at_once),
        unknown_models=_unknown_models([*parts, *later]),
        energy_kwh=forecast.interval(forecast.total([forecaster.energy_kwh(part) for part in (*parts, *later)])),
        cards={alias: figures.describe() for alias, figures in learnt.cards.items()},
    )


def _learnt(resolved: ResolvedRun, where: Where) -> Experience:
    """What earlier runs measured, and what hardware cards say about models that none has measured."""
    figures = {
        alias: resolved.servers[server].card_figures(model.model)
        for alias, model in resolved.experiment.models.items()
        if (server := model.server or model.provider) in resolved.servers
    }
    cards = {alias: card_figures for alias, card_figures in figures.items() if card_figures is not None}
    return replace(experience.read(open_folder(where.results)), cards=cards)


def _renderer(resolved: ResolvedRun, cells: Sequence[Cell], where: Where) -> rendering.Renderer:
    frozen = rendering.snapshots(cells, where.snapshots, resolved.archive) if any(cell.lineup for cell in cells) else []
    return rendering.Renderer(frozen, lambda model: resolved.servers[model.server or model.provider].takes_marks(model.name))


def _parts(
    experiment: Experiment,
    cells: Sequence[Cell],
    waiting: Sequence[Cell],
    renderer: rendering.Renderer,
    learnt: experience.Experience,
) -> list[forecast.CostPart]:
    """One part per arm, in the order of the matrix' arms."""
    first = {cell.arm: cell for cell in reversed(cells)}
    left = Counter(cell.arm for cell in waiting)
    by_arm = {name: [cell for cell in waiting if cell.arm == name] for name in first}
    names = [name for name in experiment.arms if name in first]
    return [forecast.CostPart(name, left[name], workload.of_arm(first[name], renderer, learnt, by_arm[name])) for name in names]


def _counted(parts: Sequence[forecast.CostPart]) -> dict[str, Counted]:
    """By model; the least certain method if arms differ."""
    pairs = [pair for part in parts for pair in part.workload.counted.items()]
    return dict(sorted(pairs, key=lambda pair: pair[1].spread))


def _unknown_models(parts: Sequence[forecast.CostPart]) -> tuple[str, ...]:
    names = {call.model.name for part in parts for call in part.workload.calls}
    return tuple(sorted(name for name in names if family_of(name) is None))


def context_checks(resolved: ResolvedRun, cells: Sequence[Cell], where: Where, windows: Mapping[str, int]) -> list[Check]:
    """The warnings of a plan about prompts that do not fit, without the plan."""
    renderer, learnt = _renderer(resolved, cells, where), _learnt(resolved, where)
    return list(_too_long(_parts(resolved.experiment, cells, cells, renderer, learnt), windows))


def _too_long(parts: Sequence[forecast.CostPart], windows: Mapping[str, int]) -> Iterator[Check]:
    """One warning per model whose longest planned prompt and answer do not fit its context window, where that is known."""
    longest: dict[str, PlannedCall] = {}
    for call in (call for part in parts for call in part.workload.calls):
        if call.model.alias not in longest or _whole_tokens(call) > _whole_tokens(longest[call.model.alias]):
            longest[call.model.alias] = call
    for alias, call in longest.items():
        family = family_of(call.model.name)
        declared = call.model.params.get("num_ctx") or (family.context_tokens if family else None)
        window = min((size for size in (declared, windows.get(alias)) if size), default=None)
        if window and _whole_tokens(call) > window:
            prompts = (
                f"the prompt of {call.role}, about {call.input_tokens:,.0f} tokens, and its answer do not fit {window:,} tokens"
            )
            raise_it = "start its server with a larger context" if window == windows.get(alias) else "raise num_ctx"
            yield warn(f"context of {alias}", prompts, f"{raise_it} where the model allows it, or lower pipeline.budget_tokens")


def _whole_tokens(call: PlannedCall) -> float:
    return call.input_tokens + (call.output_cap or call.output_tokens)


def _plain_server(spec: ServerSpec) -> dict[str, Any]:
    return {"class": spec.class_name, "why": spec.why, "warning": spec.warning or None, "address": spec.address}


def _plain_arm(arm: ArmForecast) -> dict[str, Any]:
    return {
        "cells": arm.cells,
        "calls": arm.calls,
        "input_tokens": round(arm.input_tokens),
        "cached_tokens": round(arm.cached_tokens),
        "cache_write_tokens": round(arm.cache_write_tokens),
        "output_tokens": round(arm.output_tokens),
        "cost_usd": arm.cost.to_plain(),
        "api_cost_usd": arm.api_cost.to_plain(),
        "time_s": arm.time.to_plain(),
        "basis": arm.basis,
        "measured": arm.is_measured,
        "place": arm.place or None,
        "escalated": arm.escalation.to_plain() if arm.escalation else None,
    }
