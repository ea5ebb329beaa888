"""Models, pipelines and arms of an experiment, and swap designs."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations, product
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BeforeValidator,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    ValidationInfo,
    field_serializer,
    field_validator,
    model_serializer,
    model_validator,
)

from domain.lanes import LANES, lane_of_tier
from domain.providers import PROVIDERS
from harness.errors import InvalidInput, Problem
from harness.experiment import references
from harness.experiment.references import AnalystName, AttachedTarget, ModelName, ProviderName, RoleName, RoleOrAll, RuleName
from harness.experiment.terms import ConfigModel, Number, Seconds, Texts, Usd, Whole

NOT_PARAMETERS = frozenset({"provider", "model", "server", "priced_as", "max_call_usd"})
EVERY_PARAMETER = frozenset().union(*(provider.parameters for provider in PROVIDERS.values()))


class ModelPart(ConfigModel):
    """One configured model; all but `server` and `lane` is part of its identity."""

    provider: ProviderName
    """Who speaks to it: llamacpp, ollama, openai, or openai_compatible (vLLM, LM Studio, a gateway)."""
    model: str = Field(min_length=1)
    """Name as its server knows it."""
    server: str | None = None
    """Server in servers.yaml. Default: the provider's own."""
    priced_as: str | None = None
    """Public model whose prices apply, for a deployment of Azure or LiteLLM whose name no price table knows. Not part of its
    identity."""
    max_call_usd: Usd | None = None
    """Most that one call may cost, reserved by caps where the provider's answer is the bill (OpenRouter). Not part of its
    identity."""
    reasoning_effort: str | None = None
    """none, minimal, low, medium, high, xhigh, max; always sent to reasoning models. Default: medium."""
    verbosity: Literal["low", "medium", "high"] | None = None
    """Length of answers of GPT-5 models; always sent to them. Default: medium."""
    lane: Literal["now", "fast", "flex", "background_2h", "background_8h", "batch"] | None = None
    """When answers of a hosted model are fetched, and at what price: now; fast (twice the price); flex (half the price, slow);
    background_2h, background_8h and batch (70 %, 60 % and 50 %, hours later). Default: as the account is set up, else now."""
    think: bool | Literal["low", "medium", "high", "max"] | None = None
    """Thinking of local models: on, off, or a level for models that know levels."""
    thinking_tokens: Whole | None = None
    """Budget of thinking tokens of Anthropic and Google models that take one; the newest take reasoning_effort instead."""
    rating_probability: bool | None = None
    """Whether to store the probability that the model gave to its rating, from the tokens that llama-server, vLLM and Ollama
    return. Not part of its identity. Default: false."""
    max_output_tokens: Whole | None = None
    """Limit of one answer in tokens, reasoning included. Default: 4000."""
    num_ctx: Whole | None = None
    """Context window of a local model in tokens, sent with every call. Default: 8192."""
    temperature: Annotated[Number, Field(ge=0, le=2)] | None = None
    """Sampling temperature; not allowed for reasoning OpenAI models. Default: the provider's."""
    top_p: Annotated[Number, Field(gt=0, le=1)] | None = None
    """Nucleus sampling."""
    top_k: Whole | None = None
    """Sampling among the k likeliest tokens; local models only."""
    seed: Annotated[int, Field(strict=True, ge=0)] | Literal["per_repeat"] | None = None
    """Seed of the sampling; per_repeat gives each repeat its own."""

    @field_validator(*EVERY_PARAMETER)
    @classmethod
    def _is_understood(cls, value: Any, info: ValidationInfo) -> Any:
        understood = PROVIDERS[info.data["provider"]].parameters if "provider" in info.data else EVERY_PARAMETER
        if info.field_name not in understood:
            accepted = ", ".join(sorted(understood))
            what = f"{info.field_name} means nothing to {info.data['provider']}; known: {accepted}"
            raise references.refused(what, "remove it")
        return value

    @model_validator(mode="before")
    @classmethod
    def _read_old_run(cls, raw: Any, info: ValidationInfo) -> Any:
        """Experiments in older run folders name a service tier, which is refused in a file."""
        if not isinstance(raw, dict) or "service_tier" not in raw:
            return raw
        tier = raw["service_tier"]
        lane = str(tier) if tier in LANES else lane_of_tier(tier) or "now"
        if info.context is not None:
            raise references.refused(f"service_tier is now called lane (known: {', '.join(LANES)})", f"write lane: {lane}")
        rest = {key: value for key, value in raw.items() if key != "service_tier"}
        return rest if raw["service_tier"] is None else {"lane": lane} | rest

    def parameters(self) -> dict[str, Any]:
        """The parameters of the file, and defaults that would otherwise differ by model, server or machine."""
        declared = self.model_dump(exclude=set(NOT_PARAMETERS), exclude_none=True)
        return PROVIDERS[self.provider].implied_parameters(self.model) | declared


