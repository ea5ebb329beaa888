"""The case pages' model: what every arm saw, then role by role what each was asked and what it answered."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from reports import grid
from reports.figures import known
from reports.money.breakdown import flow
from reports.roles import again
from reports.tracing import run_grounding
from reports.tracing.marked import Mark, marked

if TYPE_CHECKING:
    from reports.load import Run
    from reports.roles.again import Again

Marks = Mapping[tuple[str, str], Sequence[Mark]]
"""(cell_id, place) -> its figures."""

_FACTS = {"name": "of", "decision_time": "decided at", "masked": "masked:"}
ROWS_SHOWN = 40
"""Rows of one part of the snapshot that a page holds; the file beside it holds all."""


@dataclass(frozen=True)
class Part:
    """One part of a prompt."""

    id: str
    role: str
    text: str
    is_first: bool
    """Whether it stands here in full; later mentions link to it."""

    @property
    def title(self) -> str:
        """Its first words, as a heading."""
        line = next((line.strip(" #*") for line in self.text.splitlines() if line.strip(" #*")), "empty")
        return line if len(line) <= 90 else line[:88] + " ..."

    @property
    def words(self) -> int:
        return len(self.text.split())


@dataclass(frozen=True)
class Pane:
    """One arm's side of a stage."""

    arm: str
    slot: int
    repeat: int
    text: str | None
    why_none: str
    reasoning: str | None
    calls: tuple[Mapping[str, Any], ...]
    own: tuple[Part, ...]
    """Parts of the prompt that only this arm was given."""
    said: Markup
    """The text with its figures marked by what they rest on."""


@dataclass(frozen=True)
class Stage:
    """One role, in one round of its debate."""

    key: str
    role: str
    round: int
    shared: tuple[Part, ...]
    """Parts of the prompt that all arms with this role were given."""
    panes: tuple[Pane, ...]


@dataclass(frozen=True)
class SnapshotPart:
    """One table of the frozen inputs."""

    name: str
    source: str | None
    absent: str | None
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    """The newest ones."""
    count: int


@dataclass(frozen=True)
class Snapshot:
    """The frozen inputs, as far as the run folder holds them."""

    sha256: str
    facts: Mapping[str, str] = field(default_factory=dict)
    parts: tuple[SnapshotPart, ...] = ()
    notes: tuple[str, ...] = ()
    """What the source lacks, in sentences."""
    missing: str = ""
    """Why nothing is shown."""


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
        snapshots=tuple(_snapshot(run, sha) for sha in shas),
        stages=tuple(_stages(cells, by_cell, texts, order, marks)),
        repeats=max(int(cell["repeat"]) for cell in cells) + 1,
        outcomes=tuple({str(k): v for k, v in row.items()} for row in outcomes.to_dict("records")),
    )


def _answer(cell: Mapping[Any, Any], order: Mapping[str, int]) -> dict[str, Any]:
    word = grid.word(cell["rating"], cell["status"], cell["decision_status"])
    stages = [(str(k), v) for k, v in (cell["stage_ratings"] if _there(cell["stage_ratings"]) else [])]
    return {**cell, "slot": order.get(cell["arm"], 99), "mark": grid.Mark(word, 1), "stages": stages}


def _stages(
    cells: Sequence[Mapping[Any, Any]],
    by_cell: Mapping[str, list[Any]],
    texts: Mapping[str, tuple[str, str]],
    order: Mapping[str, int],
    marks: Marks,
) -> Iterator[Stage]:
    printed: set[str] = set()
    reports = {cell["cell_id"]: dict(cell["reports"]) if _there(cell["reports"]) else {} for cell in cells}
    playing = [cell for cell in cells if by_cell.get(cell["cell_id"]) or reports[cell["cell_id"]]]
    for key in _keys(playing, by_cell, reports):
        role, _, round_ = key.partition("/")
        sent = {cell["cell_id"]: [c for c in by_cell.get(cell["cell_id"], []) if _key(c) == key] for cell in playing}
        prompts = {cell: _prompt(calls) for cell, calls in sent.items() if calls}
        common = _common(prompts.values())
        shared = _parts(common, texts, printed)
        panes = []
        for cell in playing:
            own = [i for i in prompts.get(cell["cell_id"], []) if i not in common]
            parts = _parts(own, texts, printed)
            pane = _pane(cell, order, reports[cell["cell_id"]].get(key), sent[cell["cell_id"]], parts)
            panes.append(replace(pane, said=marked(pane.text or "", marks.get((cell["cell_id"], key), ()))))
        yield Stage(key.replace("/", "-"), role, int(round_ or 0), shared, tuple(panes))


