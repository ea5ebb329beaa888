"""Names in an experiment file that must refer to something: models, roles, rules, sources, arms, metrics.

The types below are checked while pydantic reads the file, with the names that the file declares as its context. Without a
context (experiments in run folders, which were checked when their run began) every name is taken as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any

from pydantic import AfterValidator, ValidationInfo
from pydantic_core import PydanticCustomError

import agents
from domain.defaults import HORIZONS
from domain.providers import PROVIDERS
from domain.user_code import UserCodeError
from harness.experiment.attached import OTHER, TIERS, shipped_roles


@cache
def known_roles() -> tuple[str, ...]:
    return tuple(agents.role_names())


@cache
def known_analysts() -> tuple[str, ...]:
    return tuple(agents.analyst_names())


@cache
def known_deep_roles() -> frozenset[str]:
    return frozenset(agents.deep_roles())


@cache
def known_rules() -> tuple[str, ...]:
    return tuple(agents.rule_names())


@cache
def known_sources(kind: str) -> tuple[str, ...]:
    """Sources that give a kind of data."""
    return tuple(agents.source_names(kind))


def known_metrics(horizons: Sequence[int]) -> tuple[str, ...]:
    """Metrics that a comparison may declare, outcomes once per horizon."""
    from reports.metrics import catalog

    return catalog.metric_names(horizons)


@dataclass(frozen=True)
class Names:
    """The names that a file declares, read from its plain values, so that an invalid part hides no problem of another."""

    models: tuple[str, ...]
    arms: tuple[str, ...]
    has_design: bool
    """Whether a swap design or a sweep adds arms that are not written out yet."""
    horizons: tuple[int, ...]
    has_own_metrics: bool
    """Whether files of the user add metrics, whose names are checked when these are loaded."""
    roles: tuple[str, ...] | None
    """Roles that lineups may name; None if the rules of an attached program name them."""

    @classmethod
    def of(cls, raw: dict[str, Any]) -> Names:
        models, arms = (tuple(raw[key]) if isinstance(raw.get(key), dict) else () for key in ("models", "arms"))
        outcomes = raw.get("outcomes")
        declared = outcomes.get("horizons") if isinstance(outcomes, dict) else None
        horizons = tuple(days for days in declared if isinstance(days, int)) if isinstance(declared, list) else HORIZONS
        declared_arms = raw["arms"].values() if arms else ()
        has_design = any(isinstance(arm, dict) and {"from", "to", "model"} & arm.keys() for arm in declared_arms)
        return cls(models, arms or models, has_design, horizons, bool(raw.get("metrics")), _roles(raw))


def _roles(raw: dict[str, Any]) -> tuple[str, ...] | None:
    """The built-in roles; with an attached program also those of its rules."""
    arms = raw.get("arms")
    parts = [raw.get("pipeline"), *(arm.get("pipeline") for arm in (arms if isinstance(arms, dict) else {}).values()
                                    if isinstance(arm, dict))]  # fmt: skip
    attached = [part for part in parts if isinstance(part, dict) and ("command" in part or "roles" in part)]
    if any("roles" in part for part in attached):
        return None
    return (*known_roles(), *attached_roles()) if attached else known_roles()


@cache
def attached_roles() -> tuple[str, ...]:
    """Roles of attached programs that the shipped rules name and our own pipeline does not have."""
    return tuple(name for name in (*shipped_roles().names, OTHER) if name not in known_roles())


def unknown_name(kind: str, name: str, known: Iterable[str]) -> PydanticCustomError:
    """The error for a name that is not among the known ones."""
    return PydanticCustomError("unknown_name", "unknown {kind} {name!r}", {"kind": kind, "name": name, "known": sorted(known)})


def refused(what: str, fix: str) -> PydanticCustomError:
    """The error for values that are right alone and wrong together."""
    return PydanticCustomError("refused", "{what}", {"what": what, "fix": fix})


def require(kind: str, name: str, known: Iterable[str], info: ValidationInfo) -> str:
    """The name. Raises an error that lists the known ones, if it is in a file and not among them."""
    if info.context is not None and name not in (names := tuple(known)):
        raise unknown_name(kind, name, names)
    return name


def _reference(kind: str, known: Callable[[Names], Iterable[str]]) -> AfterValidator:
    def check(name: str, info: ValidationInfo) -> str:
        return name if info.context is None else require(kind, name, known(info.context), info)

    return AfterValidator(check)


def _declared_arm(name: str, info: ValidationInfo) -> str:
    if info.context is None or info.context.has_design:
        return name
    return require("arm", name, info.context.arms, info)


def _known_role(name: str, info: ValidationInfo) -> str:
    if info.context is None or info.context.roles is None:
        return name
    return require("role", name, info.context.roles, info)


def _known_metric(name: str, info: ValidationInfo) -> str:
    if info.context is None or info.context.has_own_metrics:
        return name
    return require("metric", name, known_metrics(info.context.horizons), info)


def _known_provider(name: str) -> str:
    if name in PROVIDERS:
        return name
    if not agents.is_own_provider(name):
        raise unknown_name("provider", name, PROVIDERS)
    try:
        return agents.declare_provider(name)
    except UserCodeError as error:
        raise refused(str(error), "correct the file; see docs/your-code.md") from error


ModelName = Annotated[str, _reference("model", lambda names: names.models)]
ArmName = Annotated[str, AfterValidator(_declared_arm)]
AttachedTarget = Annotated[str, _reference("model", lambda names: (*TIERS, *names.models))]
RoleName = Annotated[str, AfterValidator(_known_role)]
RoleOrAll = Annotated[str, AfterValidator(lambda name, info: name if name == "all" else _known_role(name, info))]
AnalystName = Annotated[str, _reference("role", lambda _: known_analysts())]
RuleName = Annotated[str, _reference("rule", lambda _: known_rules())]
MetricName = Annotated[str, AfterValidator(_known_metric)]
ProviderName = Annotated[str, AfterValidator(_known_provider)]
