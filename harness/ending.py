"""How following a run ended."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Outcome:
    """How following ended."""

    stopped: bool = False
    """By a person; the same command continues."""
    not_run: int = 0
    """Cells that a cap of the run kept from starting."""

    @classmethod
    def nothing(cls) -> Outcome:
        return cls()
