"""The progress of a run: cells by arm and state, calls, tokens, cost, time left."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from harness.admission.ledger import LedgerTotals, RolePace
from harness.errors import Unserved
from harness.queue.control import NOT_RUN
from harness.runs.time_left import ArmCells, TimeLeft
from harness.storage.rows import Row

FAILED = ("failed", "timeout", "over_budget")
_NOTED = 5
_LONGEST_NOTE = 240


@dataclass
class ArmProgress:
    """One arm's cells."""

    wanted: int = 0
    by_status: Counter[str] = field(default_factory=Counter)
    running: int = 0
    calls: int = 0
    tokens: int = 0
    paid_usd: float = 0.0
    """By this run."""
    reused_usd: float = 0.0
    """By the runs that answered the calls which this run uses again."""
    unpriced: int = 0
    """Ended cells of unknown cost."""
    usable: int = 0
    """Ended cells with a decision that can be used."""
    ended_before: int = 0
    """When this session began."""
    calls_before: int = 0
    left_s: float | None = None

    @property
    def ended(self) -> int:
        return sum(self.by_status.values())

    @property
    def failed(self) -> int:
        return sum(self.by_status[status] for status in FAILED)

    @property
    def session(self) -> ArmCells:
        return ArmCells(max(0, self.wanted - self.ended), self.ended - self.ended_before, self.calls - self.calls_before)


