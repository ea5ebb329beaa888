"""What a run declares and records, as reports read it: its experiment and its manifest, typed, with every default here.

Runs of version 0.1.0 call metrics endpoints, and their manifests lack some fields: both are read like those of today.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from domain import units
from domain.defaults import FORMER_NAMES, HORIZONS
from domain.hardware import Hardware
from domain.shutdowns import Shutdown

_NOT_ROLES = ("pipeline", "rule")


@dataclass(frozen=True)
class ModelSettings:
    """A model that the experiment declares."""

    alias: str
    """Its name in the experiment."""
    name: str
    """Its name at the provider."""
    provider: str


@dataclass(frozen=True)
class ArmSettings:
    """An arm that the experiment declares."""

    name: str
    lineup: Mapping[str, str]
    """Role or group (`all`: the rest; of a cascade `first` and `then`) -> alias of its model."""
    is_rule: bool = False
    """Whether it decides by a rule, without a model."""
    has_own_pipeline: bool = False

    @property
    def aliases(self) -> tuple[str, ...]:
        """Its models, by their names in the experiment."""
        return tuple(dict.fromkeys(self.lineup.values()))


@dataclass(frozen=True)
class Settings:
    """The experiment of a run."""

    name: str | None
    models: Mapping[str, ModelSettings]
    arms: Mapping[str, ArmSettings]
    """In the order of the file; without `arms` each model is an arm."""
    baseline: str | None
    """Arm that the others are compared with; default: the first arm."""
    margins: Mapping[str, float | None]
    """Declared metric -> margin as a fraction (2pp is 0.02); None without one."""
    horizons: tuple[int, ...]
    """Sessions after which outcomes are measured."""
    benchmark: str | None
    gates: Mapping[str, float]
    """Declared gate -> its limit; without those that compare with an earlier run, which are kept in the run folder."""
    is_metered: bool = False
    """Whether the proxy recorded what other programs asked, so that nothing is compared and no cell can be run again."""

    @classmethod
    def of(cls, experiment: Mapping[str, Any]) -> Settings:
        """From a resolved experiment.yaml. Raises ValueError on an invalid margin."""
        models = {alias: _model(alias, model) for alias, model in _mapping(experiment, "models").items()}
        declared_arms = _mapping(experiment, "arms") or {alias: {"all": alias} for alias in models}
        compare, outcomes = _mapping(experiment, "compare"), _mapping(experiment, "outcomes")
        metrics = compare.get("metrics") or compare.get("endpoints") or {}
        return cls(
            name=experiment.get("name"),
            models=models,
            arms={name: _arm(name, arm) for name, arm in declared_arms.items()},
            baseline=compare.get("baseline") or next(iter(declared_arms), None),
            margins={FORMER_NAMES.get(name, name): margin((terms or {}).get("margin")) for name, terms in metrics.items()},
            horizons=tuple(int(horizon) for horizon in outcomes.get("horizons") or HORIZONS),
            benchmark=outcomes.get("benchmark"),
            gates={
                FORMER_NAMES.get(name, name): float(limit)
                for name, limit in _mapping(experiment, "gates").items()
                if limit is not None and name.startswith(("max_", "min_"))
            },
            is_metered=_mapping(experiment, "pipeline").get("command") == ["proxy"],
        )

    @cached_property
    def rule_arms(self) -> frozenset[str]:
        """Arms that decide by a rule, without a model."""
        return frozenset(name for name, arm in self.arms.items() if arm.is_rule)

    def arm(self, name: str) -> ArmSettings:
        """An arm; a name that is no arm is a model in every role."""
        return self.arms.get(name) or ArmSettings(name, {"all": name})

    def models_of(self, arm: str) -> tuple[ModelSettings, ...]:
        """The declared models of an arm; none for a rule."""
        return tuple(self.models[alias] for alias in self.arm(arm).aliases if alias in self.models)


@dataclass(frozen=True)
class Record:
    """The manifest of a run."""

    run_id: str | None
    experiment: str | None
    state: str
    """Empty in a run that recorded none."""
    expected_cells: int | None
    started_on: dt.date | None
    """The day on which the run began."""
    hardware: Mapping[str, Hardware] | None
    """Self-hosted server -> what its machine costs; None in a run that did not record it."""
    shutdowns: tuple[Shutdown, ...] | None
    """Models that their vendor turns off; None in a run that did not record it."""
    command: str | None
    experiment_file: str | None

    @classmethod
    def of(cls, manifest: Mapping[str, Any]) -> Record:
        """From manifest.json; empty for a run without one."""
        cells, command = manifest.get("cells"), manifest.get("command")
        return cls(
            run_id=manifest.get("run_id"),
            experiment=manifest.get("experiment"),
            state=str(manifest.get("state") or manifest.get("status") or ""),
            expected_cells=cells if isinstance(cells, int) else None,
            started_on=_day(manifest.get("started_at")),
            hardware=_hardware(manifest.get("hardware")),
            shutdowns=_shutdowns(manifest.get("shutdowns")),
            command=command if isinstance(command, str) else None,
            experiment_file=manifest.get("experiment_file"),
        )

    @property
    def is_finished(self) -> bool:
        """Whether it ended with all its cells; a run that recorded no state counts as finished."""
        return self.state in ("", "done", "finished", "complete")


def margin(value: Any) -> float | None:
    """2pp, 5%, 20bp or a plain fraction -> fraction; None stays None. Raises ValueError on anything else."""
    return units.share(str(value)) if value is not None else None


def _mapping(document: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    return document.get(key) or {}


def _model(alias: str, plain: Any) -> ModelSettings:
    model = plain if isinstance(plain, Mapping) else {}
    return ModelSettings(alias, str(model.get("model") or alias), str(model.get("provider")))


def _arm(name: str, plain: Any) -> ArmSettings:
    arm = plain if isinstance(plain, Mapping) else {}
    cascade = arm.get("cascade")
    players = {key: cascade.get(key) for key in ("first", "then")} if isinstance(cascade, Mapping) else arm
    lineup = {role: alias for role, alias in players.items() if role not in _NOT_ROLES and isinstance(alias, str)}
    return ArmSettings(name, lineup, is_rule=bool(arm.get("rule")), has_own_pipeline=bool(arm.get("pipeline")))


def _day(stamp: Any) -> dt.date | None:
    try:
        return dt.datetime.fromisoformat(str(stamp)).date()
    except ValueError:
        return None


def _hardware(plain: Any) -> dict[str, Hardware] | None:
    return {name: Hardware.of(machine) for name, machine in plain.items()} if isinstance(plain, Mapping) else None


def _shutdowns(plain: Any) -> tuple[Shutdown, ...] | None:
    if not isinstance(plain, Mapping):
        return None
    read = (Shutdown.of(shutdown) for shutdown in plain.values() if isinstance(shutdown, Mapping))
    return tuple(shutdown for shutdown in read if shutdown is not None)
