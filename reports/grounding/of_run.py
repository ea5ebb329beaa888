"""The grounding of a run: what the texts of every cell rest on, traced once per cell and kept beside the tables."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from reports.grounding.inputs import Inputs
from reports.grounding.origins import GROUNDED, INVENTED, MOST_CHARS, FigureOrigin, origins_of_texts, reaching
from reports.grounding.sentences import sentences
from reports.load import among, messages_of

if TYPE_CHECKING:
    import pandas as pd

    from reports.load import Run

MOST_CELLS = 200
"""Cells that are traced: of larger runs a fixed sample of whole cases, chosen by the hash of their names."""
VERSION = 4
"""Raised when the tracing changes: then what is kept is traced anew."""
FILE = f"grounding.{VERSION}.parquet"
COLUMNS = ("cell_id", "place", "start", "figure", "label", "source", "born", "reaches", "sentence")
_HEAD = 60
"""First characters of a text by which it is known in a later prompt."""
_CHUNK = 250
"""Cells whose texts are read at once: each reading goes through the whole table."""


@dataclass(frozen=True)
class CellTexts:
    """One cell as the ledger needs it."""

    texts: Mapping[str, str]
    """place (role, or role/round) -> what was said there, in the order of the flow."""
    given: tuple[str, ...]
    """What the analysts were given: parts of their prompts that no model wrote."""
    own: Mapping[str, tuple[str, ...]]
    """place -> what else was in its prompt that no model wrote: its instructions."""
    shown: Mapping[str, frozenset[str]]
    """place -> earlier places whose texts stood in its prompt."""

    def figures(self) -> dict[str, list[FigureOrigin]]:
        own = {place: inputs_of((*self.given, *parts)) for place, parts in self.own.items() if parts}
        return origins_of_texts(self.texts, inputs_of(self.given), self.shown, own)


@lru_cache(maxsize=1)
def figures(run: Run) -> pd.DataFrame:
    """One row per figure of every traced cell (COLUMNS), and one per cell that only names its last text; kept on disk."""
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
    """(cell_id, place) -> start, text, label and source of its figures, as far as they were traced and kept."""
    rows = _stored(run)
    rows = rows[rows["cell_id"].isin(list(cell_ids)) & (rows["label"] != "")]
    found: dict[tuple[str, str], list[tuple[int, str, str, str]]] = {}
    for row in rows.to_dict("records"):
        told = (int(row["start"]), row["figure"], row["label"], row["source"])
        found.setdefault((row["cell_id"], row["place"]), []).append(told)
    return found


def sampled_cells(run: Run) -> list[str]:
    """Ids of the cells that are traced."""
    cells = run.cells[run.cells["decision_status"] != "rule"]
    if len(cells) <= MOST_CELLS:
        return [str(one) for one in cells["cell_id"]]
    order = sorted(set(cells["case_id"]), key=lambda case_id: sha256(str(case_id).encode()).hexdigest())
    per_case = len(cells) / len(order)
    sample = order[: max(1, int(MOST_CELLS / per_case))]
    return [str(one) for one in cells.loc[cells["case_id"].isin(sample), "cell_id"]]


def by_cell(run: Run) -> pd.DataFrame:
    """cell_id -> how many figures, grounded, invented, and reaching (invented and in the decision); only cells with texts."""
    rows = figures(run)
    counted = rows.assign(
        figures=rows["label"] != "",
        grounded=rows["label"].isin(GROUNDED),
        invented=rows["label"].isin(INVENTED),
        reaching=rows["reaches"].astype(bool),
        texts=rows["place"] != "",
    )
    names = ["figures", "grounded", "invented", "reaching", "texts"]
    found: pd.DataFrame = counted.groupby("cell_id")[names].sum().astype(float)
    return found[found["texts"] > 0]


def cells_of(run: Run, cell_ids: Sequence[str]) -> Iterator[tuple[str, CellTexts]]:
    """The cells with their texts, read for these ids only."""
    cells = run.table("cells", ["cell_id", "reports"], among(cell_ids))
    sent = run.table("calls", ["cell_id", "role", "round", "kind", "started_at", "message_ids"], among(cell_ids))
    by = {str(cell): group.to_dict("records") for cell, group in sent.sort_values("started_at").groupby("cell_id")}
    messages = messages_of(run, [one for calls in by.values() for call in calls for one in _ids(call)])
    for cell_id, reports in zip(cells["cell_id"], cells["reports"], strict=True):
        texts = {str(place): str(text) for place, text in reports} if reports is not None else {}
        yield str(cell_id), _cell(texts, by.get(str(cell_id), []), messages)


def rows_of_cell(cell_id: str, cell: CellTexts) -> list[tuple[Any, ...]]:
    """Rows of COLUMNS for one cell."""
    found = cell.figures()
    last = list(cell.texts)[-1] if cell.texts else ""
    ends = reaching(found, last)
    rows: list[tuple[Any, ...]] = [(cell_id, last, -1, "", "", "", "", False, "")]
    for place, figures_ in found.items():
        said_by = Sentences(cell.texts[place]) if figures_ else None
        for one in figures_:
            said = said_by.around(one.quantity.start) if said_by else ""
            is_end = (place, one.quantity.start) in ends
            start, text = one.quantity.start, one.quantity.text
            rows.append((cell_id, place, start, text, one.label, one.source[:300], one.born, is_end, said))
    return rows


class Sentences:
    """The sentences of a text by the places in them."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._spans = list(sentences(text[:MOST_CHARS]))

    def around(self, at: int) -> str:
        """The sentence around a place, at most 300 characters."""
        start, end = self._spans[bisect_right(self._spans, (at, len(self._text))) - 1]
        if end - start > 300:
            start, end = max(start, at - 150), min(end, at + 150)
        return self._text[start:end].strip()


