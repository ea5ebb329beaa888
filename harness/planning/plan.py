"""The plan: what a run would do, cost, take and prove; made without a key and without a call."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from domain.models import family_of
from harness.cells import Cell
from harness.checking import preflight
from harness.checking.checks import Check, warn
from harness.checking.sources_check import archive_folder
from harness.experiment import swap
from harness.experiment.servers import ServerSpec
from harness.experiment.spec import Experiment
from harness.planning import caps, counted, draws, earlier, experience, forecast, rendering, replayed, workload
from harness.planning.caps import Cap
from harness.planning.counted import Counted
from harness.planning.draws import Interval
from harness.planning.earlier import Reused
from harness.planning.forecast import ArmForecast, Forecaster
from harness.planning.workload import PlannedCall
from harness.storage.folder import open_folder

if TYPE_CHECKING:
    from harness.planning.provable import Provable


@dataclass(frozen=True)
class Where:
    """Which places a plan reads."""

    experiment_dir: Path | None = None
    results: str = "results"
    snapshots: Path = Path("snapshots")


@dataclass(frozen=True)
class Plan:
    """Everything that is known before the first call."""

    experiment: str
    cells: int
    """Cells of the matrix."""
    to_run: int
    reused: Reused
    arms: Mapping[str, ArmForecast]
    total_cost: Interval
    total_api_cost: Interval
    total_time: Interval
    caps: tuple[Cap, ...]
    detectable: Mapping[str, Provable]
    counted: Mapping[str, Counted]
    """model -> how its input tokens were counted."""
    unrendered: tuple[str, ...]
    """Sources that are asked over the network, so that no prompt could be rendered yet; empty where prompts were."""
    undetectable: tuple[str, ...]
    """Declared endpoints of whose scatter nothing is known."""
    runs_learnt_from: int
    price_version: str
    checks: tuple[Check, ...] = ()
    model_keys: Mapping[str, str] = field(default_factory=dict)
    """arm -> under which name the calibration keeps its forecasts."""
    again: Mapping[str, ArmForecast] = field(default_factory=dict)
    """Declared replays and judges, played once the matrix is done: part of every total."""
    servers: Mapping[str, ServerSpec] = field(default_factory=dict)
    """Where the models answer, and which of these servers bill by token."""
    unknown_models: tuple[str, ...] = ()
    """Names that the table of models does not know; their intervals are wider."""
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
            "reused": {"cells": self.reused.cells, "saved_usd": self.reused.saved_usd},
            "calls": self.calls,
            "input_tokens": round(sum(arm.input_tokens for arm in self.arms.values())),
            "output_tokens": round(sum(arm.output_tokens for arm in self.arms.values())),
            "cost_usd": self.total_cost.to_plain(),
            "api_cost_usd": self.total_api_cost.to_plain(),
            "time_s": self.total_time.to_plain(),
            "arms": {name: _plain_arm(arm) for name, arm in self.arms.items()},
            "again": {name: _plain_arm(arm) for name, arm in self.again.items()},
            "exchanged": {name: list(roles) for name, roles in self.exchanged.items()},
            "servers": {name: _plain_server(spec) for name, spec in self.servers.items()},
            "caps": [cap.to_plain() for cap in self.caps],
            "models": {name: one.to_plain() for name, one in self.counted.items()},
            "unknown_models": list(self.unknown_models),
            "not_rendered_because_of": list(self.unrendered),
            "detectable": {name: one.to_plain() for name, one in self.detectable.items()},
            "undetectable": list(self.undetectable),
            "learnt_from_runs": self.runs_learnt_from,
            "price_version": self.price_version,
            "interval": "80 %",
            "preflight": [check.to_plain() for check in self.checks],
        }


def make(
    experiment: Experiment,
    cells: Sequence[Cell],
    servers: Mapping[str, ServerSpec],
    where: Where,
    checks: tuple[Check, ...] = (),
    left: frozenset[str] | None = None,
) -> Plan:
    """Forecast the cells that no earlier run has ended; a run knows better, and says which keys are `left`.

    Freezes a few cases where that needs no network."""
    from harness.planning import provable

    results = open_folder(where.results)
    reused = earlier.find(results, experiment.name, {cell.cell_key for cell in cells} - (left or frozenset()))
    waiting = [cell for cell in cells if (cell.cell_key in left if left is not None else cell.cell_key not in reused.keys)]
    table, learnt = preflight.price_table(experiment, where.experiment_dir), experience.read(results)
    renderer = _renderer(experiment, cells, where)
    parts = _parts(experiment, cells, waiting, renderer, learnt)
    later = replayed.parts(experiment, cells, renderer, learnt)
    forecaster = Forecaster(servers, table, learnt)
    arms, again = ({part.arm: forecaster.arm(part) for part in some} for some in (parts, later))
    every = [*arms.values(), *again.values()]
    cost = draws.total([arm.cost_draws for arm in every])
    api = draws.total([None if arm.api_cost.mid is None else arm.api_draws for arm in every])
    found = _counted(parts)
    detectable, undetectable = provable.of_matrix(experiment, cells)
    return Plan(
        experiment=experiment.name,
        cells=len(cells),
        to_run=len(waiting),
        reused=reused,
        arms=arms,
        total_cost=draws.interval(cost),
        total_api_cost=draws.interval(api),
        total_time=draws.interval(_time(forecaster, parts) + _time(forecaster, later)),
        again=again,
        servers=servers,
        exchanged=swap.exchanged(experiment.arms or {}),
        caps=caps.of_budget(experiment.budget, arms, api),
        counted=found,
        unrendered=rendering.over_network(cells) if any(one.how == counted.ASSUMED for one in found.values()) else (),
        detectable=detectable,
        undetectable=undetectable,
        runs_learnt_from=learnt.runs,
        price_version=table.version,
        checks=(*checks, *_too_long(parts)),
        unknown_models=_unknown_models([*parts, *later]),
        model_keys={part.arm: forecast.bias_key(part.workload) for part in parts},
    )


def _renderer(experiment: Experiment, cells: Sequence[Cell], where: Where) -> rendering.Renderer:
    said = experiment.data.archive
    archive = str(archive_folder(said, where.experiment_dir)) if said and "://" not in said else said
    frozen = rendering.snapshots(cells, where.snapshots, archive) if any(cell.lineup for cell in cells) else []
    return rendering.Renderer(frozen)


def _parts(
    experiment: Experiment,
    cells: Sequence[Cell],
    waiting: Sequence[Cell],
    renderer: rendering.Renderer,
    learnt: experience.Experience,
) -> list[forecast.Part]:
    """One part per arm, in the order of the matrix' arms."""
    first = {cell.arm: cell for cell in reversed(cells)}
    left = Counter(cell.arm for cell in waiting)
    names = [name for name in experiment.arms if name in first]
    return [forecast.Part(name, left[name], workload.of_arm(first[name], renderer, learnt)) for name in names]


