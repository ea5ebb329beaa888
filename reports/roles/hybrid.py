"""Which roles may move to another model, from swaps and replays, and the recommended lineup."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from reports.format import known
from reports.metrics import catalog
from reports.roles import swaps
from reports.stats import estimate
from reports.stats.estimate import Estimate

if TYPE_CHECKING:
    from reports.load import Run
    from reports.roles.replays import ReplayResult, RoleComparison
    from reports.roles.swaps import Effect, SwapDesign

MARGIN = 0.05
"""Default margin for a loss of same rating, usable decisions or grounding."""
GUARDED_METRICS = ("same_rating", "usable", "grounding")
"""Metrics that must not get worse."""
MOVE, KEEP, OPEN, UNMEASURED = "move", "keep", "open", "unmeasured"
STANCE_NOT_MEASURED = "its stance was not compared with chance: replay with --noise-floor 8, on two dates or more"
RATING_NOT_MEASURED = "how often the unchanged lineup repeats its rating is not measured: set repeats: 3"


@dataclass(frozen=True)
class RoleAdvice:
    """What to do with one role."""

    role: str
    verdict: str
    """move | keep | open (too little evidence) | unmeasured (its stance has no noise floor); a role moves in the first only."""
    because: str
    effect: Effect | None
    """Result of the swap design."""
    replay: RoleComparison | None
    """Result of the replay."""


@dataclass(frozen=True)
class Hybrid:
    """The recommended lineup of one source and one target."""

    source: str
    """The current model."""
    target: str
    arm: str
    """Arm of the run that uses only the source."""
    advices: tuple[RoleAdvice, ...]
    margin: float
    cost_now: Estimate
    cost: Estimate
    """Expected cost of a decision with the recommended lineup."""
    same_rating: Estimate
    """Expected change of same rating from the swap design; unknown without one."""
    support: str
    """The evidence, in one sentence."""
    asked_roles: frozenset[str]
    """Roles that the source's arm asked."""

    @property
    def has_swap(self) -> bool:
        return any(advice.effect for advice in self.advices)

    @property
    def has_replay(self) -> bool:
        return any(advice.replay for advice in self.advices)

    @property
    def moved(self) -> tuple[str, ...]:
        return tuple(advice.role for advice in self.advices if advice.verdict == MOVE)

    @property
    def yaml(self) -> str:
        """The lineup to paste under `arms`."""
        if not self.moved:
            return f"{self.source}: {{all: {self.source}}}   # nothing is shown to be safe to move"
        if self.asked_roles and self.asked_roles <= set(self.moved):
            return f"recommended: {{all: {self.target}}}"
        return "\n".join(["recommended:", f"  all: {self.source}", *(f"  {role}: {self.target}" for role in self.moved)])


def hybrids(run: Run, replays: Sequence[ReplayResult]) -> list[Hybrid]:
    """One recommendation per pair of models in a swap design or a replay; none for noise floors."""
    design = swaps.swap_design(run)
    recommended = [_of_design(run, design, _matching(replays, design, run))] if design else []
    done = {(replay.source, replay.target) for replay in recommended}
    for replay in replays:
        source = _model(run, replay.source)
        if not replay.is_floor and source and (source, replay.target) not in done:
            recommended.append(_of_replay(run, replay, source))
    return recommended


def _of_design(run: Run, design: SwapDesign, replay: ReplayResult | None) -> Hybrid:
    margin = _margin(run)
    by_role = {role.role: role for role in replay.roles} if replay else {}
    alone = [_advice(effect.role, effect, by_role.get(effect.role), margin) for effect in design.effects]
    advices = _together(design, alone, margin)
    moved = [advice.role for advice in advices if advice.verdict == MOVE]
    saved = design.together(moved, "cost")
    support = f"a {design.kind.replace('_', ' ')} swap design of {design.arms} arms on {design.cases} cases"
    if replay:
        support += f", and a replay of {sum(role.pairs for role in replay.roles)} prompts"
    level = design.level["cost"]
    return Hybrid(
        design.source,
        design.target,
        design.unchanged,
        tuple(advices),
        margin,
        level,
        _shifted(level, saved) if moved else level,
        design.together(moved, "same_rating"),
        support,
        _asked_roles(run, design.unchanged),
    )


def _of_replay(run: Run, replay: ReplayResult, source: str) -> Hybrid:
    margin = _margin(run)
    advices = tuple(_advice(role.role, None, role, margin) for role in replay.roles)
    now = _cost(run, replay.source)
    moved = {advice.role for advice in advices if advice.verdict == MOVE}
    shifts = [_per_cell(role) for role in replay.roles if role.role in moved]
    prompts = sum(role.pairs for role in replay.roles)
    return Hybrid(
        source,
        replay.target,
        replay.source,
        advices,
        margin,
        now,
        _shifted(now, _sum(shifts)) if moved else now,
        estimate.unknown(),
        f"a replay of {prompts} prompts; only the role's own answers, not their effect on later roles",
        _asked_roles(run, replay.source),
    )


