"""The experiment: one YAML file, read strictly into types."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Self

import yaml
from pydantic import BeforeValidator, Discriminator, Field, PrivateAttr, Tag, ValidationError, ValidationInfo, model_validator

import agents
from domain.data_kinds import DATA_KINDS
from domain.lanes import LANES
from domain.providers import PROVIDERS
from domain.user_code import UserCodeError
from harness.cells import digest_of
from harness.errors import InvalidInput, Problem
from harness.experiment import lineups, references, yaml_file
from harness.experiment.cases import SHORTHANDS, CaseTerms, Data, DataPart, DatesPart, Repeats, RepeatsPart, Ticker
from harness.experiment.lineups import Arm, ModelPart, PipelinePart, Swap, Sweep
from harness.experiment.terms import (
    Budget,
    CellLimit,
    Compare,
    ConfigModel,
    FindTerms,
    Gates,
    JudgeTerms,
    LocalCost,
    Name,
    OutcomeTerms,
    ReplayTerms,
    Texts,
    as_list,
    distinct,
)

NEVER_ASKED = (
    "metrics",
    "sections",
    "budget",
    "cell_limit",
    "gates",
    "compare",
    "outcomes",
    "find",
    "local_cost",
    "allow_unpriced",
    "prices",
)
"""Keys that do not affect requests to models: changing them starts no new run."""


def _kind_of_arm(value: Any) -> str:
    if isinstance(value, Swap | Sweep):
        return type(value).__name__
    keys = value.keys() if isinstance(value, dict) else set()
    return "Swap" if {"from", "to", "design"} & keys else "Sweep" if "model" in keys else "Arm"


ArmOrDesign = Annotated[
    Annotated[Arm, Tag("Arm")] | Annotated[Swap, Tag("Swap")] | Annotated[Sweep, Tag("Sweep")], Discriminator(_kind_of_arm)
]


class Experiment(ConfigModel):
    """Tickers x dates x arms x repeats, and the terms of their comparison."""

    name: Name
    """Name of the experiment and of its results folder."""
    description: str = ""
    """The question in one sentence; heading of the report."""
    tickers: Annotated[tuple[Ticker, ...], BeforeValidator(distinct), BeforeValidator(as_list), Field(min_length=1)]
    """Tickers to decide on."""
    dates: DatesPart
    """Decision dates (sessions of the New York Stock Exchange): a list, or a rule."""
    cases: CaseTerms = CaseTerms()
    """What happens to cases that cannot be frozen."""
    repeats: RepeatsPart = Repeats()
    """Decisions per case and arm: a number, or `baseline` and `arms` where they differ. From 2 on, verdicts are possible."""
    data: DataPart = Data()
    """Sources of the frozen inputs."""
    pipeline: PipelinePart = PipelinePart()
    """How each case is decided; an arm may override it."""
    models: dict[Name, ModelPart] = Field(default_factory=dict)
    """Configured models, by the name that arms use. One without an arm is asked by `replay` only."""
    arms: dict[Name, ArmOrDesign] = Field(default_factory=dict)
    """Lineups to compare. Default: each model is an arm. An entry with `from` and `to` is a swap design, one with
    `model` a sweep over parameters; both expand into named arms."""
    compare: Compare = Compare()
    """Baseline and metrics, declared before the run."""
    metrics: Texts | None = None
    """Python files with metrics of your own, relative to this file, or entry points of the group
    tradingagents_harness.metrics; they are computed when the run ends, on the machine where `run` is. They get a verdict if
    `compare.metrics` declares them."""
    sections: Texts | None = None
    """Python files with sections of your own for the end of the page, relative to this file, or entry points of the group
    tradingagents_harness.sections; they are computed when the run ends, on the machine where `run` is."""
    outcomes: OutcomeTerms = OutcomeTerms()
    """Horizons and benchmark of what happened after each decision."""
    budget: Budget = Budget()
    """Caps on the cost of hosted models."""
    cell_limit: CellLimit = CellLimit()
    """Time limits of one cell."""
    find: FindTerms = FindTerms()
    """How `find` tests candidates."""
    gates: Gates = Gates()
    """Thresholds checked at the end, for CI."""
    local_cost: LocalCost | None = None
    """What local hardware costs. Default: as in servers.yaml, else unknown."""
    prices: str | None = None
    """Your own price file (a gateway, Azure, a negotiated rate), relative to the experiment file."""
    allow_unpriced: bool = False
    """Run although the price of a hosted model is unknown; its cost is then NULL and not limited by the budget."""
    replay: ReplayTerms | None = None
    """Replay of one arm's recorded inputs by other models, after the run."""
    judge: JudgeTerms | None = None
    """Pairwise judgement of replayed texts. Default: off."""

    _folder: Path = PrivateAttr(default=Path())

    @property
    def folder(self) -> Path:
        """Folder of the file; paths in it are relative to this."""
        return self._folder

    def at(self, folder: Path) -> Self:
        """The experiment of a file in this folder."""
        copy = self.model_copy()
        copy._folder = folder
        return copy

    @model_validator(mode="after")
    def _programs_are_whole(self, info: ValidationInfo) -> Self:
        """The keys of an attached program belong together."""
        if info.context is None:
            return self
        parts = {"pipeline": self.pipeline} | {
            f"arms.{name}.pipeline": lineups.merged(self.pipeline, arm.pipeline)
            for name, arm in self.arms.items()
            if isinstance(arm, Arm) and arm.pipeline
        }
        for place, part in parts.items():
            lineups.check_attached(place, part, self.cell_limit.hard)
        return self

    @model_validator(mode="after")
    def _probabilities_are_asked_for(self, info: ValidationInfo) -> Self:
        """A cascade that reads token probabilities needs a first model that asks for them."""
        if info.context is None:
            return self
        for name, arm in self.arms.items():
            if not (isinstance(arm, Arm) and arm.cascade and arm.cascade.when.rating_probability_below):
                continue
            first = self.models.get(arm.cascade.first)
            if lineups.merged(self.pipeline, arm.pipeline).command:
                what = f"arms.{name}: an attached program reports no probability of its rating"
                raise references.refused(what, "use confidence_below, repeats_disagree or unusable")
            if first is not None and not first.rating_probability:
                what = f"arms.{name}: models.{arm.cascade.first} does not ask for the probability of its rating"
                raise references.refused(
                    what, f"add rating_probability: true to models.{arm.cascade.first}, or use confidence_below"
                )
        return self

    @model_validator(mode="after")
    def _somebody_decides(self) -> Self:
        if not self.models and not self.arms:
            raise ValueError("the matrix is empty: name models, or arms of rules")
        return self

    def resolved(self) -> dict[str, Any]:
        """Everything as plain values, defaults included; loading it again gives the same experiment."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)

    def to_yaml(self) -> str:
        return yaml.safe_dump(self.resolved(), sort_keys=False, allow_unicode=True)

    @property
    def asked(self) -> str:
        """Hash of what models are asked: the same hash continues the same run."""
        plain = {key: value for key, value in self.resolved().items() if key not in (*NEVER_ASKED, "description")}
        for model in plain.get("models", {}).values():
            for name in ("server", "priced_as", "max_call_usd"):
                model.pop(name, None)
        plain["data"].pop("archive", None)
        for part in (plain["pipeline"], *(arm.get("pipeline", {}) for arm in plain.get("arms", {}).values())):
            part.pop("folder", None)
            part.pop("first_request_first", None)
        if self.repeats.baseline != self.repeats.arms:
            plain["repeats"]["baseline_arm"] = self.baseline
        return digest_of(plain)

    @property
    def baseline(self) -> str | None:
        """The arm that the others are compared with."""
        return self.compare.baseline or next(iter(self.arms or self.models), None)


_NOTHING: Mapping[str, Any] = MappingProxyType({})


def load(path: Path, overrides: Mapping[str, Any] = _NOTHING, folder: Path | None = None) -> Experiment:
    """Read an experiment; `overrides` are dotted keys of the command line (data.archive, budget.run_usd), and `lane`.

    `folder` is where the user's code lies; default: next to the file.
    Raises InvalidInput with every problem of the file."""
    document = yaml_file.load(Path(path))
    if not isinstance(document.value, dict):
        raise InvalidInput([Problem(str(path), "no experiment: keys and values are expected", "see experiments/smoke.yaml")])
    for key, value in overrides.items():
        if key == "lane":
            _put_lane(document.value, value)
        else:
            _put(document.value, key.split("."), value)
    try:
        experiment = Experiment.model_validate(document.value, context=references.Names.of(document.value))
    except ValidationError as error:
        raise InvalidInput(yaml_file.problems(error, document)) from error
    models, arms = lineups.expand_sweeps(experiment.models, experiment.arms)
    code = (folder or Path(path).parent).absolute()
    _check_own_metrics(experiment, code)
    _check_own_sections(experiment, code)
    experiment = experiment.model_copy(update={"data": _with_own_sources(experiment.data, code)})
    plain_arms = lineups.swaps_written_out(arms or {name: Arm(all=name) for name in models})
    return experiment.model_copy(update={"models": models, "arms": plain_arms}).at(Path(path).absolute().parent)


def _with_own_sources(data: Data, folder: Path) -> Data:
    """The data settings with the hash of each source of the user, loaded. Raises InvalidInput with file and line."""
    names = {kind: name for kind in DATA_KINDS if (name := getattr(data, kind)) and agents.is_own_source(name)}
    try:
        return data.model_copy(update={kind: agents.declare_source(name, kind, folder) for kind, name in names.items()})
    except UserCodeError as error:
        raise InvalidInput([Problem("data", str(error), "correct the file; see docs/your-code.md")]) from error


def _check_own_metrics(experiment: Experiment, folder: Path) -> None:
    """Load the experiment's own metrics before anything is paid. Raises InvalidInput with file and line."""
    if not experiment.metrics:
        return
    from reports.metrics import own

    try:
        added = own.declared(experiment.metrics, folder).metrics
    except UserCodeError as error:
        raise InvalidInput([Problem("metrics", str(error), "correct the file; see docs/your-code.md")]) from error
    names = [*references.known_metrics(experiment.outcomes.horizons), *(metric.name for metric in added if metric.better)]
    if unknown := [name for name in experiment.compare.metrics if name not in names]:
        what = f"unknown metric {', '.join(unknown)}; known: {', '.join(sorted(names))}"
        raise InvalidInput([Problem("compare.metrics", what, "a metric of your own needs better=...")])


