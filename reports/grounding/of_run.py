"""The grounding of a run: the origin of every figure in every cell, computed once and stored in the run folder."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache
from hashlib import sha256
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any

from domain.freed_memory import return_freed_memory
from reports.grounding.inputs import Inputs, input_figures
from reports.grounding.language import is_english
from reports.grounding.origins import GROUNDED, INVENTED, MOST_CHARS, FigureOrigin, origins_of_texts, reaching
from reports.grounding.sentences import sentences
from reports.load import among, messages_of

if TYPE_CHECKING:
    import pandas as pd

    from reports.load import Run
    from reports.run_roles import RunRoles

MOST_CELLS = 1_200
"""Maximum number of cells; larger runs use a fixed sample of complete cases, chosen by the hash of their ids."""
VERSION = 5
"""Raised when the rules change, so that stored results are computed again."""
FILE = f"grounding.{VERSION}.parquet"
COLUMNS = ("cell_id", "place", "start", "figure", "label", "source", "born", "reaches", "sentence")
_HEAD = 60
"""First characters of a text by which it is recognised in a later prompt."""
_CHUNK = 128
"""Cells whose texts are read together, because each read scans the whole table."""
_MANY_CELLS = 250
"""From here on several processes share the work: a cell of twelve texts takes about 50 ms."""
_CELLS_AT_A_TIME = 24


@dataclass(frozen=True)
class CellTexts:
    """The texts of one cell and what each of its roles was given."""

    texts: Mapping[str, str]
    """call site (role, or role/round) -> its text, in pipeline order."""
    inputs: tuple[str, ...]
    """Parts of the analysts' prompts that no model wrote."""
    instructions: Mapping[str, tuple[str, ...]]
    """call site -> further parts of its prompt that no model wrote: its instructions."""
    shown: Mapping[str, frozenset[str]]
    """call site -> earlier call sites whose texts were in its prompt."""

    def figures(self) -> dict[str, list[FigureOrigin]]:
        with_figures = {place: [part for part in parts if input_figures(part)] for place, parts in self.instructions.items()}
        own_inputs = {place: inputs_of((*self.inputs, *parts)) for place, parts in with_figures.items() if parts}
        return origins_of_texts(self.texts, inputs_of(self.inputs), self.shown, own_inputs)


@lru_cache(maxsize=1)
def figures(run: Run) -> pd.DataFrame:
    """One row per figure of every sampled cell (COLUMNS), and one per cell for its last text; cached on disk."""
    import pandas as pd

    wanted = sampled_cells(run)
    kept = _stored(run)
    kept = kept[kept["cell_id"].isin(wanted)]
    left = sorted(set(wanted) - set(kept["cell_id"]))
    if not left:
        return kept
    fresh = pd.DataFrame([row for rows in _rows_of_cells(run, left) for row in rows], columns=list(COLUMNS))
    every = pd.concat([kept, fresh], ignore_index=True) if len(kept) else fresh
    _store(run, every)
    return every


def marks(run: Run, cell_ids: Sequence[str]) -> dict[tuple[str, str], list[tuple[int, str, str, str]]]:
    """Return (cell_id, call site) -> start, text, label and source of its figures, from the stored results."""
    rows = _stored(run)
    rows = rows[rows["cell_id"].isin(list(cell_ids)) & (rows["label"] != "")]
    marks_by_text: dict[tuple[str, str], list[tuple[int, str, str, str]]] = {}
    for row in rows.to_dict("records"):
        mark = (int(row["start"]), row["figure"], row["label"], row["source"])
        marks_by_text.setdefault((row["cell_id"], row["place"]), []).append(mark)
    return marks_by_text


def sampled_cells(run: Run) -> list[str]:
    """Ids of the cells that are checked."""
    cells = run.cells[run.cells["decision_status"] != "rule"]
    if len(cells) <= MOST_CELLS:
        return [str(cell_id) for cell_id in cells["cell_id"]]
    order = sorted(set(cells["case_id"]), key=lambda case_id: sha256(str(case_id).encode()).hexdigest())
    per_case = len(cells) / len(order)
    sample = order[: max(1, int(MOST_CELLS / per_case))]
    return [str(cell_id) for cell_id in cells.loc[cells["case_id"].isin(sample), "cell_id"]]


