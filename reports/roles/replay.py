"""Replays compared: what a model answers to the very prompts that another arm's roles were sent, role by role."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from reports.money.breakdown import Total, flow, total
from reports.roles.aspects import Role, compare
from reports.roles.pairs import Pair, pairs
from reports.tables import ARROW, ITSELF

if TYPE_CHECKING:
    from reports.load import Run


@dataclass(frozen=True)
class Replay:
    """One source arm replayed to one model."""

    source: str
    target: str
    roles: tuple[Role, ...]
    is_floor: bool
    """Whether the target is the model that played those roles in the source itself."""
    calls: int
    """Requests that were sent for it, failed ones included."""
    cost: Total

    @property
    def name(self) -> str:
        return self.source + ARROW + self.target


def replays(run: Run) -> list[Replay]:
    """Every replay of a run, each role beside its noise floor where the source's own model was replayed too."""
    found = {name: _replay(run, name) for name in dict.fromkeys(run.replays["arm"])}
    floors = {one.source: {role.role: role for role in one.roles} for one in found.values() if one.is_floor}
    return [one if one.is_floor else _beside(one, floors.get(one.source, {})) for one in found.values()]


def _replay(run: Run, name: str) -> Replay:
    source, _, target = name.partition(ARROW)
    by_role: dict[str, list[Pair]] = {}
    for pair in pairs(run, name):
        by_role.setdefault(pair.role, []).append(pair)
    roles = tuple(compare(role, by_role[role]) for role in flow(by_role))
    sent = run.calls[run.calls["arm"] == name]
    return Replay(source, target, roles, is_floor(run, source, target), len(sent), total(sent["cost_usd"]))


def is_floor(run: Run, source: str, target: str) -> bool:
    """Whether a replay asks the source's own models again: what differs then is chance."""
    return target == ITSELF or models_of(run, source) == {target}


def models_of(run: Run, arm: str) -> set[str]:
    """The models that play an arm, by their names in the experiment."""
    lineup: Mapping[str, Any] = (run.experiment.get("arms") or {}).get(arm) or {"all": arm}
    return {alias for key, alias in lineup.items() if key not in ("pipeline", "rule") and isinstance(alias, str)}


def _beside(one: Replay, floors: Mapping[str, Role]) -> Replay:
    return replace(one, roles=tuple(replace(role, floor=floors.get(role.role)) for role in one.roles))
