"""Preflight: everything that a run needs, looked at together and at once; `doctor` shows the same."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import agents
from agents import Model, ServerReport
from domain.providers import PROVIDERS
from harness.checking import checks, machine, models_check
from harness.checking.checks import Check, fail, ok, warn
from harness.errors import InvalidInput
from harness.experiment import cases, matrix, servers
from harness.experiment.servers import ServerSpec
from harness.experiment.spec import Experiment
from harness.money import price_file, pricing
from harness.money.pricing import Tokens
from harness.storage.snapshots import CaseInputs, SnapshotLibrary

PROBE_S = 15.0
"""Includes importing the client on a machine that is busy, which alone can take 5 s."""


@dataclass(frozen=True)
class Preflight:
    """What was found."""

    checks: tuple[Check, ...]
    reports: Mapping[str, ServerReport] = field(default_factory=dict)
    """server -> its report on itself and its models."""
    servers: Mapping[str, ServerSpec] = field(default_factory=dict)
    """Servers that the experiment asks; empty if servers.yaml is wrong."""
    shutdowns: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """model's name in the experiment -> its announced shutdown, as the manifest keeps it."""

    @property
    def is_ready(self) -> bool:
        return not any(check.status == "fail" for check in self.checks)

    @property
    def digests(self) -> dict[str, str | None]:
        """model's name in the experiment -> digest of its weights, if its server reports one."""
        return {alias: model.digest for report in self.reports.values() for alias, model in report.models.items()}

    @property
    def versions(self) -> dict[str, str]:
        """server -> the version that it reports."""
        return {name: report.version for name, report in self.reports.items() if report.version}

    @property
    def windows(self) -> dict[str, int]:
        """model's name in the experiment -> context of a self-hosted server that was started with a fixed one."""
        fixed = [name for name, spec in self.servers.items() if spec.url and not PROVIDERS[spec.provider].keeps_models]
        reports = [report for name in fixed if name in self.reports for report in self.reports[name].models.items()]
        return {alias: model.context_length for alias, model in reports if model.context_length}

    @property
    def hosted(self) -> frozenset[str]:
        """Names of the servers that bill by token."""
        return servers.hosted_names(self.servers)

    @property
    def shutdown_warnings(self) -> tuple[Check, ...]:
        """Models that their vendor turns off."""
        return tuple(check for check in self.checks if check.name.startswith(models_check.SHUTDOWN) and check.status == "warn")

    def require(self) -> None:
        """Raises InvalidInput with everything that failed."""
        checks.require(self.checks)


def look(
    experiment: Experiment | None,
    *,
    experiment_dir: Path | None = None,
    servers_file: Path | None = None,
    results: str = "results",
    broker: str | None = None,
    snapshots: Path = Path("snapshots"),
    freezes: bool = True,
    now: dt.datetime | None = None,
) -> Preflight:
    """Look at everything at once, in a few seconds at most; changes nothing and costs nothing.

    Data sources matter only where cases will be frozen (`freezes`). `now`: default: the clock."""
    now = now or dt.datetime.now(dt.UTC)
    loaded = _Servers({}, ())
    if experiment:
        loaded = _load(experiment, servers_file, experiment_dir)
    with ThreadPoolExecutor(4) as pool:
        here = pool.submit(lambda: list(machine.checks(results, broker)))
        sources = pool.submit(lambda: _sources(experiment, experiment_dir, snapshots) if experiment and freezes else [])
        probed = pool.submit(lambda: asyncio.run(_probe(experiment, loaded.specs)) if experiment else {})
        dated = list(_dates(experiment)) if experiment else []
        entries = list(_entries(experiment)) if experiment else []
        priced = list(_prices(experiment, loaded.specs, experiment_dir, now)) if experiment else []
        reports = probed.result()
        pulls = {name: _pulls(experiment, spec) for name, spec in loaded.specs.items()} if experiment else {}
        models_known = list(_known_models(experiment, loaded.specs, reports)) if experiment else []
        models = models_check.checks(models_known, now.astimezone(dt.UTC).date())
        unused = list(_unused_servers(loaded.specs, servers_file, experiment_dir)) if loaded.specs else []
        all_checks = [*loaded.problems, *_servers(loaded.specs, reports, pulls), *unused, *models, *entries, *dated, *priced]
        return Preflight(
            (*here.result(), *all_checks, *sources.result()), reports, loaded.specs, models_check.shutdowns(models_known)
        )


def _sources(experiment: Experiment, experiment_dir: Path | None, snapshots: Path) -> list[Check]:
    contact = servers.read_environment(experiment_dir).get("SEC_CONTACT")
    frozen = checks.asks_network(experiment.data) and _are_frozen(experiment, experiment_dir, snapshots)
    return [
        *checks.source_checks(experiment.data, experiment_dir, contact, is_frozen=frozen),
        *checks.unknown_tickers(experiment.data, experiment.tickers, experiment_dir),
    ]