def _counted(parts: Sequence[forecast.Part]) -> dict[str, Counted]:
    """By model; the least sure way, where arms differ."""
    pairs = [pair for part in parts for pair in part.workload.counted.items()]
    return dict(sorted(pairs, key=lambda pair: pair[1].spread))


def _unknown_models(parts: Sequence[forecast.Part]) -> tuple[str, ...]:
    names = {call.model.name for part in parts for call in part.workload.calls}
    return tuple(sorted(name for name in names if family_of(name) is None))


def _too_long(parts: Sequence[forecast.Part]) -> Iterator[Check]:
    """One warning per model whose longest planned prompt and answer do not fit its context window, where that is known."""
    longest: dict[str, PlannedCall] = {}
    for call in (call for part in parts for call in part.workload.calls):
        if call.model.alias not in longest or _whole_tokens(call) > _whole_tokens(longest[call.model.alias]):
            longest[call.model.alias] = call
    for alias, call in longest.items():
        family = family_of(call.model.name)
        window = call.model.params.get("num_ctx") or (family.context_tokens if family else None)
        if window and _whole_tokens(call) > window:
            found = (
                f"the prompt of {call.role}, about {call.input_tokens:,.0f} tokens, and its answer do not fit {window:,} tokens"
            )
            yield warn(f"context of {alias}", found, "raise num_ctx where the model allows it, or lower pipeline.budget_tokens")


def _whole_tokens(call: PlannedCall) -> float:
    return call.input_tokens + (call.output_cap or call.output_tokens)


def _time(forecaster: Forecaster, parts: Sequence[forecast.Part]) -> Any:
    """Servers work at the same time, arms on one server one after the other."""
    import numpy as np

    by_server: dict[str, Any] = {}
    for part in parts:
        for server, seconds in forecaster.work_s(part).items():
            by_server[server] = by_server.get(server, 0.0) + seconds
    longest = [forecaster.seconds(part) for part in parts if part.cells]
    return np.max([*by_server.values(), *longest], axis=0) if longest else np.zeros(draws.COUNT)


def _plain_server(spec: ServerSpec) -> dict[str, Any]:
    return {"class": spec.class_name, "why": spec.why, "warning": spec.warning or None, "address": spec.address}


def _plain_arm(arm: ArmForecast) -> dict[str, Any]:
    return {
        "cells": arm.cells,
        "calls": arm.calls,
        "input_tokens": round(arm.input_tokens),
        "output_tokens": round(arm.output_tokens),
        "cost_usd": arm.cost.to_plain(),
        "api_cost_usd": arm.api_cost.to_plain(),
        "time_s": arm.time.to_plain(),
        "basis": arm.basis,
        "measured": arm.is_measured,
        "place": arm.place or None,
    }