class ResultPart(ConfigModel):
    """Where an attached program's decision is read."""

    tool: str | None = None
    """Tool whose forced call is the decision. Default: that of the deciding role."""
    field: str | None = None
    """Key of the rating in its arguments, or in the last JSON line of the output. Default: rating, decision, action ..."""
    role: str | None = None
    """Role whose last text is the decision. Default: as the role rules say."""


class PipelinePart(ConfigModel):
    """How a case is argued."""

    analysts: tuple[AnalystName, ...] = ("market", "sentiment", "news", "fundamentals")
    """Analysts that report, side by side."""
    depth: Literal["shallow", "medium", "deep", "single_call"] = "shallow"
    """1, 3 or 5 rounds of both debates, or one prompt without a debate."""
    inputs: Literal["prefetch", "tools"] = "prefetch"
    """Whether the snapshot is part of the prompt, or analysts read it with tools."""
    budget_tokens: dict[AnalystName, Whole] = Field(default_factory=dict)
    """analyst -> most tokens of the snapshot that it is shown; a cut is announced in the text."""
    max_output_tokens: Annotated[dict[RoleOrAll, Whole], BeforeValidator(lambda value: _for_all(value))] = Field(
        default_factory=dict
    )
    """role, or `all` -> cap on one answer; a plain number is for all."""
    history_tokens: Whole = 1500
    """Most tokens of a debate's history that a prompt carries; the tables keep it whole."""
    report_tokens: Whole = 3000
    """Most tokens of one report, plan or statement that a later prompt carries; a cut is announced in the text."""
    tool_rounds: Whole = 6
    """Most rounds of tool calls of one analyst."""
    first_request_first: bool | None = None
    """Whether one analyst is asked first and the others at its first token, so that they read the shared material from the
    prompt cache of GPT-5.6 and later. Default: where that saves more than 5 % of the input's cost. Not part of an identity."""
    entry: str | None = Field(default=None, pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")
    """module:function of your own pipeline."""
    command: Texts | None = None
    """Command of your own program, started once per case in `folder`; {ticker}, {date}, {repeat}, {experiment} (the folder of
    this file) and {python} (that of this project) are filled in."""
    folder: str | None = None
    """Folder of the attached program, relative to this file."""
    models: dict[str, AttachedTarget] | None = None
    """Model name of the attached program -> deep, quick, role (deep for the roles that are deep here), or one of `models`;
    `*` is any other name. Default: `*: role`."""
    roles: str | None = None
    """YAML file with rules that name the roles of the attached program, before the shipped ones."""
    volatile: Texts | None = None
    """Regular expressions of text that differs each time the attached program asks, such as a time stamp."""
    cache: Texts | None = None
    """Folders copied into each case's private home (~/...), or NAME=folder for a copy at the address in variable NAME."""
    result: ResultPart | None = None
    """Where the attached program's decision is read."""
    time_limit: Seconds | None = None
    """Longest time of service of the attached program in one case. Default: cell_limit.soft."""
    env: dict[str, str] | None = None
    """Environment of the attached program; a value of the form $NAME is passed on from this machine's environment."""

    keep: Texts | None = None
    """Files that the attached program writes in a case and that are kept in the run folder, as patterns: `~/results/**/*.json`
    in its private home, else in `folder`; {ticker}, {date} and {repeat} are filled in. At most 20 files and 1 MiB a case."""

    @field_validator("keep")
    @classmethod
    def _keeps_files_of_its_own(cls, patterns: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for pattern in patterns or ():
            names = pattern.removeprefix("~/").split("/")
            if "" in names or ".." in names or any("**" in name and name != "**" for name in names):
                what = f"keep: {pattern!r} is no pattern of files below ~/ or below the program's folder"
                raise references.refused(what, "write ~/results/**/*.json, or reports/{ticker}/*.md for files in the folder")
        return patterns

    @model_validator(mode="after")
    def _somebody_reports(self) -> Self:
        if not self.analysts:
            raise ValueError("analysts is empty: name at least one")
        if len(set(self.analysts)) < len(self.analysts):
            raise ValueError("an analyst is listed twice in analysts")
        return self


def _for_all(value: Any) -> Any:
    return {"all": value} if isinstance(value, int) and not isinstance(value, bool) else value


def merged(whole: PipelinePart, own: PipelinePart | None) -> PipelinePart:
    """The experiment's keys of `pipeline` with those of an arm."""
    values = whole.model_dump()
    return PipelinePart.model_validate(values | (own.model_dump(exclude_unset=True) if own else {}))


_ATTACHED_ONLY = ("folder", "models", "roles", "volatile", "cache", "result", "time_limit", "env", "keep")


def check_attached(place: str, part: PipelinePart, hard_limit_s: float) -> None:
    """Raise an error if keys of an attached program are missing, or without meaning."""
    if not part.command:
        for key in _ATTACHED_ONLY:
            if getattr(part, key) is not None:
                what = f"{place}.{key} means something for an attached program only"
                raise references.refused(what, "add command: [...] and folder: ..., or remove it")
        return
    if not part.folder:
        raise references.refused(f"{place} has a command and no folder", "add folder: the program's folder")
    if part.entry:
        raise references.refused(f"{place} has a command and an entry", "keep one of them")
    if part.time_limit and part.time_limit >= hard_limit_s:
        what = f"{place}.time_limit ({part.time_limit:g} s) is not shorter than cell_limit.hard ({hard_limit_s:g} s)"
        raise references.refused(what, "raise cell_limit.hard")


class Unsure(ConfigModel):
    """When a cascade asks its second model; one of the four."""

    confidence_below: Annotated[Number, Field(gt=0, le=1)] | None = None
    """The first model's stated confidence is lower, or none is stated."""
    rating_probability_below: Annotated[Number, Field(gt=0, le=1)] | None = None
    """The first model gave its rating a lower probability, or its server returned none; needs its rating_probability: true."""
    repeats_disagree: Annotated[int, Field(strict=True, ge=2, le=5)] | None = None
    """So many decisions of the first model do not all agree; all of them are paid."""
    unusable: Literal[True] | None = None
    """Only if the first model's decision is unusable, which always asks the second."""

    @model_validator(mode="before")
    @classmethod
    def _one_word(cls, raw: Any) -> Any:
        """`when: unusable` is allowed."""
        return {"unusable": True} if raw == "unusable" else raw

    @model_validator(mode="after")
    def _is_one_rule(self) -> Self:
        if len(self.model_dump(exclude_none=True)) != 1:
            raise references.refused(
                "a cascade has one rule", "write confidence_below, rating_probability_below, repeats_disagree or unusable"
            )
        return self


class Cascade(ConfigModel):
    """One model decides first; a second one decides the case again where the first is unsure."""

    first: ModelName
    """Model that plays every role at first."""
    then: ModelName
    """Model that plays every role where the rule asks for it."""
    when: Unsure
    """The rule."""

    @model_validator(mode="after")
    def _are_two(self) -> Self:
        if self.first == self.then:
            raise references.refused("a cascade names one model twice", "name two models")
        return self


class Arm(ConfigModel):
    """A named lineup: one model for all roles, deep and quick, role by role, a cascade, or a rule without any model."""

    all: ModelName | None = None
    """Model that plays every role which nothing else names."""
    deep: ModelName | None = None
    """Model of the roles that weigh and decide: research_manager and portfolio_manager."""
    quick: ModelName | None = None
    """Model of all other roles."""
    roles: dict[RoleName, ModelName] = Field(default_factory=dict)
    """role -> model; roles may also be keys of the arm itself."""
    rule: RuleName | None = None
    """Decide by a rule instead: always_hold, macd, kdj_rsi, zmr or sma."""
    cascade: Cascade | None = None
    """One model first, a second one where the first is unsure."""
    pipeline: PipelinePart | None = None
    """Keys of `pipeline` that are other in this arm."""

    @model_validator(mode="before")
    @classmethod
    def _roles_are_keys(cls, raw: Any) -> Any:
        """Roles may be keys of the arm itself."""
        if not isinstance(raw, dict):
            return raw
        direct = {key: raw[key] for key in raw if key in references.known_roles()}
        rest = {key: value for key, value in raw.items() if key not in direct}
        return rest | {"roles": direct | dict(rest.get("roles") or {})} if direct else raw

    @model_validator(mode="after")
    def _somebody_plays_each_role(self) -> Self:
        named = {key for key in ("all", "deep", "quick") if getattr(self, key)} | set(self.roles)
        if self.cascade:
            if named or self.rule:
                raise references.refused("the arm is a cascade and names other models or a rule", "keep one of them")
            return self
        if self.rule and named:
            raise references.refused("the arm names a rule and models", "keep one of them")
        if not self.rule and not named:
            raise references.refused("the arm names no model and no rule", "set all: MODEL, or deep and quick")
        if named and not ("all" in named or {"deep", "quick"} <= named or set(references.known_roles()) <= named):
            raise references.refused("the arm leaves roles without a model", "add all: MODEL for the rest")
        return self

    @property
    def is_plain(self) -> bool:
        """Whether one model plays every role in the experiment's own pipeline."""
        return bool(self.all) and not (self.deep or self.quick or self.roles or self.pipeline)

    @model_serializer(mode="wrap")
    def _roles_directly(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        plain: dict[str, Any] = dump(self)
        roles: dict[str, Any] = plain.pop("roles", {})
        return {**plain, **roles}

    @field_serializer("pipeline")
    def _only_what_was_said(self, pipeline: PipelinePart | None) -> dict[str, Any] | None:
        return pipeline.model_dump(mode="json", exclude_unset=True) if pipeline else None


class Swap(ConfigModel):
    """Expands into arms that exchange one model for another role by role, to find the roles that may go local."""

    from_: ModelName = Field(alias="from")
    """Model that plays every role at first."""
    to: ModelName
    """Model that takes roles over."""
    design: Literal["one_at_a_time", "fractional"] = "one_at_a_time"
    """One role per arm, or a 16-run fractional factorial that estimates all roles at once."""


class Sweep(ConfigModel):
    """Expands into arms of one model with every combination of the listed parameters."""

    model: ModelName
    """Model whose parameters are varied; the others stay as declared."""
    reasoning_effort: tuple[str, ...] | None = None
    """Efforts to try."""
    verbosity: tuple[Literal["low", "medium", "high"], ...] | None = None
    """Verbosities to try."""
    think: tuple[bool | Literal["low", "medium", "high"], ...] | None = None
    """Levels of thinking to try."""
    temperature: tuple[Annotated[Number, Field(ge=0, le=2)], ...] | None = None
    """Sampling temperatures to try."""
    max_output_tokens: tuple[Whole, ...] | None = None
    """Limits of one answer to try."""

    @model_validator(mode="after")
    def _varies_something(self) -> Self:
        varied = self.varied
        if not varied or any(not values for values in varied.values()):
            names = ", ".join(name for name in type(self).model_fields if name != "model")
            raise references.refused(f"the sweep of {self.model} varies nothing", f"list values of one of {names}")
        if repeated := [name for name, values in varied.items() if len(set(values)) < len(values)]:
            raise references.refused(f"the sweep of {self.model} lists a value of {repeated[0]} twice", "keep one")
        return self

    @property
    def varied(self) -> dict[str, tuple[Any, ...]]:
        """parameter -> values, in the order of the fields."""
        given = {name: getattr(self, name) for name in type(self).model_fields if name != "model"}
        return {name: values for name, values in given.items() if values is not None}


def expand_sweeps(
    models: Mapping[str, ModelPart], declared: Mapping[str, Arm | Swap | Sweep]
) -> tuple[dict[str, ModelPart], dict[str, Arm | Swap | Sweep]]:
    """Models and arms with each sweep written out as MODEL-VALUE-VALUE; a combination that is an arm already is left out.

    Raises InvalidInput for a parameter that the model's provider does not know, and for a name that is taken."""
    all_models = dict(models)
    arms: dict[str, Arm | Swap | Sweep] = {name: arm for name, arm in declared.items() if not isinstance(arm, Sweep)}
    players = [arm.all for arm in arms.values() if isinstance(arm, Arm) and arm.is_plain]
    asked = [(models[name].model, models[name].parameters()) for name in players if name and name in models]
    for place, sweep in ((name, arm) for name, arm in declared.items() if isinstance(arm, Sweep)):
        for values in product(*sweep.varied.values()):
            name = "-".join([sweep.model, *(str(value).lower() for value in values)])
            part = _varied(models[sweep.model], dict(zip(sweep.varied, values, strict=True)), f"arms.{place}")
            if (part.model, part.parameters()) in asked:
                continue
            if name in all_models or name in arms:
                raise InvalidInput(
                    [Problem(f"arms.{place}", f"the sweep makes {name!r}, which exists already", "rename yours")]
                )
            all_models[name], arms[name] = part, Arm(all=name)
    return all_models, arms


def _varied(model: ModelPart, changes: dict[str, Any], place: str) -> ModelPart:
    try:
        return ModelPart.model_validate(model.model_dump(exclude_none=True) | changes)
    except ValidationError as error:
        raise InvalidInput(
            [Problem(place, str(found["msg"]), "remove it from the sweep") for found in error.errors()]
        ) from error


RUNS = 16


def swaps_written_out(declared: Mapping[str, Arm | Swap | Sweep]) -> dict[str, Arm]:
    """Arms with each swap design expanded into its lineups; a design's pure `from` arm is left out where it is declared."""
    arms = {name: arm for name, arm in declared.items() if isinstance(arm, Arm)}
    for swap in (arm for arm in declared.values() if isinstance(arm, Swap)):
        for name, arm in expand_swaps(swap).items():
            if name in arms:
                raise InvalidInput([Problem(f"arms.{name}", "the swap design makes an arm of this name too", "rename yours")])
            if not any(other == arm for other in arms.values()):
                arms[name] = arm
    return arms


def expand_swaps(swap: Swap) -> dict[str, Arm]:
    """name -> lineup of every run of the design, the unchanged one first."""
    lineups = _one_at_a_time() if swap.design == "one_at_a_time" else _fractional()
    return {
        name: Arm(all=swap.from_, roles=dict.fromkeys(swapped, swap.to)) if swapped else Arm(all=swap.from_)
        for name, swapped in lineups.items()
    }


def swapped_roles(arms: Mapping[str, Arm | Swap | Sweep]) -> dict[str, tuple[str, ...]]:
    """Lineups of a design whose name is a number only -> the roles that ask the other model."""
    numbered = {f"swap-{run:02d}" for run in range(RUNS)}
    return {name: tuple(arm.roles) for name, arm in arms.items() if name in numbered and isinstance(arm, Arm) and arm.roles}


def _one_at_a_time() -> dict[str, list[str]]:
    return {"swap-none": []} | {f"swap-{role}": [role] for role in references.known_roles()}


def _fractional() -> dict[str, list[str]]:
    """2^(12-8) of resolution III: each role is one of the 15 orthogonal columns of a 16-run two-level design.

    Box, Hunter, Hunter, Statistics for Experimenters, table of two-level fractional designs. Main effects are free of each
    other; each is confounded with interactions of two roles."""
    columns = [set(chosen) for size in (1, 3, 2, 4) for chosen in combinations(range(4), size)]
    roles = references.known_roles()
    if len(roles) > len(columns):
        raise InvalidInput([Problem("arms.swap.design", f"16 runs carry 15 roles, not {len(roles)}", "use one_at_a_time")])
    return {
        f"swap-{run:02d}": [role for role, column in zip(roles, columns, strict=False) if _is_high(run, column)]
        for run in range(RUNS)
    }


def _is_high(run: int, column: set[int]) -> bool:
    """The sign of a product column: the parity of its factors' bits in this run."""
    return sum(run >> bit & 1 for bit in column) % 2 == 1