@dataclass
class Progress:
    """Progress of a run's cells, from receipts and the ledger."""

    arms: dict[str, ArmProgress]
    run_id: str = ""
    """The run that is shown: what other runs paid is reused."""
    started_at: float = field(default_factory=time.monotonic)
    ended_before: int = 0
    """Cells that had ended when this session began."""
    calls_before: int = 0
    """Calls of those cells."""
    ledger_calls_before: int | None = None
    """Ended requests in the ledger when this session began, those of other cells included."""
    spent_usd: float | None = None
    """What this run paid for hosted models so far, estimates included; None if unknown."""
    _reused_api_usd: float = 0.0
    _reused_unknown: int = 0
    ledger_tokens: tuple[int, int] = (0, 0)
    """Input and output tokens in the ledger."""
    tokens_ended: tuple[int, int] = (0, 0)
    """Input and output tokens of ended cells."""
    ledger_calls: int = 0
    """Ended requests in the ledger."""
    time_left: TimeLeft | None = None
    """What was planned, if that is known."""
    _paces_before: Mapping[tuple[str, str], RolePace] = field(default_factory=dict)
    not_run: int = 0
    seen: dict[str, Row] = field(default_factory=dict)
    """cell_id -> receipt that was counted."""
    deferred: dict[str, Any] = field(default_factory=dict)
    """What is with a provider and answered later: see harness.deferred.coordinator."""
    notes: list[str] = field(default_factory=list)
    """The last problems, one sentence each."""

    @classmethod
    def of(cls, wanted: Mapping[str, int], receipts: Iterable[Row], run_id: str = "") -> Progress:
        progress = cls({arm: ArmProgress(number) for arm, number in wanted.items()}, run_id)
        for receipt in receipts:
            progress.add(receipt)
        progress.ended_before, progress.calls_before = progress.ended, progress.calls
        for arm in progress.arms.values():
            arm.ended_before, arm.calls_before = arm.ended, arm.calls
        return progress

    @property
    def wanted(self) -> int:
        return sum(arm.wanted for arm in self.arms.values())

    @property
    def ended(self) -> int:
        return sum(arm.ended for arm in self.arms.values())

    @property
    def failed(self) -> int:
        return sum(arm.failed for arm in self.arms.values())

    @property
    def running(self) -> int:
        return sum(arm.running for arm in self.arms.values())

    @property
    def calls(self) -> int:
        """Calls of ended cells, or of the ledger if that has more."""
        return max(self.ledger_calls, sum(arm.calls for arm in self.arms.values()))

    @property
    def tokens(self) -> tuple[int, int]:
        """Input and output tokens of ended cells, or of the ledger if that has more."""
        return max(self.ledger_tokens[0], self.tokens_ended[0]), max(self.ledger_tokens[1], self.tokens_ended[1])

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self.started_at

    @property
    def left_by_arm(self) -> dict[str, float]:
        """Seconds that the cells of each arm still take, where known."""
        return {name: arm.left_s for name, arm in self.arms.items() if arm.left_s is not None}

    def see_left(self, left_s: Mapping[str, float]) -> None:
        """What the runner estimates, in the process of another command."""
        for name, seconds in left_s.items():
            if name in self.arms:
                self.arms[name].left_s = seconds

    @property
    def is_up_to_provider(self) -> bool:
        """Whether the time left is that of answers which come later."""
        deferred_arms = self.time_left.deferred_arms if self.time_left else frozenset()
        is_unfinished = any(arm.ended < arm.wanted for name, arm in self.arms.items() if name in deferred_arms)
        return is_unfinished or bool(self.deferred.get("cells"))

    @property
    def left_s(self) -> float | None:
        """Remaining seconds at the pace of this session's calls; None until that is known."""
        if self.ended >= self.wanted:
            return 0.0
        if self.is_up_to_provider:
            return None
        if self.left_by_arm or self.time_left is not None:
            return max(self.left_by_arm.values(), default=None)
        expected, calls = self._calls_expected(), self.ledger_calls - (self.ledger_calls_before or 0)
        if expected is None:
            return None
        if expected > 0 and calls > 0:
            return self.elapsed_s / calls * max(expected - self.calls_before - calls, 0.0)
        done = self.ended - self.ended_before
        return self.elapsed_s / done * (self.wanted - self.ended) if done > 0 else None

    def _calls_expected(self) -> float | None:
        """Calls of all cells, at the mean of each arm's ended cells; None if an arm has none and no other arm makes calls."""
        means = {name: arm.calls / arm.ended for name, arm in self.arms.items() if arm.ended}
        calling = [mean for mean in means.values() if mean > 0]
        if len(means) < len(self.arms) and not calling:
            return None
        other = sum(calling) / len(calling) if calling else 0.0
        return sum(arm.wanted * means.get(name, other) for name, arm in self.arms.items())

    def add(self, receipt: Row) -> None:
        """Count an ended cell, once."""
        if receipt["cell_id"] in self.seen:
            return
        self.seen[receipt["cell_id"]] = receipt
        self._count(receipt, 1)
        if receipt["status"] in FAILED:
            case = f" {receipt['case_id']}" if receipt.get("case_id") else ""
            self.note(f"{receipt['arm']}{case}: {receipt['status']} ({receipt['error_type']}): {receipt['error']}")

    @property
    def reused_api_usd(self) -> float | None:
        """What earlier runs paid for the hosted calls that this run uses again; None if unknown."""
        return None if self._reused_unknown else self._reused_api_usd

    @property
    def paid_api_usd(self) -> float:
        """What this run paid to hosted models for the cells that have ended, as far as known."""
        return sum(receipt["api_cost_usd"] or 0.0 for receipt in self.seen.values()) - self._reused_api_usd

    def see_receipts(self) -> None:
        """Sum what this run paid for hosted models, from the receipts that were counted."""
        costs = [receipt["api_cost_usd"] for receipt in self.seen.values()]
        is_known = bool(costs) and None not in costs and self.reused_api_usd is not None
        self.spent_usd = sum(costs) - self._reused_api_usd if is_known else None

    def forget(self, cell_id: str) -> None:
        """Uncount a cell that runs again."""
        if receipt := self.seen.pop(cell_id, None):
            self._count(receipt, -1)

    def _count(self, receipt: Row, by: int) -> None:
        tokens = receipt["input_tokens"] or 0, receipt["output_tokens"] or 0
        self.tokens_ended = (self.tokens_ended[0] + by * tokens[0], self.tokens_ended[1] + by * tokens[1])
        arm = self.arms.setdefault(receipt["arm"], ArmProgress())
        arm.by_status[receipt["status"]] += by
        arm.usable += by * _is_usable(receipt)
        arm.calls += by * (receipt["llm_calls"] or 0)
        arm.tokens += by * sum(tokens)
        reused_usd = reused_part(receipt, "cost_usd", "reused_usd", self.run_id) or 0.0
        reused_api_usd = reused_part(receipt, "api_cost_usd", "reused_api_usd", self.run_id)
        is_reused = receipt.get("run_id") not in (None, self.run_id)
        self._reused_unknown += by * (reused_api_usd is None and is_reused)
        self._reused_api_usd += by * (reused_api_usd or 0.0)
        arm.reused_usd += by * reused_usd
        arm.paid_usd += by * ((receipt["cost_usd"] or 0.0) - reused_usd)
        arm.unpriced += by * (receipt["cost_usd"] is None)

    def note(self, sentence: str) -> None:
        if (shown := _shortened(sentence)) not in self.notes:
            self.notes = [*self.notes, shown][-_NOTED:]

    def see_ledger(self, totals: LedgerTotals) -> None:
        if self.ledger_calls_before is None:
            self.ledger_calls_before, self._paces_before = totals.calls, totals.paces
        self.ledger_calls = totals.calls
        self.ledger_tokens = totals.input_tokens, totals.output_tokens
        self.spent_usd = totals.money.spent_usd
        if self.time_left is not None:
            self._see_paces(self.time_left, totals.paces)

    @property
    def so_far(self) -> dict[str, Any]:
        """Calls, tokens and dollars of all cells, those of unfinished ones included."""
        input_tokens, output_tokens = self.tokens
        usd = self.spent_usd
        return {"calls": self.calls, "input_tokens": input_tokens, "output_tokens": output_tokens, "api_cost_usd": usd}

    def see_deferred(self, written: Mapping[str, Any]) -> None:
        """What the runner last wrote of deferred calls: without Redis, receipts know nothing of unfinished cells."""
        self.deferred = {name: value for name, value in written.items() if name != "so_far"}
        so_far = written.get("so_far")
        if so_far and self.ended < self.wanted and so_far["calls"] > self.calls:
            self.ledger_calls = so_far["calls"]
            self.ledger_tokens = so_far["input_tokens"], so_far["output_tokens"]
            self.spent_usd = so_far["api_cost_usd"]

    def _see_paces(self, time_left: TimeLeft, paces: Mapping[tuple[str, str], RolePace]) -> None:
        new = {name: pace.since(self._paces_before.get(name)) for name, pace in paces.items()}
        new = {name: pace for name, pace in new.items() if pace.calls > 0}
        if not new:
            return
        cells = {name: arm.session for name, arm in self.arms.items()}
        left_s = time_left.by_arm(cells, new, time.monotonic())
        for name, arm in self.arms.items():
            arm.left_s = 0.0 if arm.ended >= arm.wanted else left_s.get(name)

    def see_running(self, running_cells: Mapping[str, Mapping[str, Any]]) -> None:
        counts = Counter(str(entry["arm"]) for entry in running_cells.values())
        for name, arm in self.arms.items():
            arm.running = counts[name]

    def as_json(self) -> dict[str, Any]:
        return {
            "cells": {
                "wanted": self.wanted,
                "ended": self.ended,
                "running": self.running,
                "failed": self.failed,
                NOT_RUN: self.not_run,
                "waiting": max(0, self.wanted - self.ended - self.running),
            },
            "calls": self.calls,
            "input_tokens": self.tokens[0],
            "output_tokens": self.tokens[1],
            "api_cost_usd": self.spent_usd,
            "reused_api_usd": self.reused_api_usd,
            "left_s": self.left_s,
            "arms": {name: _arm_json(arm) for name, arm in self.arms.items()},
            "deferred": self.deferred,
            "notes": list(self.notes),
        }


