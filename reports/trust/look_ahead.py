"""The look-ahead check: did a value that was unknown at the decision time reach a prompt?"""

from __future__ import annotations

import datetime as dt
import json
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from domain import case
from reports.trust import future_values

if TYPE_CHECKING:
    from reports.load import Run

SIGNIFICANT = 0.05
"""Hits are suspect if chance explains as many in fewer than this share of runs."""


@dataclass(frozen=True)
class Leak:
    """A datum in a snapshot from after the decision time."""

    case_id: str
    part: str
    what: str
    available_at: str
    decision_time: str

    def __str__(self) -> str:
        return (
            f"{self.case_id}: {self.part} {self.what} became available at {self.available_at}, decided at {self.decision_time}"
        )


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


@dataclass(frozen=True)
class LookAheadCheck:
    """What was checked, and the result."""

    status: str
    """clean | suspect | leak | not_checked."""
    sentence: str
    snapshots: int = 0
    data: int = 0
    """Data points whose time was checked."""
    leaks: tuple[Leak, ...] = ()
    altered: tuple[str, ...] = ()
    """Snapshots whose bytes no longer match their hash."""
    missing: tuple[str, ...] = ()
    """Snapshots that are not in the run folder."""
    read: int = 0
    """Figures in prompts, counted once per case."""
    figures: int = 0
    """Figures that are not in the case's snapshot."""
    hits: tuple[Hit, ...] = ()
    expected: float = 0.0
    """Hits expected by chance among the figures that no model wrote."""
    text_figures: int = 0
    """Figures that occur only in the news texts of a snapshot, counted once per case."""
    text_hits: tuple[TextHit, ...] = ()
    text_expected: float = 0.0
    """Hits expected by chance among the figures of the texts."""

    @property
    def shown(self) -> tuple[Hit, ...]:
        """Hits in the inputs, not written by a model."""
        return tuple(hit for hit in self.hits if not hit.said_by_model)


def check(run: Run) -> LookAheadCheck:
    """Check a run: the time of every datum in its snapshots, then every prompt for figures of the future."""
    names = {str(name) for name in run.cells["snapshot_sha256"].dropna()} if len(run.cells) else set()
    if not names:
        return LookAheadCheck("not_checked", "Nothing was checked: this run has no snapshots yet.")
    raws = {name: _snapshot_bytes(run, name) for name in sorted(names)}
    snapshots = {name: json.loads(raw) for name, raw in raws.items() if raw is not None}
    missing = tuple(name for name, raw in raws.items() if raw is None)
    altered = tuple(name for name, raw in raws.items() if raw is not None and sha256(raw).hexdigest() != name)
    leaks = tuple(leak for snapshot in snapshots.values() for leak in late_data(snapshot))
    data = sum(len(part["rows"]) for snapshot in snapshots.values() for part in snapshot["parts"].values())
    read, tested, hits, expected = _scan(run, list(snapshots.values()))
    in_prompts = LookAheadCheck("clean", "", len(snapshots), data, leaks, altered, missing, read, tested, tuple(hits), expected)
    return _concluded(_with_texts(in_prompts, run, list(snapshots.values())))


def _with_texts(checked: LookAheadCheck, run: Run, snapshots: Sequence[Mapping[str, Any]]) -> LookAheadCheck:
    """The check with the figures of news texts: a text can be edited after its date."""
    days = _by_ticker(run)
    figures, expected, hits = 0, 0.0, []
    for snapshot in snapshots:
        known = future_values.known_values(snapshot, texts=False)
        later = future_values.later_values(
            snapshot, days.get(snapshot["ticker"], []), _later_than(snapshot, snapshots), volumes=True
        )
        for figure, news in _text_figures(snapshot):
            if known.near(figure):
                continue
            figures += 1
            expected += later.chance(figure)
            if met := later.near(figure):
                case_id = case.case_id(snapshot["ticker"], snapshot["date"])
                title, published_at = str(news["title"])[:80], str(news["available_at"])
                hits.append(TextHit(case_id, title, published_at, figure.text, met.what, met.known_at))
    return replace(checked, text_figures=figures, text_hits=tuple(hits), text_expected=expected)


def _text_figures(snapshot: Mapping[str, Any]) -> Iterator[tuple[future_values.WrittenNumber, Mapping[str, Any]]]:
    """Each figure of the news texts once, with the first row that has it."""
    table = snapshot["parts"].get("news") or {"columns": [], "rows": []}
    seen: set[str] = set()
    for row in table["rows"]:
        news = dict(zip(table["columns"], row, strict=True))
        for written_number in future_values.written_numbers(f"{news['title']} {news['summary']}"):
            number = None if written_number in seen else future_values.read_number(written_number)
            seen.add(written_number)
            if number is not None:
                yield number, news


