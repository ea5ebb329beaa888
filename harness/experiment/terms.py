"""Parts of the experiment file: base class and units, comparison, budget, limits, gates, replay and judge."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    ValidationError,
    ValidationInfo,
    model_validator,
)
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError

from domain import units
from domain.defaults import FORMER_NAMES, HARD_LIMIT_S, HORIZONS, SOFT_LIMIT_S
from harness.experiment.references import ArmName, MetricName, ModelName, RoleName, refused, unknown_name


class ConfigModel(BaseModel):
    """A part of the experiment file; an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, use_attribute_docstrings=True)

    @model_validator(mode="wrap")
    @classmethod
    def _name_known_keys(cls, raw: Any, read: ModelWrapValidatorHandler[Self]) -> Self:
        """pydantic's error for an unknown key does not name the known ones."""
        try:
            return read(raw)
        except ValidationError as error:
            details = error.errors(include_url=False)
            if not any(map(_is_unknown_key, details)):
                raise
            keys = [field.alias or name for name, field in cls.model_fields.items()]
            raise ValidationError.from_exception_data(error.title, [_with_keys(detail, keys) for detail in details]) from None


def _is_unknown_key(detail: ErrorDetails) -> bool:
    return detail["type"] == "extra_forbidden" and len(detail["loc"]) == 1


def _with_keys(detail: ErrorDetails, keys: list[str]) -> InitErrorDetails:
    kind = PydanticCustomError(detail["type"], detail["msg"], detail.get("ctx"))
    if _is_unknown_key(detail):
        kind = unknown_name("key", str(detail["loc"][0]), keys)
    return InitErrorDetails(type=kind, loc=detail["loc"], input=detail["input"])


def seconds(value: Any) -> Any:
    """25m, 90s, 2h or plain seconds -> seconds."""
    return units.seconds(value) if isinstance(value, str) else value


def share(value: Any) -> Any:
    """2pp, 5%, 20bp or a plain fraction -> fraction."""
    return units.share(value) if isinstance(value, str) else value


def change(value: Any) -> Any:
    """-10pp, +10% or a signed fraction -> signed fraction."""
    return units.change(value) if isinstance(value, str) else value


def as_list(value: Any) -> Any:
    """A single text is allowed instead of a list."""
    return [value] if isinstance(value, str) else value


def distinct(values: Any) -> Any:
    """Values of the matrix: at least one, and none twice."""
    if not isinstance(values, list | tuple):
        return values
    if not values:
        raise ValueError("the matrix is empty: tickers and dates each need one value")
    repeated = [str(value) for value in dict.fromkeys(map(str, values)) if list(map(str, values)).count(value) > 1]
    if repeated:
        raise ValueError(f"{', '.join(repeated)} is listed twice")
    return values


Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:+-]{0,63}$")]
Whole = Annotated[int, Field(strict=True, ge=1)]
Count = Annotated[int, Field(strict=True, ge=0)]
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Usd = Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)]
Seconds = Annotated[
    float,
    Field(gt=0, allow_inf_nan=False, json_schema_extra={"type": ["number", "string"]}),
    BeforeValidator(seconds),
]
Share = Annotated[
    float,
    Field(ge=0, allow_inf_nan=False, json_schema_extra={"type": ["number", "string"]}),
    BeforeValidator(share),
]
_CHANGE = (BeforeValidator(change), Field(json_schema_extra={"type": ["number", "string"]}))
Loss = Annotated[float, Field(le=0, allow_inf_nan=False), *_CHANGE]
Rise = Annotated[float, Field(ge=0, allow_inf_nan=False), *_CHANGE]
_ListOrText = (BeforeValidator(as_list), Field(json_schema_extra={"type": ["array", "string"]}))
Texts = Annotated[tuple[str, ...], *_ListOrText]
ModelNames = Annotated[tuple[ModelName, ...], *_ListOrText]
RoleNames = Annotated[tuple[RoleName, ...], *_ListOrText]


def current_names(named: Any, info: ValidationInfo) -> Any:
    """A mapping by names of metrics or gates with today's names. In a file, raises an error that names the new one."""
    if not isinstance(named, dict):
        return named
    former = next((name for name in named if name in FORMER_NAMES), None)
    if former and info.context is not None:
        raise refused(f"{former} is now called {FORMER_NAMES[former]}", "rename it")
    return {FORMER_NAMES.get(name, name): value for name, value in named.items()}


class MetricTerms(ConfigModel):
    """Terms of one metric, declared before the run."""

    margin: Share | None = None
    """Largest loss that does not matter (10pp, 5%, 20bp)."""


class Compare(ConfigModel):
    """What is compared; changing it recomputes the report and starts no run."""

    baseline: ArmName | None = None
    """Arm that the others are compared with. Default: the first arm."""
    metrics: dict[MetricName, MetricTerms] = Field(default_factory=dict)
    """Metrics that get a verdict. Whether an arm is good enough rests on same_rating, usable and grounding, declared or not
    (margins by default: 10, 10 and 5 points)."""

    @model_validator(mode="before")
    @classmethod
    def _read_old_run(cls, raw: Any, info: ValidationInfo) -> Any:
        """Experiments in older run folders say `endpoints` and use former names of metrics; files must use the new ones."""
        if not isinstance(raw, dict):
            return raw
        if "endpoints" in raw and info.context is not None:
            raise ValueError("compare.endpoints is now called compare.metrics")
        metrics = raw.get("metrics") or raw.get("endpoints")
        rest = {key: value for key, value in raw.items() if key not in ("metrics", "endpoints")}
        return rest if metrics is None else rest | {"metrics": current_names(metrics, info)}