def _check_own_sections(experiment: Experiment, folder: Path) -> None:
    """Load the experiment's own sections before anything is paid. Raises InvalidInput with file and line."""
    if not experiment.sections:
        return
    from reports.page import own_sections

    try:
        own_sections.declared(experiment.sections, folder)
    except UserCodeError as error:
        raise InvalidInput([Problem("sections", str(error), "correct the file; see docs/your-code.md")]) from error


def of_archive(archive: str | None) -> dict[str, Any]:
    """The override for --archive; its path is relative to the current folder."""
    if archive is None:
        return {}
    return {"data.archive": archive if "://" in archive else str(Path(archive).resolve())}


def _put(raw: dict[str, Any], keys: list[str], value: Any) -> None:
    for key in keys[:-1]:
        inner = raw.get(key)
        raw[key] = {"prices": inner} if key == "data" and isinstance(inner, str) else (inner or {})
        raw = raw[key]
    raw[keys[-1]] = value


def of_lane(lane: str | None) -> dict[str, Any]:
    """The override for --lane."""
    return {} if lane is None else {"lane": lane}


def _put_lane(raw: dict[str, Any], lane: str) -> None:
    """Set the lane of every model whose provider offers it. Raises InvalidInput if there is none."""
    if lane not in LANES:
        raise InvalidInput([Problem("--lane", f"unknown lane {lane!r}; known: {', '.join(LANES)}", "name one of them")])
    declared = raw.get("models")
    models = [model for model in declared.values() if isinstance(model, dict)] if isinstance(declared, dict) else []
    offering = [model for model in models if (known := PROVIDERS.get(str(model.get("provider")))) and lane in known.lanes]
    if not offering:
        providers = ", ".join(sorted({str(model.get("provider")) for model in models})) or "none"
        problem = f"no model of this experiment is at a provider that offers {lane} (providers: {providers})"
        raise InvalidInput([Problem("--lane", problem, "leave --lane out, or name a hosted model of OpenAI")])
    for model in offering:
        model["lane"] = lane


def schema() -> dict[str, Any]:
    """JSON schema of the experiment file, for editors."""
    json_schema = Experiment.model_json_schema(by_alias=True)
    for key, shorthand in SHORTHANDS.items():
        full_form = json_schema["properties"][key]
        json_schema["properties"][key] = {
            "anyOf": [shorthand, {"$ref": full_form["$ref"]}],
            "description": full_form["description"],
        }
    arm = json_schema["$defs"]["Arm"]["properties"]
    for role in references.known_roles():
        arm[role] = {"type": "string", "description": f"Model that plays {role}."}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Experiment", **json_schema}
