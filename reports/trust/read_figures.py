"""Figures that roles read, in prompts and news texts, compared with values from after the decision."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from domain import case
from reports.load import among, messages_of
from reports.trust.future_values import (
    LaterValue,
    SortedValues,
    TickerHistory,
    WrittenNumber,
    known_values,
    later_values,
    read_number,
    written_numbers,
)

if TYPE_CHECKING:
    from reports.load import Run

CELLS_AT_A_TIME = 250
"""Prompts are read in pieces of at least this many cells."""


@dataclass(frozen=True)
class Hit:
    """A figure in a prompt that equals a value from after the decision."""

    case_id: str
    role: str
    """Role whose prompt contains it."""
    figure: str
    what: str
    known_at: str
    said_by_model: bool
    """Whether a model of this case wrote it first: memory or chance, not an input."""

    def __str__(self) -> str:
        return f"{self.case_id}: {self.role} read {self.figure}, the {self.what}, known from {self.known_at}"


@dataclass(frozen=True)
class TextHit:
    """A figure in a news text, dated before the decision, that equals a value from after it."""

    case_id: str
    title: str
    published_at: str
    figure: str
    what: str
    known_at: str


_Found = TypeVar("_Found", Hit, TextHit)
_Place = TypeVar("_Place", str, Mapping[str, Any])


@dataclass
class Compared(Generic[_Found]):
    """Figures that were compared with later values: their counts, and those that equal one."""

    read: int = 0
    """Figures, counted once per case."""
    unknown: int = 0
    """Figures that are not in the case's snapshot."""
    expected: float = 0.0
    """Hits expected by chance among the unknown figures that no model wrote."""
    hits: list[_Found] = field(default_factory=list)

    def met(
        self,
        figures: Iterable[tuple[WrittenNumber, _Place]],
        known: SortedValues,
        later: SortedValues,
        said_by_models: Collection[str] = (),
    ) -> Iterator[tuple[WrittenNumber, _Place, LaterValue]]:
        """Count these figures; return each that equals a later value, its place, and that value."""
        for figure, place in figures:
            self.read += 1
            if known.near(figure):
                continue
            self.unknown += 1
            self.expected += 0.0 if figure.text in said_by_models else later.chance(figure)
            if later_value := later.near(figure):
                yield figure, place, later_value


def compare(
    run: Run, cases: Mapping[str, str], histories: Mapping[str, TickerHistory]
) -> tuple[Compared[Hit], Compared[TextHit]]:
    """Figures of prompts and of news texts against later values, in the order of `cases`: snapshot name -> case_id.

    One snapshot and the prompts of one piece of the run are in memory at a time."""
    in_prompts, in_texts = Compared[Hit](), Compared[TextHit]()
    for names, cells in _pieces(run, cases):
        prompts, said_by_models = _prompts(run, cells)
        for name in names:
            snapshot = json.loads(run.read_text(f"snapshots/{name}.json") or "")
            history = histories[snapshot["ticker"]]
            in_prompts.hits += _prompt_hits(in_prompts, snapshot, history, prompts[cases[name]], said_by_models[cases[name]])
            in_texts.hits += _text_hits(in_texts, snapshot, history)
    return in_prompts, in_texts


def _pieces(run: Run, cases: Mapping[str, str]) -> Iterator[tuple[list[str], dict[str, str]]]:
    """Snapshots with cell_id -> case_id of their cases: of a few hundred cells, as the prompts of all may not fit in memory."""
    cells_of_case: dict[str, list[str]] = defaultdict(list)
    for cell_id, case_id in zip(run.cells["cell_id"], run.cells["case_id"], strict=True):
        cells_of_case[case_id].append(cell_id)
    names: list[str] = []
    cells: dict[str, str] = {}
    for name, case_id in cases.items():
        names.append(name)
        cells |= dict.fromkeys(cells_of_case[case_id], case_id)
        if len(cells) >= CELLS_AT_A_TIME:
            yield names, cells
            names, cells = [], {}
    if names:
        yield names, cells


def _prompt_hits(
    compared: Compared[Hit],
    snapshot: Mapping[str, Any],
    history: TickerHistory,
    prompts: Mapping[str, str],
    said_by_models: Collection[str],
) -> Iterator[Hit]:
    case_id = case.case_id(snapshot["ticker"], snapshot["date"])
    known, later = known_values(snapshot), later_values(snapshot, history)
    for figure, role, later_value in compared.met(_figures(prompts), known, later, said_by_models):
        yield Hit(case_id, role, figure.text, later_value.what, later_value.known_at, figure.text in said_by_models)


def _text_hits(compared: Compared[TextHit], snapshot: Mapping[str, Any], history: TickerHistory) -> Iterator[TextHit]:
    figures = list(_text_figures(snapshot))
    if not figures:
        return
    case_id = case.case_id(snapshot["ticker"], snapshot["date"])
    known = known_values(snapshot, texts=False)
    later = later_values(snapshot, history, volumes=True)
    for figure, news, later_value in compared.met(figures, known, later):
        title, published_at = str(news["title"])[:80], str(news["available_at"])
        yield TextHit(case_id, title, published_at, figure.text, later_value.what, later_value.known_at)


def _text_figures(snapshot: Mapping[str, Any]) -> Iterator[tuple[WrittenNumber, Mapping[str, Any]]]:
    """Each figure of the news texts once, with the first row that has it."""
    table = snapshot["parts"].get("news") or {"columns": [], "rows": []}
    seen: set[str] = set()
    for row in table["rows"]:
        news = dict(zip(table["columns"], row, strict=True))
        for written_number in written_numbers(f"{news['title']} {news['summary']}"):
            number = None if written_number in seen else read_number(written_number)
            seen.add(written_number)
            if number is not None:
                yield number, news


def _figures(texts: Mapping[str, str]) -> Iterator[tuple[WrittenNumber, str]]:
    """Each figure once, with the first role that read it."""
    seen: set[str] = set()
    for text, role in texts.items():
        for written_number in dict.fromkeys(written_numbers(text)):
            if written_number not in seen and (number := read_number(written_number)) is not None:
                yield number, role
            seen.add(written_number)


def _prompts(run: Run, cells: Mapping[str, str]) -> tuple[dict[str, dict[str, str]], dict[str, set[str]]]:
    """case_id -> {text of a prompt's part: role that read it}, and case_id -> figures that models wrote, in these cells."""
    calls = run.table("calls", ["cell_id", "role", "message_ids", "response", "reasoning"], among(list(cells)))
    messages = messages_of(run, {message_id for ids in calls["message_ids"] if ids is not None for message_id in ids})
    prompts: dict[str, dict[str, str]] = defaultdict(dict)
    said_by_models: dict[str, set[str]] = defaultdict(set)
    for cell_id, role, ids, *answers in calls.itertuples(index=False, name=None):
        case_id = cells[cell_id]
        for message_id in ids if ids is not None else ():
            if message_id in messages:
                prompts[case_id].setdefault(messages[message_id][1], str(role))
        said_by_models[case_id].update(
            written_number for answer in answers if isinstance(answer, str) for written_number in written_numbers(answer)
        )
    return prompts, said_by_models
