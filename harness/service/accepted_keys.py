"""Which keys of an experiment file are accepted over HTTP.

A key that names code, a file, a folder, an address or a server of this machine is refused, unless its value is the one that the
served experiment has. Every key of the schema is in exactly one of the two lists; a test fails when one is in neither.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import agents
from domain.data_kinds import DATA_KINDS
from domain.providers import BUILT_IN
from harness.errors import Problem
from harness.experiment.references import known_sources

_PIPELINE_ACCEPTED = (
    "analysts",
    "budget_tokens.*",
    "depth",
    "first_request_first",
    "history_tokens",
    "inputs",
    "max_output_tokens.*",
    "models.*",
    "report_tokens",
    "result.field",
    "result.role",
    "result.tool",
    "time_limit",
    "tool_rounds",
    "volatile",
)
_PIPELINE_REFUSED = ("cache", "command", "entry", "env.*", "folder", "keep", "roles")
ACCEPTED = frozenset(
    {
        "allow_unpriced",
        *(f"arms.*.{name}" for name in ("all", "deep", "quick", "from", "to", "design", "rule", "model", *agents.role_names())),
        *(f"arms.*.cascade.{name}" for name in ("first", "then")),
        *(
            f"arms.*.cascade.when.{name}"
            for name in ("confidence_below", "rating_probability_below", "repeats_disagree", "unusable")
        ),
        *(f"arms.*.{name}" for name in ("max_output_tokens", "reasoning_effort", "temperature", "think", "verbosity")),
        "arms.*.roles.*",
        *(f"arms.*.pipeline.{name}" for name in _PIPELINE_ACCEPTED),
        *(f"budget.{name}" for name in ("call_usd", "cell_usd", "model_usd.*", "month_usd", "run_usd")),
        "cases.skip_unavailable",
        *("cell_limit.hard", "cell_limit.soft"),
        *("compare.baseline", "compare.metrics.*.margin"),
        *(f"data.{name}" for name in ("decision_time", "filings", "insiders", "macro", "mask", "news", "prices", "social")),
        *(f"dates.{name}" for name in ("days", "every_sessions", "from", "last_sessions", "non_session", "to")),
        "description",
        "find.blocks",
        *(f"gates.{name}" for name in ("max_p95_service_s", "max_run_usd", "max_usd_per_usable_decision")),
        *(f"gates.{name}" for name in ("min_same_rating", "min_usable_share", "same_rating", "usable", "grounding")),
        *("gates.cost", "gates.service_p50"),
        *("judge.limit", "judge.models"),
        *(f"models.*.{name}" for name in ("lane", "max_call_usd", "max_output_tokens", "model", "num_ctx", "priced_as")),
        *(f"models.*.{name}" for name in ("provider", "rating_probability", "reasoning_effort", "seed", "temperature")),
        *(f"models.*.{name}" for name in ("think", "thinking_tokens", "top_k", "top_p", "verbosity")),
        "name",
        *("outcomes.benchmark", "outcomes.horizons"),
        *(f"pipeline.{name}" for name in _PIPELINE_ACCEPTED),
        *("repeats.arms", "repeats.baseline"),
        *(f"replay.{name}" for name in ("from", "limit", "noise_floor", "roles", "to")),
        "tickers",
        *("data", "dates", "repeats"),
    }
)
"""Dotted keys of the schema that anybody with a token may set; `*` is any name."""

REFUSED = frozenset(
    {
        *(f"arms.*.pipeline.{name}" for name in _PIPELINE_REFUSED),
        "data.archive",
        *(f"local_cost.{name}" for name in ("lifetime_years", "purchase_usd", "usd_per_cpu_hour", "usd_per_gpu_hour")),
        *(f"local_cost.{name}" for name in ("usd_per_kwh", "utilisation", "watts")),
        *("gates.against", "metrics", "models.*.server"),
        *(f"pipeline.{name}" for name in _PIPELINE_REFUSED),
        "prices",
        "sections",
    }
)
"""Code, files, folders, addresses, servers, and what this machine costs: only as the served experiment has them."""

_SOURCES = frozenset({"data", *(f"data.{kind}" for kind in DATA_KINDS)})
"""Keys that name a data source; a file of a user is accepted only as the served experiment has it."""


def keys_of(schema: Mapping[str, Any]) -> frozenset[str]:
    """Every dotted key of a JSON schema that takes a value other than an object; `*` is a name that the file chooses."""
    return frozenset(_walk(schema, schema["$defs"], "", ()))


def _walk(node: Mapping[str, Any], defs: Mapping[str, Any], path: str, seen: tuple[str, ...]) -> Iterator[str]:
    if "$ref" in node:
        name = node["$ref"].rpartition("/")[2]
        if name not in seen:
            yield from _walk(defs[name], defs, path, (*seen, name))
        return
    choices = [part for kind in ("anyOf", "oneOf", "allOf") for part in node.get(kind, ())]
    if path and not choices and node.get("type") not in ("object", "null"):
        yield path
    for choice in choices:
        yield from _walk(choice, defs, path, seen)
    for name, part in node.get("properties", {}).items():
        yield from _walk(part, defs, f"{path}.{name}".strip("."), seen)
    for part in (*node.get("patternProperties", {}).values(), node.get("additionalProperties")):
        if isinstance(part, Mapping):
            yield from _walk(part, defs, f"{path}.*", seen)
    if isinstance(node.get("items"), Mapping):
        yield from _walk(node["items"], defs, path, seen)


def problems(document: Mapping[str, Any], served: Mapping[str, Any]) -> list[Problem]:
    """Keys of a submitted experiment that are not accepted. Both arguments are the plain values of a file."""
    found = []
    for path, value in _entries(document, ()):
        pattern = _pattern(path)
        if pattern in ACCEPTED and not _is_own_source(pattern, value) and not _is_own_provider(pattern, value):
            continue
        if value in _served_values(served, path, pattern):
            continue
        if pattern in REFUSED or pattern in _SOURCES or _is_own_provider(pattern, value):
            what = (
                "names code, a file, a folder or a server of this machine: it is accepted only as the served experiment has it"
            )
            found.append(
                Problem(".".join(path), what, "leave it out, or let the service's owner add it to the served experiment")
            )
        else:
            found.append(Problem(".".join(path), "is no key of an experiment", "see the schema: `python -m harness schema`"))
    return found


def _is_own_source(pattern: str, value: Any) -> bool:
    """Whether a key of a data source has a value that is no name of a built-in one: it may be a file."""
    return pattern in _SOURCES and value is not None and not any(value in known_sources(kind) for kind in DATA_KINDS)


def _is_own_provider(pattern: str, value: Any) -> bool:
    """Whether a model's provider is none of the built-in ones: it may be a class of a user."""
    return pattern == "models.*.provider" and value not in BUILT_IN


