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
from reports.trust.future_values import TickerHistory
from reports.trust.read_figures import Hit, TextHit, compare

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
    histories = {ticker: TickerHistory(days) for ticker, days in _by_ticker(run).items()}
    in_data, cases = _check_data(run, sorted(names), histories)
    in_prompts, in_texts = compare(run, cases, histories)
    return _concluded(
        replace(
            in_data,
            read=in_prompts.read,
            figures=in_prompts.unknown,
            hits=tuple(in_prompts.hits),
            expected=in_prompts.expected,
            text_figures=in_texts.unknown,
            text_hits=tuple(in_texts.hits),
            text_expected=in_texts.expected,
        )
    )


def _check_data(run: Run, names: Sequence[str], histories: dict[str, TickerHistory]) -> tuple[LookAheadCheck, dict[str, str]]:
    """The time of every datum, and the case of each snapshot; adds each snapshot to the history of its ticker."""
    cases: dict[str, str] = {}
    data = 0
    leaks: list[Leak] = []
    altered: list[str] = []
    for name in names:
        if (raw := _snapshot_bytes(run, name)) is None:
            continue
        if sha256(raw).hexdigest() != name:
            altered.append(name)
        snapshot = json.loads(raw)
        cases[name] = case.case_id(snapshot["ticker"], snapshot["date"])
        leaks += late_data(snapshot)
        data += sum(len(part["rows"]) for part in snapshot["parts"].values())
        histories.setdefault(snapshot["ticker"], TickerHistory()).add(snapshot)
    missing = tuple(name for name in names if name not in cases)
    return LookAheadCheck("clean", "", len(cases), data, tuple(leaks), tuple(altered), missing), cases


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


def _by_ticker(run: Run) -> dict[str, list[dict[str, Any]]]:
    days: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in run.daily.sort_values("date").to_dict("records") if len(run.daily) else ():
        days[str(row["ticker"])].append({str(key): value for key, value in row.items()} | {"date": str(row["date"])[:10]})
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
