"""Names in an experiment file that must refer to something: models, roles, rules, sources, arms, metrics."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import Any

import agents
from domain.data_kinds import DATA_KINDS
from domain.providers import PROVIDERS
from harness.errors import Problem
from harness.experiment.terms import OutcomeTerms
from harness.experiment.yaml_file import Document, Place, dotted, unknown_name


@cache
def known_roles() -> tuple[str, ...]:
    return tuple(agents.role_names())


@cache
def known_analysts() -> tuple[str, ...]:
    return tuple(agents.analyst_names())


@cache
def known_deep_roles() -> frozenset[str]:
    return frozenset(agents.deep_roles())


@cache
def known_rules() -> tuple[str, ...]:
    return tuple(agents.rule_names())


@cache
def known_sources(kind: str) -> tuple[str, ...]:
    """Sources that give a kind of data."""
    return tuple(agents.source_names(kind))


def known_metrics(horizons: Sequence[int]) -> tuple[str, ...]:
    """Metrics that a comparison may declare, outcomes once per horizon."""
    from reports.metrics import catalog

    return catalog.metric_names(horizons)


_SWAP = ("swap",)


def check_references(document: Document) -> list[Problem]:
    """Every unknown name; works on plain values, so that one invalid part does not hide problems of others."""
    raw = document.value
    return [
        *_tickers(document, raw),
        *check_models(document, raw),
        *_pipeline(document, raw.get("pipeline"), ("pipeline",)),
        *_arms(document, raw),
        *_data(document, raw),
        *_terms(document, raw),
    ]


def _tickers(document: Document, raw: dict[str, Any]) -> Iterator[Problem]:
    for part in ("tickers", "dates"):
        seen: set[str] = set()
        for index, value in enumerate(_listed(raw.get(part))):
            if str(value) in seen:
                yield Problem(document.where((part, index)), f"{value} is listed twice in {part}", "keep one")
            seen.add(str(value))
    if raw.get("tickers") == [] or raw.get("dates") == []:
        yield Problem(document.where(()), "the matrix is empty: tickers and dates each need one value", "add one")


def check_models(document: Document, raw: dict[str, Any]) -> Iterator[Problem]:
    """Unknown providers, and parameters that a provider does not take."""
    for name, model in _mapping(raw.get("models")).items():
        provider = _mapping(model).get("provider")
        if not isinstance(provider, str):
            continue
        if provider not in PROVIDERS:
            yield unknown_name(document, ("models", name, "provider"), "provider", provider, PROVIDERS)
            continue
        understood = PROVIDERS[provider].parameters
        every_parameter = {parameter for record in PROVIDERS.values() for parameter in record.parameters}
        for key in sorted(set(model) & every_parameter - understood):
            place = ("models", name, key)
            accepted = ", ".join(sorted(understood))
            yield Problem(document.where(place), f"{dotted(place)} means nothing to {provider}; known: {accepted}", "remove it")


def _pipeline(document: Document, pipeline: Any, place: Place) -> Iterator[Problem]:
    part = _mapping(pipeline)
    yield from _each(document, (*place, "analysts"), "role", part.get("analysts"), known_analysts())
    yield from _each(document, (*place, "budget_tokens"), "role", list(_mapping(part.get("budget_tokens"))), known_analysts())
    caps = list(_mapping(part.get("max_output_tokens")))
    yield from _each(document, (*place, "max_output_tokens"), "role", caps, (*known_roles(), "all"))


def _arms(document: Document, raw: dict[str, Any]) -> Iterator[Problem]:
    models = _mapping(raw.get("models"))
    for name, arm in _mapping(raw.get("arms")).items():
        place: Place = ("arms", name)
        if isinstance(arm, dict):
            yield from _arm(document, arm, place, models) if name not in _SWAP else _swap(document, arm, place, models)
            yield from _pipeline(document, arm.get("pipeline"), (*place, "pipeline"))


def _arm(document: Document, arm: dict[str, Any], place: Place, models: dict[str, Any]) -> Iterator[Problem]:
    direct = {key: value for key, value in arm.items() if key in known_roles()}
    named = {key: arm[key] for key in ("all", "deep", "quick") if isinstance(arm.get(key), str)}
    inner = _mapping(arm.get("roles"))
    for key, model in {**named, **direct}.items():
        if isinstance(model, str) and model not in models:
            yield unknown_name(document, (*place, key), "model", model, models)
    for key, model in inner.items():
        if key not in known_roles():
            yield unknown_name(document, (*place, "roles", key), "role", str(key), known_roles())
        if isinstance(model, str) and model not in models:
            yield unknown_name(document, (*place, "roles", key), "model", model, models)
    yield from _somebody(document, arm, place, {*named, *direct, *inner})


def _somebody(document: Document, arm: dict[str, Any], place: Place, named: set[str]) -> Iterator[Problem]:
    rule = arm.get("rule")
    if isinstance(rule, str) and rule not in known_rules():
        yield unknown_name(document, (*place, "rule"), "rule", rule, known_rules())
    if rule and named:
        yield Problem(document.where(place), f"{dotted(place)} names a rule and models", "keep one of them")
    if not rule and not named:
        yield Problem(document.where(place), f"{dotted(place)} names no model and no rule", "set all: MODEL, or deep and quick")
    complete = "all" in named or {"deep", "quick"} <= named or set(known_roles()) <= named
    if named and not complete:
        yield Problem(document.where(place), f"{dotted(place)} leaves roles without a model", "add all: MODEL for the rest")


def _swap(document: Document, swap: dict[str, Any], place: Place, models: dict[str, Any]) -> Iterator[Problem]:
    yield from _each(document, (*place, "from"), "model", swap.get("from"), models)
    yield from _each(document, (*place, "to"), "model", swap.get("to"), models)


def _data(document: Document, raw: dict[str, Any]) -> Iterator[Problem]:
    data = raw.get("data")
    data = {"prices": data} if isinstance(data, str) else _mapping(data)
    named = {kind: data[kind] for kind in DATA_KINDS if isinstance(data.get(kind), str)}
    for kind, name in named.items():
        if name not in known_sources(kind):
            yield unknown_name(document, ("data", kind), "source", name, known_sources(kind))
    if "archive" in named.values() and not data.get("archive"):
        yield Problem(
            document.where(("data",)), "the source archive needs a folder", "set data.archive: DIR, or pass --archive DIR"
        )


def _terms(document: Document, raw: dict[str, Any]) -> Iterator[Problem]:
    models = _mapping(raw.get("models"))
    arms = {name: None for name in _mapping(raw.get("arms")) if name not in _SWAP} or models
    swapped = "swap" in _mapping(raw.get("arms"))
    compare, replay = _mapping(raw.get("compare")), _mapping(raw.get("replay"))
    if not swapped:
        yield from _each(document, ("compare", "baseline"), "arm", compare.get("baseline"), arms)
        yield from _each(document, ("replay", "from"), "arm", replay.get("from"), arms)
    yield from _each(document, ("replay", "to"), "model", replay.get("to"), models)
    yield from _each(document, ("replay", "roles"), "role", replay.get("roles"), known_roles())
    yield from _each(document, ("judge", "models"), "model", _mapping(raw.get("judge")).get("models"), models)
    capped = list(_mapping(_mapping(raw.get("budget")).get("model_usd")))
    yield from _each(document, ("budget", "model_usd"), "model", capped, models)
    if "endpoints" in compare:
        yield Problem(document.where(("compare", "endpoints")), "compare.endpoints is now called compare.metrics", "rename it")
    metrics = list(_mapping(compare.get("metrics")))
    if metrics:
        declared = _mapping(raw.get("outcomes")).get("horizons")
        horizons = (
            [horizon for horizon in declared if isinstance(horizon, int)]
            if isinstance(declared, list)
            else OutcomeTerms().horizons
        )
        yield from _each(document, ("compare", "metrics"), "metric", metrics, known_metrics(horizons))


def _each(document: Document, place: Place, kind: str, names_used: Any, names: Iterable[str]) -> Iterator[Problem]:
    names = list(names)
    for index, name in enumerate(_listed(names_used)):
        if isinstance(name, str) and name not in names:
            location = (*place, name) if (*place, name) in document.lines else (*place, index)
            problem = unknown_name(document, place, kind, name, names)
            yield Problem(document.where(location).split(" ")[0] + " " + dotted(place), problem.what, problem.fix)


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value] if isinstance(value, str) else []