def by_cell(run: Run) -> pd.DataFrame:
    """Counts per cell: figures, grounded, invented, reaching (invented and in the decision); only cells with English texts."""
    rows = figures(run)
    counted = rows.assign(
        figures=rows["label"] != "",
        grounded=rows["label"].isin(GROUNDED),
        invented=rows["label"].isin(INVENTED),
        reaching=rows["reaches"].astype(bool),
        texts=rows["place"] != "",
    )
    names = ["figures", "grounded", "invented", "reaching", "texts"]
    counts_by_cell: pd.DataFrame = counted.groupby("cell_id")[names].sum().astype(float)
    return counts_by_cell[counts_by_cell["texts"] > 0]


def cells_of(run: Run, cell_ids: Sequence[str]) -> Iterator[tuple[str, CellTexts]]:
    """The texts of these cells."""
    cells = run.table("cells", ["cell_id", "reports"], among(cell_ids))
    sent = run.table("calls", ["cell_id", "role", "round", "kind", "started_at", "message_ids"], among(cell_ids))
    by = {str(cell): group.to_dict("records") for cell, group in sent.sort_values("started_at").groupby("cell_id")}
    messages = messages_of(run, [message_id for calls in by.values() for call in calls for message_id in _ids(call)])
    for cell_id, reports in zip(cells["cell_id"], cells["reports"], strict=True):
        texts = {str(place): str(text) for place, text in reports} if reports is not None else {}
        yield str(cell_id), _cell(texts, by.get(str(cell_id), []), messages, run.roles)


def rows_of_cell(cell_id: str, cell: CellTexts) -> list[tuple[Any, ...]]:
    """Rows of COLUMNS for one cell; texts in other languages are left out, as if they had not been written."""
    cell = replace(cell, texts={place: text for place, text in cell.texts.items() if is_english(text)})
    origins_by_place = cell.figures()
    last = list(cell.texts)[-1] if cell.texts else ""
    ends = reaching(origins_by_place, last)
    rows: list[tuple[Any, ...]] = [(cell_id, last, -1, "", "", "", "", False, "")]
    for place, figures_ in origins_by_place.items():
        sentences_of_text = Sentences(cell.texts[place]) if figures_ else None
        for origin in figures_:
            sentence = sentences_of_text.around(origin.quantity.start) if sentences_of_text else ""
            is_end = (place, origin.quantity.start) in ends
            start, text = origin.quantity.start, origin.quantity.text
            rows.append((cell_id, place, start, text, origin.label, origin.source[:300], origin.born, is_end, sentence))
    return rows


