"""Swap designs: arms that exchange one model for another in some roles, to find the roles that may go local."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

from harness.errors import InvalidInput, Problem
from harness.experiment import known
from harness.experiment.lineups import Arm, Swap

RUNS = 16


def written_out(declared: Mapping[str, Arm | Swap]) -> dict[str, Arm]:
    """Arms with each swap design expanded into its lineups; a design's pure `from` arm is left out where it is declared."""
    found = {name: arm for name, arm in declared.items() if isinstance(arm, Arm)}
    for swap in (arm for arm in declared.values() if isinstance(arm, Swap)):
        for name, arm in expand(swap).items():
            if name in found:
                raise InvalidInput([Problem(f"arms.{name}", "the swap design makes an arm of this name too", "rename yours")])
            if not any(one == arm for one in found.values()):
                found[name] = arm
    return found


def expand(swap: Swap) -> dict[str, Arm]:
    """name -> lineup of every run of the design, the unchanged one first."""
    lineups = _one_at_a_time() if swap.design == "one_at_a_time" else _fractional()
    return {
        name: Arm(all=swap.from_, roles=dict.fromkeys(swapped, swap.to)) if swapped else Arm(all=swap.from_)
        for name, swapped in lineups.items()
    }


def exchanged(arms: Mapping[str, Arm | Swap]) -> dict[str, tuple[str, ...]]:
    """Lineups of a design whose name is a number only -> the roles that ask the other model."""
    numbered = {f"swap-{run:02d}" for run in range(RUNS)}
    return {name: tuple(arm.roles) for name, arm in arms.items() if name in numbered and isinstance(arm, Arm) and arm.roles}


def _one_at_a_time() -> dict[str, list[str]]:
    return {"swap-none": []} | {f"swap-{role}": [role] for role in known.roles()}


def _fractional() -> dict[str, list[str]]:
    """2^(12-8) of resolution III: each role is one of the 15 orthogonal columns of a 16-run two-level design.

    Box, Hunter, Hunter, Statistics for Experimenters, table of two-level fractional designs. Main effects are free of each
    other; each is confounded with interactions of two roles."""
    columns = [set(chosen) for size in (1, 3, 2, 4) for chosen in combinations(range(4), size)]
    roles = known.roles()
    if len(roles) > len(columns):
        raise InvalidInput([Problem("arms.swap.design", f"16 runs carry 15 roles, not {len(roles)}", "use one_at_a_time")])
    return {
        f"swap-{run:02d}": [role for role, column in zip(roles, columns, strict=False) if _is_high(run, column)]
        for run in range(RUNS)
    }


def _is_high(run: int, column: set[int]) -> bool:
    """The sign of a product column: the parity of its factors' bits in this run."""
    return sum(run >> bit & 1 for bit in column) % 2 == 1
