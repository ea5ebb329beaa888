"""Where models answer, as servers.yaml or the environment says; nothing of it is part of an identity."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, RootModel, ValidationError, model_validator

from agents import Server
from domain.hardware import Hardware
from harness.errors import InvalidInput, Problem
from harness.experiment import environment, matrix, problems, yaml_file
from harness.experiment.base import Name, Seconds, Whole
from harness.experiment.lineups import ModelPart
from harness.experiment.spec import Experiment
from harness.experiment.terms import LocalCost

OLLAMA_URL = "http://127.0.0.1:11434"
_SLOTS = {"openai": 64, "openai_compatible": 8, "ollama": 1, "llamacpp": 1}
_HOSTED = frozenset({"openai"})
_KEYS = {"openai": "OPENAI_API_KEY"}
_TIMEOUTS_S = {"openai": 300.0}
_LOCAL_TIMEOUT_S = 600.0
FLEX_TIMEOUT_S = 900.0


class ServerPart(LocalCost):
    """One server in servers.yaml."""

    provider: Literal["llamacpp", "ollama", "openai", "openai_compatible"]
    """Who speaks to it; openai_compatible is vLLM, LM Studio or a gateway."""
    url: str | None = Field(default=None, pattern=r"^https?://[^\s/]+")
    """Address; the provider's own where this is not said."""
    parallel: Whole | None = None
    """Requests at a time. A hosted server where this is not said finds its limit by itself, up to 64; a local one has 1."""
    timeout: Seconds | None = None
    """Longest wait for one answer: hosted 5m (flex 15m), local 10m where this is not said. Half of it, 5m at least, may pass
    in silence while an Ollama server loads a model and reads the prompt."""
    api_key_env: str | None = Field(default=None, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    """Name of the environment variable that holds the key; never the key itself."""
    hosted: bool | None = None
    """Whether it bills by token; where this is not said, openai does unless it has an address of its own."""

    @model_validator(mode="after")
    def _hosted_costs_no_hardware(self) -> Self:
        if self.hosted and self.usd_per_gpu_hour is not None:
            raise ValueError("a hosted server bills by token: remove usd_per_gpu_hour, or hosted: true")
        return self


class _ServersFile(RootModel[dict[Name, ServerPart]]):
    pass


@dataclass(frozen=True)
class ServerSpec:
    """A server as this machine reaches it, with what its hardware costs."""

    name: str
    provider: str
    url: str | None = None
    api_key: str | None = field(default=None, repr=False)
    api_key_env: str | None = None
    parallel: int | None = None
    """As declared; None where the limit is to be found."""
    timeout_s: float = 600.0
    is_hosted: bool = False
    """Whether it bills by token; the others cost hardware time."""
    cost: LocalCost = field(default_factory=LocalCost)
    """What its hardware costs, with the experiment's `local_cost` where servers.yaml is silent."""

    @property
    def hardware(self) -> Hardware:
        """What its hardware costs, as the reports reckon with it."""
        return Hardware.of({"provider": self.provider, "slots": self.slots} | self.cost.model_dump())

    @property
    def slots(self) -> int:
        return self.parallel or _SLOTS.get(self.provider, 1)

    def as_agents_server(self) -> Server:
        """Where an answer may take long, so may the silence before it: a slow machine spends most of it on the prompt."""
        silence_s = max(Server.idle_timeout_s, self.timeout_s / 2)
        return Server(self.name, self.provider, self.url, self.api_key, self.slots, self.timeout_s, silence_s)


def load(
    path: Path | None, experiment: Experiment, experiment_dir: Path | None = None, models: Iterable[str] | None = None
) -> dict[str, ServerSpec]:
    """Every server that these models of the experiment need, by name; default: the models that it asks.

    `path` is --servers; else servers.yaml in `experiment_dir` (the experiment's), else the environment's defaults.
    Raises InvalidInput when the file is wrong or a model names an unknown server."""
    env = environment.read(experiment_dir)
    specs = {name: _spec(name, part, experiment, env) for name, part in declared(path, experiment_dir).items()}
    for provider in ("openai", "ollama", "llamacpp"):
        specs.setdefault(provider, _spec(provider, ServerPart.model_validate({"provider": provider}), experiment, env))
    needed = {alias: experiment.models[alias] for alias in (matrix.asked_models(experiment) if models is None else models)}
    _refuse_strangers(needed, specs)
    return {name: specs[name] for name in sorted({model.server or model.provider for model in needed.values()})}


def declared(path: Path | None, experiment_dir: Path | None) -> dict[str, ServerPart]:
    """What servers.yaml holds: the file that is named, else the one in the experiment's folder, else nothing."""
    folder = experiment_dir if experiment_dir is None or experiment_dir.is_dir() else experiment_dir.parent
    default = folder / "servers.yaml" if folder else None
    chosen = path or (default if default and default.exists() else None)
    if chosen is None:
        return {}
    document = yaml_file.load(chosen)
    try:
        return _ServersFile.model_validate(document.value).root
    except ValidationError as error:
        raise InvalidInput(problems.in_order(problems.of_types(error, document, _ServersFile))) from error


def _spec(name: str, part: ServerPart, experiment: Experiment, env: Mapping[str, str]) -> ServerSpec:
    key_env = part.api_key_env or (_KEYS.get(part.provider) if part.url is None else None)
    is_hosted = part.hosted if part.hosted is not None else (part.provider in _HOSTED and part.url is None)
    return ServerSpec(
        name=name,
        provider=part.provider,
        url=part.url or _default_url(part.provider, env),
        api_key=env.get(key_env) or None if key_env else None,
        api_key_env=key_env,
        parallel=part.parallel,
        timeout_s=part.timeout or _timeout_s(name, part.provider, experiment),
        is_hosted=is_hosted,
        cost=_cost(part, experiment.local_cost),
    )


def _default_url(provider: str, env: Mapping[str, str]) -> str | None:
    if provider == "openai":
        return env.get("OPENAI_BASE_URL") or None
    if provider == "ollama":
        host = env.get("OLLAMA_HOST") or OLLAMA_URL
        return (host if "://" in host else f"http://{host}").replace("://0.0.0.0", "://127.0.0.1")
    return None


def _timeout_s(name: str, provider: str, experiment: Experiment) -> float:
    """Flex answers late by design, so a server with a flex model waits longer."""
    flex = any(model.service_tier == "flex" for model in experiment.models.values() if (model.server or model.provider) == name)
    return FLEX_TIMEOUT_S if flex else _TIMEOUTS_S.get(provider, _LOCAL_TIMEOUT_S)


def _cost(part: ServerPart, fallback: LocalCost | None) -> LocalCost:
    said = part.model_dump(include=set(LocalCost.model_fields), exclude_none=True)
    under = fallback.model_dump(exclude_none=True) if fallback else {}
    return LocalCost.model_validate(under | said)


def _refuse_strangers(models: Mapping[str, ModelPart], specs: Mapping[str, ServerSpec]) -> None:
    found = []
    for alias, model in models.items():
        name = model.server or model.provider
        where = f"models.{alias}.server"
        if name not in specs:
            listed = ", ".join(sorted(specs))
            fix = f"add {name!r} to servers.yaml beside the experiment; see experiments/servers.example.yaml"
            found.append(Problem(where, f"unknown server {name!r}; known: {listed}", fix))
        elif specs[name].provider != model.provider:
            what = f"server {name!r} speaks {specs[name].provider}, the model {model.provider}"
            found.append(Problem(where, what, "name another server"))
    if found:
        raise InvalidInput(found)
