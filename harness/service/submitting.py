"""From the body of POST /jobs to a question: which cell is asked for, in the served experiment's terms.

Bodies of the former service (`config` with its keys) are understood as well; a partial `config` changes only what it names.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, HttpUrl, ValidationError

from domain.case import Case
from harness.cells import Cell, digest_of
from harness.checking import data_check
from harness.checking.resolved import ResolvedRun
from harness.errors import InvalidInput, Problem
from harness.experiment import cases, matrix, references
from harness.experiment.cases import Dates
from harness.experiment.lineups import Arm, PipelinePart
from harness.service import months
from harness.service.errors import ApiError, of_problems
from harness.service.jobs import NewJob

_ROUNDS: Mapping[str, int] = {"shallow": 1, "medium": 3, "deep": 5}
_ANALYSTS: Mapping[str, str] = {"market": "market", "social": "sentiment", "news": "news", "fundamentals": "fundamentals"}
"""Analysts of the former service -> ours."""
_TICKER = r"^\^?[A-Za-z0-9][A-Za-z0-9.^=-]{0,14}$"
_DATE = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"
_LISTED = 20
Named = Annotated[str, Field(min_length=1, max_length=200)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class OldConfig(_Body):
    """`config` of the former service. Each key changes only what it names."""

    llm_provider: Named | None = None
    """Provider of the models: one that is served."""
    deep_think_llm: Named | None = None
    """Model of the roles that weigh and decide."""
    quick_think_llm: Named | None = None
    """Model of all other roles."""
    backend_url: Annotated[str, Field(max_length=500)] | None = None
    """Address of the model server: one that is served."""
    max_debate_rounds: Annotated[int, Field(strict=True, ge=1, le=5)] | None = None
    """Rounds of the investment debate; 2 runs as 3, 4 as 5."""
    max_risk_discuss_rounds: Annotated[int, Field(strict=True, ge=1, le=3)] | None = None
    """Rounds of the risk debate; both debates have the same number of rounds."""
    selected_analysts: Annotated[list[Literal["market", "social", "news", "fundamentals"]], Field(min_length=1)] | None = None
    """Analysts that report."""
    data_vendors: Annotated[dict[Named, Named], Field(max_length=20)] | None = None
    """Accepted and noted: the served experiment decides where data comes from."""


class Steps(_Body):
    """Keys of the built-in pipeline that a job may change."""

    depth: Literal["shallow", "medium", "deep", "single_call"] | None = None
    """1, 3 or 5 rounds of both debates, or one prompt without a debate."""
    analysts: (
        Annotated[list[Literal["market", "sentiment", "news", "fundamentals"]], Field(min_length=1, max_length=4)] | None
    ) = None
    """Analysts that report."""


class JobRequest(_Body):
    """One decision: a ticker, a date, and who decides. Default: the first arm of the served experiment."""

    ticker: Annotated[str, Field(pattern=_TICKER, max_length=16)]
    """Ticker as Yahoo writes it."""
    date: Annotated[str, Field(pattern=_DATE)]
    """Decision date, YYYY-MM-DD: a closed session of the New York Stock Exchange."""
    arm: Named | None = None
    """Arm of the served experiment."""
    model: Named | None = None
    """Model that plays every role: its name in the experiment."""
    lineup: Annotated[dict[Named, Named], Field(min_length=1, max_length=32)] | None = None
    """`all`, `deep`, `quick` or a role -> model."""
    pipeline: Named | Steps | None = None
    """Keys of the built-in pipeline, or the arm whose attached program decides."""
    config: OldConfig | None = None
    """Body of the former service."""
    callback_url: HttpUrl | None = None
    """Where the end of the job is posted; its host must be allowed by `serve --allow-callback`."""
    fresh: Annotated[bool, Field(strict=True)] = False
    """Decide again even if this question is answered already."""


@dataclass(frozen=True)
class JobQuestion:
    """A cell in the served experiment's terms, before its repeat is known."""

    arm_name: str
    arm: Arm
    case: Case
    notes: Sequence[str] = ()


