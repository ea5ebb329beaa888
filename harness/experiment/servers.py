"""Where models answer: servers.yaml and the environment. Not part of any identity."""

from __future__ import annotations

import codecs
import io
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, RootModel, ValidationError, model_validator

from agents import Server
from domain.defaults import UNREACHABLE_AFTER_S
from domain.hardware import Hardware
from domain.hosting import host_of, hosting_of, is_own_address, is_vendor_only, takes_cache_marks
from domain.lanes import LANES
from domain.providers import FLEX_TIMEOUT_S, HOSTED_SLOTS, HOSTED_TIMEOUT_S, PROVIDERS, Provider
from harness.errors import InvalidInput, Problem
from harness.experiment import hardware_cards, matrix, yaml_file
from harness.experiment.hardware_cards import CardFigures, NamedCard
from harness.experiment.lineups import ModelPart
from harness.experiment.references import ProviderName
from harness.experiment.spec import Experiment
from harness.experiment.terms import LocalCost, Name, Seconds, Whole


def read_environment(experiment_dir: Path | None = None) -> Mapping[str, str]:
    """Environment variables, completed by those of `.env` beside the experiment, else above it. Raises InvalidInput."""
    file = _beside_or_above(experiment_dir, ".env")
    variables = {} if file is None else _env_file(file)
    return {key: value for key, value in variables.items() if value} | dict(os.environ)


def _beside_or_above(experiment_dir: Path | None, name: str) -> Path | None:
    """This file of the experiment's folder, else of the folder above it: a project keeps one for all its experiments."""
    if experiment_dir is None:
        return None
    folder = (experiment_dir if experiment_dir.is_dir() else experiment_dir.parent).resolve()
    return next((path for path in (folder / name, folder.parent / name) if path.is_file()), None)


def _env_file(path: Path) -> Mapping[str, str | None]:
    """The variables of a .env file; text of another encoding is allowed in its comments. Raises InvalidInput."""
    from dotenv import dotenv_values

    try:
        raw = path.read_bytes()
        encoding = "utf-16" if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
        text = raw.decode(encoding, "strict" if encoding == "utf-16" else "surrogateescape")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput([Problem(str(path), f"cannot be read as text: {error}", _SAVE_AS_UTF_8)]) from error
    variables = dotenv_values(stream=io.StringIO(text))
    broken = [name for name, value in variables.items() if not _is_text(f"{name}{value}")]
    if broken:
        names = ", ".join(name.encode("ascii", "replace").decode().replace(chr(0), "") for name in broken)
        raise InvalidInput([Problem(str(path), f"is not UTF-8 in {names}", _SAVE_AS_UTF_8)])
    return variables


_SAVE_AS_UTF_8 = "save the file as UTF-8; in PowerShell: Set-Content -Encoding utf8 .env 'NAME=value'"


def _is_text(value: str) -> bool:
    return not any("\ud800" <= letter <= "\udfff" or letter == "\0" for letter in value)


def _with_host(url: str) -> str:
    host_of(url)
    if urlsplit(url).port == 0:
        raise ValueError(f"{url!r} has port 0")
    return url


