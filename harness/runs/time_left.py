"""How long a run still takes: the work that is left on each server, at the pace that its calls have shown so far."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.admission.ledger import RolePace
    from harness.experiment.servers import ServerSpec
    from harness.planning.workload import PlannedCall

_HOSTED_CELLS = 32
"""Cells that a process for hosted models runs at a time."""


@dataclass(frozen=True)
class ArmCells:
    """The cells of an arm in this session."""

    left: int
    """Not ended."""
    ended: int
    """Ended in this session."""
    calls_ended: int
    """Calls of those."""


@dataclass
class TimeLeft:
    """The calls that were planned for each arm, and the servers that answer them."""

    planned: Mapping[str, Sequence[PlannedCall]]
    """arm -> the calls of one cell; arms in the order in which they run."""
    servers: Mapping[str, ServerSpec]
    _since: dict[str, float] = field(default_factory=dict)
    """Server -> when its first call was sent."""

    @property
    def deferred_arms(self) -> frozenset[str]:
        """Arms that wait for answers as long as the provider takes."""
        return frozenset(arm for arm, calls in self.planned.items() if any(call.model.lane.is_deferred for call in calls))

    def by_arm(self, cells: Mapping[str, ArmCells], paces: Mapping[tuple[str, str], RolePace], now: float) -> dict[str, float]:
        """Seconds until each arm has ended, without those whose answers come later; the longest is the run's."""
        timed = self.planned.keys() - self.deferred_arms
        work = {arm: self._work_s(arm, arm_cells, paces) for arm, arm_cells in cells.items() if arm in timed}
        at_a_time = {server: self._at_a_time(server, cells, paces, now) for server in self.servers}
        hosted = {server for server, spec in self.servers.items() if spec.is_hosted}
        whole_s = {server: sum(arm.get(server, 0.0) for arm in work.values()) / at_a_time[server] for server in self.servers}
        left_s, local_s = {}, 0.0
        for arm, seconds in work.items():
            # Hosted arms run case by case and end together; arms with a self-hosted model run one after the other.
            on_hosted_s = max((whole_s[server] for server in seconds if server in hosted and cells[arm].left), default=0.0)
            on_local_s = sum(seconds[server] / at_a_time[server] for server in seconds if server not in hosted)
            local_s += on_local_s
            left_s[arm] = max(on_hosted_s, local_s if on_local_s else 0.0)
        return left_s

    def _work_s(self, arm: str, cells: ArmCells, paces: Mapping[tuple[str, str], RolePace]) -> dict[str, float]:
        """Server -> seconds of calls that are left."""
        per_cell = len(self.planned[arm])
        extra = cells.calls_ended / cells.ended / per_cell if cells.ended and cells.calls_ended else 1.0
        work: dict[str, float] = defaultdict(float)
        for role, calls in _by_role(self.planned[arm]).items():
            pace, server = paces.get((arm, role)), calls[0].model.server
            in_progress = max(0.0, pace.calls - len(calls) * extra * cells.ended) if pace else 0.0
            calls_left = max(0.0, len(calls) * extra * cells.left - in_progress)
            planned_s = sum(call.seconds for call in calls) / len(calls)
            seconds = pace.seconds / pace.calls if pace else planned_s * self._slowness(arm, calls[0], paces)
            work[server] += calls_left * seconds
        return work

    def _slowness(self, arm: str, call: PlannedCall, paces: Mapping[tuple[str, str], RolePace]) -> float:
        """Measured against planned seconds: of this arm, else of its model, else of its server, else of all calls."""
        for tests in (
            lambda other_arm, other: other_arm == arm,
            lambda other_arm, other: other.model.alias == call.model.alias,
            lambda other_arm, other: other.model.server == call.model.server,
            lambda other_arm, other: True,
        ):
            measured_s = planned_s = 0.0
            for other_arm, planned in self.planned.items():
                for role, calls in _by_role(planned).items():
                    pace = paces.get((other_arm, role))
                    if pace and tests(other_arm, calls[0]):
                        measured_s += pace.seconds
                        planned_s += pace.calls * sum(other.seconds for other in calls) / len(calls)
            if measured_s and planned_s:
                return measured_s / planned_s
        return 1.0

    def _at_a_time(
        self, server: str, cells: Mapping[str, ArmCells], paces: Mapping[tuple[str, str], RolePace], now: float
    ) -> float:
        """Calls that the server answers at a time: measured once it has answered some, else as many as it takes."""
        spec = self.servers[server]
        left = sum(arm.left for name, arm in cells.items() if server in _servers(self.planned.get(name, ())))
        most = max(1.0, min(spec.slots, _HOSTED_CELLS, left))
        own = [
            pace
            for arm, planned in self.planned.items()
            for role, calls in _by_role(planned).items()
            if calls[0].model.server == server and (pace := paces.get((arm, role)))
        ]
        busy_s, calls = sum(pace.seconds for pace in own), sum(pace.calls for pace in own)
        if not calls:
            return most
        self._since.setdefault(server, now - busy_s / calls)
        return min(most, max(busy_s / max(now - self._since[server], 1e-3), 0.05))


def _by_role(calls: Sequence[PlannedCall]) -> dict[str, list[PlannedCall]]:
    by_role: dict[str, list[PlannedCall]] = {}
    for call in calls:
        by_role.setdefault(call.role, []).append(call)
    return by_role


def _servers(calls: Sequence[PlannedCall]) -> Collection[str]:
    return {call.model.server for call in calls}