class OutcomeTerms(ConfigModel):
    """What happened after each decision."""

    horizons: tuple[Whole, ...] = HORIZONS
    """Sessions held, from the open after the decision."""
    benchmark: str = "SPY"
    """Benchmark of excess returns; the equal-weight universe if the source lacks it."""


class Budget(ConfigModel):
    """Caps in US dollars on the cost of hosted models; a call that could exceed one is not sent."""

    run_usd: Usd | None = None
    """Most that a run may cost; at the cap nothing new starts, and a higher cap continues the run."""
    cell_usd: Usd | None = None
    """Most that one cell may cost."""
    call_usd: Usd | None = None
    """Most that one call may cost at worst."""
    model_usd: dict[ModelName, Usd] = Field(default_factory=dict)
    """Most that one model (by its name under `models`) may cost in a run."""
    month_usd: Usd | None = None
    """Most that a service may cost in a calendar month (UTC), its jobs and the experiments submitted to it together; `serve`
    requires it where a model is hosted."""


class CellLimit(ConfigModel):
    """Time limits of one cell; waiting for a server's slot or after a 429 does not count."""

    soft: Seconds = SOFT_LIMIT_S
    """Time of service after which the cell ends as `timeout` with the calls it made."""
    hard: Seconds = HARD_LIMIT_S
    """Time of service after which its process is killed."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.soft >= self.hard:
            raise ValueError(f"soft ({self.soft:g} s) must be shorter than hard ({self.hard:g} s)")
        return self


class Gates(ConfigModel):
    """Thresholds for CI: exit code 4 after a finished run if one fails."""

    @model_validator(mode="before")
    @classmethod
    def _read_old_run(cls, raw: Any, info: ValidationInfo) -> Any:
        """Experiments in older run folders use former names of gates."""
        return current_names(raw, info)

    max_usd_per_usable_decision: Usd | None = None
    """Most that a usable decision may cost, in each arm."""
    min_usable_share: Share | None = None
    """Lowest share of cells with a usable decision, in each arm."""
    min_same_rating: Share | None = None
    """Lowest agreement with the baseline, in each other arm."""
    max_p95_service_s: Seconds | None = None
    """Longest 95th percentile of a cell's time of service, in each arm."""
    max_run_usd: Usd | None = None
    """Most that the whole run may have cost."""
    against: str | None = None
    """Earlier run that the five gates below compare with, case by case: EXPERIMENT (its latest other run), EXPERIMENT/RUN_ID
    or a folder; `run --against` replaces it. Without it they are not checked. One fails if the change is past its limit and
    is not chance."""
    same_rating: Loss | None = None
    """Largest change of the agreement with the baseline, such as -10pp, in each other arm."""
    usable: Loss | None = None
    """Largest change of the share of usable decisions, such as -5pp, in each arm."""
    grounding: Loss | None = None
    """Largest change of the share of figures that rest on the inputs, such as -5pp, in each arm."""
    cost: Rise | None = None
    """Largest rise of the cost per usable decision, such as +10%, in each arm."""
    service_p50: Rise | None = None
    """Largest rise of the median time of service, such as +20%, in each arm."""


class FindTerms(ConfigModel):
    """How `find` tests candidates, fixed before the first answer."""

    blocks: Annotated[int, Field(strict=True, ge=2, le=7)] | None = None
    """Blocks of dates, with a look after each. Default: 4 from 20 tested dates on, 3 from 9 on, else 2."""


class LocalCost(ConfigModel):
    """What a second of local hardware costs, if servers.yaml does not set it; else local cost is unknown."""

    usd_per_gpu_hour: Usd | None = None
    """Price of one hour of the GPU, rented or estimated."""
    usd_per_cpu_hour: Usd | None = None
    """Price of one hour of all the machine's cores, for servers without a GPU."""
    watts: Usd | None = None
    """Power above idle while computing, if no meter measures it."""
    usd_per_kwh: Usd | None = None
    """Price of electricity."""
    purchase_usd: Usd | None = None
    """What the hardware cost."""
    lifetime_years: Usd | None = Field(default=None, gt=0)
    """Years over which the purchase is spread."""
    utilisation: Share | None = Field(default=None, gt=0, le=1)
    """Share of its lifetime that the hardware computes. Default: as measured in the run."""


class ReplayTerms(ConfigModel):
    """Recorded inputs of one arm, sent to other models, role by role."""

    from_: ArmName = Field(alias="from")
    """Arm whose recorded messages are replayed."""
    to: ModelNames = Field(min_length=1)
    """Models that are asked the same."""
    roles: RoleNames = ()
    """Roles to replay. Default: all."""
    limit: Whole | None = None
    """Most cases to replay."""
    noise_floor: Count = 3
    """Cases that the arm's own models answer again, to measure differences by chance; 0 for none."""


class JudgeTerms(ConfigModel):
    """Pairwise judgement of replayed answers; paid like any call. Default: off."""

    models: ModelNames = Field(min_length=1)
    """Models that judge, each pair in both orders; who wrote which answer is hidden from them."""
    limit: Whole | None = None
    """Most cases to judge."""