class Sentences:
    """Finds the sentence around a position of a text."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._spans = list(sentences(text[:MOST_CHARS]))

    def around(self, at: int) -> str:
        """The sentence around a position, at most 300 characters."""
        start, end = self._spans[bisect_right(self._spans, (at, len(self._text))) - 1]
        if end - start > 300:
            start, end = max(start, at - 150), min(end, at + 150)
        return self._text[start:end].strip()


def _cell(
    texts: Mapping[str, str],
    calls: Sequence[Mapping[Any, Any]],
    messages: Mapping[str, tuple[str, str]],
    roles: RunRoles,
) -> CellTexts:
    prompts: dict[str, list[str]] = {}
    for call in calls:
        prompts.setdefault(_call_place(call), []).extend(other for other in _ids(call) if other in messages)
    analysts = {place: ids for place, ids in prompts.items() if roles.is_analyst(place)}
    heads = {place: text.strip()[:_HEAD] for place, text in texts.items()}
    material = _material(analysts or prompts, heads, messages, by_head=not analysts)
    shown = {
        place: frozenset(
            other for other, head in heads.items() if other != place and _is_shown(head, prompts.get(place, ()), messages)
        )
        for place in texts
        if place not in analysts
    }
    later_prompts = {place: ids for place, ids in prompts.items() if place not in analysts}
    instructions = {place: _instructions(ids, heads, messages, material) for place, ids in later_prompts.items()}
    return CellTexts(texts, material, instructions, shown)


def _material(
    prompts: Mapping[str, Sequence[str]],
    heads: Mapping[str, str],
    messages: Mapping[str, tuple[str, str]],
    *,
    by_head: bool,
) -> tuple[str, ...]:
    """Prompt parts that no model wrote. Without analysts, parts that contain the start of an earlier text are left out."""
    ids = dict.fromkeys(message_id for part in prompts.values() for message_id in part)
    parts = [text for message_id in ids if messages[message_id][0] != "assistant" and (text := messages[message_id][1])]
    if not by_head:
        return tuple(parts)
    first = {messages[message_id][1] for message_id in next(iter(prompts.values()), ())}
    return tuple(part for part in parts if part in first or not any(head and head in part for head in heads.values()))


def _instructions(
    ids: Sequence[str], heads: Mapping[str, str], messages: Mapping[str, tuple[str, str]], material: tuple[str, ...]
) -> tuple[str, ...]:
    parts = [messages[message_id][1] for message_id in dict.fromkeys(ids) if messages[message_id][0] != "assistant"]
    return tuple(part for part in parts if part not in material and not any(head and head in part for head in heads.values()))


def _is_shown(head: str, ids: Sequence[str], messages: Mapping[str, tuple[str, str]]) -> bool:
    return bool(head) and any(head in messages[message_id][1] for message_id in ids)


def _call_place(call: Mapping[Any, Any]) -> str:
    return f"{call['role']}/{int(call['round'])}" if call["round"] and call["round"] == call["round"] else str(call["role"])


def _ids(call: Mapping[Any, Any]) -> list[str]:
    return [] if call["message_ids"] is None else [str(message_id) for message_id in call["message_ids"]]


@lru_cache(maxsize=64)
def inputs_of(texts: tuple[str, ...]) -> Inputs:
    """The figures of some texts, cached, since the cells of a case share them."""
    return Inputs.of(texts)


def _rows_of_cells(run: Run, cell_ids: Sequence[str]) -> Iterator[list[tuple[Any, ...]]]:
    """Yield the rows of each cell, ordered by case, so that the inputs of a case are read once."""
    case_of = dict(zip(run.cells["cell_id"], run.cells["case_id"], strict=True))
    ordered = sorted(cell_ids, key=lambda cell_id: str(case_of.get(cell_id)))
    chunks = (ordered[at : at + _CHUNK] for at in range(0, len(ordered), _CHUNK))
    if len(ordered) < _MANY_CELLS:
        yield from (rows_of_cell(cell_id, cell) for chunk in chunks for cell_id, cell in cells_of(run, chunk))
        return
    # Not forked: a child could inherit a lock that a thread of Arrow holds.
    with ProcessPoolExecutor(mp_context=get_context("spawn"), initializer=return_freed_memory) as pool:
        for chunk in chunks:  # all at once, `map` would hold the texts of every cell
            yield from pool.map(_rows, cells_of(run, chunk), chunksize=_CELLS_AT_A_TIME)
            return_freed_memory()


def _rows(cell: tuple[str, CellTexts]) -> list[tuple[Any, ...]]:
    return rows_of_cell(*cell)


def _stored(run: Run) -> pd.DataFrame:
    import pandas as pd
    import pyarrow.parquet as pq
    from pyarrow import fs

    file = f"{run.path.rstrip('/')}/{FILE}"
    if run.filesystem.get_file_info(file).type != fs.FileType.File:
        return pd.DataFrame(columns=list(COLUMNS))
    rows: pd.DataFrame = pq.read_table(file, filesystem=run.filesystem).to_pandas()
    return rows


def _store(run: Run, rows: pd.DataFrame) -> None:
    """Store the rows for the next report; without write access the next report computes them again."""
    import contextlib

    import pyarrow as pa
    import pyarrow.parquet as pq

    file = f"{run.path.rstrip('/')}/{FILE}"
    with contextlib.suppress(OSError):
        pq.write_table(pa.Table.from_pandas(rows, preserve_index=False), f"{file}.part", filesystem=run.filesystem)
        run.filesystem.move(f"{file}.part", file)
