"""The matrix: cells of tickers x dates x arms x repeats, in the order in which they run."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import agents
from agents import Model, Pipeline, Sharing
from domain.case import Case
from domain.data_kinds import DATA_KINDS
from harness.cells import THEN, Cell, digest_of
from harness.errors import InvalidInput, Problem
from harness.experiment import cases, lineups, references
from harness.experiment.attached import TIERS, Attached, roles_of
from harness.experiment.lineups import Arm, ModelPart, PipelinePart
from harness.experiment.spec import Experiment
from harness.experiment.yaml_file import closest_name

POOLS = ("hosted", "local")
"""Queues where cells wait for workers; `local` is served by a worker next to each GPU."""
_OF_PIPELINE = {field.name for field in fields(Pipeline)} - {"rule"}
_DATA_OF_CELL = (*DATA_KINDS, "mask", "decision_time")


@dataclass(frozen=True)
class ResolvedArm:
    """An arm with everything that its declaration leaves to the experiment."""

    name: str
    declared: Arm
    settings: PipelinePart
    """The experiment's keys of `pipeline` with those of the arm."""
    pipeline: Pipeline
    lineup: Mapping[str, Model]
    """role -> model, in the first repeat."""
    experiment_dir: Path

    @property
    def is_attached(self) -> bool:
        """Whether its cases are decided by a user's own program."""
        return self.settings.command is not None and not self.declared.rule

    @property
    def needs_answers_at_once(self) -> bool:
        """Whether each answer decides the next request of a program or tool round."""
        return self.is_attached or (self.pipeline.inputs == "tools" and not self.declared.rule)

    @cached_property
    def program(self) -> Attached | None:
        """The user's own program that decides its cases. Raises InvalidInput for rules that cannot be read."""
        return program_of(self.settings, self.experiment_dir) if self.is_attached else None


def resolve_arms(experiment: Experiment) -> dict[str, ResolvedArm]:
    """Every arm by name."""
    return {name: _resolved(experiment, name, arm) for name, arm in arms(experiment).items()}


def _resolved(experiment: Experiment, name: str, arm: Arm) -> ResolvedArm:
    settings = _part(experiment, arm)
    players = _lineup(experiment, arm, settings)
    return ResolvedArm(name, arm, settings, _pipeline(settings, arm), players, experiment.folder)


def expand(experiment: Experiment, now: dt.datetime | None = None, arms: Mapping[str, ResolvedArm] | None = None) -> list[Cell]:
    """Every cell, case by case; `arms`: as `resolve_arms` returns them, if that was called before.

    Raises InvalidInput for dates that cannot be, and for two arms with one identity."""
    days = cases.decision_dates(experiment.dates, now)
    listed = [Case(ticker, day) for day in days for ticker in experiment.tickers]
    resolved = resolve_arms(experiment) if arms is None else arms
    _refuse_late_answers(experiment, resolved)
    _refuse_twins(resolved)
    cells = [cell for arm in resolved.values() for cell in _cells(experiment, arm, listed)]
    place = {name: index for index, name in enumerate(resolved)}
    return sorted(cells, key=lambda cell: (cell.repeat, cell.date, cell.ticker, place[cell.arm]))


def in_order(cells: Iterable[Cell], hosted: Collection[str]) -> list[Cell]:
    """The cells in the order in which they run: hosted arms and rules as they come, then those with a self-hosted model,
    model by model. `hosted` names the hosted servers."""

    def models_to_load(cell: Cell) -> tuple[bool, str]:
        return not is_hosted(cell, hosted), _local_models(cell, hosted)

    return sorted(cells, key=models_to_load)


def arms(experiment: Experiment) -> dict[str, Arm]:
    """Arms by name: as declared, each model where none is, and a swap design written out."""
    return lineups.swaps_written_out(experiment.arms or {name: Arm(all=name) for name in experiment.models})