def _advice(role: str, effect: Effect | None, replay: RoleComparison | None, margin: float) -> RoleAdvice:
    """Advice on one role, from the swap if there is one, else from the replay."""
    losses = _losses(effect, replay)
    if effect is None and replay is not None and known(replay.alike.value) and not known(stance_gap(replay).value):
        return RoleAdvice(role, UNMEASURED, STANCE_NOT_MEASURED, effect, replay)
    if effect is not None and not known(effect.by_metric["same_rating"].value):
        return RoleAdvice(role, UNMEASURED, RATING_NOT_MEASURED, effect, replay)
    worse = [name for name, loss in losses if loss.high < -margin]
    if worse:
        return RoleAdvice(role, KEEP, f"it loses more than the margin in {_words(worse)}", effect, replay)
    unknown = [name for name, loss in losses if not loss.low >= -margin]
    if not losses:
        return RoleAdvice(role, OPEN, "nothing relevant was measured", effect, replay)
    if unknown:
        return RoleAdvice(role, OPEN, f"a loss beyond the margin cannot be excluded in {_words(unknown)}", effect, replay)
    return RoleAdvice(role, MOVE, f"no loss beyond the margin in {_words([name for name, _ in losses])}", effect, replay)


def _together(design: SwapDesign, alone: Sequence[RoleAdvice], margin: float) -> list[RoleAdvice]:
    """Small losses add up: roles move one by one, largest saving first, while their sum stays within the margin."""
    moved: list[str] = []
    held: dict[str, str] = {}
    for advice in sorted((advice for advice in alone if advice.verdict == MOVE and advice.effect), key=_saving):
        lost = [name for name in GUARDED_METRICS if design.together([*moved, advice.role], name).low < -margin]
        if lost:
            held[advice.role] = (
                f"alone within the margin; with those that move, a loss beyond it cannot be excluded in {_words(lost)}"
            )
        else:
            moved.append(advice.role)
    return [replace(advice, verdict=OPEN, because=held[advice.role]) if advice.role in held else advice for advice in alone]


def _saving(advice: RoleAdvice) -> float:
    cost = advice.effect.by_metric["cost"].value if advice.effect else 0.0
    return cost if known(cost) else 0.0


def _losses(effect: Effect | None, replay: RoleComparison | None) -> list[tuple[str, Estimate]]:
    """Every known figure that counts, as a change; below zero is a loss."""
    changes: list[tuple[str, Estimate]] = []
    if effect is not None:
        changes = [(name, effect.by_metric[name]) for name in GUARDED_METRICS if name in effect.by_metric]
    elif replay is not None:
        changes = _replayed(replay)
    return [(name, estimate_of_change) for name, estimate_of_change in changes if known(estimate_of_change.value)]


def _replayed(role: RoleComparison) -> list[tuple[str, Estimate]]:
    changes = [("answers in the asked form", aspect.apart) for aspect in role.aspects if aspect.name == "valid"]
    changes += [("grounding", aspect.apart) for aspect in role.aspects if aspect.name == "grounded"]
    changes += [("refusals", _negated(aspect.apart)) for aspect in role.aspects if aspect.name == "refused"]
    if role.stance is not None:
        changes.append(("stance", role.stance.apart))
    return changes


def stance_gap(role: RoleComparison) -> Estimate:
    """Same stances minus those of the source's own model, over the prompts of both; unknown without a floor on two dates."""
    return estimate.unknown() if role.stance is None else role.stance.apart


def _negated(change: Estimate) -> Estimate:
    return estimate.Estimate(
        -change.value, -change.high, -change.low, change.cases, change.dates, change.missing, change.method
    )


def _shifted(level: Estimate, by: Estimate) -> Estimate:
    """A level plus a change, treated as independent."""
    down = float(np.hypot(level.value - level.low, by.value - by.low))
    up = float(np.hypot(level.high - level.value, by.high - by.value))
    value = max(level.value + by.value, 0.0) if known(level.value + by.value) else level.value + by.value
    low = max(value - down, 0.0) if known(down) else down
    return estimate.Estimate(value, low, value + up, by.cases, by.dates, by.missing, "levels and effects added")


def _sum(parts: Sequence[Estimate]) -> Estimate:
    value = float(sum(part.value for part in parts))
    reach = float(np.sqrt(sum((part.high - part.value) ** 2 for part in parts)))
    cases, dates = min((part.cases for part in parts), default=0), min((part.dates for part in parts), default=0)
    return estimate.Estimate(value, value - reach, value + reach, cases, dates, 0, "roles added")


def _per_cell(role: RoleComparison) -> Estimate:
    """Change of a cell's cost if this role moves; a debater speaks once per round."""
    aspect = role.aspect("cost_usd")
    if aspect is None:
        return estimate.unknown()
    change, turns = aspect.apart, role.turns
    return estimate.Estimate(
        change.value * turns, change.low * turns, change.high * turns, change.cases, change.dates, change.missing, change.method
    )


def _cost(run: Run, arm: str) -> Estimate:
    return catalog.figures_by_arm(run, "cost").get(arm, estimate.unknown())


def _asked_roles(run: Run, arm: str) -> frozenset[str]:
    calls = run.pipeline_calls
    return frozenset(map(str, calls.loc[calls["arm"] == arm, "role"]))


def _margin(run: Run) -> float:
    declared = run.settings.margins.get("same_rating")
    return MARGIN if declared is None else declared


def _matching(replays: Sequence[ReplayResult], design: SwapDesign, run: Run) -> ReplayResult | None:
    return next(
        (replay for replay in replays if replay.target == design.target and _model(run, replay.source) == design.source), None
    )


def _model(run: Run, arm: str) -> str | None:
    """The only model of an arm; None if there are several."""
    aliases = run.settings.arm(arm).aliases
    return aliases[0] if len(aliases) == 1 else None


def _words(names: Sequence[str]) -> str:
    return ", ".join(names[:-1]) + " and " + names[-1] if len(names) > 1 else names[0]