def _entries(experiment: Experiment) -> Iterator[Check]:
    """Custom pipelines that cannot be called."""
    entries = {matrix.pipeline(experiment, arm).entry for arm in matrix.arms(experiment).values()}
    for entry in sorted(filter(None, entries)):
        try:
            agents.check_entry(entry)
        except agents.PipelineError as error:
            yield fail("pipeline.entry", str(error), "change the function as docs/own-pipeline.md shows")


def _are_frozen(experiment: Experiment, experiment_dir: Path | None, snapshots: Path) -> bool:
    """Whether the snapshot of every case exists, made from the same sources and settings. Wrong dates have none: another
    check reports them."""
    try:
        days = cases.decision_dates(experiment.dates)
    except InvalidInput:
        return False
    archive = experiment.data.archive
    data = matrix.data_of(experiment)
    library = SnapshotLibrary(snapshots, checks.archive_address(archive, experiment_dir) if archive else None)
    wanted = [CaseInputs(ticker, day, data) for ticker in experiment.tickers for day in days]
    try:
        return bool(wanted) and all(library.has(case) for case in wanted)
    except agents.SnapshotError:
        return False


@dataclass(frozen=True)
class _Servers:
    specs: dict[str, ServerSpec]
    problems: tuple[Check, ...]


def _load(experiment: Experiment, path: Path | None, experiment_dir: Path | None) -> _Servers:
    try:
        return _Servers(servers.load(path, experiment, experiment_dir), ())
    except InvalidInput as error:
        return _Servers({}, tuple(checks.of_problems(error)))


def _unused_servers(specs: Mapping[str, ServerSpec], path: Path | None, experiment_dir: Path | None) -> Iterator[Check]:
    """Warn of servers that no model uses although a model uses their provider's default server: a name is missing."""
    parts = servers.declared(path, experiment_dir)
    defaults = {spec.provider for name, spec in specs.items() if name not in parts}
    for name, part in parts.items():
        if name not in specs and part.provider in defaults:
            problem = f"no model uses it; models of {part.provider} use the default server {part.provider!r}"
            yield warn(f"server {name}", problem, f"write `server: {name}` in the model, or remove it from servers.yaml")


def _models(experiment: Experiment, server: str) -> list[Model]:
    named = [matrix.model(experiment, alias) for alias in matrix.asked_models(experiment)]
    return [model for model in named if model.server == server]


def _known_models(
    experiment: Experiment, specs: Mapping[str, ServerSpec], reports: Mapping[str, ServerReport]
) -> Iterator[models_check.KnownModel]:
    for name, spec in specs.items():
        answered = reports[name].models if name in reports else {}
        for model in _models(experiment, name):
            yield models_check.KnownModel(model, spec, answered.get(model.alias))


async def _probe(experiment: Experiment, specs: Mapping[str, ServerSpec]) -> dict[str, ServerReport]:
    """All servers at the same time; one without its key is not asked."""
    probed = [spec for spec in specs.values() if not _lacks_key(spec)]
    answers = await asyncio.gather(*(_probe_one(spec, _models(experiment, spec.name)) for spec in probed))
    return {spec.name: report for spec, report in zip(probed, answers, strict=True)}


async def _probe_one(spec: ServerSpec, models: Sequence[Model]) -> ServerReport:
    try:
        async with asyncio.timeout(PROBE_S):
            report = await agents.probe(spec.as_agents_server(), models)
            return report if report.reachable else await _named(spec, report)
    except TimeoutError:
        where = spec.url or spec.provider
        return ServerReport(spec.name, False, problem=f"{where} does not answer within {PROBE_S:g} s", fix="check the server")
    except agents.Unsupported as error:
        return ServerReport(spec.name, False, problem=str(error), fix="see the message")


async def _named(spec: ServerSpec, report: ServerReport) -> ServerReport:
    """The report of a server that cannot be reached, with the reason if its name does not resolve."""
    host = urlsplit(spec.address).hostname
    if host is None:
        return report
    try:
        await asyncio.get_running_loop().getaddrinfo(host, None)
    except OSError:
        problem = f"{spec.address} cannot be reached: the host name {host!r} does not resolve"
        fix = f"correct the url of {spec.name!r} in servers.yaml, or check the network" if spec.url else report.fix
        return replace(report, problem=problem, fix=fix)
    return report


def _lacks_key(spec: ServerSpec) -> bool:
    return spec.api_key_env is not None and not spec.api_key


def _servers(specs: Mapping[str, ServerSpec], reports: Mapping[str, ServerReport], pulls: Mapping[str, str]) -> Iterator[Check]:
    for name, spec in specs.items():
        yield (warn if spec.warning else ok)(f"class of {name}", spec.class_and_why)
        if spec.api_key_env:
            yield _key(spec)
        if name in reports:
            yield from _server(spec, reports[name], pulls.get(name, ""))