def asked_models(experiment: Experiment, arms: Mapping[str, ResolvedArm] | None = None) -> tuple[str, ...]:
    """Names of the models that this experiment asks, in the order of the file: in arms, in its replay, as judges."""
    resolved = resolve_arms(experiment) if arms is None else arms
    aliases = {model.alias for arm in resolved.values() for model in arm.lineup.values()}
    aliases.update(experiment.replay.to if experiment.replay else ())
    aliases.update(experiment.judge.models if experiment.replay and experiment.judge else ())
    return tuple(alias for alias in experiment.models if alias in aliases)


def lineup(experiment: Experiment, arm: Arm, repeat: int = 0) -> dict[str, Model]:
    """role -> model, for exactly the roles that this arm's pipeline asks."""
    return _lineup(experiment, arm, _part(experiment, arm), repeat)


def _lineup(experiment: Experiment, arm: Arm, settings: PipelinePart, repeat: int = 0) -> dict[str, Model]:
    if arm.rule:
        return {}
    if settings.command is not None:
        aliases = _attached_aliases(experiment, arm, settings)
        return {role: model(experiment, alias, repeat) for role, alias in aliases.items()}
    roles = agents.role_turns(_pipeline(settings, arm))
    if arm.cascade:
        first, then = (model(experiment, alias, repeat) for alias in (arm.cascade.first, arm.cascade.then))
        return dict.fromkeys(roles, first) | {f"{THEN}{role}": then for role in roles}
    return {role: model(experiment, _alias(arm, role), repeat) for role in roles}


def is_attached(experiment: Experiment, arm: Arm) -> bool:
    """Whether the arm's cases are decided by a user's own program."""
    return not arm.rule and _part(experiment, arm).command is not None


def time_limit_s(experiment: Experiment, arm: str) -> float | None:
    """The time limit of an arm's attached program, if it has one of its own."""
    return _part(experiment, arms(experiment)[arm]).time_limit


def attached(experiment: Experiment, arm: Arm, experiment_dir: Path) -> Attached:
    """The arm's attached program, with paths of this machine. Raises InvalidInput for rules that cannot be read."""
    return program_of(_part(experiment, arm), experiment_dir)


def program_of(part: PipelinePart, experiment_dir: Path) -> Attached:
    """The attached program that these keys of `pipeline` describe."""
    folder = Path(os.path.expanduser(part.folder or "."))
    given: dict[str, Any] = {
        "models": part.models,
        "volatile": part.volatile,
        "cache": part.cache,
        "env": part.env,
        "keep": part.keep,
        "result": part.result and part.result.model_dump(exclude_none=True),
    }
    return Attached(
        command=part.command or (),
        folder=(experiment_dir / folder).resolve(),
        experiment_dir=experiment_dir.resolve(),
        roles=roles_of(experiment_dir / part.roles if part.roles else None),
        time_limit_s=part.time_limit,
        **{name: value for name, value in given.items() if value is not None},
    )


def _attached_aliases(experiment: Experiment, arm: Arm, settings: PipelinePart) -> dict[str, str]:
    """deep, quick, and every role that the arm names by itself -> model; fixed models by their own names."""
    targets = (settings.models or {}).values()
    fixed = {f"model:{alias}": alias for alias in targets if alias in experiment.models and alias not in TIERS}
    if arm.cascade:
        first = dict.fromkeys(("deep", "quick"), arm.cascade.first) | fixed
        then = dict.fromkeys(("deep", "quick"), arm.cascade.then) | fixed
        return first | {f"{THEN}{role}": alias for role, alias in then.items()}
    tiers = {tier: alias for tier in ("deep", "quick") if (alias := getattr(arm, tier) or arm.all)}
    return tiers | dict(arm.roles) | fixed


def played_roles(experiment: Experiment, arm: Arm) -> dict[str, Model]:
    """role -> model, of the roles whose recorded prompts can be asked again; of an attached program those that are named
    like built-in ones, by their tier."""
    players = lineup(experiment, arm)
    if not is_attached(experiment, arm):
        return players
    tiers = {role: "deep" if role in references.known_deep_roles() else "quick" for role in references.known_roles()}
    return {role: players.get(role) or players[tier] for role, tier in tiers.items()}