def _shortened(sentence: str) -> str:
    return sentence if len(sentence) <= _LONGEST_NOTE else f"{sentence[:_LONGEST_NOTE].rpartition(' ')[0]} ..."


def reused_part(receipt: Row, cost: str, reused: str, run_id: str) -> float | None:
    """What other runs paid of a cell's cost; versions that did not record it took over whole cells only."""
    if receipt.get(reused) is not None or receipt.get(cost) is None:
        return receipt.get(reused)
    return float(receipt[cost]) if receipt.get("run_id") not in (None, run_id) else 0.0


def _is_usable(receipt: Row) -> bool:
    """Whether the cell has a rating; a replay or judgement only has to end."""
    is_decision = (receipt.get("kind") or "pipeline") == "pipeline"
    return receipt["status"] == "ok" and (not is_decision or receipt.get("rating") is not None)


def _arm_json(arm: ArmProgress) -> dict[str, Any]:
    return {
        "wanted": arm.wanted,
        "ended": arm.ended,
        "running": arm.running,
        **{status: arm.by_status[status] for status in ("ok", *FAILED)},
        "usable": arm.usable,
        "left_s": arm.left_s,
        "calls": arm.calls,
        "tokens": arm.tokens,
        "cost_usd": None if arm.unpriced else arm.paid_usd + arm.reused_usd,
        "paid_usd": None if arm.unpriced else arm.paid_usd,
        "reused_usd": None if arm.unpriced else arm.reused_usd,
    }


@dataclass(frozen=True)
class RunOutcome:
    """How a session of a run ended."""

    stopped: bool = False
    """By the user; the same command continues."""
    not_run: int = 0
    """Cells that were not started because the budget was used up."""
    unserved: Mapping[Unserved, int] = field(default_factory=dict)
    """Servers and models that cannot be asked -> cells that were left for a later command."""

    @classmethod
    def nothing(cls) -> RunOutcome:
        return cls()
