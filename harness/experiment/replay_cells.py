"""Cells of replays (recorded prompts sent to other models) and of judgements (pairs of their answers)."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any, Self

import agents
from agents import Model
from domain.case import case_id
from harness.cells import Cell
from harness.errors import InvalidInput, Problem
from harness.experiment import matrix
from harness.experiment.spec import Experiment
from harness.experiment.yaml_file import closest_name
from reports.tables import ITSELF, judge_arm, replay_arm

REPLAY, JUDGE = "replay", "judge"
_FRESH_SEED = 1000
"""Added to seeds that follow the repeat: with the recorded seed a model would repeat itself, and the noise floor would be
zero."""


@dataclass(frozen=True)
class ReplayRequest:
    """What is replayed, and which models judge it."""

    source: str
    """Arm whose recorded messages are sent again."""
    targets: tuple[str, ...]
    """Models of the experiment that are asked the same."""
    roles: tuple[str, ...] = ()
    """Empty: all."""
    limit: int | None = None
    """Most cases per target."""
    floor: int = 0
    """Cases that the source's own models answer again, to measure differences by chance."""
    judges: tuple[str, ...] = ()
    """Models that judge the answers of source and target."""
    judged: int | None = None
    """Most cases that are judged."""

    @classmethod
    def declared(cls, experiment: Experiment) -> Self | None:
        """What the experiment declares, None where it declares no replay."""
        terms, judge = experiment.replay, experiment.judge
        if terms is None:
            return None
        judges = (judge.models, judge.limit) if judge else ((), None)
        return cls(terms.from_, terms.to, terms.roles, terms.limit, terms.noise_floor, *judges)


@dataclass(frozen=True)
class ReplaySource:
    """One cell of the source arm."""

    cell_id: str
    ticker: str
    date: dt.date
    repeat: int
    snapshot_sha256: str = ""

    @property
    def case_id(self) -> str:
        return case_id(self.ticker, self.date)


def planned(experiment: Experiment, wish: ReplayRequest, cells: Iterable[Cell]) -> tuple[list[Cell], list[Cell]]:
    """The replays and judgements that will follow these cells, as far as known before the run.

    Raises InvalidInput for unknown names."""
    check_replay(experiment, wish)
    sources = [ReplaySource(cell.cell_key, cell.ticker, cell.date, cell.repeat) for cell in cells if cell.arm == wish.source]
    replays = replays_of(experiment, wish, sources)
    return replays, judgements_of(experiment, wish, replays)


def replays_of(
    experiment: Experiment,
    wish: ReplayRequest,
    sources: Sequence[ReplaySource],
    digests: Mapping[str, str | None] | None = None,
) -> list[Cell]:
    """One cell per cell of the source and target, then the noise floor: the source's own models on a few cases."""
    chosen = _limited(sources, wish.limit)
    own_models = _own(experiment, wish.source)
    players: list[tuple[str, str | None, Sequence[ReplaySource]]] = [(target, target, chosen) for target in wish.targets]
    if not own_models <= set(wish.targets):
        players.append((_itself(own_models), None, _for_floor(chosen, wish.floor)))
    return [
        _replay(experiment, wish, name, alias, source).frozen(source.snapshot_sha256, digests or {})
        for name, alias, cases in players
        for source in cases
    ]


def floor_of(
    experiment: Experiment, wish: ReplayRequest, sources: Sequence[ReplaySource]
) -> tuple[str, list[ReplaySource], list[str]]:
    """The replay in which the source's own models answer again: its name, its cells and its roles."""
    own_models, chosen = _own(experiment, wish.source), _limited(sources, wish.limit)
    cells = chosen if own_models <= set(wish.targets) else _for_floor(chosen, wish.floor)
    return replay_arm(wish.source, _itself(own_models)), cells, list(_asked(experiment, wish))


def without_own(experiment: Experiment, wish: ReplayRequest) -> ReplayRequest:
    """The same request without the noise floor."""
    own_models = _own(experiment, wish.source)
    return replace(wish, targets=tuple(name for name in wish.targets if {name} != own_models), floor=0)


def judgements_of(
    experiment: Experiment, wish: ReplayRequest, replays: Sequence[Cell], digests: Mapping[str, str | None] | None = None
) -> list[Cell]:
    """One cell per replay to another model and judge, judge by judge."""
    own_models = _own(experiment, wish.source)
    judged_cells = [cell for cell in replays if not {model.alias for model in cell.lineup.values()} <= own_models]
    cases = list(dict.fromkeys(cell.case_id for cell in judged_cells))[: wish.judged]
    judged = [cell for cell in judged_cells if cell.case_id in cases]
    return [
        _judgement(experiment, wish, judge, cell).frozen(cell.snapshot_sha256, digests or {})
        for judge in wish.judges
        for cell in judged
    ]


