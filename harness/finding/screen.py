"""The screen: every candidate's models answer the baseline's recorded prompts, and hopeless candidates are dropped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from harness.cells import Cell
from harness.errors import InvalidInput, Problem
from harness.experiment import matrix, replay_cells
from harness.experiment.replay_cells import ReplayRequest, ReplaySource
from harness.experiment.spec import Experiment
from harness.storage.store import Store
from harness.workers import recorded
from reports.finding import SearchDesign
from reports.load import Run
from reports.roles import screening
from reports.roles.pairs import pairs
from reports.roles.screening import Screened
from reports.tables import ITSELF, replay_arm


def replays(
    experiment: Experiment, design: SearchDesign, store: Store, digests: Mapping[str, str | None]
) -> tuple[list[Cell], tuple[str, ...]]:
    """The replay cells of the screen, and the roles that it judges: those of which the baseline's answers have a form.

    Raises InvalidInput if the baseline finished no cell of the screen, since then nothing can be compared with it."""
    sources = _sources(design, store)
    roles = _roles_with_form(store, sources)
    wish = _wish(experiment, design, roles)
    if not roles or not wish.targets:
        return [], roles
    return replay_cells.replays_of(experiment, wish, sources, digests), roles


def judge(
    run: Run, experiment: Experiment, design: SearchDesign, store: Store, roles: Sequence[str]
) -> dict[str, Screened | None]:
    """Candidate -> what its replays show; None if replay cannot judge it (another pipeline, or no model that replaces one)."""
    sources = _sources(design, store)
    own_lineup = _models(experiment, design.baseline)
    own_name = replay_arm(design.baseline, _only(set(own_lineup.values())))
    own_pairs = [pair for pair in pairs(run, own_name) if pair.role in roles]
    verdicts: dict[str, Screened | None] = {}
    for candidate in design.candidates:
        lineup = _models(experiment, candidate)
        played = [role for role in roles if lineup.get(role) and lineup[role] != own_lineup.get(role)]
        if not played or not _can_be_screened(experiment, design, candidate):
            verdicts[candidate] = None
            continue
        answered = [
            pair
            for model in {lineup[role] for role in played}
            for pair in pairs(run, replay_arm(design.baseline, model))
            if pair.role in played and lineup[pair.role] == model
        ]
        wanted = [(source.case_id, role) for source in sources for role in played]
        own = [pair for pair in own_pairs if pair.role in played]
        verdicts[candidate] = screening.screened(answered, own, wanted)
    return verdicts


def _sources(design: SearchDesign, store: Store) -> list[ReplaySource]:
    try:
        finished = recorded.replayable_cells(store, design.baseline)
    except InvalidInput:
        finished = []
    sources = [source for source in finished if source.case_id in design.screen_cases]
    if not sources:
        what = f"the baseline {design.baseline!r} finished none of the {len(design.screen_cases)} cases of the screen"
        raise InvalidInput([Problem("find", what, "look at `harness status`, fix its model, and run the same command again")])
    return sources


def _roles_with_form(store: Store, sources: Sequence[ReplaySource]) -> tuple[str, ...]:
    names = {source.cell_id for source in sources}
    formed = [row["role"] for row in store.rows_of("calls") if row["cell_id"] in names and row["parsed"]]
    return tuple(dict.fromkeys(formed))


def _wish(experiment: Experiment, design: SearchDesign, roles: Sequence[str]) -> ReplayRequest:
    own = set(_models(experiment, design.baseline).values())
    screened = [arm for arm in design.candidates if _can_be_screened(experiment, design, arm)]
    players = [model for arm in screened for role, model in _models(experiment, arm).items() if role in roles]
    targets = tuple(dict.fromkeys(model for model in players if {model} != own))
    return ReplayRequest(design.baseline, targets, tuple(roles), floor=len(design.screen_cases))


def _can_be_screened(experiment: Experiment, design: SearchDesign, candidate: str) -> bool:
    """Whether its models answer prompts that the baseline's pipeline makes; a cascade is more than one answer."""
    arms = matrix.arms(experiment)
    same_pipeline = matrix.pipeline(experiment, arms[design.baseline])
    return not arms[candidate].cascade and matrix.pipeline(experiment, arms[candidate]) == same_pipeline


def _models(experiment: Experiment, arm: str) -> dict[str, str]:
    """role -> model."""
    lineup = matrix.lineup(experiment, matrix.arms(experiment)[arm])
    return {role: model.alias for role, model in lineup.items()}


def _only(models: set[str]) -> str:
    return next(iter(models)) if len(models) == 1 else ITSELF
