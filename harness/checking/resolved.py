"""One experiment with everything that a command needs of its surroundings, read once and handed on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from agents import Model
from harness.cells import Cell
from harness.checking.checks import Check
from harness.errors import InvalidInput, Problem
from harness.experiment import matrix, servers
from harness.experiment.cases import archive_address
from harness.experiment.matrix import ResolvedArm
from harness.experiment.servers import Declared, ServerPart, ServerSpec
from harness.experiment.spec import Experiment
from harness.money import pricing
from harness.money.pricing import PriceTable


@dataclass(frozen=True)
class ResolvedRun:
    """An experiment with its servers, environment and prices; with its matrix and model digests once these are known."""

    experiment: Experiment
    experiment_dir: Path | None = None
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Variables of the environment and of .env."""
    arms: Mapping[str, ResolvedArm] = field(default_factory=dict)
    models: Mapping[str, Model] = field(default_factory=dict)
    """The models that the experiment asks, by their names in it."""
    servers: Mapping[str, ServerSpec] = field(default_factory=dict)
    """Servers that the experiment asks, by name."""
    declared_servers: Mapping[str, ServerPart] = field(default_factory=dict)
    """All that servers.yaml holds, by name."""
    server_problems: tuple[Problem, ...] = ()
    """Why servers.yaml or a server cannot be used; `servers` is empty then."""
    prices: PriceTable = field(default_factory=PriceTable)
    price_problems: tuple[Problem, ...] = ()
    """Why the price file cannot be used; `prices` are the public ones then."""
    matrix: tuple[Cell, ...] = ()
    """Every cell of the experiment, in the order in which they run."""
    digests: Mapping[str, str | None] = field(default_factory=dict)
    """Model's name in the experiment -> digest of its weights, if its server reports one."""
    versions: Mapping[str, str] = field(default_factory=dict)
    """Server -> the version that it reports."""
    shutdowns: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Model's name in the experiment -> its announced shutdown, as the manifest keeps it."""
    model_warnings: tuple[Check, ...] = ()
    """Warnings that a run repeats: models that their vendor turns off, and models that may unload each other."""

    @cached_property
    def models_by_server(self) -> Mapping[str, list[Model]]:
        """The models that the experiment asks, by the name of their server."""
        return {name: [model for model in self.models.values() if model.server == name] for name in self.servers}

    def require_readable(self) -> None:
        """Raises InvalidInput if servers or prices cannot be used."""
        if self.server_problems or self.price_problems:
            raise InvalidInput([*self.server_problems, *self.price_problems])

    @property
    def hosted(self) -> frozenset[str]:
        """Names of the servers that bill by token."""
        return servers.hosted_names(self.servers)

    @property
    def arms_at_once(self) -> frozenset[str]:
        """Names of the arms that need each answer at once."""
        return frozenset(name for name, arm in self.arms.items() if arm.needs_answers_at_once)

    @property
    def archive(self) -> str | None:
        """Address of the archive source, if the experiment names one."""
        archive = self.experiment.data.archive
        return archive_address(archive, self.experiment_dir) if archive else None

    @property
    def contact(self) -> str | None:
        """Contact that EDGAR asks of its clients."""
        return self.environment.get("SEC_CONTACT")


@dataclass(frozen=True)
class Surroundings:
    """The files around an experiment, read once per command: .env and servers.yaml."""

    experiment_dir: Path | None = None
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    declared: Declared = field(default_factory=Declared)
    problems: tuple[Problem, ...] = ()
    """Why servers.yaml cannot be used; `declared` is empty then."""

    @classmethod
    def read(cls, experiment_dir: Path | None = None, servers_file: Path | None = None) -> Self:
        """Problems of servers.yaml are kept, to be reported with others; raises InvalidInput for the environment."""
        environment = servers.read_environment(experiment_dir)
        try:
            return cls(experiment_dir, environment, servers.read(servers_file, experiment_dir, environment))
        except InvalidInput as error:
            return cls(experiment_dir, environment, problems=error.problems)

    def with_servers(self, parts: Mapping[str, ServerPart]) -> Self:
        """With further servers. Raises InvalidInput if servers.yaml cannot be used."""
        if self.problems:
            raise InvalidInput(self.problems)
        return replace(self, declared=replace(self.declared, parts={**self.declared.parts, **parts}))

    def specs(self, models: Iterable[str], experiment: Experiment) -> dict[str, ServerSpec]:
        """Every server that these models of the experiment need, by name. Raises InvalidInput."""
        if self.problems:
            raise InvalidInput(self.problems)
        return servers.needed_by(models, experiment, self.declared, self.environment)


def resolve(experiment: Experiment, experiment_dir: Path | None = None, servers_file: Path | None = None) -> ResolvedRun:
    """Like `read`, but raises InvalidInput with all problems."""
    resolved = read(experiment, experiment_dir, servers_file)
    resolved.require_readable()
    return resolved


def read(experiment: Experiment, experiment_dir: Path | None = None, servers_file: Path | None = None) -> ResolvedRun:
    """Read environment, servers and prices, and resolve the arms (see `within`)."""
    return within(experiment, Surroundings.read(experiment_dir, servers_file))


def within(experiment: Experiment, around: Surroundings) -> ResolvedRun:
    """The experiment in its surroundings. What servers and prices have wrong is kept, to be reported with other problems."""
    arms = matrix.resolve_arms(experiment)
    models = {alias: matrix.model(experiment, alias) for alias in matrix.asked_models(experiment, arms)}
    resolved = ResolvedRun(experiment, around.experiment_dir, around.environment, arms, models)
    try:
        specs = around.specs(models, experiment)
        resolved = replace(resolved, servers=specs, declared_servers=around.declared.parts)
    except InvalidInput as error:
        resolved = replace(resolved, server_problems=error.problems)
    try:
        return replace(resolved, prices=pricing.table_of(experiment, around.experiment_dir))
    except InvalidInput as error:
        return replace(resolved, price_problems=error.problems)