def _cell(texts: Mapping[str, str], calls: Sequence[Mapping[Any, Any]], messages: Mapping[str, tuple[str, str]]) -> CellTexts:
    prompts: dict[str, list[str]] = {}
    for call in calls:
        prompts.setdefault(_call_place(call), []).extend(one for one in _ids(call) if one in messages)
    analysts = {place: ids for place, ids in prompts.items() if place.endswith("_analyst")}
    heads = {place: text.strip()[:_HEAD] for place, text in texts.items()}
    material = _material(analysts or prompts, heads, messages, by_head=not analysts)
    shown = {
        place: frozenset(
            one for one, head in heads.items() if one != place and _is_shown(head, prompts.get(place, ()), messages)
        )
        for place in texts
        if place not in analysts
    }
    others = {place: ids for place, ids in prompts.items() if place not in analysts}
    own = {place: _instructions(ids, heads, messages, material) for place, ids in others.items()}
    return CellTexts(texts, material, own, shown)


def _material(
    prompts: Mapping[str, Sequence[str]],
    heads: Mapping[str, str],
    messages: Mapping[str, tuple[str, str]],
    *,
    by_head: bool,
) -> tuple[str, ...]:
    """Parts that no model wrote. Without analysts a part that begins like an earlier text is one that a model wrote."""
    ids = dict.fromkeys(one for part in prompts.values() for one in part)
    parts = [text for one in ids if messages[one][0] != "assistant" and (text := messages[one][1])]
    if not by_head:
        return tuple(parts)
    first = {messages[one][1] for one in next(iter(prompts.values()), ())}
    return tuple(part for part in parts if part in first or not any(head and head in part for head in heads.values()))


def _instructions(
    ids: Sequence[str], heads: Mapping[str, str], messages: Mapping[str, tuple[str, str]], material: tuple[str, ...]
) -> tuple[str, ...]:
    parts = [messages[one][1] for one in dict.fromkeys(ids) if messages[one][0] != "assistant"]
    return tuple(part for part in parts if part not in material and not any(head and head in part for head in heads.values()))


def _is_shown(head: str, ids: Sequence[str], messages: Mapping[str, tuple[str, str]]) -> bool:
    return bool(head) and any(head in messages[one][1] for one in ids)


def _call_place(call: Mapping[Any, Any]) -> str:
    return f"{call['role']}/{int(call['round'])}" if call["round"] and call["round"] == call["round"] else str(call["role"])


def _ids(call: Mapping[Any, Any]) -> list[str]:
    return [] if call["message_ids"] is None else [str(one) for one in call["message_ids"]]


@lru_cache(maxsize=64)
def inputs_of(texts: tuple[str, ...]) -> Inputs:
    """The figures of some texts; the cells of a case share them."""
    return Inputs.of(texts)


def _rows_of_cells(run: Run, cell_ids: Sequence[str]) -> Iterator[list[tuple[Any, ...]]]:
    """Rows chunk by chunk. Cells of one case lie together."""
    case_of = dict(zip(run.cells["cell_id"], run.cells["case_id"], strict=True))
    ordered = sorted(cell_ids, key=lambda one: str(case_of.get(one)))
    chunks = [ordered[at : at + _CHUNK] for at in range(0, len(ordered), _CHUNK)]
    yield from (_chunk(run, chunk) for chunk in chunks)


def _chunk(run: Run, cell_ids: Sequence[str]) -> list[tuple[Any, ...]]:
    return [row for cell_id, cell in cells_of(run, cell_ids) for row in rows_of_cell(cell_id, cell)]


def _stored(run: Run) -> pd.DataFrame:
    import pandas as pd
    import pyarrow.parquet as pq
    from pyarrow import fs

    file = f"{run.path.rstrip('/')}/{FILE}"
    if run.filesystem.get_file_info(file).type != fs.FileType.File:
        return pd.DataFrame(columns=list(COLUMNS))
    found: pd.DataFrame = pq.read_table(file, filesystem=run.filesystem).to_pandas()
    return found


def _store(run: Run, rows: pd.DataFrame) -> None:
    """Keep the rows for the next report; a run folder that cannot be written loses only time."""
    import contextlib

    import pyarrow as pa
    import pyarrow.parquet as pq

    file = f"{run.path.rstrip('/')}/{FILE}"
    with contextlib.suppress(OSError):
        pq.write_table(pa.Table.from_pandas(rows, preserve_index=False), f"{file}.part", filesystem=run.filesystem)
        run.filesystem.move(f"{file}.part", file)
