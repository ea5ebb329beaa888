"""Preflight: everything that a run needs, looked at together and at once; `doctor` shows the same."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import urlsplit

import agents
from agents import Model, ServerReport
from domain.models import calls_tools_by_responses_only
from domain.providers import PROVIDERS
from harness.checking import checks, gpu_host, machine, models_check
from harness.checking.checks import Check, fail, ok, warn
from harness.checking.resolved import ResolvedRun, read
from harness.errors import InvalidInput, Problem
from harness.experiment import cases, matrix, servers
from harness.experiment.servers import ServerSpec
from harness.experiment.spec import Experiment
from harness.money import pricing
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
    resolved: ResolvedRun | None = None
    """The experiment with what was found; None without an experiment."""
    unreadable: tuple[Problem, ...] = ()
    """Problems of servers.yaml, the price file and the environment."""

    @property
    def is_ready(self) -> bool:
        return not any(check.status == "fail" for check in self.checks)

    @property
    def windows(self) -> dict[str, int]:
        """model's name in the experiment -> context of a self-hosted server that was started with a fixed one."""
        specs = self.resolved.servers if self.resolved else {}
        fixed = [name for name, spec in specs.items() if spec.url and not PROVIDERS[spec.provider].keeps_models]
        reports = [report for name in fixed if name in self.reports for report in self.reports[name].models.items()]
        return {alias: model.context_length for alias, model in reports if model.context_length}

    def require(self) -> ResolvedRun:
        """The experiment, ready to run. Raises InvalidInput with everything that failed."""
        checks.require(self.checks)
        return self.readable()

    def readable(self) -> ResolvedRun:
        """The experiment, whatever its servers answer. Raises InvalidInput if a file cannot be read."""
        if self.unreadable or self.resolved is None:
            raise InvalidInput(self.unreadable)
        return self.resolved


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
    if experiment is None:
        return Preflight((*machine.checks(results, broker), *gpu_host.checks(gpu_host.read())))
    now = now or dt.datetime.now(dt.UTC)
    resolved, server_problems, price_problems = read(experiment, experiment_dir, servers_file)
    specs = resolved.servers
    with ThreadPoolExecutor(4) as pool:
        here = pool.submit(lambda: list(machine.checks(results, broker)))
        host = pool.submit(gpu_host.read)
        sources = pool.submit(lambda: _sources(resolved, snapshots) if freezes else [])
        probed = pool.submit(lambda: asyncio.run(_probe(experiment, specs)))
        dated = list(_dates(experiment))
        priced = [] if price_problems else list(_prices(resolved, now))
        reports = probed.result()
        pulls = {name: _pulls(experiment, spec) for name, spec in specs.items()}
        models_known = list(_known_models(experiment, specs, reports))
        models = [
            *models_check.checks(models_known, now.astimezone(dt.UTC).date()),
            *models_check.stay_loaded(_lineups(experiment), models_known, resolved.environment),
            *models_check.context_sizes(_lineups(experiment), models_known),
        ]
        unused = _unused_servers(specs, servers_file, experiment_dir) if specs else ()
        all_checks = [
            *here.result(),
            *_gpu(host.result(), specs, reports),
            *_pull_room(experiment, specs, reports, resolved.environment),
            *map(checks.of_problem, server_problems),
            *_servers(specs, reports, pulls),
            *unused,
            *_cards(experiment, specs, reports),
            *models,
            *_entries(experiment),
            *_programs(resolved),
            *_tools(experiment, specs),
            *dated,
            *map(checks.of_problem, price_problems),
            *priced,
            *sources.result(),
        ]
    digests = {alias: model.digest for report in reports.values() for alias, model in report.models.items()}
    resolved = replace(
        resolved,
        digests=digests,
        versions={name: report.version for name, report in reports.items() if report.version},
        shutdowns=models_check.shutdowns(models_known),
        model_warnings=tuple(check for check in models if _matters_to_a_run(check)),
    )
    return Preflight(tuple(all_checks), reports, resolved, (*server_problems, *price_problems))


def _matters_to_a_run(check: Check) -> bool:
    return check.name.startswith((models_check.SHUTDOWN, models_check.LOADED)) and check.status == "warn"


def _lineups(experiment: Experiment) -> dict[str, dict[str, Model]]:
    return {name: matrix.lineup(experiment, arm) for name, arm in matrix.arms(experiment).items()}