def model(experiment: Experiment, alias: str, repeat: int = 0) -> Model:
    """A configured model as the pipeline takes it, with every parameter explicit."""
    part: ModelPart = experiment.models[alias]
    params = part.parameters()
    if params.get("seed") == "per_repeat":
        params["seed"] = repeat
    return Model(alias, part.provider, part.model, params, part.server or part.provider)


def pipeline(experiment: Experiment, arm: Arm) -> Pipeline:
    """The experiment's pipeline with the arm's overrides."""
    return _pipeline(_part(experiment, arm), arm)


def _pipeline(part: PipelinePart, arm: Arm) -> Pipeline:
    return Pipeline(**part.model_dump(include=_OF_PIPELINE), rule=arm.rule)


def _part(experiment: Experiment, arm: Arm) -> PipelinePart:
    return lineups.merged(experiment.pipeline, arm.pipeline)


def select(cells: Sequence[Cell], only: str | None = None, limit: int | None = None) -> list[Cell]:
    """A part of the matrix: --only arm=A,ticker=T,date=D (a key twice means either), then the first `limit` cells."""
    wanted = _wanted(only, cells) if only else {}
    chosen = [cell for cell in cells if all(_value(cell, key) in values for key, values in wanted.items())]
    if only and not chosen:
        raise InvalidInput([Problem("--only", f"no cell has all of {only}", "ask for less at a time")])
    return chosen[:limit]


def is_hosted(cell: Cell, hosted: Collection[str]) -> bool:
    """Whether every server that this cell asks is hosted (a rule's cell counts as hosted: it needs no GPU)."""
    return all(server in hosted for server in cell.servers)


def asks_hosted(cell: Cell, hosted: Collection[str]) -> bool:
    """Whether this cell asks some hosted server: a hybrid is billed, too."""
    return any(server in hosted for server in cell.servers)


def pool_of(cell: Cell, hosted: Collection[str]) -> str:
    """Cells that need a self-hosted model go to the workers near it."""
    return "hosted" if is_hosted(cell, hosted) else "local"


def _cells(experiment: Experiment, arm: ResolvedArm, listed: Sequence[Case]) -> Iterator[Cell]:
    """Cells of one arm; what they have in common is made once."""
    common, declared, of_arms = _of_every_cell(experiment, arm), arm.declared, experiment.repeats
    repeats = 1 if declared.rule else of_arms.baseline if arm.name == experiment.baseline else of_arms.arms
    by_repeat = [arm.lineup, *(_lineup(experiment, declared, arm.settings, repeat) for repeat in range(1, repeats))]
    for case in listed:
        for repeat in range(repeats):
            yield Cell(experiment.name, arm.name, case.ticker, case.date, repeat, by_repeat[repeat], **common)


def cell_of(experiment: Experiment, name: str, arm: Arm, case: Case, repeat: int = 0) -> Cell:
    """One cell of any case and lineup; the experiment need not list them. Raises InvalidInput."""
    resolved = _resolved(experiment, name, arm)
    players, common = _lineup(experiment, arm, resolved.settings, repeat), _of_every_cell(experiment, resolved)
    return Cell(experiment.name, name, case.ticker, case.date, repeat, players, **common)


def _of_every_cell(experiment: Experiment, arm: ResolvedArm) -> dict[str, Any]:
    """What all cells of one arm have in common."""
    program = arm.program.identity() if arm.program else None
    extra: dict[str, Any] = {"attached": program} if program else {}
    if arm.declared.cascade:
        extra |= {"cascade": arm.declared.cascade.when.model_dump(exclude_none=True)}
    return {
        "pipeline": arm.pipeline,
        "data": data_of(experiment),
        "fingerprint": digest_of({"attached": program}) if program else agents.fingerprint(arm.pipeline),
        "extra": extra,
        "sharing": Sharing(first_request_first=arm.settings.first_request_first),
    }


