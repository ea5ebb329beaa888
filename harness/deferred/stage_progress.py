"""How far the deferred calls are, stage by stage: how many the cells need, how many are submitted, and how many are back."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from harness.deferred.mailbox import Outcome, Submission, SuspendedCell


class CallStage(NamedTuple):
    """Calls that a cell makes at the same point of its way."""

    name: str
    """A role; all analysts report at the same time."""
    model: str
    lane: str

    @classmethod
    def of(cls, role: str, model: str, lane: str) -> CallStage:
        return cls("analysts" if role.endswith("_analyst") else role.replace("_", " "), model, lane)


class StageProgress:
    """The stages of one session's cells; what their earlier sessions fetched is included. Safe to use from any thread."""

    def __init__(self, planned: Mapping[CallStage, int]) -> None:
        """`planned`: calls of the unfinished cells, stages in the order in which they follow; repeated calls come on top."""
        self._planned = planned
        self._lock = threading.Lock()
        self._back: Counter[CallStage] = Counter()
        self._seen: set[str] = set()

    def arrived(self, cell: SuspendedCell, outcomes: Iterable[Outcome]) -> None:
        """Count what came back for a cell before this session, when it is first seen."""
        if cell.cell_id in self._seen:
            return
        self._seen.add(cell.cell_id)
        waiting = {call.call_id: CallStage.of(call.role, call.model, call.lane) for call in cell.waiting}
        before = [CallStage.of(*call) for call in cell.answered]
        before += [waiting[outcome.call_id] for outcome in outcomes if outcome.is_answer and outcome.call_id in waiting]
        with self._lock:
            self._back.update(before)

    def answered(self, submission: Submission, outcomes: Iterable[Outcome]) -> None:
        """Count answers that are stored; a call that failed is asked again, and counts then."""
        roles = [submission.calls[outcome.call_id][1] for outcome in outcomes if outcome.is_answer]
        with self._lock:
            self._back.update(CallStage.of(role, submission.model, submission.lane) for role in roles)

    def rows(self, sent: Iterable[Submission], unsent: Iterable[CallStage]) -> list[dict[str, Any]]:
        """The stages that have calls with a provider, or ready for it; `unsent`: the stage of each of the latter."""
        out: Counter[CallStage] = Counter()
        answered_there: Counter[CallStage] = Counter()
        statuses: dict[CallStage, set[str]] = {}
        for submission in sent:
            stages = Counter(CallStage.of(role, submission.model, submission.lane) for _, role in submission.calls.values())
            out.update(stages)
            for stage in stages:
                statuses.setdefault(stage, set()).add((submission.status or submission.state).replace("_", " "))
            if len(stages) == 1:
                answered_there.update(dict.fromkeys(stages, submission.back))
        ready = Counter(unsent)
        with self._lock:
            back = Counter(self._back)
        return [
            {
                **stage._asdict(),
                "calls": max(self._planned.get(stage, 0), back[stage] + out[stage] + ready[stage]),
                "submitted": back[stage] + out[stage],
                "back": back[stage] + answered_there[stage],
                "status": ", ".join(sorted(statuses.get(stage, ()))) or "not sent yet",
            }
            for stage in self._in_order(out.keys() | ready.keys())
        ]

    def _in_order(self, stages: Iterable[CallStage]) -> list[CallStage]:
        order = {stage: number for number, stage in enumerate(self._planned)}
        return sorted(stages, key=lambda stage: (order.get(stage, len(order)), stage))
