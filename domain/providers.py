"""One record per provider: everything that the other packages know of it.

To add a provider, write its client in `agents/llms/` and its record here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from domain import addresses, models
from domain.lanes import ALL_LANES

HOSTED_SLOTS = 64
"""Ceiling of a hosted server whose limit is found by itself."""
HOSTED_TIMEOUT_S = 300.0
FLEX_TIMEOUT_S = 900.0
"""Flex answers late by design."""
MAX_OUTPUT_TOKENS = 4000
"""Cap on one answer, unless the experiment names another."""

_SAMPLING = frozenset({"max_output_tokens", "num_ctx", "temperature", "top_p", "seed"})
_LOCAL_SAMPLING = _SAMPLING | {"top_k"}


@dataclass(frozen=True)
class Speed:
    """Assumed speed of one request, used until a run has measured it."""

    prefill: float
    """Tokens per second."""
    decode: float
    """Tokens per second."""
    overhead_s: float
    """Seconds before the first token, besides the prompt's."""


@dataclass(frozen=True)
class Provider:
    """Traits of one provider; defaults are those of a self-hosted server."""

    name: str
    """As the experiment and servers.yaml name it."""
    client: str
    """Module of `agents.llms` that speaks to it."""
    parameters: frozenset[str]
    """Model parameters that it understands."""
    speed: Speed
    price_list: str
    """Whose public prices apply where an address has none of its own."""

    is_hosted: bool = False
    """Whether its own address bills by token; a server with another address is classified by `domain.hosting`."""
    url: str | None = None
    """Its own address; None if it has none, or computes in this machine."""
    url_env: str | None = None
    """Environment variable that replaces the address."""
    read_address: Callable[[str], str] = addresses.http_url
    """The URL behind that variable's value."""
    other_env: tuple[str, ...] = ()
    """Further environment variables that send its client elsewhere."""
    key_env: str | None = None
    """Environment variable with the key of its own address."""
    needs_url: bool = False
    """Whether servers.yaml must give an address."""

    slots: int = 1
    """Requests at a time of a self-hosted server."""
    timeout_s: float = 600.0
    """Longest wait for one answer of a self-hosted server."""

    lanes: frozenset[str] = frozenset()
    """Lanes that it offers besides `now`; empty if it has none."""
    implied: Mapping[str, Any] = field(default_factory=dict)
    """Parameters that are always explicit, and part of an identity: their defaults differ by server or machine."""
    implies_model_defaults: bool = False
    """Whether the same holds for what `domain.models` names as a model's defaults."""

    openai_path: str = ""
    """Path below its address where it speaks OpenAI's format; empty if that is the address itself, or it does not."""
    has_responses: bool = False
    """Whether its own address is asked by OpenAI's Responses API unless servers.yaml says `api: chat`."""
    forces_tools: bool = False
    """Whether its API can make a model call a named tool; elsewhere the tool's arguments are asked for as JSON."""
    vendor_names: re.Pattern[str] | None = None
    """How the names of its vendor's models begin: such a name without a provider means this one."""
    has_vendor_names: bool = False
    """Whether its model names are their vendor's; a tag of a local server may be called anything."""
    loads_weights: bool = False
    """Whether it loads weights for a request, so that models should not take turns."""
    keeps_models: bool = False
    """Whether it keeps a model loaded after a request until asked to unload it."""
    is_embedded: bool = False
    """Whether its default is a server of our own on this machine's CPU."""
    pull_command: str | None = None
    """Shell command that fetches `{model}`; None if models cannot be pulled."""

    has_marked_cache: Callable[[str], bool] = lambda model: False
    """Whether its own address keeps prompts of this model only where they are marked."""

    extra: str = ""
    """Extra of this project that installs its packages; empty for those that are always installed."""
    packages: tuple[str, ...] = ()
    """Distributions whose versions belong into a run's manifest."""
    sdk: str | None = None
    """Top module of its SDK, whose exceptions wrap the cause of a failure."""
    is_own: bool = False
    """Whether it is a class of a user: billed by token unless servers.yaml says otherwise, and without public prices."""

    def implied_parameters(self, model: str) -> dict[str, Any]:
        """Parameters that every request to this model states, unless the experiment states others."""
        return {**self.implied, **(models.openai_defaults(model) if self.implies_model_defaults else {})}


