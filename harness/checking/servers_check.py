"""Checks of the servers of an experiment: what they report, their keys and cards, their GPU, and room for missing models."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from urllib.parse import urlsplit

import agents
from agents import Model, ServerReport
from domain.providers import PROVIDERS
from harness.checking import gpu_host
from harness.checking.checks import Check, fail, of_problem, ok, warn
from harness.checking.resolved import ResolvedRun
from harness.experiment.hardware_cards import CardModel
from harness.experiment.servers import ServerSpec

PROBE_S = 15.0
"""Includes importing the client on a machine that is busy, which alone can take 5 s."""


async def probe(resolved: ResolvedRun) -> dict[str, ServerReport]:
    """Ask all servers at the same time for a report; one without its key is not asked."""
    probed = [spec for spec in resolved.servers.values() if spec.api_key_env is None or spec.api_key]
    answers = await asyncio.gather(*(_probe_one(spec, resolved.models_by_server[spec.name]) for spec in probed))
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


def checks(resolved: ResolvedRun, reports: Mapping[str, ServerReport], host: gpu_host.GpuHost) -> Iterator[Check]:
    """`reports`: server -> its report on itself and its models; `host`: the GPU of this machine."""
    here = [spec for spec in resolved.servers.values() if _is_here(spec)]
    yield from _gpu(host, here, reports)
    yield from _pull_room(here, resolved, reports)
    yield from map(of_problem, resolved.server_problems)
    for name, spec in resolved.servers.items():
        yield (warn if spec.warning else ok)(f"class of {name}", spec.class_and_why)
        if spec.api_key_env:
            yield _key(spec)
        if name in reports:
            yield from _server(spec, reports[name], _pulls(spec, resolved.models_by_server[name]))
    yield from _unused(resolved)
    yield from _cards(resolved, reports)


def _gpu(host: gpu_host.GpuHost, here: Sequence[ServerSpec], reports: Mapping[str, ServerReport]) -> Iterator[Check]:
    held_bytes = sum(
        model.size_vram_bytes or 0 for spec in here if spec.name in reports for model in reports[spec.name].models.values()
    )
    yield from gpu_host.checks(host, [spec.name for spec in here if spec.cost.usd_per_cpu_hour is None], held_bytes)


def _is_here(spec: ServerSpec) -> bool:
    """Whether it computes on this machine, in a process of its own."""
    is_embedded = PROVIDERS[spec.provider].is_embedded and not spec.url
    return not spec.is_hosted and not is_embedded and urlsplit(spec.address).hostname in ("127.0.0.1", "localhost", "::1")


def _pull_room(here: Sequence[ServerSpec], resolved: ResolvedRun, reports: Mapping[str, ServerReport]) -> Iterator[Check]:
    """Room for the models that servers on this machine lack."""
    pulling = sorted(spec.name for spec in here if PROVIDERS[spec.provider].pull_command and spec.name in reports)
    asked = [model for name in pulling for model in resolved.models_by_server[name]]
    missing = [model for model in asked if (report := reports[model.server].models.get(model.alias)) and not report.present]
    yield from gpu_host.pull_room(list(dict.fromkeys(model.name for model in missing)), resolved.environment)


def _key(spec: ServerSpec) -> Check:
    name = f"key of {spec.name}"
    if spec.api_key:
        return ok(name, f"{spec.api_key_env} is set")
    fix = f"put {spec.api_key_env}=... into .env next to the experiment, or into the environment"
    return fail(name, f"{spec.api_key_env} is not set", fix)


def _pulls(spec: ServerSpec, models: Sequence[Model]) -> str:
    """What to fetch once a server that is away is there again."""
    command = PROVIDERS[spec.provider].pull_command
    names = dict.fromkeys(model.name for model in models)
    return "; then " + ", ".join(f"`{command.format(model=name)}`" for name in names) if command else ""


def _server(spec: ServerSpec, report: ServerReport, pulls: str) -> Iterator[Check]:
    name = f"server {spec.name}"
    if report.problem or not report.reachable:
        yield fail(name, report.problem or "does not answer", (report.fix or "start it") + pulls)
    else:
        version = f", version {report.version}" if report.version else f", {report.software}" if report.software else ""
        yield ok(name, f"{spec.url or spec.provider} answers{version}; {spec.slots} at a time")
    parallel, slots = spec.slots, report.slots
    if slots is not None and slots < parallel:
        problem = f"{parallel} requests are sent at a time, it answers {slots}: the others wait inside it"
        fix = f"start it with `--parallel {parallel}` and as many times the context, or write parallel: {slots}"
        yield warn(f"slots of {spec.name}", problem, fix)
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


def _unused(resolved: ResolvedRun) -> Iterator[Check]:
    """Warn of servers that no model uses although a model uses their provider's default server: a name is missing."""
    specs, parts = resolved.servers, resolved.declared_servers
    defaults = {spec.provider for name, spec in specs.items() if name not in parts}
    for name, part in parts.items():
        if name not in specs and part.provider in defaults:
            problem = f"no model uses it; models of {part.provider} use the default server {part.provider!r}"
            yield warn(f"server {name}", problem, f"write `server: {name}` in the model, or remove it from servers.yaml")


def _cards(resolved: ResolvedRun, reports: Mapping[str, ServerReport]) -> Iterator[Check]:
    """Hardware cards that measured other weights than the server has."""
    for server, spec in resolved.servers.items():
        for alias, reported in reports[server].models.items() if server in reports else ():
            name = resolved.models[alias].name
            for card in (card for card in spec.cards if card.contradicts(name, reported.digest, reported.quantisation)):
                problem = f"it measured {name} {_weights(card.card.model)}, the server has {_weights(reported)}"
                yield fail(f"card {card.name}", problem, f"measure again, or remove it from cards of {server} in servers.yaml")


def _weights(model: CardModel | agents.ModelReport) -> str:
    quantisation = model.quantisation or "of unknown quantisation"
    return f"{quantisation} with digest {model.digest}" if model.digest else quantisation
