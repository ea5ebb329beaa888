"""The case pages' model: what every arm saw, then role by role what each was asked and what it answered."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from reports import grid
from reports.cases.frozen import Snapshot, snapshot
from reports.cases.stages import Marks, Stage, stages, there
from reports.roles import again
from reports.tracing import run_grounding

if TYPE_CHECKING:
    from reports.load import Run
    from reports.roles.again import Again


@dataclass(frozen=True)
class Case:
    """One case page."""

    case_id: str
    ticker: str
    date: str
    answers: tuple[Mapping[str, Any], ...]
    """One row per cell: arm, slot, repeat, word, rationale, confidence, cost ..."""
    snapshots: tuple[Snapshot, ...]
    """One; more only when arms did not see the same bytes."""
    stages: tuple[Stage, ...]
    repeats: int
    outcomes: tuple[Mapping[str, Any], ...]
    again: tuple[Again, ...] = ()
    """Its prompts asked again of other models."""


def read(run: Run, case_ids: Sequence[str]) -> Iterator[Case]:
    """The models of these cases; texts are read for them only."""
    from reports import tables

    cells = run.table("cells", tables.CELLS.names, _among("case_id", case_ids))
    cells = cells[cells["kind"].fillna("pipeline") == "pipeline"]
    calls = run.table("calls", tables.CALLS.names, _among("cell_id", list(cells["cell_id"])))
    calls = calls[calls["kind"] != "judge"]
    ids = {str(i) for parts in calls["message_ids"] if parts is not None for i in parts}
    messages = run.table("messages", None, _among("message_id", list(ids)))
    texts = {i: (r, t) for i, r, t in zip(messages["message_id"], messages["role"], messages["text"], strict=True)}
    by_cell = {str(cell): group.to_dict("records") for cell, group in calls.sort_values("started_at").groupby("cell_id")}
    marks = run_grounding.marks(run, list(cells["cell_id"]))
    replayed = again.of_cases(run, case_ids)
    for case_id, group in cells.groupby("case_id", sort=False):
        case = _case(run, str(case_id), group.to_dict("records"), by_cell, texts, marks)
        yield replace(case, again=replayed.get(str(case_id), ()))


def _among(column: str, values: Sequence[str]) -> Any:
    """A filter: the column holds one of these texts."""
    import pyarrow as pa
    import pyarrow.dataset as ds

    return ds.field(column).isin(pa.array(values, pa.string()))


def _case(
    run: Run,
    case_id: str,
    cells: Sequence[Mapping[Any, Any]],
    by_cell: Mapping[str, list[Any]],
    texts: Mapping[str, tuple[str, str]],
    marks: Marks,
) -> Case:
    order = {arm: slot for slot, arm in enumerate(run.arms)}
    cells = sorted(cells, key=lambda cell: (order.get(cell["arm"], 99), cell["repeat"]))
    shas = dict.fromkeys(str(cell["snapshot_sha256"]) for cell in cells if isinstance(cell["snapshot_sha256"], str))
    outcomes = run.outcomes[run.outcomes["case_id"] == case_id].sort_values("horizon")
    return Case(
        case_id=case_id,
        ticker=str(cells[0]["ticker"]),
        date=str(cells[0]["date"])[:10],
        answers=tuple(_answer(cell, order) for cell in cells),
        snapshots=tuple(snapshot(run, sha) for sha in shas),
        stages=tuple(stages(cells, by_cell, texts, order, marks)),
        repeats=max(int(cell["repeat"]) for cell in cells) + 1,
        outcomes=tuple({str(k): v for k, v in row.items()} for row in outcomes.to_dict("records")),
    )


def _answer(cell: Mapping[Any, Any], order: Mapping[str, int]) -> dict[str, Any]:
    word = grid.word(cell["rating"], cell["status"], cell["decision_status"])
    stages = [(str(k), v) for k, v in (cell["stage_ratings"] if there(cell["stage_ratings"]) else [])]
    return {**cell, "slot": order.get(cell["arm"], 99), "mark": grid.Mark(word, 1), "stages": stages}
