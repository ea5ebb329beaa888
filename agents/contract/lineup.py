"""Who answers and where: servers, models, and which model plays which role."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from domain.providers import PROVIDERS


@dataclass(frozen=True)
class Server:
    """Where models answer, as this process reaches it; never part of an identity."""

    name: str
    provider: str
    url: str | None = None
    api_key: str | None = field(default=None, repr=False)
    slots: int = 1
    timeout_s: float = 600.0
    """The longest that one request may take."""
    idle_timeout_s: float = 300.0
    """The longest silence within a stream, its load and prefill included."""
    api: Literal["responses", "chat"] | None = None
    """Which of OpenAI's APIs the address speaks; None: Responses at the real endpoint, Chat Completions elsewhere."""


@dataclass(frozen=True)
class Model:
    """One configured model. Its identity is provider, name, digest and params; alias, server and service tier are not in it."""

    alias: str
    provider: str
    name: str
    params: Mapping[str, Any] = field(default_factory=dict)
    """Effective parameters: reasoning_effort, verbosity, service_tier, max_output_tokens, temperature, top_p, seed,
    num_ctx, think ..."""
    server: str = ""
    digest: str | None = None

    def identity(self) -> dict[str, Any]:
        provider = PROVIDERS.get(self.provider)
        lanes = provider.lane_parameters if provider else frozenset()
        params = {key: value for key, value in self.params.items() if key not in lanes}
        return {"provider": self.provider, "name": self.name, "digest": self.digest, "params": params}


Lineup = Mapping[str, Model]
"""role name -> the model that plays it."""