def _sources(resolved: ResolvedRun, snapshots: Path) -> list[Check]:
    experiment = resolved.experiment
    frozen = checks.asks_network(experiment.data) and _are_frozen(resolved, snapshots)
    return [
        *checks.source_checks(experiment.data, resolved.experiment_dir, resolved.contact, is_frozen=frozen),
        *checks.unknown_tickers(experiment.data, experiment.tickers, resolved.experiment_dir),
    ]


def _gpu(host: gpu_host.GpuHost, specs: Mapping[str, ServerSpec], reports: Mapping[str, ServerReport]) -> Iterator[Check]:
    here = [name for name, spec in specs.items() if _is_here(spec)]
    held_bytes = sum(model.size_vram_bytes or 0 for name in here if name in reports for model in reports[name].models.values())
    wanting = [name for name in here if specs[name].cost.usd_per_cpu_hour is None]
    yield from gpu_host.checks(host, wanting, held_bytes)


def _is_here(spec: ServerSpec) -> bool:
    """Whether it computes on this machine, in a process of its own."""
    is_embedded = PROVIDERS[spec.provider].is_embedded and not spec.url
    return not spec.is_hosted and not is_embedded and urlsplit(spec.address).hostname in ("127.0.0.1", "localhost", "::1")


def _pull_room(
    experiment: Experiment,
    specs: Mapping[str, ServerSpec],
    reports: Mapping[str, ServerReport],
    environment: Mapping[str, str],
) -> Iterator[Check]:
    """Room for the models that servers on this machine lack."""
    pulling = {name for name, spec in specs.items() if _is_here(spec) and PROVIDERS[spec.provider].pull_command}
    asked = [model for name in sorted(pulling) for model in _models(experiment, name) if name in reports]
    missing = [model for model in asked if (report := reports[model.server].models.get(model.alias)) and not report.present]
    yield from gpu_host.pull_room(list(dict.fromkeys(model.name for model in missing)), environment)


def _tools(experiment: Experiment, specs: Mapping[str, ServerSpec]) -> Iterator[Check]:
    """Models that analysts with tools ask, and whose API refuses tools."""
    arms = [arm for arm in matrix.arms(experiment).values() if not arm.rule]
    lineups = [matrix.lineup(experiment, arm) for arm in arms if matrix.pipeline(experiment, arm).inputs == "tools"]
    asked = {lineup[role].alias: lineup[role] for lineup in lineups for role in agents.analyst_roles() if role in lineup}
    for model in asked.values():
        spec = specs.get(model.server)
        if spec and calls_tools_by_responses_only(model.name) and not spec.uses_responses:
            problem = f"{model.name} calls tools only by OpenAI's Responses API, and {spec.name} is asked by Chat Completions"
            yield fail(
                f"tools of {model.alias}", problem, f"api: responses for {spec.name} in servers.yaml, or inputs: prefetch"
            )
        if model.provider == "anthropic" and model.params.get("thinking_tokens"):
            problem = f"{model.name} must be shown its own thinking after each tool call, which is not recorded"
            yield fail(f"tools of {model.alias}", problem, "remove thinking_tokens, or inputs: prefetch")


def _entries(experiment: Experiment) -> Iterator[Check]:
    """Custom pipelines that cannot be called."""
    entries = {matrix.pipeline(experiment, arm).entry for arm in matrix.arms(experiment).values()}
    for entry in sorted(filter(None, entries)):
        try:
            agents.check_entry(entry)
        except agents.PipelineError as error:
            yield fail("pipeline.entry", str(error), "change the function as docs/own-pipeline.md shows")


def _programs(resolved: ResolvedRun) -> Iterator[Check]:
    """Attached programs that cannot be started here."""
    experiment, seen = resolved.experiment, set[tuple[str, ...]]()
    for arm in matrix.arms(experiment).values():
        if not matrix.is_attached(experiment, arm):
            continue
        program = matrix.attached(experiment, arm, experiment.folder)
        missing = [value[1:] for value in program.env.values() if value.startswith("$")]
        missing = [name for name in missing if name not in resolved.environment]
        place = (str(program.folder), *program.command, *missing)
        if place in seen:
            continue
        seen.add(place)
        if not program.folder.is_dir():
            yield fail("pipeline.folder", f"{program.folder} is no folder", "clone the program there, or correct the path")
        elif missing:
            yield fail("pipeline.env", f"{', '.join(missing)} not set on this machine", "set it, or write it to .env")
        else:
            yield ok("attached program", f"{' '.join(program.command)} in {program.folder}")