class ServerPart(LocalCost):
    """One server in servers.yaml."""

    provider: ProviderName
    """API that it speaks; openai_compatible is vLLM, LM Studio or a gateway."""
    url: Annotated[str, Field(pattern=r"^https?://[^\s/]+"), AfterValidator(_with_host)] | None = None
    """Address; default: the provider's own."""
    parallel: Whole | None = None
    """Requests at a time; default: a hosted server finds its limit by itself, up to 64, a self-hosted one has 1 or 8."""
    timeout: Seconds | None = None
    """Longest wait for one answer; default: hosted 5m (flex 15m), self-hosted 10m. Half of it, 5m at least, may pass in
    silence while an Ollama server loads a model and reads the prompt."""
    unreachable_after: Seconds | None = None
    """Time without any completed answer after which the run asks it no more and ends with exit code 3; default: 10m. Loading a
    model and requests inside their timeout do not count."""
    api_key_env: str | None = Field(default=None, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    """Name of the environment variable that holds the key; never the key itself."""
    cards: tuple[Name, ...] = ()
    """Hardware cards of this machine: names of files in `hardware/` beside the experiment or this file. They give speed and
    power of the models that they name, until a run has measured them."""
    cache_marks: bool | None = None
    """Whether its prompt cache takes OpenAI's breakpoints (Azure, a gateway to GPT-5.6 or later); default: only the provider's
    own address does."""
    api: Literal["responses", "chat"] | None = None
    """Which of OpenAI's APIs to use; default: responses at api.openai.com, chat elsewhere."""
    hosted: bool | None = None
    """Whether it bills by token; default: as the provider does at its own address, else whether the address is public."""

    @model_validator(mode="after")
    def _needs_url(self) -> Self:
        if PROVIDERS[self.provider].needs_url and self.url is None:
            raise ValueError(f"provider {self.provider} needs an address: add url: https://HOST/v1")
        return self

    @model_validator(mode="after")
    def _hosted_costs_no_hardware(self) -> Self:
        if self.hosted and self.usd_per_gpu_hour is not None:
            raise ValueError("a hosted server bills by token: remove usd_per_gpu_hour, or hosted: true")
        return self


class _ServersFile(RootModel[dict[Name, ServerPart]]):
    pass


@dataclass(frozen=True)
class ServerSpec:
    """A server as this machine reaches it, with its hardware prices."""

    name: str
    provider: str
    url: str | None = None
    api_key: str | None = field(default=None, repr=False)
    api_key_env: str | None = None
    parallel: int | None = None
    """As declared; None: found at run time."""
    timeout_s: float = 600.0
    unreachable_after_s: float = UNREACHABLE_AFTER_S
    api: Literal["responses", "chat"] | None = None
    is_hosted: bool = False
    """Whether it bills by token; the others cost hardware time. Consent, caps, queue, price, limit and report follow it."""
    why: str = ""
    """Why it is hosted or self-hosted."""
    warning: str = ""
    """What may surprise about that."""
    cache_marks: bool | None = None
    """Whether its prompt cache takes breakpoints, if declared."""
    cost: LocalCost = field(default_factory=LocalCost)
    """What its hardware costs, with the experiment's `local_cost` where servers.yaml is silent."""

    cards: tuple[NamedCard, ...] = ()
    """Hardware cards of its machine."""
    watts_card: str = ""
    """Name of the card that `cost.watts` is from; empty if declared or unknown."""

    def card_figures(self, model: str) -> CardFigures | None:
        """What its cards say about a model, by the name that the server knows."""
        return hardware_cards.figures_of(self.cards, model, self.slots)

    @property
    def uses_responses(self) -> bool:
        """Whether it is asked by OpenAI's Responses API."""
        provider = PROVIDERS[self.provider]
        return self.api == "responses" if self.api else provider.has_responses and is_own_address(provider, self.url)

    @property
    def lanes(self) -> frozenset[str]:
        """Lanes in which it may be asked; none if it is self-hosted."""
        if not self.is_hosted:
            return frozenset()
        lanes = PROVIDERS[self.provider].lanes
        return lanes if self.uses_responses else frozenset(lane for lane in lanes if not lane.startswith("background_"))

    def takes_marks(self, model: str) -> bool:
        """Whether its prompt cache keeps prefixes of this model's prompts where a request marks them."""
        return takes_cache_marks(PROVIDERS[self.provider], self.url, self.cache_marks, model)

    @property
    def hardware(self) -> Hardware:
        """What its hardware costs, as prices and reports use it."""
        return Hardware.of(
            {"provider": self.provider, "slots": self.slots, "watts_card": self.watts_card} | self.cost.model_dump()
        )

    @property
    def slots(self) -> int:
        return self.parallel or (HOSTED_SLOTS if self.is_hosted else PROVIDERS[self.provider].slots)

    @property
    def address(self) -> str:
        """Its address, for messages."""
        return self.url or PROVIDERS[self.provider].url or "this machine"

    @property
    def class_and_why(self) -> str:
        """Its class, why, and what may surprise about it."""
        return f"{self.class_name}: {self.why}" + (f"; {self.warning}" if self.warning else "")

    @property
    def class_name(self) -> str:
        return "hosted" if self.is_hosted else "self-hosted"

    def as_agents_server(self) -> Server:
        """Where an answer may take long, so may the silence before it: a slow machine spends most of it on the prompt."""
        silence_s = max(Server.idle_timeout_s, self.timeout_s / 2)
        return Server(
            self.name,
            self.provider,
            self.url,
            self.api_key,
            self.slots,
            self.timeout_s,
            silence_s,
            self.api,
            cache_marks=self.cache_marks,
        )


@dataclass(frozen=True)
class Declared:
    """What servers.yaml declares."""

    parts: Mapping[str, ServerPart] = field(default_factory=dict)
    folders: tuple[Path, ...] = ()
    """Folders whose `hardware/` may hold the cards that it names: the experiment's, then that of the file."""


def load(
    path: Path | None,
    experiment: Experiment,
    experiment_dir: Path | None = None,
    models: Iterable[str] | None = None,
    *,
    environment: Mapping[str, str] | None = None,
) -> dict[str, ServerSpec]:
    """Every server that these models of the experiment need, by name; default: the models that it asks.

    `path` is --servers; else servers.yaml in `experiment_dir` (the experiment's) or above it, else the environment's defaults.
    `environment`: as `read_environment` returns it, if that was read before.
    Raises InvalidInput when the file is wrong or a model names an unknown server."""
    env = read_environment(experiment_dir) if environment is None else environment
    needed = matrix.asked_models(experiment) if models is None else models
    return needed_by(needed, experiment, read(path, experiment_dir, env), env)


def needed_by(
    models: Iterable[str], experiment: Experiment, declared: Declared, environment: Mapping[str, str]
) -> dict[str, ServerSpec]:
    """Every server that these models of the experiment need, by name. Raises InvalidInput."""
    defaults = {name: ServerPart(provider=name) for name, provider in PROVIDERS.items() if not provider.needs_url}
    needed = {alias: experiment.models[alias] for alias in models}
    own = {model.provider for model in needed.values() if PROVIDERS[model.provider].is_own and not model.server}
    parts = defaults | {name: ServerPart(provider=name) for name in own} | dict(declared.parts)
    _refuse_strangers(needed, parts)
    served = _served(needed.values())
    specs = {name: _spec(name, parts[name], experiment, environment) for name in served}
    _refuse_unclear(served, parts, specs)
    _refuse_lanes(needed, specs)
    specs = {name: _with_cards(spec, parts[name], served[name], declared.folders) for name, spec in specs.items()}
    return {name: replace(specs[name], warning=_warning(specs[name], served[name])) for name in sorted(served)}


def _served(models: Iterable[ModelPart]) -> dict[str, list[str]]:
    """Server -> names of the models that it serves."""
    served: dict[str, list[str]] = {}
    for model in models:
        served.setdefault(model.server or model.provider, []).append(model.model)
    return served


def hosted_names(specs: Mapping[str, ServerSpec]) -> frozenset[str]:
    """Names of the hosted servers."""
    return frozenset(name for name, spec in specs.items() if spec.is_hosted)


def read(path: Path | None, experiment_dir: Path | None, environment: Mapping[str, str]) -> Declared:
    """What servers.yaml holds: the file that is named, else the one beside the experiment or above it, else nothing.

    A value `${NAME}` or `${NAME:-default}` comes from the environment or `.env`. Raises InvalidInput."""
    file = path or _beside_or_above(experiment_dir, "servers.yaml")
    folders = () if experiment_dir is None else (experiment_dir if experiment_dir.is_dir() else experiment_dir.parent,)
    if file is None:
        return Declared(folders=folders)
    document = yaml_file.filled_in(yaml_file.load(file), environment)
    try:
        return Declared(_ServersFile.model_validate(document.value).root, (*folders, file.parent))
    except ValidationError as error:
        raise InvalidInput(yaml_file.problems(error, document)) from error


def _with_cards(spec: ServerSpec, part: ServerPart, models: Sequence[str], folders: Sequence[Path]) -> ServerSpec:
    """The server with its hardware cards; they give its power only where nothing is declared and every model has a card."""
    if not part.cards:
        return spec
    spec = replace(spec, cards=hardware_cards.load(part.cards, folders))
    figures = [spec.card_figures(model) for model in models]
    watts = [each.watts_above_idle for each in figures if each is not None]
    known_watts = [value for value in watts if value is not None]
    if spec.cost.watts is not None or len(known_watts) < len(models):
        return spec
    names = ", ".join(dict.fromkeys(each.slowest.name for each in figures if each is not None))
    return replace(spec, cost=spec.cost.model_copy(update={"watts": max(known_watts)}), watts_card=names)


def _spec(name: str, part: ServerPart, experiment: Experiment, env: Mapping[str, str]) -> ServerSpec:
    provider = PROVIDERS[part.provider]
    url = part.url or _default_url(provider, env)
    hosting = hosting_of(provider, url, part.hosted)
    key_env = part.api_key_env or (provider.key_env if is_own_address(provider, part.url) else None)
    return ServerSpec(
        name=name,
        provider=part.provider,
        url=url,
        api_key=env.get(key_env) or None if key_env else None,
        api_key_env=key_env,
        parallel=part.parallel,
        timeout_s=part.timeout or _timeout_s(name, provider, experiment, is_hosted=hosting.is_hosted),
        unreachable_after_s=part.unreachable_after or UNREACHABLE_AFTER_S,
        api=part.api,
        is_hosted=hosting.is_hosted,
        why=hosting.why,
        cache_marks=part.cache_marks,
        cost=_cost(part, experiment.local_cost),
    )


def _default_url(provider: Provider, env: Mapping[str, str]) -> str | None:
    """The address in the environment, else the provider's own; None where its client knows that one.

    Raises InvalidInput for an address in the environment that is none."""
    written = env.get(provider.url_env, "") if provider.url_env else ""
    if not written:
        return None if provider.is_hosted else provider.url
    try:
        return _with_host(provider.read_address(written))
    except ValueError as error:
        raise InvalidInput([Problem(str(provider.url_env), str(error), "write http://HOST:PORT, or unset it")]) from error


def _timeout_s(name: str, provider: Provider, experiment: Experiment, *, is_hosted: bool) -> float:
    """A server with a flex model waits longer."""
    flex = any(model.lane == "flex" for model in experiment.models.values() if (model.server or model.provider) == name)
    return FLEX_TIMEOUT_S if flex else HOSTED_TIMEOUT_S if is_hosted else provider.timeout_s


def _cost(part: ServerPart, fallback: LocalCost | None) -> LocalCost:
    prices = part.model_dump(include=set(LocalCost.model_fields), exclude_none=True)
    under = fallback.model_dump(exclude_none=True) if fallback else {}
    return LocalCost.model_validate(under | prices)


def _refuse_strangers(models: Mapping[str, ModelPart], parts: Mapping[str, ServerPart]) -> None:
    problems = []
    for alias, model in models.items():
        name = model.server or model.provider
        where = f"models.{alias}.server"
        if name not in parts:
            listed = ", ".join(sorted(parts))
            fix = f"add {name!r} to servers.yaml next to the experiment; see experiments/servers.example.yaml"
            problems.append(Problem(where, f"unknown server {name!r}; known: {listed}", fix))
        elif parts[name].provider != model.provider:
            problem = f"server {name!r} speaks {parts[name].provider}, the model {model.provider}"
            problems.append(Problem(where, problem, "name another server"))
    if problems:
        raise InvalidInput(problems)


def _refuse_lanes(models: Mapping[str, ModelPart], specs: Mapping[str, ServerSpec]) -> None:
    """Refuse lanes that the server of a model cannot be asked in; a server that is self-hosted ignores `fast` and `flex`."""
    problems = []
    for alias, model in models.items():
        spec = specs[model.server or model.provider]
        if model.lane is None or model.lane in ("now", *spec.lanes) or not LANES[model.lane].is_deferred:
            continue
        where, name, lane = f"models.{alias}.lane", spec.name, model.lane
        if not spec.is_hosted:
            problem = f"{lane} is a lane of hosted models, and server {name!r} is self-hosted ({spec.why})"
            problems.append(Problem(where, problem, f"use lane: now, or hosted: true for {name} if it bills by token"))
            continue
        problem = f"{lane} needs the Responses API, and server {name!r} is asked by Chat Completions"
        offered = ", ".join(lane for lane in LANES if lane in spec.lanes)
        problems.append(Problem(where, problem, f"use lane: {offered}; or api: responses for {name} if it speaks that"))
    if problems:
        raise InvalidInput(problems)


def _refuse_unclear(
    served: Mapping[str, Sequence[str]], parts: Mapping[str, ServerPart], specs: Mapping[str, ServerSpec]
) -> None:
    """Refuse servers whose billing is unclear."""
    unclear = {name: _unclear(parts[name], specs[name], models) for name, models in sorted(served.items())}
    problems = [Problem(f"server {name}", *problem) for name, problem in unclear.items() if problem]
    if problems:
        raise InvalidInput(problems)


def _unclear(part: ServerPart, spec: ServerSpec, served: Sequence[str]) -> tuple[str, str] | None:
    """What is contradictory or undecided, and the fix."""
    provider = PROVIDERS[spec.provider]
    spelling = f"in servers.yaml write {spec.name}: {{provider: {spec.provider}, url: {spec.url}, hosted: "
    if part.hosted is False and provider.is_hosted and not provider.is_own and is_own_address(provider, spec.url):
        return f"{spec.address} charges per token, regardless of servers.yaml", "remove hosted: false"
    if part.hosted is not None or spec.url is None:
        return None
    prices = part.model_dump(include=set(LocalCost.model_fields), exclude_none=True)
    if spec.is_hosted and prices:
        problem = f"{spec.why}, so it bills by token, yet it has {', '.join(prices)}"
        return problem, f"hosted: false if you pay for the hardware and not by token; else remove {', '.join(prices)}"
    vendor_only = next((model for model in served if is_vendor_only(model)), None)
    if vendor_only and host_of(spec.url).is_elsewhere_in_private:
        problem = f"{spec.why}, and it serves {vendor_only}, which only its vendor sells: does a request to it cost money?"
        return problem, f"{spelling}true}} if it does, {spelling}false}} if it does not"
    return None


def _warning(spec: ServerSpec, served: Sequence[str]) -> str:
    """What may surprise: a request that is billed, and counted by no cap."""
    if spec.is_hosted or spec.url is None:
        return ""
    vendor_only = next((model for model in served if is_vendor_only(model)), None)
    if vendor_only:
        return f"only its vendor sells {vendor_only}: if a request to it costs money, write hosted: true, or no cap counts it"
    public = host_of(spec.url)
    return f"{public.description}: if it bills by token, remove hosted: false, or no cap counts it" if public.is_public else ""
