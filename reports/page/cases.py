"""The data of a case page: what every arm saw, then role by role what each was asked and answered."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from reports import grid
from reports.format import known, shortened
from reports.grid import Mark
from reports.grounding import of_run as grounding_of_run
from reports.load import among
from reports.money.breakdown import AT_ONCE, is_deferred, lanes_of
from reports.page import days, replay_view
from reports.page.prose import prose
from reports.page.stages import CellMarks, Stage, is_there, stages

if TYPE_CHECKING:
    import pandas as pd

    from reports.load import Run
    from reports.page.replay_view import ReplayedPrompt

_SNAPSHOT_FACTS = {"name": "of", "decision_time": "decided at", "masked": "masked:"}
ROWS_SHOWN = 40
"""Rows shown of one part of the snapshot; the snapshot file has all of them."""


@dataclass(frozen=True)
class SnapshotPart:
    """One table of the frozen inputs."""

    name: str
    source: str | None
    absent: str | None
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    """The newest rows."""
    count: int


@dataclass(frozen=True)
class SnapshotView:
    """The frozen inputs, as far as they are in the run folder."""

    sha256: str
    facts: Mapping[str, str] = field(default_factory=dict)
    parts: tuple[SnapshotPart, ...] = ()
    notes: tuple[str, ...] = ()
    """What the source lacks, as sentences."""
    missing: str = ""
    """Why nothing is shown; empty otherwise."""


def snapshot_view(run: Run, sha: str) -> SnapshotView:
    """The snapshot with this hash, or why it cannot be shown."""
    raw = _snapshot_bytes(run, sha)
    if raw is None:
        return SnapshotView(
            sha, missing="The snapshot's file is not in this run's folder snapshots/; the prompts below hold what was shown."
        )
    try:
        document = json.loads(raw)
        parts = tuple(_snapshot_part(name, table, document) for name, table in document["parts"].items())
    except (ValueError, KeyError, TypeError, AttributeError):
        return SnapshotView(
            sha, missing="The snapshot's file has a format that this page does not know; the prompts below hold what was shown."
        )
    notes = tuple(str(sentence) for part, sentence in document.get("absent", {}).items() if part not in document["parts"])
    facts = {word: str(document[key]) for key, word in _SNAPSHOT_FACTS.items() if document.get(key)}
    return SnapshotView(sha, facts, parts, notes)


def _snapshot_part(name: str, table: Mapping[str, Any], document: Mapping[str, Any]) -> SnapshotPart:
    rows = [tuple(row) for row in table["rows"]]
    newest = tuple(reversed(rows[-ROWS_SHOWN:]))
    source, absent = document.get("sources", {}).get(name), document.get("absent", {}).get(name)
    return SnapshotPart(name, source, absent, tuple(table["columns"]), newest, len(rows))


def _snapshot_bytes(run: Run, sha: str) -> bytes | None:
    import pyarrow as pa
    from pyarrow import fs

    for suffix, packing in ((".json", None), (".json.zst", "zstd"), (".json.gz", "gzip")):
        file = f"{run.path.rstrip('/')}/snapshots/{sha}{suffix}"
        if run.filesystem.get_file_info(file).type == fs.FileType.File:
            with run.filesystem.open_input_stream(file, compression=packing) as stream:
                return bytes(pa.py_buffer(stream.read()))
    return None


@dataclass(frozen=True)
class Reason:
    """Why one repeat of an arm decided as it did, in its own words."""

    repeat: int
    text: Markup


@dataclass(frozen=True)
class ArmAnswers:
    """What one arm decided in this case, over its repeats."""

    arm: str
    slot: int
    marks: tuple[Mark, ...]
    """One per repeat."""
    stages: tuple[tuple[str, str], ...]
    """(role, letters of its ratings by repeat) of the roles that rate before the final one."""
    remarks: tuple[str, ...]
    """Repeats whose answer was not read at the first try, and errors."""
    confidence: float | None
    target_price: float | None
    cost_usd: float | None
    service_s: float | None
    llm_calls: float | None
    """Means over the repeats; None if one is unknown."""
    reasons: tuple[Reason, ...]


@dataclass(frozen=True)
class CasePage:
    """One case page."""

    case_id: str
    ticker: str
    date: str
    arms: tuple[ArmAnswers, ...]
    snapshots: tuple[SnapshotView, ...]
    """One; several only if the arms saw different bytes."""
    stages: tuple[Stage, ...]
    repeats: int
    outcomes: tuple[Mapping[str, Any], ...]
    prices: Markup
    """Chart of the closes around the decision; empty without daily prices."""
    again: tuple[ReplayedPrompt, ...] = ()
    """Its prompts replayed with other models."""

    @property
    def part_titles(self) -> Mapping[str, str]:
        """Prompt part -> its heading."""
        shown = (
            part for stage in self.stages for part in (*stage.shared, *(p for pane in stage.panes for p in pane.own_parts))
        )
        return {part.id: part.title for part in shown}


def case_pages(run: Run, case_ids: Sequence[str]) -> Iterator[CasePage]:
    """The pages of these cases; only their texts are read."""
    from reports import tables

    cells = run.table("cells", tables.CELLS.names, among(case_ids, "case_id"))
    cells = cells[cells["kind"].fillna("pipeline") == "pipeline"].copy()
    calls = run.table("calls", tables.CALLS.names, among(list(cells["cell_id"])))
    calls = calls[calls["kind"] != "judge"]
    later = calls.loc[lanes_of(calls).fillna(AT_ONCE).map(is_deferred).astype(bool), "cell_id"]
    # What is recorded of a cell whose answers were fetched later is the time of its last steps only.
    cells["service_s"] = cells["service_s"].where(~cells["cell_id"].isin(set(later)))
    ids = {str(i) for parts in calls["message_ids"] if parts is not None for i in parts}
    messages = run.table("messages", None, among(list(ids), "message_id"))
    texts = {i: (r, t) for i, r, t in zip(messages["message_id"], messages["role"], messages["text"], strict=True)}
    by_cell: dict[str, list[Any]] = {}
    for call in calls.sort_values("started_at").to_dict("records"):
        by_cell.setdefault(str(call["cell_id"]), []).append(call)
    marks = grounding_of_run.marks(run, list(cells["cell_id"]))
    replayed = replay_view.replayed_prompts(run, case_ids)
    outcomes = _by_case(run.outcomes[run.outcomes["case_id"].isin(list(case_ids))].sort_values("horizon"))
    for case_id, of_case in _by_case(cells).items():
        case = _case_page(run, case_id, of_case, outcomes.get(case_id, ()), by_cell, texts, marks)
        yield replace(case, again=replayed.get(case_id, ()))


def _by_case(frame: pd.DataFrame) -> dict[str, list[dict[Any, Any]]]:
    """case_id -> its rows, in the order of the frame."""
    rows_by_case: dict[str, list[dict[Any, Any]]] = {}
    for row in frame.to_dict("records"):
        rows_by_case.setdefault(str(row["case_id"]), []).append(row)
    return rows_by_case


def _case_page(
    run: Run,
    case_id: str,
    cells: Sequence[Mapping[Any, Any]],
    outcomes: Sequence[Mapping[Any, Any]],
    by_cell: Mapping[str, list[Any]],
    texts: Mapping[str, tuple[str, str]],
    marks: CellMarks,
) -> CasePage:
    order = {arm: slot for slot, arm in enumerate(run.arms)}
    cells = sorted(cells, key=lambda cell: (order.get(cell["arm"], 99), cell["repeat"]))
    shas = dict.fromkeys(str(cell["snapshot_sha256"]) for cell in cells if isinstance(cell["snapshot_sha256"], str))
    ticker, date = str(cells[0]["ticker"]), str(cells[0]["date"])[:10]
    final_role = run.roles.of_stage("decision")
    snapshots = tuple(snapshot_view(run, sha) for sha in shas)
    return CasePage(
        case_id=case_id,
        ticker=ticker,
        date=date,
        arms=tuple(
            _answers(arm, order.get(arm, 99), list(of_arm), final_role)
            for arm, of_arm in groupby(cells, key=lambda cell: str(cell["arm"]))
        ),
        snapshots=snapshots,
        stages=tuple(stages(cells, by_cell, texts, order, marks, run.roles)),
        repeats=max(int(cell["repeat"]) for cell in cells) + 1,
        outcomes=tuple({str(k): v for k, v in row.items()} for row in outcomes),
        prices=days.price_chart(run, ticker, date, _shown_closes(snapshots)),
    )


def _shown_closes(snapshots: Sequence[SnapshotView]) -> dict[str, float]:
    """date -> close in the first snapshot's table of prices, the newest rows."""
    parts = [part for snapshot in snapshots[:1] for part in snapshot.parts if part.name == "prices"]
    if not parts or not {"date", "close"} <= set(parts[0].columns):
        return {}
    day, close = (parts[0].columns.index(name) for name in ("date", "close"))
    return {str(row[day])[:10]: float(row[close]) for row in parts[0].rows if known(row[close])}