def data_of(experiment: Experiment) -> dict[str, Any]:
    """Data settings that are part of a cell; where an archive lies is not, its content is in the snapshot's hash."""
    return {key: getattr(experiment.data, key) for key in _DATA_OF_CELL}


def _alias(arm: Arm, role: str) -> str:
    tier = arm.deep if role in references.known_deep_roles() else arm.quick
    alias = arm.roles.get(role) or tier or arm.all
    assert alias is not None, f"references.check lets no arm through that leaves {role} without a model"
    return alias


def _local_models(cell: Cell, hosted: Collection[str]) -> str:
    """The local model that a cell loads, so that a GPU meets each model once; several count by their names together."""
    return "+".join(sorted({f"{model.server}/{model.name}" for model in cell.lineup.values() if model.server not in hosted}))


def _refuse_late_answers(experiment: Experiment, arms: Mapping[str, ResolvedArm]) -> None:
    """Programs, and analysts that call tools, need each answer at once: their models cannot be in a deferred lane."""
    problems: dict[str, Problem] = {}
    for name, arm in arms.items():
        late = [f"{model.alias} ({model.lane.name})" for model in _distinct(arm.lineup.values()) if model.lane.is_deferred]
        if not (late and arm.needs_answers_at_once):
            continue
        keys = arm.declared.pipeline.model_fields_set if arm.declared.pipeline else frozenset()
        place = f"arms.{name}.pipeline" if {"command", "inputs"} & keys else "pipeline"
        models = ", ".join(late)
        if arm.is_attached:
            what = f"a program waits for each answer, and answers of {models} come hours later"
            problem = Problem(f"{place}.command", what, "use lane: now or flex for its models")
        else:
            what = f"with tools each answer decides the next request, and answers of {models} come hours later"
            problem = Problem(f"{place}.inputs", what, "use inputs: prefetch, or lane: now or flex for its models")
        problems.setdefault(problem.where, problem)
    if problems:
        raise InvalidInput(list(problems.values()))


def _distinct(models: Iterable[Model]) -> list[Model]:
    return list({model.alias: model for model in models}.values())


def _refuse_twins(arms: Mapping[str, ResolvedArm]) -> None:
    seen: dict[str, str] = {}
    problems = []
    for name, arm in arms.items():
        players = {role: model.identity() for role, model in arm.lineup.items()}
        program = [arm.settings.model_dump()] if arm.is_attached else []
        cascade = [arm.declared.cascade.when.model_dump()] if arm.declared.cascade else []
        identity = digest_of([players, arm.pipeline.__dict__, *program, *cascade])
        if identity in seen:
            problem = f"arms {seen[identity]!r} and {name!r} ask the same models the same: they would share every cell"
            problems.append(
                Problem(f"arms.{name}", problem, "remove one, or change a model, a parameter or the pipeline of it")
            )
        seen.setdefault(identity, name)
    if problems:
        raise InvalidInput(problems)


def _wanted(only: str, cells: Sequence[Cell]) -> dict[str, set[str]]:
    wanted: dict[str, set[str]] = {}
    for pair in only.split(","):
        key, _, value = pair.partition("=")
        if key not in ("arm", "ticker", "date", "repeat") or not value:
            fix = "write --only arm=A,ticker=T,date=YYYY-MM-DD"
            raise InvalidInput([Problem("--only", f"cannot read {pair!r}; known: arm, ticker, date, repeat", fix)])
        values = {_value(cell, key) for cell in cells}
        if value not in values:
            listed = ", ".join(sorted(values))
            raise InvalidInput([Problem("--only", f"unknown {key} {value!r}; known: {listed}", closest_name(value, values))])
        wanted.setdefault(key, set()).add(value)
    return wanted


def _value(cell: Cell, key: str) -> str:
    return str(getattr(cell, key))