_RECORDS = (
    Provider(
        name="llamacpp",
        client="llamacpp",
        parameters=_LOCAL_SAMPLING | {"rating_probability"},
        speed=Speed(280, 70, 0.05),
        price_list="llamacpp",
        implied={"num_ctx": 8192, "max_output_tokens": MAX_OUTPUT_TOKENS},
        loads_weights=True,
        is_embedded=True,
        packages=("xllamacpp",),
    ),
    Provider(
        name="ollama",
        client="ollama",
        parameters=_LOCAL_SAMPLING | {"think", "rating_probability"},
        speed=Speed(1_500, 45, 0.3),
        price_list="ollama",
        url="http://127.0.0.1:11434",
        url_env="OLLAMA_HOST",
        read_address=addresses.ollama_url,
        openai_path="/v1",
        implied={"num_ctx": 8192, "max_output_tokens": MAX_OUTPUT_TOKENS},
        loads_weights=True,
        keeps_models=True,
        pull_command="ollama pull {model}",
        packages=("langchain-ollama",),
    ),
    Provider(
        name="openai",
        client="openai",
        has_responses=True,
        parameters=_SAMPLING | {"reasoning_effort", "verbosity", "lane"},
        speed=Speed(20_000, 80, 1.0),
        price_list="openai",
        is_hosted=True,
        url="https://api.openai.com/v1",
        url_env="OPENAI_BASE_URL",
        other_env=("OPENAI_API_BASE", "OPENAI_ORG_ID"),
        key_env="OPENAI_API_KEY",
        slots=8,
        lanes=ALL_LANES,
        forces_tools=True,
        vendor_names=re.compile(r"(?:chat)?gpt-(?!oss)|o\d"),
        has_vendor_names=True,
        implied={"max_output_tokens": MAX_OUTPUT_TOKENS},
        implies_model_defaults=True,
        has_marked_cache=models.has_marked_cache,
        packages=("langchain-openai", "openai"),
        sdk="openai",
    ),
    Provider(
        name="anthropic",
        client="anthropic",
        parameters=frozenset({"max_output_tokens", "temperature", "top_p", "top_k", "reasoning_effort", "thinking_tokens"}),
        speed=Speed(20_000, 70, 1.0),
        price_list="anthropic",
        is_hosted=True,
        url="https://api.anthropic.com",
        key_env="ANTHROPIC_API_KEY",
        slots=8,
        vendor_names=re.compile(r"claude-"),
        has_vendor_names=True,
        implied={"max_output_tokens": MAX_OUTPUT_TOKENS},
        has_marked_cache=lambda model: True,
        extra="anthropic",
        packages=("langchain-anthropic", "anthropic"),
        sdk="anthropic",
    ),
    Provider(
        name="google",
        client="google",
        parameters=_LOCAL_SAMPLING - {"num_ctx"} | {"reasoning_effort", "thinking_tokens"},
        speed=Speed(20_000, 120, 1.0),
        price_list="google",
        is_hosted=True,
        url="https://generativelanguage.googleapis.com",
        key_env="GOOGLE_API_KEY",
        slots=8,
        vendor_names=re.compile(r"gemini-"),
        has_vendor_names=True,
        implied={"max_output_tokens": MAX_OUTPUT_TOKENS},
        extra="google",
        packages=("langchain-google-genai", "google-genai"),
        sdk="google",
    ),
    Provider(
        name="openai_compatible",
        client="openai",
        parameters=_LOCAL_SAMPLING | {"reasoning_effort", "rating_probability"},
        speed=Speed(3_000, 40, 0.3),
        price_list="openai",
        needs_url=True,
        slots=8,
        forces_tools=True,
        has_vendor_names=True,
        implied={"max_output_tokens": MAX_OUTPUT_TOKENS},
    ),
)
BUILT_IN: Mapping[str, Provider] = {record.name: record for record in _RECORDS}

_OWN = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*@[0-9a-f]{12}")
"""module:Class@hash of a provider of a user, as an experiment is resolved; see `agents.llms.own`."""


class _Providers(Mapping[str, Provider]):
    """The built-in providers; looked up by name, also those of users, whose traits follow from the name alone: no process
    needs the code of a provider that it does not ask."""

    def __getitem__(self, name: str) -> Provider:
        if name not in BUILT_IN and isinstance(name, str) and _OWN.fullmatch(name):
            return _own_record(name)
        return BUILT_IN[name]

    def __iter__(self) -> Iterator[str]:
        return iter(BUILT_IN)

    def __len__(self) -> int:
        return len(BUILT_IN)


def _own_record(name: str) -> Provider:
    return Provider(
        name=name,
        client="own",
        parameters=_LOCAL_SAMPLING | {"reasoning_effort"},
        speed=Speed(3_000, 40, 0.3),
        price_list=name,
        is_hosted=True,
        slots=8,
        implied={"max_output_tokens": MAX_OUTPUT_TOKENS},
        is_own=True,
    )


PROVIDERS: Mapping[str, Provider] = _Providers()
EMBEDDED = next(record for record in _RECORDS if record.is_embedded)
"""The provider that needs neither a server nor a key."""
PULLING = next(record for record in _RECORDS if record.pull_command)
"""The provider whose server fetches models by name."""

OPENAI = next(record for record in _RECORDS if record.has_responses)
"""The provider whose format other servers speak too."""


def provider_of(model: str) -> Provider:
    """Whose model a name without a provider means: a vendor's by how its names begin, else one that is pulled."""
    return next((record for record in _RECORDS if record.vendor_names and record.vendor_names.match(model)), PULLING)
