"""Verdicts of judges: each pair of a replay as one judge saw it, in both orders."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from reports.tables import judge_of
from reports.tracing import run_grounding

if TYPE_CHECKING:
    from reports.load import Run

SOURCE, TIE, TARGET = "source", "tie", "target"
OUTCOMES = (SOURCE, TIE, TARGET)
_MEANT: tuple[Mapping[str, str], ...] = (
    {"A": SOURCE, "tie": TIE, "B": TARGET},
    {"A": TARGET, "tie": TIE, "B": SOURCE},
)
"""What a letter means, by the order in which the answers stood."""

Spot = tuple[str, str, int, str, int]
"""(replay, case_id, repeat, role, round): one pair."""


@dataclass(frozen=True)
class Verdict:
    """One pair by one judge."""

    judge: str
    replay: str
    case_id: str
    date: Any
    repeat: int
    role: str
    round: int
    said: tuple[str | None, str | None]
    """What the judge preferred with the source's answer first, and with the target's; None where that cannot be read."""
    reasons: tuple[str, str]
    costs: tuple[float | None, ...]
    """Of each request that was sent for it, failed ones included; None where a price is unknown."""

    @property
    def spot(self) -> Spot:
        return self.replay, self.case_id, self.repeat, self.role, self.round

    @property
    def is_broken(self) -> bool:
        return None in self.said

    @property
    def is_flipped(self) -> bool:
        """Whether another order gave another winner."""
        return set(self.said) == {SOURCE, TARGET}

    @property
    def winner(self) -> str | None:
        """Preferred in both orders, else a tie; None when a verdict is broken."""
        if self.is_broken:
            return None
        return self.said[0] if self.said[0] == self.said[1] else TIE

    @property
    def for_target(self) -> float | None:
        """1 for the target, 0 for the source, a half for a tie."""
        return None if self.winner is None else OUTCOMES.index(self.winner) / 2

    @property
    def for_first(self) -> list[float]:
        """1 for each decided verdict that went to the answer shown first, 0 for each that went to the second."""
        return [float(one == first) for one, first in zip(self.said, (SOURCE, TARGET), strict=True) if one in (SOURCE, TARGET)]


def verdicts(run: Run, case_ids: Sequence[str] | None = None) -> list[Verdict]:
    """Every pair that a judge was asked about, in the order of cases; nothing where nobody judged."""
    cells = run.judgements
    cells = cells if case_ids is None else cells[cells["case_id"].isin(list(case_ids))]
    if cells.empty:
        return []
    columns = ["cell_id", "role", "round", "kind", "index", "outcome", "parsed", "cost_usd"]
    calls = run.table("calls", columns, run_grounding.among([str(one) for one in cells["cell_id"]]))
    asked = {str(name): group.to_dict("records") for name, group in calls.groupby("cell_id")}
    rows = cells.sort_values(["date", "ticker", "repeat"], kind="stable").to_dict("records")
    return [one for row in rows for one in _of_cell(row, asked.get(str(row["cell_id"]), []))]


def _of_cell(cell: Mapping[Any, Any], calls: Sequence[Mapping[Any, Any]]) -> list[Verdict]:
    by_place: dict[tuple[str, int], list[Mapping[Any, Any]]] = {}
    for call in calls:
        by_place.setdefault((str(call["role"]), int(call["round"] or 0)), []).append(call)
    return [_verdict(cell, *place, asked) for place, asked in by_place.items()]


def _verdict(cell: Mapping[Any, Any], role: str, round_: int, calls: Sequence[Mapping[Any, Any]]) -> Verdict:
    judge, replay = judge_of(str(cell["arm"]))
    forms = [_form(calls, order) for order in (0, 1)]
    return Verdict(
        judge=judge,
        replay=replay,
        case_id=str(cell["case_id"]),
        date=cell["date"],
        repeat=int(cell["repeat"]),
        role=role,
        round=round_,
        said=(_MEANT[0].get(str(forms[0].get("verdict"))), _MEANT[1].get(str(forms[1].get("verdict")))),
        reasons=(str(forms[0].get("reason") or ""), str(forms[1].get("reason") or "")),
        costs=tuple(None if call["cost_usd"] != call["cost_usd"] else call["cost_usd"] for call in calls),
    )


def _form(calls: Sequence[Mapping[Any, Any]], order: int) -> Mapping[str, Any]:
    """What was read of the answer in this order; empty where nothing was."""
    raw = next((call["parsed"] for call in calls if call["index"] == order and isinstance(call["parsed"], str)), "{}")
    try:
        found = json.loads(raw)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
