"""Checks of the models of an experiment: shutdowns, efforts, unknown facts and prices."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

from agents import Model, ModelReport, ServerReport
from domain.lanes import LANES
from domain.models import Family, family_of
from domain.providers import PROVIDERS
from domain.shutdowns import Shutdown, is_vendor_address, shutdown_of
from harness.checking.checks import Check, fail, of_problem, ok, warn
from harness.checking.resolved import ResolvedRun
from harness.experiment.servers import ServerSpec
from harness.money.pricing import Tokens, local_basis

SHUTDOWN = "shutdown of"
"""How the names of checks begin that warn of a model's shutdown."""
_GUIDE = "docs/model-retirement.md"


@dataclass(frozen=True)
class KnownModel:
    """A model of the experiment with what its server and our tables know of it."""

    model: Model
    server: ServerSpec
    report: ModelReport | None = None
    """None where the server was not asked."""
    family: Family | None = None
    shutdown: Shutdown | None = None
    """By the server's own list; else by the table, unless the vendor lists the model without a date."""
    is_at_vendor: bool = True
    """Whether its vendor answers; another server may serve the model for longer."""

    @classmethod
    def of(cls, model: Model, server: ServerSpec, report: ModelReport | None = None) -> Self:
        """Look the model up in our tables."""
        is_at_vendor = is_vendor_address(server.url)
        shutdown = _shutdown_of(model, report, is_at_vendor) if PROVIDERS[model.provider].has_vendor_names else None
        return cls(model, server, report, family_of(model.name), shutdown, is_at_vendor)

    def is_gone(self, today: dt.date) -> bool:
        """Whether the vendor no longer answers."""
        return self.shutdown is not None and self.shutdown.days_left(today) < 0 and self.is_at_vendor


def _shutdown_of(model: Model, report: ModelReport | None, is_at_vendor: bool) -> Shutdown | None:
    listed = shutdown_of(model.name)
    if report and report.shutdown_date:
        return Shutdown(model.name, report.shutdown_date, listed.replacement if listed else None, "the server's /models")
    is_denied = report is not None and report.lists_shutdowns and is_at_vendor
    return None if is_denied else listed


def known_models(resolved: ResolvedRun, reports: Mapping[str, ServerReport]) -> list[KnownModel]:
    """The models of the experiment, server by server, with what is known of each."""
    models = []
    for name, spec in resolved.servers.items():
        reported = reports[name].models if name in reports else {}
        models += [KnownModel.of(model, spec, reported.get(model.alias)) for model in resolved.models_by_server[name]]
    return models


def checks(models: Iterable[KnownModel], resolved: ResolvedRun, now: dt.datetime) -> Iterator[Check]:
    """What is known of each model, and what it costs."""
    yield from (check for model in models for check in facts(model, now.astimezone(dt.UTC).date()))
    yield from map(of_problem, resolved.price_problems)
    if not resolved.price_problems:
        yield from (_price(model, resolved, now) for model in models)


def facts(model: KnownModel, today: dt.date) -> Iterator[Check]:
    """Unknown facts, efforts and shutdowns."""
    yield _facts(model)
    if (effort := _effort(model)) is not None:
        yield effort
    if model.shutdown is not None:
        yield _shutdown(model, model.shutdown, today)


def shutdowns(models: Iterable[KnownModel]) -> dict[str, dict[str, Any]]:
    """Model's name in the experiment -> its announced shutdown, as the manifest keeps it."""
    return {model.model.alias: shutdown.to_plain() for model in models if (shutdown := model.shutdown) is not None}


def _shutdown(model: KnownModel, shutdown: Shutdown, today: dt.date) -> Check:
    name, sentence = f"{SHUTDOWN} {model.model.alias}", shutdown.sentence(today)
    if model.is_gone(today):
        other = f"use {shutdown.replacement}" if shutdown.replacement else "use another model"
        return fail(name, sentence, f"{other}; the runs that you have can still be replayed, re-priced and shown ({_GUIDE})")
    if not model.is_at_vendor:
        return warn(name, sentence, f"{model.server.url} may serve it for longer; ask who runs that server ({_GUIDE})")
    return warn(name, sentence, f"run what you need from it before that day and keep the run folder ({_GUIDE})")