def _are_frozen(resolved: ResolvedRun, snapshots: Path) -> bool:
    """Whether the snapshot of every case exists, made from the same sources and settings. Wrong dates have none: another
    check reports them."""
    experiment = resolved.experiment
    try:
        days = cases.decision_dates(experiment.dates)
    except InvalidInput:
        return False
    data = matrix.data_of(experiment)
    library = SnapshotLibrary(snapshots, resolved.archive)
    wanted = [CaseInputs(ticker, day, data) for ticker in experiment.tickers for day in days]
    try:
        return bool(wanted) and all(library.has(case) for case in wanted)
    except agents.SnapshotError:
        return False


def _unused_servers(specs: Mapping[str, ServerSpec], path: Path | None, experiment_dir: Path | None) -> Iterator[Check]:
    """Warn of servers that no model uses although a model uses their provider's default server: a name is missing."""
    parts = servers.declared(path, experiment_dir)
    defaults = {spec.provider for name, spec in specs.items() if name not in parts}
    for name, part in parts.items():
        if name not in specs and part.provider in defaults:
            problem = f"no model uses it; models of {part.provider} use the default server {part.provider!r}"
            yield warn(f"server {name}", problem, f"write `server: {name}` in the model, or remove it from servers.yaml")


def _cards(experiment: Experiment, specs: Mapping[str, ServerSpec], reports: Mapping[str, ServerReport]) -> Iterator[Check]:
    """Hardware cards that measured other weights than the server has."""
    for server, spec in specs.items():
        for alias, reported in reports[server].models.items() if server in reports else ():
            name = matrix.model(experiment, alias).name
            for card in (card for card in spec.cards if card.contradicts(name, reported.digest)):
                problem = f"it measured {name} with digest {card.card.model.digest}, the server has {reported.digest}"
                yield fail(f"card {card.name}", problem, f"measure again, or remove it from cards of {server} in servers.yaml")


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
        return warn(name, "all of it computes on the CPU", "expect it to be slow, or check why the server finds no GPU")
    fix = "choose a smaller model, quantisation or num_ctx, or free VRAM"
    return warn(name, f"{share:.0%} of it computes on the CPU: it does not fit the GPU's memory", fix)


def _dates(experiment: Experiment) -> Iterator[Check]:
    try:
        days = cases.decision_dates(experiment.dates)
        yield ok("dates", f"{len(days)} from {days[0]} to {days[-1]}")
    except InvalidInput as error:
        yield from checks.of_problems(error)


def _prices(resolved: ResolvedRun, now: dt.datetime) -> Iterator[Check]:
    for spec in resolved.servers.values():
        for model in _models(resolved.experiment, spec.name):
            yield _price(resolved.experiment, spec, model, resolved.prices, now)


def _price(experiment: Experiment, spec: ServerSpec, model: Model, table: pricing.PriceTable, now: dt.datetime) -> Check:
    name = f"price of {model.alias}"
    if not spec.is_hosted:
        return _local_price(name, spec)
    tier, lane = model.lane.price_tier, model.params.get("lane")
    # Of an ordinary prompt: long ones have a rate of their own.
    usd = [table.usd(model.name, spec, tier, tokens, now) for tokens in (Tokens(10_000, 0), Tokens(0, 10_000))]
    per_million = [100 * each for each in usd if each is not None]
    if len(per_million) == len(usd):
        return ok(name, f"${per_million[0]:g} per million input tokens, ${per_million[1]:g} output ({table.version})")
    problem = f"no price known for {model.name}{f' in lane {lane}' if lane else ''} at {spec.url or spec.provider}"
    if (most := table.most_usd.get(f"{spec.name}/{model.name}")) is not None:
        return ok(name, f"{problem}: billed as its answers say, at most ${most:g} a call")
    if experiment.allow_unpriced:
        return warn(name, f"{problem}: its cost will be NULL and no cap can hold it")
    return fail(
        name,
        problem,
        "add priced_as: MODEL, max_call_usd (if answers name their cost), a price file (prices: FILE), or allow_unpriced: true",
    )


def _local_price(name: str, spec: ServerSpec) -> Check:
    from harness.money import pricing

    basis = pricing.local_basis(spec.hardware)
    if basis == "unknown":
        billed = f"; or hosted: true there, if {spec.name} bills by token" if spec.url else ""
        prices = "usd_per_cpu_hour" if PROVIDERS[spec.provider].is_embedded else "usd_per_gpu_hour (or usd_per_cpu_hour)"
        fix = f"give local_cost in the experiment, or {prices} in servers.yaml{billed}"
        return warn(name, "the price of this hardware is unknown: its cost will be NULL, never 0", fix)
    return ok(name, f"by {basis.replace('_', ' ')}")