def _pane(
    cell: Mapping[Any, Any], order: Mapping[str, int], report: Any, calls: Sequence[Mapping[str, Any]], own: tuple[Part, ...]
) -> Pane:
    answered = [call for call in calls if call["outcome"] == "answered"]
    last = answered[-1] if answered else None
    text = report if isinstance(report, str) else (last["response"] if last is not None and _there(last["response"]) else None)
    reasoning = last["reasoning"] if last is not None and _there(last["reasoning"]) else None
    slot = order.get(cell["arm"], 99)
    return Pane(
        str(cell["arm"]), slot, int(cell["repeat"]), text, _why_none(cell, calls), reasoning, tuple(calls), own, Markup()
    )


def _why_none(cell: Mapping[Any, Any], calls: Sequence[Mapping[str, Any]]) -> str:
    if not calls:
        ended = f" ({cell['error']})" if _there(cell["error"]) else ""
        return f"The cell ended before this role was asked{ended}." if cell["status"] != "ok" else "This arm has no such role."
    if all(call["outcome"] != "answered" for call in calls):
        return "No request was answered."
    return "The answer holds no text."


def _keys(cells: Sequence[Mapping[Any, Any]], by_cell: Mapping[str, list[Any]], reports: Mapping[str, Any]) -> list[str]:
    """Stages in the order of the flow: roles as readers know them, debates round by round."""
    found: dict[str, None] = {}
    for cell in cells:
        for call in by_cell.get(cell["cell_id"], []):
            found.setdefault(_key(call))
        for key in reports[cell["cell_id"]]:
            found.setdefault(str(key))
    roles = flow(dict.fromkeys(key.partition("/")[0] for key in found))
    return sorted(found, key=lambda key: _place(key, roles))


def _place(key: str, roles: Sequence[str]) -> tuple[int, int, int]:
    role, _, round_ = key.partition("/")
    debates = (("bull", "bear"), ("aggressive", "conservative", "neutral"))
    first = next((min(roles.index(r) for r in group if r in roles) for group in debates if role in group), roles.index(role))
    return first, int(round_) if round_.isdigit() else 0, roles.index(role)


def _key(call: Mapping[str, Any]) -> str:
    return f"{call['role']}/{int(call['round'])}" if known(call["round"]) and call["round"] else str(call["role"])


def _prompt(calls: Sequence[Mapping[str, Any]]) -> list[str]:
    primary = [call for call in calls if call["kind"] in ("primary", "replay")] or list(calls)
    ids = primary[0]["message_ids"]
    return [] if ids is None else [str(i) for i in ids]


def _common(prompts: Iterable[Sequence[str]]) -> list[str]:
    """Parts that every prompt holds, in order; empty prompts do not count."""
    there = [prompt for prompt in prompts if prompt]
    return [i for i in there[0] if all(i in other for other in there)] if there else []


def _parts(ids: Sequence[str], texts: Mapping[str, tuple[str, str]], printed: set[str]) -> tuple[Part, ...]:
    made = []
    for i in ids:
        role, text = texts.get(i, ("user", "(this part of the prompt is not in messages.parquet)"))
        made.append(Part(i[:16], role, text, i not in printed))
        printed.add(i)
    return tuple(made)


def _snapshot(run: Run, sha: str) -> Snapshot:
    raw = _snapshot_bytes(run, sha)
    if raw is None:
        return Snapshot(
            sha, missing="The snapshot's file is not in this run's folder snapshots/; the prompts below hold what was shown."
        )
    try:
        told = json.loads(raw)
        parts = tuple(_snapshot_part(name, table, told) for name, table in told["parts"].items())
    except (ValueError, KeyError, TypeError, AttributeError):
        return Snapshot(
            sha, missing="The snapshot's file has a format that this page does not know; the prompts below hold what was shown."
        )
    notes = tuple(str(sentence) for part, sentence in told.get("absent", {}).items() if part not in told["parts"])
    facts = {word: str(told[key]) for key, word in _FACTS.items() if told.get(key)}
    return Snapshot(sha, facts, parts, notes)


def _snapshot_part(name: str, table: Mapping[str, Any], told: Mapping[str, Any]) -> SnapshotPart:
    rows = [tuple(row) for row in table["rows"]]
    newest = tuple(reversed(rows[-ROWS_SHOWN:]))
    source, absent = told.get("sources", {}).get(name), told.get("absent", {}).get(name)
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


def _there(value: Any) -> bool:
    """Whether a cell of a frame holds something; texts and lists do, NULL does not."""
    return value is not None and not (isinstance(value, float) and value != value)