def _key(spec: ServerSpec) -> Check:
    name = f"key of {spec.name}"
    if spec.api_key:
        return ok(name, f"{spec.api_key_env} is set")
    fix = f"put {spec.api_key_env}=... into .env next to the experiment, or into the environment"
    return fail(name, f"{spec.api_key_env} is not set", fix)


def _pulls(experiment: Experiment, spec: ServerSpec) -> str:
    """What to fetch once a server that is away is there again."""
    names = dict.fromkeys(model.name for model in _models(experiment, spec.name))
    command = PROVIDERS[spec.provider].pull_command
    return "; then " + ", ".join(f"`{command.format(model=name)}`" for name in names) if command else ""


def _server(spec: ServerSpec, report: ServerReport, pulls: str) -> Iterator[Check]:
    name = f"server {spec.name}"
    if report.problem or not report.reachable:
        yield fail(name, report.problem or "does not answer", (report.fix or "start it") + pulls)
    else:
        version = f", version {report.version}" if report.version else ""
        yield ok(name, f"{spec.url or spec.provider} answers{version}; {spec.slots} at a time")
    if report.warning:
        yield warn(f"provider of {spec.name}", report.warning, report.fix or "")
    for alias, model in report.models.items():
        yield from _model(alias, model)


def _model(alias: str, model: agents.ModelReport) -> Iterator[Check]:
    name = f"model {alias}"
    if not model.present or model.problem:
        yield fail(name, model.problem or f"{model.name} is not there", model.fix or "choose another model")
        return
    facts = [model.name, model.quantisation, f"context {model.context_length}" if model.context_length else None]
    yield ok(name, ", ".join(fact for fact in facts if fact))
    if model.size_bytes and model.size_vram_bytes is not None and model.size_vram_bytes < model.size_bytes:
        yield _on_the_cpu(name, 1 - model.size_vram_bytes / model.size_bytes)


def _on_the_cpu(name: str, share: float) -> Check:
    if share == 1:
        return warn(name, "all of it computes on the CPU", "expect it to be slow, or see why the server finds no GPU")
    fix = "choose a smaller model, quantisation or num_ctx, or free VRAM"
    return warn(name, f"{share:.0%} of it computes on the CPU: it does not fit the GPU's memory", fix)


def _dates(experiment: Experiment) -> Iterator[Check]:
    try:
        days = cases.decision_dates(experiment.dates)
        yield ok("dates", f"{len(days)} from {days[0]} to {days[-1]}")
    except InvalidInput as error:
        yield from checks.of_problems(error)


def _prices(
    experiment: Experiment, specs: Mapping[str, ServerSpec], experiment_dir: Path | None, now: dt.datetime
) -> Iterator[Check]:
    try:
        table = price_table(experiment, experiment_dir)
    except InvalidInput as error:
        yield from checks.of_problems(error)
        return
    for spec in specs.values():
        for model in _models(experiment, spec.name):
            yield _price(experiment, spec, model, table, now)


def _price(experiment: Experiment, spec: ServerSpec, model: Model, table: pricing.PriceTable, now: dt.datetime) -> Check:
    name = f"price of {model.alias}"
    if not spec.is_hosted:
        return _local_price(name, spec)
    tier = model.params.get("service_tier")
    tokens = Tokens(1_000_000, 0), Tokens(0, 1_000_000)
    per_million = [table.usd(model.name, spec, tier, each, now) for each in tokens]
    if None not in per_million:
        return ok(name, f"${per_million[0]:g} per million input tokens, ${per_million[1]:g} output ({table.version})")
    problem = f"no price known for {model.name}{f' in tier {tier}' if tier else ''} at {spec.url or spec.provider}"
    if experiment.allow_unpriced:
        return warn(name, f"{problem}: its cost will be NULL and no cap can hold it")
    return fail(name, problem, "name a price file (prices: FILE), or set allow_unpriced: true")


def _local_price(name: str, spec: ServerSpec) -> Check:
    from harness.money import pricing

    basis = pricing.local_basis(spec.hardware)
    if basis == "unknown":
        billed = f"; or hosted: true there, if {spec.name} bills by token" if spec.url else ""
        prices = "usd_per_cpu_hour" if PROVIDERS[spec.provider].is_embedded else "usd_per_gpu_hour (or usd_per_cpu_hour)"
        fix = f"give local_cost in the experiment, or {prices} in servers.yaml{billed}"
        return warn(name, "the price of this hardware is unknown: its cost will be NULL, never 0", fix)
    return ok(name, f"by {basis.replace('_', ' ')}")


def price_table(experiment: Experiment, experiment_dir: Path | None = None) -> pricing.PriceTable:
    """The price table of an experiment: the public one, under the experiment's own file where it names one."""
    if experiment.prices is None:
        return pricing.PriceTable()
    path = Path(experiment.prices).expanduser()
    return pricing.PriceTable(price_file.load(path if path.is_absolute() or experiment_dir is None else experiment_dir / path))
