"""Which roles may go to the other model: the evidence of swaps and replays weighed, and the lineup that follows from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from reports.format import known
from reports.metrics import catalog
from reports.roles import swaps
from reports.roles.replays import models_of
from reports.stats import estimate
from reports.stats.estimate import Estimate

if TYPE_CHECKING:
    from reports.load import Run
    from reports.roles.replays import ReplayResult, RoleComparison
    from reports.roles.swaps import Effect, SwapDesign

MARGIN = 0.05
"""Loss of similarity, usable decisions or grounding that does not matter, where the experiment declares none."""
GUARDED_METRICS = ("similarity", "usable", "grounding")
"""What must not be lost."""
MOVE, KEEP, OPEN = "move", "keep", "open"


@dataclass(frozen=True)
class Advice:
    """What to do with one role."""

    role: str
    verdict: str
    """move | keep | open (the evidence does not suffice: the role stays)."""
    because: str
    effect: Effect | None
    """What the swap design says."""
    replay: RoleComparison | None
    """What the replay says."""


@dataclass(frozen=True)
class Hybrid:
    """The recommended lineup of one source and one target."""

    source: str
    """Model that plays now."""
    target: str
    arm: str
    """Arm of the run that plays the source alone."""
    advices: tuple[Advice, ...]
    margin: float
    cost_now: Estimate
    cost: Estimate
    """Expected cost of a decision with the recommended lineup."""
    similarity: Estimate
    """Expected change of similarity, by the swap design; unknown without one."""
    support: str
    """What all this rests on, in a sentence."""

    @property
    def has_swap(self) -> bool:
        return any(one.effect for one in self.advices)

    @property
    def has_replay(self) -> bool:
        return any(one.replay for one in self.advices)

    @property
    def moved(self) -> tuple[str, ...]:
        return tuple(one.role for one in self.advices if one.verdict == MOVE)

    @property
    def yaml(self) -> str:
        """The lineup to paste under `arms`."""
        if not self.moved:
            return f"{self.source}: {{all: {self.source}}}   # nothing is shown to be safe to move"
        if len(self.moved) == len(self.advices) and len(self.moved) >= 12:
            return f"recommended: {{all: {self.target}}}"
        return "\n".join(["recommended:", f"  all: {self.source}", *(f"  {role}: {self.target}" for role in self.moved)])


def hybrids(run: Run, found: Sequence[ReplayResult]) -> list[Hybrid]:
    """One recommendation for each pair of models that a swap design or a replay compares; none for noise floors."""
    design = swaps.swap_design(run)
    made = [_of_design(run, design, _matching(found, design, run))] if design else []
    done = {(one.source, one.target) for one in made}
    for one in found:
        source = _model(run, one.source)
        if not one.is_floor and source and (source, one.target) not in done:
            made.append(_of_replay(run, one, source))
    return made


def _of_design(run: Run, design: SwapDesign, replay: ReplayResult | None) -> Hybrid:
    margin = _margin(run)
    by_role = {role.role: role for role in replay.roles} if replay else {}
    alone = [_advice(effect.role, effect, by_role.get(effect.role), margin) for effect in design.effects]
    advices = _together(design, alone, margin)
    moved = [one.role for one in advices if one.verdict == MOVE]
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
        design.together(moved, "similarity"),
        support,
    )


def _of_replay(run: Run, replay: ReplayResult, source: str) -> Hybrid:
    margin = _margin(run)
    advices = tuple(_advice(role.role, None, role, margin) for role in replay.roles)
    now = _cost(run, replay.source)
    moved = {one.role for one in advices if one.verdict == MOVE}
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
        f"a replay of {prompts} prompts; a role's own answers, not what becomes of them down the line",
    )


def _advice(role: str, effect: Effect | None, replay: RoleComparison | None, margin: float) -> Advice:
    """A swap's evidence decides where it can; the replay's only where no swap was run or where it speaks against moving."""
    losses = _losses(effect, replay)
    worse = [name for name, loss in losses if loss.high < -margin]
    if worse:
        return Advice(role, KEEP, f"it loses more than the margin in {_words(worse)}", effect, replay)
    unknown = [name for name, loss in losses if not loss.low >= -margin]
    if not losses:
        return Advice(role, OPEN, "nothing was measured that could tell", effect, replay)
    if unknown:
        return Advice(role, OPEN, f"a loss beyond the margin cannot be excluded in {_words(unknown)}", effect, replay)
    return Advice(role, MOVE, f"no loss beyond the margin in {_words([name for name, _ in losses])}", effect, replay)


def _together(design: SwapDesign, alone: Sequence[Advice], margin: float) -> list[Advice]:
    """Small losses add up: roles go over one by one, what saves most first, as long as their sum holds the margin."""
    moved: list[str] = []
    held: dict[str, str] = {}
    for one in sorted((one for one in alone if one.verdict == MOVE and one.effect), key=_saving):
        lost = [name for name in GUARDED_METRICS if design.together([*moved, one.role], name).low < -margin]
        if lost:
            held[one.role] = (
                f"alone within the margin; with those that move, a loss beyond it cannot be excluded in {_words(lost)}"
            )
        else:
            moved.append(one.role)
    return [replace(one, verdict=OPEN, because=held[one.role]) if one.role in held else one for one in alone]


def _saving(one: Advice) -> float:
    cost = one.effect.by_endpoint["cost"].value if one.effect else 0.0
    return cost if known(cost) else 0.0


def _losses(effect: Effect | None, replay: RoleComparison | None) -> list[tuple[str, Estimate]]:
    """Every known figure that counts, as a change: below zero is a loss."""
    found: list[tuple[str, Estimate]] = []
    if effect is not None:
        found = [(name, effect.by_endpoint[name]) for name in GUARDED_METRICS if name in effect.by_endpoint]
    elif replay is not None:
        found = _replayed(replay)
    return [(name, one) for name, one in found if known(one.value)]


def _replayed(role: RoleComparison) -> list[tuple[str, Estimate]]:
    found = [("answers in the asked form", one.apart) for one in role.aspects if one.name == "valid"]
    found += [("grounding", one.apart) for one in role.aspects if one.name == "grounded"]
    found += [("refusals", _negated(one.apart)) for one in role.aspects if one.name == "refused"]
    if known(role.alike.value):
        found.append(("stance", _below_chance(role)))
    return found


def _below_chance(role: RoleComparison) -> Estimate:
    """Same stances beyond those of the source's own models asked again; held against all of them where a floor is unknown or
    too small for an interval."""
    alike, floor = role.alike, role.floor.alike if role.floor else None
    if floor is None or not known(floor.low):
        floor = estimate.Estimate(1.0, 1.0, 1.0, alike.cases, alike.dates)
    down = float(np.hypot(alike.value - alike.low, floor.high - floor.value))
    up = float(np.hypot(alike.high - alike.value, floor.value - floor.low))
    apart = alike.value - floor.value
    return estimate.Estimate(apart, apart - down, apart + up, alike.cases, alike.dates, alike.missing, alike.method)


def _negated(one: Estimate) -> Estimate:
    return estimate.Estimate(-one.value, -one.high, -one.low, one.cases, one.dates, one.missing, one.method)


def _shifted(level: Estimate, by: Estimate) -> Estimate:
    """A level after a change; the interval takes both for independent."""
    down = float(np.hypot(level.value - level.low, by.value - by.low))
    up = float(np.hypot(level.high - level.value, by.high - by.value))
    value = max(level.value + by.value, 0.0) if known(level.value + by.value) else level.value + by.value
    low = max(value - down, 0.0) if known(down) else down
    return estimate.Estimate(value, low, value + up, by.cases, by.dates, by.missing, "levels and effects added")


def _sum(parts: Sequence[Estimate]) -> Estimate:
    value = float(sum(one.value for one in parts))
    reach = float(np.sqrt(sum((one.high - one.value) ** 2 for one in parts)))
    cases, dates = min((one.cases for one in parts), default=0), min((one.dates for one in parts), default=0)
    return estimate.Estimate(value, value - reach, value + reach, cases, dates, 0, "roles added")


def _per_cell(role: RoleComparison) -> Estimate:
    """What a cell's cost changes when this role goes over: a debater speaks once per round."""
    found = role.aspect("cost_usd")
    if found is None:
        return estimate.unknown()
    one, turns = found.apart, role.turns
    return estimate.Estimate(
        one.value * turns, one.low * turns, one.high * turns, one.cases, one.dates, one.missing, one.method
    )


def _cost(run: Run, arm: str) -> Estimate:
    return catalog.figures_by_arm(run, "cost").get(arm, estimate.unknown())


def _margin(run: Run) -> float:
    said = run.declared.margins.get("similarity")
    return MARGIN if said is None else said


def _matching(found: Sequence[ReplayResult], design: SwapDesign, run: Run) -> ReplayResult | None:
    return next((one for one in found if one.target == design.target and _model(run, one.source) == design.source), None)


def _model(run: Run, arm: str) -> str | None:
    """The one model that plays an arm, None where several do."""
    aliases = models_of(run, arm)
    return aliases.pop() if len(aliases) == 1 else None


def _words(names: Sequence[str]) -> str:
    return ", ".join(names[:-1]) + " and " + names[-1] if len(names) > 1 else names[0]
