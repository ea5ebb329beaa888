"""One cell on the clock: every call with the parts of its time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from reports.drawing.charts import Piece, Track
from reports.figures import known
from reports.money import breakdown

if TYPE_CHECKING:
    import pandas as pd

    from reports.load import Run


@dataclass(frozen=True)
class Waterfall:
    """The calls of one cell."""

    arm: str
    slot: int
    case_id: str
    repeat: int
    calls: pd.DataFrame

    @cached_property
    def tracks(self) -> Sequence[Track]:
        begin = (self.calls["started_at"] - _delta(self.calls["queued_s"].fillna(0) + self.calls["backoff_s"].fillna(0))).min()
        return [_track(call, begin) for call in self.calls.to_dict("records")]


def typical(run: Run) -> list[Waterfall]:
    """For each arm the cell whose time is nearest to its median."""
    return [_of_cell(run, arm, cell_id) for arm, cell_id in breakdown.typical_cells(run, run.arms).items()]


def _of_cell(run: Run, arm: str, cell_id: str) -> Waterfall:
    cell = run.cells[run.cells["cell_id"] == cell_id].iloc[0]
    calls = run.calls[(run.calls["cell_id"] == cell_id) & (run.calls["cell_attempt"] == cell["attempts"])]
    return Waterfall(arm, run.arms.index(arm), str(cell["case_id"]), int(cell["repeat"]), calls.sort_values("started_at"))


def _delta(seconds: pd.Series) -> pd.Series:
    import pandas as pd

    return pd.to_timedelta(seconds, unit="s")


def _track(call: Mapping[Any, Any], begin: Any) -> Track:
    told = {name: float(call[name]) if known(call[name]) else 0.0 for name in breakdown.TIMES}
    sent = (call["started_at"] - begin).total_seconds()
    at = sent - told["queued_s"] - told["backoff_s"]
    failed = call["outcome"] != "answered"
    pieces = []
    for kind, size in breakdown.split_time(told):
        pieces.append(Piece("failed" if failed and kind in ("first", "rest") else kind, size, at))
        at += size
    name = str(call["role"]).replace("_", " ") + (f" {call['round']}" if call["round"] else "")
    name += "" if call["kind"] == "primary" else f" ({str(call['kind']).replace('_', ' ')})"
    note = str(call["outcome"]) if failed else ""
    return Track(name, tuple(pieces), sent + told["duration_s"], note, failed)
