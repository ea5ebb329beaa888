"""The names that an experiment may use, asked of the rooms that own them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import agents

_LOCAL = frozenset({"max_output_tokens", "num_ctx", "temperature", "top_p", "top_k", "seed"})
PARAMETERS: dict[str, frozenset[str]] = {
    "openai": frozenset(
        {"reasoning_effort", "verbosity", "service_tier", "max_output_tokens", "num_ctx", "temperature", "top_p", "seed"}
    ),
    "openai_compatible": _LOCAL | {"reasoning_effort"},
    "ollama": _LOCAL | {"think"},
    "llamacpp": _LOCAL,
}
"""provider -> parameters of a model that it understands; a provider that is not here is sent what is said."""


@cache
def providers() -> tuple[str, ...]:
    return tuple(sorted(agents.PROVIDERS))


@cache
def parameters(provider: str) -> frozenset[str]:
    return PARAMETERS.get(provider, frozenset().union(*PARAMETERS.values()))


@cache
def roles() -> tuple[str, ...]:
    return tuple(agents.role_names())


@cache
def analysts() -> tuple[str, ...]:
    return tuple(agents.analyst_names())


@cache
def deep_roles() -> frozenset[str]:
    return frozenset(agents.deep_roles())


@cache
def rules() -> tuple[str, ...]:
    return tuple(agents.rule_names())


@cache
def sources(kind: str) -> tuple[str, ...]:
    """Sources that give a kind of data."""
    return tuple(agents.source_names(kind))


def endpoints(horizons: Sequence[int]) -> tuple[str, ...]:
    """Endpoints that a comparison may declare, outcomes once per horizon."""
    from reports.metrics import catalog

    return catalog.metric_names(horizons)