def _kind_of(pattern: str) -> str:
    """The kind of data behind a key; one name alone is the source of prices."""
    return pattern.partition(".")[2] or "prices"


def _entries(node: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Path and value of everything that has no keys below it; a key that is known to be refused counts as a whole."""
    if isinstance(node, Mapping) and _pattern(path) not in REFUSED:
        for name, part in node.items():
            yield from _entries(part, (*path, str(name)))
    elif isinstance(node, list) and any(isinstance(part, Mapping) for part in node):
        for part in node:
            yield from _entries(part, path)
    elif path:
        yield path, node


def _pattern(path: tuple[str, ...]) -> str:
    """The key of the lists that a path fits, else the path itself."""
    known = ACCEPTED | REFUSED
    spelled: tuple[str, ...] = ("",)
    for step in path:
        spelled = tuple(f"{head}.{name}".strip(".") for head in spelled for name in (step, "*"))
        spelled = tuple(key for key in spelled if any(other == key or other.startswith(f"{key}.") for other in known))
    return next((key for key in spelled if key in known), ".".join(path))


def _served_values(served: Mapping[str, Any], path: tuple[str, ...], pattern: str) -> list[Any]:
    """What the served experiment has under the same key; under any name, where the key has a name in it."""
    if pattern in _SOURCES:
        sources = served.get("data", {})
        names = sources.get(_kind_of(pattern)) if isinstance(sources, Mapping) else sources
        return [names, str(names).partition("@")[0]]
    nodes: list[Any] = [served]
    for step, name in zip(path, _steps(path, pattern), strict=True):
        below = [node for node in nodes if isinstance(node, Mapping)]
        nodes = [part for node in below for key, part in node.items() if name == "*" or key == step]
    return nodes


def _steps(path: tuple[str, ...], pattern: str) -> tuple[str, ...]:
    steps = tuple(pattern.split("."))
    return steps if len(steps) == len(path) else path