def check_replay(experiment: Experiment, wish: ReplayRequest) -> None:
    """Raises InvalidInput for every unknown name."""
    arms = matrix.arms(experiment)
    problems = []
    if wish.source not in arms:
        problems.append(
            Problem("--from", f"unknown arm {wish.source!r}; known: {', '.join(arms)}", closest_name(wish.source, arms))
        )
    elif arms[wish.source].rule:
        problems.append(Problem("--from", f"arm {wish.source!r} is a rule: it asked no model anything", "name another arm"))
    named = [("--to", name) for name in wish.targets] + [("--judge", name) for name in wish.judges]
    for option, name in named:
        if name not in experiment.models:
            allowed = ", ".join(experiment.models)
            fix = f"{closest_name(name, experiment.models)} A model that the run does not have goes into a file: --models FILE"
            problems.append(Problem(option, f"unknown model {name!r}; known: {allowed}", fix))
    for role in wish.roles:
        if role not in agents.role_names():
            allowed = ", ".join(agents.role_names())
            problems.append(
                Problem("--roles", f"unknown role {role!r}; known: {allowed}", closest_name(role, agents.role_names()))
            )
    if problems:
        raise InvalidInput(problems)
    _asked(experiment, wish)


def per_arm(cells: Iterable[Cell]) -> Counter[str]:
    return Counter(cell.arm for cell in cells)


def _asked(experiment: Experiment, wish: ReplayRequest) -> dict[str, Model]:
    """role -> the source's own model, of the replayed roles. Raises InvalidInput for a role that the arm does not have."""
    lineup = matrix.played_roles(experiment, matrix.arms(experiment)[wish.source])
    play = f"in arm {wish.source!r}; there play: {', '.join(lineup)}"
    if absent := [role for role in wish.roles if role not in lineup]:
        raise InvalidInput([Problem("--roles", f"role {role!r} does not play {play}", "leave it out") for role in absent])
    return {role: model for role, model in lineup.items() if not wish.roles or role in wish.roles}


def _own(experiment: Experiment, source: str) -> set[str]:
    return {model.alias for model in matrix.lineup(experiment, matrix.arms(experiment)[source]).values()}


def _itself(own_models: set[str]) -> str:
    return next(iter(own_models)) if len(own_models) == 1 else ITSELF


def _limited(sources: Sequence[ReplaySource], limit: int | None) -> list[ReplaySource]:
    ordered = sorted(sources, key=lambda source: (source.date, source.ticker, source.repeat))
    cases = list(dict.fromkeys(source.case_id for source in ordered))[:limit]
    return [source for source in ordered if source.case_id in cases]


def _for_floor(sources: Sequence[ReplaySource], count: int) -> list[ReplaySource]:
    """Cases with repeats first, then by hash, so that added cases leave most of them in place."""
    repeats = Counter(source.case_id for source in sources)
    ordered = sorted(repeats, key=lambda case: (-repeats[case], sha256(case.encode()).hexdigest()))
    return [source for source in sources if source.case_id in ordered[:count]]


def _replay(experiment: Experiment, wish: ReplayRequest, name: str, alias: str | None, source: ReplaySource) -> Cell:
    seed = _FRESH_SEED + source.repeat
    own_lineup = _asked(experiment, wish)
    lineup = {role: matrix.model(experiment, alias or model.alias, seed) for role, model in own_lineup.items()}
    return _cell(experiment, wish, source, REPLAY, replay_arm(wish.source, name), lineup)


def _judgement(experiment: Experiment, wish: ReplayRequest, judge: str, replay_cell: Cell) -> Cell:
    source = ReplaySource(str(replay_cell.extra["source_cell"]), replay_cell.ticker, replay_cell.date, replay_cell.repeat)
    model = matrix.model(experiment, judge, replay_cell.repeat)
    judge_cell = _cell(
        experiment, wish, source, JUDGE, judge_arm(judge, replay_cell.arm), dict.fromkeys(replay_cell.lineup, model)
    )
    players = [*_asked(experiment, wish).values(), *replay_cell.lineup.values()]
    names = sorted({name for player in players for name in (player.alias, player.name)})
    more = {"replay_cell": replay_cell.cell_id, "names": names, "judging": agents.judge_fingerprint()}
    return replace(judge_cell, extra={**judge_cell.extra, **more})


def _cell(
    experiment: Experiment, wish: ReplayRequest, source: ReplaySource, kind: str, arm: str, lineup: Mapping[str, Model]
) -> Cell:
    pipeline = matrix.pipeline(experiment, matrix.arms(experiment)[wish.source])
    extra: dict[str, Any] = {"source_cell": source.cell_id, "roles": sorted(lineup)}
    return Cell(
        experiment=experiment.name,
        arm=arm,
        ticker=source.ticker,
        date=source.date,
        repeat=source.repeat,
        lineup=lineup,
        pipeline=pipeline,
        data=matrix.data_of(experiment),
        fingerprint=agents.fingerprint(pipeline),
        kind=kind,
        extra=extra,
    )
