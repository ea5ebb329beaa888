"""One experiment with everything that a command needs of its surroundings, read once and handed on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from domain.providers import PROVIDERS
from harness.cells import Cell
from harness.checking.checks import Check, archive_address
from harness.errors import InvalidInput, Problem
from harness.experiment import servers
from harness.experiment.servers import ServerSpec
from harness.experiment.spec import Experiment
from harness.experiment.yaml_file import closest_name
from harness.money import price_file, pricing
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
    model_warnings: tuple[Check, ...] = ()
    """Warnings that a run repeats: models that their vendor turns off, and models that may unload each other."""

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
    priced_as, most_usd = _declared_prices(experiment)
    if experiment.prices is None:
        return PriceTable(priced_as=priced_as, most_usd=most_usd)
    path = Path(experiment.prices).expanduser()
    own = price_file.load(path if path.is_absolute() or experiment_dir is None else experiment_dir / path)
    return PriceTable(own, priced_as=priced_as, most_usd=most_usd)


def _declared_prices(experiment: Experiment) -> tuple[dict[str, str], dict[str, float]]:
    """server/model -> the public model that it is priced as, and the most that a call may cost. Raises InvalidInput."""
    models = {f"{model.server or model.provider}/{model.model}": (alias, model) for alias, model in experiment.models.items()}
    named = [model.priced_as for model in experiment.models.values() if model.priced_as]
    sellers = [seller for seller, provider in PROVIDERS.items() if provider.is_hosted and named]
    known = {name for seller in sellers for name in pricing.public_models(seller)}
    problems = [
        Problem(f"models.{alias}.priced_as", f"no public price of {model.priced_as!r}", closest_name(model.priced_as, known))
        for alias, model in models.values()
        if model.priced_as and model.priced_as not in known and experiment.prices is None
    ]
    if problems:
        raise InvalidInput(problems)
    priced_as = {key: model.priced_as for key, (_, model) in models.items() if model.priced_as}
    return priced_as, {key: model.max_call_usd for key, (_, model) in models.items() if model.max_call_usd is not None}
