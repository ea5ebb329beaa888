"""The roles of a run's pipeline as its manifest records them: their order, their stages, and who decides."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class RunRole:
    """One role of the pipeline."""

    name: str
    stage: str
    is_debater: bool
    """Whether it speaks once per round."""
    decides: bool
    """Whether its rating is recorded in `stage_ratings`."""


@dataclass(frozen=True)
class RunRoles:
    """The roles of a run in the order of the flow. A custom pipeline may have others, which come last."""

    roles: tuple[RunRole, ...]

    @classmethod
    def of(cls, records: Sequence[Mapping[str, Any]]) -> RunRoles:
        """The roles as a manifest records them."""
        return cls(
            tuple(
                RunRole(str(record["role"]), str(record["stage"]), bool(record["is_debater"]), bool(record["decides"]))
                for record in records
            )
        )

    def in_order(self, names: Iterable[str]) -> list[str]:
        """These roles in the order of the flow, unknown ones last."""
        given = list(names)
        known = [role.name for role in self.roles if role.name in given]
        return known + [name for name in given if name not in known]

    def in_turn_order(self, keys: Iterable[str]) -> list[str]:
        """Keys of turns (role, or role/round) in the order in which they are taken: debates round by round."""
        given = list(keys)
        names = self.in_order(dict.fromkeys(key.partition("/")[0] for key in given))
        opens = {role.name: self._opening(role, names) for role in self.roles if role.name in names}

        def position(key: str) -> tuple[int, int, int]:
            name, _, round_ = key.partition("/")
            place = names.index(name)
            return opens.get(name, place), int(round_) if round_.isdigit() else 0, place

        return sorted(given, key=position)

    def is_analyst(self, name: str) -> bool:
        return any(role.name == name and role.stage == "analysis" for role in self.roles)

    def of_stage(self, stage: str) -> str | None:
        """The first role of a stage; None if the pipeline has no such stage."""
        return next((role.name for role in self.roles if role.stage == stage), None)

    def _opening(self, role: RunRole, names: list[str]) -> int:
        """Position among `names` of the first role of this role's debate; its own if it is in none."""
        debate = [other.name for other in self.roles if role.is_debater and other.stage == role.stage]
        return min(names.index(name) for name in (debate or [role.name]) if name in names)