def _answers(arm: str, slot: int, cells: Sequence[Mapping[Any, Any]], final_role: str | None) -> ArmAnswers:
    return ArmAnswers(
        arm=arm,
        slot=slot,
        marks=tuple(grid.mark(cell["rating"], cell["status"], cell["decision_status"]) for cell in cells),
        stages=_stage_letters(cells, final_role),
        remarks=tuple(remark for cell in cells for remark in _remarks(cell, len(cells) > 1)),
        reasons=tuple(
            Reason(int(cell["repeat"]), prose(cell["rationale"])) for cell in cells if isinstance(cell["rationale"], str)
        ),
        **{name: _mean(cell[name] for cell in cells) for name in _AVERAGED},
    )


_AVERAGED = ("confidence", "target_price", "cost_usd", "service_s", "llm_calls")
_READ = frozenset({"typed", "rule"})
"""Decision statuses that need no remark."""
_REMARKS = {**grid.REASONS, "repaired": "read after it was asked again", "recovered": "rating recovered from its text"}


def _mean(values: Iterable[Any]) -> float | None:
    numbers = [float(value) if known(value) else None for value in values]
    return None if None in numbers or not numbers else sum(number or 0.0 for number in numbers) / len(numbers)


def _stage_letters(cells: Sequence[Mapping[Any, Any]], final_role: str | None) -> tuple[tuple[str, str], ...]:
    letters: dict[str, str] = {}
    for cell in cells:
        for role, rating in cell["stage_ratings"] if is_there(cell["stage_ratings"]) else ():
            if role != final_role:
                letters[str(role)] = letters.get(str(role), "") + grid.LETTERS.get(rating, "?")
    return tuple(letters.items())


def _remarks(cell: Mapping[Any, Any], is_repeated: bool) -> Iterator[str]:
    which = f"repeat {int(cell['repeat']) + 1}: " if is_repeated else ""
    if isinstance(cell["error"], str):
        yield f"{which}{str(cell['status']).replace('_', ' ')}, {shortened(cell['error'])}"
    elif isinstance(cell["decision_status"], str) and cell["decision_status"] not in _READ:
        yield f"{which}{_REMARKS.get(cell['decision_status'], cell['decision_status'])}"
