"""One experiment with everything that a command needs of its surroundings, read once and handed on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.cells import Cell
from harness.checking.checks import Check, archive_address
from harness.errors import InvalidInput, Problem
from harness.experiment import servers
from harness.experiment.servers import ServerSpec
from harness.experiment.spec import Experiment
from harness.money import price_file
from harness.money.pricing import PriceTable


@dataclass(frozen=True)
class ResolvedRun:
    """An experiment with its servers, environment and prices; with its matrix and model digests once these are known."""

    experiment: Experiment
    experiment_dir: Path | None = None
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Variables of the environment and of .env."""
    servers: Mapping[str, ServerSpec] = field(default_factory=dict)
    """Servers that the experiment asks, by name."""
    prices: PriceTable = field(default_factory=PriceTable)
    matrix: tuple[Cell, ...] = ()
    """Every cell of the experiment, in the order in which they run."""
    digests: Mapping[str, str | None] = field(default_factory=dict)
    """Model's name in the experiment -> digest of its weights, if its server reports one."""
    versions: Mapping[str, str] = field(default_factory=dict)
    """Server -> the version that it reports."""
    shutdowns: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Model's name in the experiment -> its announced shutdown, as the manifest keeps it."""
    shutdown_warnings: tuple[Check, ...] = ()
    """Warnings about models that their vendor turns off."""

    @property
    def hosted(self) -> frozenset[str]:
        """Names of the servers that bill by token."""
        return servers.hosted_names(self.servers)

    @property
    def archive(self) -> str | None:
        """Address of the archive source, if the experiment names one."""
        archive = self.experiment.data.archive
        return archive_address(archive, self.experiment_dir) if archive else None

    @property
    def contact(self) -> str | None:
        """Contact that EDGAR asks of its clients."""
        return self.environment.get("SEC_CONTACT")


def resolve(experiment: Experiment, experiment_dir: Path | None = None, servers_file: Path | None = None) -> ResolvedRun:
    """Read environment, servers and prices. Raises InvalidInput with the problems of all of them."""
    resolved, server_problems, price_problems = read(experiment, experiment_dir, servers_file)
    if server_problems or price_problems:
        raise InvalidInput([*server_problems, *price_problems])
    return resolved


def read(
    experiment: Experiment, experiment_dir: Path | None = None, servers_file: Path | None = None
) -> tuple[ResolvedRun, tuple[Problem, ...], tuple[Problem, ...]]:
    """Like `resolve`, but returns the problems of the servers and of the prices; what could not be read is empty."""
    environment = servers.read_environment(experiment_dir)
    server_problems: tuple[Problem, ...] = ()
    price_problems: tuple[Problem, ...] = ()
    specs, prices = {}, PriceTable()
    try:
        specs = servers.load(servers_file, experiment, experiment_dir, environment=environment)
    except InvalidInput as error:
        server_problems = error.problems
    try:
        prices = _price_table(experiment, experiment_dir)
    except InvalidInput as error:
        price_problems = error.problems
    return ResolvedRun(experiment, experiment_dir, environment, specs, prices), server_problems, price_problems


def _price_table(experiment: Experiment, experiment_dir: Path | None) -> PriceTable:
    """The public prices, under the experiment's own file if it names one."""
    if experiment.prices is None:
        return PriceTable()
    path = Path(experiment.prices).expanduser()
    return PriceTable(price_file.load(path if path.is_absolute() or experiment_dir is None else experiment_dir / path))
