"""The names that an experiment may use, asked of the rooms that own them."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from functools import cache

import agents

PARAMETERS: dict[str, frozenset[str]] = {
    "openai": frozenset({"reasoning_effort", "verbosity", "service_tier", "max_output_tokens", "temperature", "top_p", "seed"}),
    "ollama": frozenset({"think", "max_output_tokens", "num_ctx", "temperature", "top_p", "top_k", "seed"}),
    "llamacpp": frozenset({"max_output_tokens", "num_ctx", "temperature", "top_p", "top_k", "seed"}),
}
"""provider -> parameters of a model that it understands."""
_ROLES = (
    *("market_analyst", "sentiment_analyst", "news_analyst", "fundamentals_analyst", "bull", "bear", "research_manager"),
    *("trader", "aggressive", "conservative", "neutral", "portfolio_manager"),
)
_SOURCES = {
    "prices": ("archive", "demo", "yfinance"),
    "filings": ("archive", "edgar"),
    "news": ("archive",),
    "macro": ("archive",),
    "social": ("archive",),
    "insiders": ("archive",),
}


def providers() -> tuple[str, ...]:
    return tuple(sorted(PARAMETERS))


@cache
def roles() -> tuple[str, ...]:
    return _asked("role_names", _ROLES)


@cache
def analysts() -> tuple[str, ...]:
    return tuple(role.removesuffix("_analyst") for role in roles() if role.endswith("_analyst"))


@cache
def deep_roles() -> frozenset[str]:
    return frozenset(_asked("deep_roles", ("research_manager", "portfolio_manager")))


@cache
def rules() -> tuple[str, ...]:
    return _asked("rule_names", ("always_hold", "kdj_rsi", "macd", "sma", "zmr"))


def sources() -> dict[str, tuple[str, ...]]:
    """kind of data -> sources that give it."""
    return _SOURCES


@cache
def endpoints() -> tuple[str, ...]:
    """Endpoints that a comparison may declare; empty where nothing says them."""
    if importlib.util.find_spec("reports.metrics") is None:
        return ()
    metrics = importlib.import_module("reports.metrics")
    return tuple(metrics.endpoint_names()) if hasattr(metrics, "endpoint_names") else ()


def _asked(face: str, otherwise: Iterable[str]) -> tuple[str, ...]:
    said = getattr(agents, face, None)
    return tuple(said()) if said else tuple(otherwise)