def _effort(known: KnownModel) -> Check | None:
    """None where the effort is taken, or where nothing is known of the model."""
    model, family = known.model, known.family
    effort = model.params.get("reasoning_effort")
    if effort is None or family is None or family.efforts is None or effort in family.efforts:
        return None
    name, where = f"effort of {model.alias}", f"models.{model.alias}.reasoning_effort"
    problem = f"{model.name} takes no reasoning_effort {effort!r} (allowed: {', '.join(family.efforts)})"
    fix = f"set {where} to one of them"
    if not family.efforts:
        problem, fix = f"{model.name} does not reason: it takes no reasoning_effort", f"remove {where}"
    # A gateway may translate an effort into one that the model takes.
    if PROVIDERS[model.provider].is_hosted:
        return fail(name, problem, fix)
    return warn(name, problem, f"{fix}, unless its server translates it")


def _facts(known: KnownModel) -> Check:
    model, family = known.model, known.family
    name = f"facts of {model.alias}"
    if family is None:
        return ok(name, f"{model.name} is an unknown model: cutoff, context and efforts are unknown, so intervals are wider")
    return ok(name, f"{family.name}: {', '.join(_known_facts(family))}")


def _known_facts(family: Family) -> Iterator[str]:
    yield f"knows the world until {family.cutoff.cutoff}" if family.cutoff else "knowledge cutoff unknown"
    yield f"context {family.context_tokens:,} tokens" if family.context_tokens else "context unknown"
    if family.efforts is None:
        yield "efforts unknown"
    elif family.efforts:
        yield f"efforts {' '.join(family.efforts)}"


def _price(known: KnownModel, resolved: ResolvedRun, now: dt.datetime) -> Check:
    """The price of an ordinary prompt: long ones have a rate of their own."""
    model, spec, table = known.model, known.server, resolved.prices
    name = f"price of {model.alias}"
    if not spec.is_hosted:
        return _local_price(name, spec)
    tier, lane = model.lane.price_tier, model.params.get("lane")
    usd = [table.usd(model.name, spec, tier, tokens, now) for tokens in (Tokens(10_000, 0), Tokens(0, 10_000))]
    per_million = [100 * each for each in usd if each is not None]
    if len(per_million) == len(usd):
        return ok(name, f"${per_million[0]:g} per million input tokens, ${per_million[1]:g} output ({table.version})")
    problem = f"no price known for {model.name}{f' in lane {lane}' if lane else ''} at {spec.url or spec.provider}"
    if (most := table.most_usd.get(f"{spec.name}/{model.name}")) is not None:
        return ok(name, f"{problem}: billed as its answers say, at most ${most:g} a call")
    if resolved.experiment.allow_unpriced:
        return warn(name, f"{problem}: its cost will be NULL and no cap can hold it")
    if other_lanes := [lane for lane in _priced_lanes(known, resolved, now) if lane != model.lane.name]:
        fix = f"use a lane that has one ({', '.join(other_lanes)}), or add it to a price file (prices: FILE) as tier: {tier}"
        return fail(name, problem, fix)
    return fail(
        name,
        problem,
        "add priced_as: MODEL, max_call_usd (if answers name their cost), a price file (prices: FILE), or allow_unpriced: true",
    )


def _priced_lanes(known: KnownModel, resolved: ResolvedRun, now: dt.datetime) -> list[str]:
    """Lanes of the server whose price for this model is known."""
    tokens = Tokens(10_000, 10_000)
    usd_of = {
        name: resolved.prices.usd(known.model.name, known.server, lane.price_tier, tokens, now)
        for name, lane in LANES.items()
        if name in known.server.lanes
    }
    return [name for name, usd in usd_of.items() if usd is not None]


def _local_price(name: str, spec: ServerSpec) -> Check:
    basis = local_basis(spec.hardware)
    if basis == "unknown":
        billed = f"; or hosted: true there, if {spec.name} bills by token" if spec.url else ""
        prices = "usd_per_cpu_hour" if PROVIDERS[spec.provider].is_embedded else "usd_per_gpu_hour (or usd_per_cpu_hour)"
        fix = f"give local_cost in the experiment, or {prices} in servers.yaml{billed}"
        return warn(name, "the price of this hardware is unknown: its cost will be NULL, never 0", fix)
    return ok(name, f"by {basis.replace('_', ' ')}")