@dataclass
class Desk:
    """Reads requests in the terms of one served experiment."""

    resolved: ResolvedRun
    _known_tickers: set[str] = field(default_factory=set, init=False)

    def __post_init__(self) -> None:
        self._experiment = self.resolved.experiment
        self._arms = matrix.arms(self._experiment)
        self._served = frozenset(matrix.asked_models(self._experiment))
        self._names = {self._effect(arm): name for name, arm in reversed(self._arms.items())}

    def question(self, body: JobRequest, now: dt.datetime | None = None) -> JobQuestion:
        """What is asked. Raises ApiError (422) with everything that is wrong."""
        ticker = body.ticker.upper()
        day = self._day(body.date, now)
        self._check_ticker(ticker)
        named = [name for name in ("arm", "model", "lineup") if getattr(body, name) is not None]
        if len(named) > 1:
            raise _invalid(" and ".join(named), "name who decides in one way", f"keep one of {', '.join(named)}")
        arm_name, arm = self._arm(body)
        arm_name, arm = self._with_steps(arm_name, arm, body)
        notes: list[str] = []
        if body.config is not None:
            arm_name, arm = self._with_config(arm_name, arm, body.config, notes, is_named=bool(named))
        return JobQuestion(self._name(arm_name, arm), arm, Case(ticker, day), notes)

    def cell(self, question: JobQuestion, repeat: int = 0) -> Cell:
        """The cell of a question, with the digests that the servers reported. Raises ApiError."""
        try:
            cell = matrix.cell_of(self._experiment, question.arm_name, question.arm, question.case, repeat)
        except (InvalidInput, KeyError) as error:
            problems = error.problems if isinstance(error, InvalidInput) else [Problem("arm", str(error))]
            raise of_problems(problems) from error
        return cell.frozen("", self.resolved.digests)

    def new_job(self, body: JobRequest, owner: str, idempotency_key: str | None = None) -> NewJob:
        """The job that a request asks for, ready to be stored. Raises ApiError (422)."""
        question = self.question(body)
        plain = body.model_dump(mode="json", exclude_unset=True)
        first = self.cell(question)
        return NewJob(
            owner=owner,
            ticker=question.case.ticker,
            date=str(question.case.date),
            arm=question.arm_name,
            month=months.current_month(),
            question=first.cell_id,
            body_hash=digest_of(plain),
            request=plain,
            cell=lambda repeat: (self.cell(question, repeat) if repeat else first).to_json(),
            notes=question.notes,
            idempotency_key=idempotency_key,
            callback_url=str(body.callback_url) if body.callback_url is not None else None,
            fresh=body.fresh,
        )

    def _day(self, text: str, now: dt.datetime | None) -> dt.date:
        try:
            (day,) = cases.decision_dates(Dates(days=(dt.date.fromisoformat(text),)), now)
        except ValueError as error:
            raise _invalid("date", f"{text} is no day of the calendar", "write YYYY-MM-DD") from error
        except InvalidInput as error:
            raise of_problems(
                [
                    Problem("date", problem.what, "name a closed session of the New York Stock Exchange")
                    for problem in error.problems
                ],
                "bad_date",
            ) from error
        return day

    def _check_ticker(self, ticker: str) -> None:
        """Refuse what a source on this machine does not have; a network is asked when the case is frozen."""
        if ticker in self._known_tickers:
            return
        for check in data_check.unknown_tickers(self._experiment.data, [ticker], self.resolved.experiment_dir):
            raise ApiError(422, "unknown_ticker", check.found, check.fix or "take a known one")
        self._known_tickers.add(ticker)

    def _arm(self, body: JobRequest) -> tuple[str, Arm]:
        if body.model is not None:
            alias = self._model(body.model, "model")
            return alias, Arm(all=alias)
        if body.lineup is not None:
            return "lineup", self._lineup(body.lineup)
        name = body.arm or str(self._experiment.baseline)
        if name not in self._arms:
            raise ApiError(
                422, "unknown_arm", f"arm: {name!r} is not served; served: {_listed(self._arms)}", "name one of them"
            )
        return name, self._arms[name]

    def _lineup(self, given: Mapping[str, str]) -> Arm:
        allowed = ("all", "deep", "quick", *references.known_roles())
        if unknown := [role for role in given if role not in allowed]:
            raise _invalid("lineup", f"unknown role {unknown[0]!r}; known: {', '.join(allowed)}", "name one of them")
        try:
            return Arm.model_validate({role: self._model(name, f"lineup.{role}") for role, name in given.items()})
        except ValidationError as error:
            raise of_problems([Problem("lineup", str(each["msg"])) for each in error.errors()]) from error

    def _with_steps(self, name: str, arm: Arm, body: JobRequest) -> tuple[str, Arm]:
        if body.pipeline is None:
            return name, arm
        if isinstance(body.pipeline, Steps):
            return self._changed(name, arm, body.pipeline.model_dump(exclude_none=True))
        attached = [each for each in self._arms if matrix.is_attached(self._experiment, self._arms[each])]
        if body.pipeline not in attached:
            listed = f"; listed: {_listed(attached)}" if attached else "; the served experiment lists none"
            raise _invalid("pipeline", f"{body.pipeline!r} is no attached program{listed}", "name one, or leave it out")
        if body.model is not None or body.lineup is not None or body.arm not in (None, body.pipeline):
            raise _invalid(
                "pipeline", "an attached program decides with the models of its arm", "leave arm, model and lineup out"
            )
        return body.pipeline, self._arms[body.pipeline]

    def _changed(self, name: str, arm: Arm, changes: Mapping[str, Any]) -> tuple[str, Arm]:
        """The arm with other keys of the built-in pipeline."""
        if not changes:
            return name, arm
        if arm.rule or matrix.is_attached(self._experiment, arm):
            who = f"arm {name} decides by a rule" if arm.rule else f"arm {name} is an attached program"
            raise _invalid("pipeline", f"{who}: it has no {' and no '.join(changes)} to change", "name another arm")
        before = arm.pipeline.model_dump(exclude_unset=True) if arm.pipeline else {}
        pipeline = PipelinePart.model_validate(before | dict(changes))
        return name, arm.model_copy(update={"pipeline": pipeline})

    def _with_config(self, name: str, arm: Arm, config: OldConfig, notes: list[str], *, is_named: bool) -> tuple[str, Arm]:
        candidates = self._candidates(config)
        if config.deep_think_llm or config.quick_think_llm:
            arm = self._with_models(name, arm, config, candidates)
        elif not self._asks_only(arm, candidates):
            if is_named:
                asked = ", ".join(sorted(self._aliases(arm)))
                raise _unserved("config", f"{name} asks {asked}, which are not at that provider or address", self._serving())
            name, arm = self._first_of(candidates)
        if rounds := max(config.max_debate_rounds or 0, config.max_risk_discuss_rounds or 0):
            depth = next(each for each, count in _ROUNDS.items() if count >= rounds)
            if rounds != _ROUNDS[depth]:
                notes.append(f"{rounds} debate rounds run as depth {depth}: {_ROUNDS[depth]} rounds of both debates")
            name, arm = self._changed(name, arm, {"depth": depth})
        if config.selected_analysts:
            analysts = tuple(dict.fromkeys(_ANALYSTS[each] for each in config.selected_analysts))
            name, arm = self._changed(name, arm, {"analysts": analysts})
        if config.data_vendors:
            sources = ", ".join(f"{kind}: {source}" for kind, source in matrix.data_of(self._experiment).items() if source)
            notes.append(f"data_vendors is not used: the served experiment reads {sources}")
        return name, arm

    def _candidates(self, config: OldConfig) -> list[str]:
        """Served models at the provider and the address that the old body names."""
        models = self._experiment.models
        chosen = [alias for alias in models if alias in self._served]
        if config.llm_provider is not None:
            wanted = config.llm_provider.strip().lower()
            chosen = [alias for alias in chosen if models[alias].provider == wanted]
            if not chosen:
                raise _unserved("config.llm_provider", f"{config.llm_provider!r} is not served", self._serving())
        if config.backend_url:
            servers = self.resolved.servers
            at = {name for name, spec in servers.items() if _same_address(spec.address, config.backend_url)}
            chosen = [alias for alias in chosen if (models[alias].server or models[alias].provider) in at]
            if not chosen:
                raise _unserved("config.backend_url", f"{config.backend_url!r} is not served", self._serving())
        return chosen

    def _with_models(self, name: str, arm: Arm, config: OldConfig, candidates: Sequence[str]) -> Arm:
        """The arm with another deep or quick model; what is not named stays."""
        if arm.rule or arm.cascade or matrix.is_attached(self._experiment, arm):
            raise _invalid("config", f"arm {name} has no deep and quick model to change", "name another arm")
        deep = config.deep_think_llm and self._model(config.deep_think_llm, "config.deep_think_llm", candidates)
        quick = config.quick_think_llm and self._model(config.quick_think_llm, "config.quick_think_llm", candidates)
        deep_roles = references.known_deep_roles()
        kept = {role: alias for role, alias in arm.roles.items() if not (deep if role in deep_roles else quick)}
        players = {"deep": deep or arm.deep or arm.all, "quick": quick or arm.quick or arm.all, "all": arm.all}
        tiers = {tier: alias for tier, alias in players.items() if alias}
        if tiers.get("deep") == tiers.get("quick") and not kept:
            tiers = {"all": tiers["deep"]}
        elif "deep" in tiers and "quick" in tiers:
            tiers.pop("all", None)
        pipeline = arm.pipeline.model_dump(exclude_unset=True) if arm.pipeline else None
        return Arm.model_validate({**tiers, **kept, **({"pipeline": pipeline} if pipeline else {})})

    def _model(self, text: str, where: str, candidates: Sequence[str] | None = None) -> str:
        """The served model with this name in the experiment, or with this name at its provider."""
        allowed = [alias for alias in self._experiment.models if alias in self._served]
        allowed = [alias for alias in allowed if candidates is None or alias in candidates]
        if text in allowed:
            return text
        named = [alias for alias in allowed if self._experiment.models[alias].model == text]
        if not named:
            raise _unserved(where, f"model {text!r} is not served", self._serving())
        default = self._aliases(self._arms[str(self._experiment.baseline)])
        return next((alias for alias in named if alias in default), named[0])

    def _aliases(self, arm: Arm) -> set[str]:
        return {model.alias for model in matrix.lineup(self._experiment, arm).values()}

    def _asks_only(self, arm: Arm, candidates: Sequence[str]) -> bool:
        return self._aliases(arm) <= set(candidates)

    def _first_of(self, candidates: Sequence[str]) -> tuple[str, Arm]:
        """The first arm that asks these models only, else the first of them in every role."""
        for name, arm in self._arms.items():
            if (aliases := self._aliases(arm)) and aliases <= set(candidates):
                return name, arm
        return candidates[0], Arm(all=candidates[0])

    def _name(self, name: str, arm: Arm) -> str:
        """The declared arm that is the same, else a name of its own: another lineup must not share a row of a report."""
        effect = self._effect(arm)
        if effect in self._names:
            return self._names[effect]
        if arm.is_plain and arm.all not in self._arms:
            return str(arm.all)
        return f"{name[:50]}+{effect[:8]}"

    def _effect(self, arm: Arm) -> str:
        """What an arm does, however it is written."""
        players = {role: model.alias for role, model in matrix.lineup(self._experiment, arm).items()}
        rest = arm.model_dump(mode="json", exclude={"all", "deep", "quick", "roles"}, exclude_none=True)
        changes = {} if matrix.is_attached(self._experiment, arm) else {"pipeline": None}
        return digest_of([players, asdict(matrix.pipeline(self._experiment, arm)), {**rest, **changes}])

    def _serving(self) -> str:
        models = self._experiment.models
        return _listed(
            f"{alias} ({models[alias].model} of {models[alias].provider} at {self._address(alias)})"
            for alias in models
            if alias in self._served
        )

    def _address(self, alias: str) -> str:
        part = self._experiment.models[alias]
        spec = self.resolved.servers.get(part.server or part.provider)
        return _without_login(spec.address) if spec else part.provider


def _invalid(where: str, what: str, fix: str) -> ApiError:
    return of_problems([Problem(where, what, fix)])


def _unserved(where: str, what: str, served: str) -> ApiError:
    return ApiError(422, "not_served", f"{where}: {what}; served: {served}", "name one that is served")


def _listed(names: Any) -> str:
    listed = list(names)
    more = f" and {len(listed) - _LISTED} more" if len(listed) > _LISTED else ""
    return ", ".join(map(str, listed[:_LISTED])) + more


def _same_address(served: str, asked: str) -> bool:
    """Whether two URLs name one server; a final /v1 and the name of this machine do not matter."""
    return _plain(served) is not None and _plain(served) == _plain(asked)


def _plain(url: str) -> tuple[str, int, str] | None:
    try:
        parts = urlsplit(url.strip())
        port = parts.port or {"http": 80, "https": 443}.get(parts.scheme, 0)
    except ValueError:
        return None
    host = (parts.hostname or "").replace("localhost", "127.0.0.1")
    return (host, port, re.sub(r"/v1/?$", "", parts.path).rstrip("/")) if host else None


def _without_login(url: str) -> str:
    return re.sub(r"://[^/@\s]+@", "://", url)
