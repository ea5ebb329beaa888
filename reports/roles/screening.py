"""The screen by replay: whether a candidate's answers to the baseline's recorded prompts rule it out.

Simulated with eight cases of twelve prompts each (benchmarks/sequential.py): it drops 92 of 100 models that agree 25 points
less often than the baseline's own, and one of 100 that agree as often. Passing proves nothing: errors that add up along a
pipeline are not seen here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from reports.roles.pairs import Pair

CASES = 8
"""Cases of the screen."""
MOST_BELOW = 0.15
"""A candidate goes if its stances are the recorded ones this much less often than those of the baseline's own replays."""
FEWEST_READABLE = 0.9
"""A candidate goes if fewer of its answers have the form that was asked for."""
UNREADABLE_SHARE, UNREADABLE_CASES = 0.3, 2
"""A candidate goes if a role is unreadable in this share of its cases, and in at least so many."""


@dataclass(frozen=True)
class Screened:
    """What the screen found about one candidate."""

    cases: int
    prompts: int
    alike: float
    """Share of the recorded stances that it gave as well; NaN if there were none."""
    floor: float
    """The same of the baseline's own replays, on the same cases."""
    readable: float
    """Share of its answers in the asked form; failed requests count as unreadable."""
    unreadable_roles: tuple[str, ...]
    failed: int = 0
    """Prompts without any answer."""

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why it is dropped, in words; empty if it goes on."""
        if self.failed and self.failed == self.prompts:
            return (f"none of its {self.prompts} requests was answered",)
        roles = [f"{role} unreadable in at least {UNREADABLE_SHARE:.0%} of its cases" for role in self.unreadable_roles]
        failed = f" ({self.failed} of {self.prompts} requests failed)" if self.failed else ""
        few_readable = f"only {self.readable:.0%} of its answers are readable{failed}"
        readable = [] if not self.readable < FEWEST_READABLE else [few_readable]
        below = self.floor - self.alike
        stance = [f"gives the recorded stance {below * 100:.0f} points less often"] if below > MOST_BELOW else []
        return (*stance, *readable, *roles)

    @property
    def is_dropped(self) -> bool:
        return bool(self.reasons)


def is_too_far(differences: Any) -> Any:
    """Whether the mean over cases (last axis) of agreement minus floor rules a candidate out."""
    return np.nanmean(np.asarray(differences, dtype=float), axis=-1) < -MOST_BELOW


def screened(candidate: Sequence[Pair], own: Sequence[Pair], wanted: Sequence[tuple[str, str]]) -> Screened:
    """Judge a candidate's replays against the own model's; `wanted`: (case_id, role) of every prompt that it was asked.

    Only prompts with a recorded stance count for agreement; a prompt without an answer is unreadable."""
    alike, floor = _by_case(candidate), _by_case(own)
    shared = sorted(alike.keys() & floor.keys())
    readable = [(pair.case_id, pair.role) for pair in candidate if pair.target.stance is not None]
    return Screened(
        cases=len({case_id for case_id, _ in wanted}),
        prompts=len(wanted),
        alike=float(np.mean([alike[case_id] for case_id in shared])) if shared else np.nan,
        floor=float(np.mean([floor[case_id] for case_id in shared])) if shared else np.nan,
        readable=len(readable) / len(wanted) if wanted else np.nan,
        unreadable_roles=_unreadable_roles(readable, wanted),
        failed=max(len(wanted) - len(candidate), 0),
    )


def _by_case(pairs: Sequence[Pair]) -> dict[str, float]:
    """case_id -> share of the recorded stances that were given again."""
    given: dict[str, list[float]] = {}
    for pair in pairs:
        if pair.source.stance is not None:
            given.setdefault(pair.case_id, []).append(float(pair.source.stance == pair.target.stance))
    return {case_id: float(np.mean(values)) for case_id, values in given.items()}


def _unreadable_roles(readable: Sequence[tuple[str, str]], wanted: Sequence[tuple[str, str]]) -> tuple[str, ...]:
    roles = []
    for role in dict.fromkeys(role for _, role in wanted):
        cases = [case_id for case_id, wanted_role in wanted if wanted_role == role]
        read = [case_id for case_id, read_role in readable if read_role == role]
        unread = sum(read.count(case_id) < cases.count(case_id) for case_id in set(cases))
        if unread >= UNREADABLE_CASES and unread / len(set(cases)) >= UNREADABLE_SHARE:
            roles.append(role)
    return tuple(roles)