def _later_than(snapshot: Mapping[str, Any], snapshots: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [other for other in snapshots if other["ticker"] == snapshot["ticker"] and other["date"] > snapshot["date"]]


def late_data(snapshot: Mapping[str, Any]) -> Iterator[Leak]:
    """Data of a snapshot (parsed JSON) without a time, or with a time after the decision."""
    case_id, decided = case.case_id(snapshot["ticker"], snapshot["date"]), str(snapshot["decision_time"])
    for part, table in snapshot["parts"].items():
        place = table["columns"].index("available_at")
        for row in table["rows"]:
            if row[place] is None or _moment(row[place]) > _moment(decided):
                yield Leak(case_id, part, _row_name(table["columns"], row), str(row[place]), decided)


def _snapshot_bytes(run: Run, name: str) -> bytes | None:
    try:
        with run.filesystem.open_input_stream(f"{run.path.rstrip('/')}/snapshots/{name}.json") as stream:
            return bytes(stream.read())
    except FileNotFoundError:
        return None


def _scan(run: Run, snapshots: Sequence[Mapping[str, Any]]) -> tuple[int, int, list[Hit], float]:
    """(figures read, those not in the snapshot, hits, hits expected by chance among those that no model wrote)."""
    if not snapshots:
        return 0, 0, [], 0.0
    days = _by_ticker(run)
    prompts, said_by_models = _prompts(run)
    read, tested, expected, hits = 0, 0, 0.0, []
    for snapshot in snapshots:
        case_id = case.case_id(snapshot["ticker"], snapshot["date"])
        later_snapshots = _later_than(snapshot, snapshots)
        snapshot_values, later = (
            future_values.known_values(snapshot),
            future_values.later_values(snapshot, days.get(snapshot["ticker"], []), later_snapshots),
        )
        for figure, role in _figures(prompts[case_id]):
            read += 1
            if snapshot_values.near(figure):
                continue
            by_model = figure.text in said_by_models[case_id]
            tested += 1
            expected += 0.0 if by_model else later.chance(figure)
            if met := later.near(figure):
                hits.append(Hit(case_id, role, figure.text, met.what, met.known_at, by_model))
    return read, tested, hits, expected


def _figures(texts: Mapping[str, str]) -> Iterator[tuple[future_values.WrittenNumber, str]]:
    """Each figure once, with the first role that read it."""
    seen: set[str] = set()
    for text, role in texts.items():
        for written_number in dict.fromkeys(future_values.written_numbers(text)):
            if written_number not in seen and (number := future_values.read_number(written_number)) is not None:
                yield number, role
            seen.add(written_number)


def _prompts(run: Run) -> tuple[dict[str, dict[str, str]], dict[str, set[str]]]:
    """case_id -> {text of a prompt's part: role that read it}, and case_id -> figures that models wrote."""
    texts = dict(zip(*(run.messages[name] for name in ("message_id", "text")), strict=True)) if len(run.messages) else {}
    cases = dict(zip(run.cells["cell_id"], run.cells["case_id"], strict=True))
    prompts: dict[str, dict[str, str]] = defaultdict(dict)
    said_by_models: dict[str, set[str]] = defaultdict(set)
    calls = run.table("calls", ["cell_id", "role", "message_ids", "response", "reasoning"])
    for cell_id, role, ids, *answers in calls.itertuples(index=False, name=None):
        case_id = cases.get(cell_id)
        if case_id is None:
            continue
        for message_id in ids if ids is not None else ():
            prompts[case_id].setdefault(str(texts.get(message_id) or ""), str(role))
        said_by_models[case_id].update(
            written_number
            for answer in answers
            if isinstance(answer, str)
            for written_number in future_values.written_numbers(answer)
        )
    return prompts, said_by_models


def _by_ticker(run: Run) -> dict[str, list[dict[str, Any]]]:
    days: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in run.daily.sort_values("date").to_dict("records") if len(run.daily) else ():
        days[str(row["ticker"])].append({str(key): value for key, value in row.items()})
    return days


def _concluded(result: LookAheadCheck) -> LookAheadCheck:
    checked = f"{result.data:,} data of {result.snapshots} snapshots were available at or before their decision"
    scanned, texts = _scanned(result), _scanned_texts(result)
    if result.leaks or result.altered:
        sentence = (
            f"{len(result.leaks)} data came after their decision, {len(result.altered)} snapshots were altered; see the list."
        )
        return replace(result, status="leak", sentence=sentence)
    if result.missing:
        count = result.snapshots + len(result.missing)
        sentence = f"Not complete: {len(result.missing)} of {count} snapshots are not in the run folder."
        return replace(result, status="not_checked", sentence=sentence)
    if result.shown and _at_least(len(result.shown), result.expected) < SIGNIFICANT:
        sentence = f"{checked}, but {scanned}: more than chance explains; see the list. {texts}."
        return replace(result, status="suspect", sentence=sentence)
    if result.text_hits and _at_least(len(result.text_hits), result.text_expected) < SIGNIFICANT:
        sentence = f"{checked}; {scanned}. But {texts}: more than chance explains; see the table."
        return replace(result, status="suspect", sentence=sentence)
    return replace(result, sentence=f"{checked}; {scanned}. {texts}. {_COVERED}")


def _scanned(result: LookAheadCheck) -> str:
    if not result.read:
        return "no prompt has a figure of four or more digits to compare"
    unmatched = f"{result.figures:,} of {result.read:,} figures in prompts are in no snapshot"
    return f"{unmatched}, and {len(result.shown)} of these equal a later value ({result.expected:.1f} by chance)"


def _scanned_texts(result: LookAheadCheck) -> str:
    if not result.text_figures:
        return "News texts have no further figure"
    return (
        f"{result.text_figures:,} further figures are in news texts, and {len(result.text_hits)} of these equal "
        f"a later price, volume or statement ({result.text_expected:.1f} by chance)"
    )


_COVERED = (
    "This covers figures of four or more digits, prices of the next sessions, and volumes and statements as far as later cases "
    "of the run hold them. It does not cover statements in words."
)


def _at_least(count: int, mean: float) -> float:
    """Poisson probability of `count` or more."""
    return 1.0 - sum(math.exp(-mean) * mean**k / math.factorial(k) for k in range(count))


def _moment(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text)


def _row_name(columns: Sequence[str], row: Sequence[Any]) -> str:
    keys = [key for key in ("title", "item", "name", "series", "person", "period_end", "date", "ex_date") if key in columns]
    return " ".join(str(row[columns.index(key)])[:80] for key in keys)
