"""The future-value sentinel: did anything reach a prompt that nobody could know at its decision time?"""

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
"""Hits are called suspect when chance explains as many in fewer runs than this."""


@dataclass(frozen=True)
class Leak:
    """A datum of a snapshot from after its decision time."""

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
    """Role whose prompt it stands in."""
    figure: str
    what: str
    known_at: str
    said_by_model: bool
    """Whether a model of this case wrote it first: memory or chance, and not what it was shown."""

    def __str__(self) -> str:
        return f"{self.case_id}: {self.role} read {self.figure}, the {self.what}, known from {self.known_at}"


@dataclass(frozen=True)
class LookAheadCheck:
    """What was checked and what was found."""

    status: str
    """clean | suspect | leak | not_checked."""
    sentence: str
    snapshots: int = 0
    data: int = 0
    """Data whose time was checked."""
    leaks: tuple[Leak, ...] = ()
    altered: tuple[str, ...] = ()
    """Snapshots whose bytes do not match their hash any more."""
    missing: tuple[str, ...] = ()
    """Snapshots that the run folder lacks."""
    read: int = 0
    """Figures in prompts, each counted once per case."""
    figures: int = 0
    """Those of them that are not in the case's snapshot."""
    hits: tuple[Hit, ...] = ()
    expected: float = 0.0
    """Hits to be expected by chance among the figures that no model wrote."""

    @property
    def shown(self) -> tuple[Hit, ...]:
        """Hits that stand in what we showed."""
        return tuple(hit for hit in self.hits if not hit.said_by_model)


def check(run: Run) -> LookAheadCheck:
    """Check a run: every datum of its snapshots by its time, then every prompt for figures of the future."""
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
    return _concluded(
        LookAheadCheck("clean", "", len(snapshots), data, leaks, altered, missing, read, tested, tuple(hits), expected)
    )


def late_data(snapshot: Mapping[str, Any]) -> Iterator[Leak]:
    """Data of a snapshot (as parsed from its JSON) that carry no time, or one after the decision."""
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
    prompts, said = _prompts(run)
    read, tested, expected, hits = 0, 0, 0.0, []
    for snapshot in snapshots:
        case_id = case.case_id(snapshot["ticker"], snapshot["date"])
        others = [other for other in snapshots if other["ticker"] == snapshot["ticker"] and other["date"] > snapshot["date"]]
        known, later = (
            future_values.known_values(snapshot),
            future_values.later_values(snapshot, days.get(snapshot["ticker"], []), others),
        )
        for figure, role in _figures(prompts[case_id]):
            read += 1
            if known.near(figure):
                continue
            by_model = figure.text in said[case_id]
            tested += 1
            expected += 0.0 if by_model else later.chance(figure)
            if met := later.near(figure):
                hits.append(Hit(case_id, role, figure.text, met.what, met.known_at, by_model))
    return read, tested, hits, expected


def _figures(texts: Mapping[str, str]) -> Iterator[tuple[future_values.WrittenNumber, str]]:
    """Each figure once, with the first role that read it."""
    seen: set[str] = set()
    for text, role in texts.items():
        for one in dict.fromkeys(future_values.written_numbers(text)):
            if one not in seen and (found := future_values.read_number(one)) is not None:
                yield found, role
            seen.add(one)


def _prompts(run: Run) -> tuple[dict[str, dict[str, str]], dict[str, set[str]]]:
    """case_id -> {text of a prompt's part: role that read it}, and case_id -> figures that models wrote."""
    texts = dict(zip(*(run.messages[name] for name in ("message_id", "text")), strict=True)) if len(run.messages) else {}
    cases = dict(zip(run.cells["cell_id"], run.cells["case_id"], strict=True))
    prompts: dict[str, dict[str, str]] = defaultdict(dict)
    said: dict[str, set[str]] = defaultdict(set)
    calls = run.table("calls", ["cell_id", "role", "message_ids", "response", "reasoning"])
    for cell_id, role, ids, *answers in calls.itertuples(index=False, name=None):
        case_id = cases.get(cell_id)
        if case_id is None:
            continue
        for message_id in ids if ids is not None else ():
            prompts[case_id].setdefault(str(texts.get(message_id) or ""), str(role))
        said[case_id].update(
            one for answer in answers if isinstance(answer, str) for one in future_values.written_numbers(answer)
        )
    return prompts, said


def _by_ticker(run: Run) -> dict[str, list[dict[str, Any]]]:
    days: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in run.daily.sort_values("date").to_dict("records") if len(run.daily) else ():
        days[str(row["ticker"])].append({str(key): value for key, value in row.items()})
    return days


def _concluded(found: LookAheadCheck) -> LookAheadCheck:
    checked = f"{found.data:,} data of {found.snapshots} snapshots carry a time at or before their decision"
    others = f"{found.figures:,} of {found.read:,} figures in prompts stand in no snapshot"
    scanned = f"{others}, and {len(found.shown)} of these equal a later value ({found.expected:.1f} by chance)"
    if found.leaks or found.altered:
        said = f"{len(found.leaks)} data came after their decision, {len(found.altered)} snapshots were altered; see the list."
        return replace(found, status="leak", sentence=said)
    if found.missing:
        count = found.snapshots + len(found.missing)
        said = f"No certificate: {len(found.missing)} of {count} snapshots are not in the run folder."
        return replace(found, status="not_checked", sentence=said)
    if found.shown and _at_least(len(found.shown), found.expected) < SIGNIFICANT:
        return replace(found, status="suspect", sentence=f"{checked}, but {scanned}: more than chance explains; see the list.")
    return replace(found, sentence=f"{checked}; {scanned}.")


def _at_least(count: int, mean: float) -> float:
    """Poisson probability of `count` or more."""
    return 1.0 - sum(math.exp(-mean) * mean**k / math.factorial(k) for k in range(count))


def _moment(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text)


def _row_name(columns: Sequence[str], row: Sequence[Any]) -> str:
    keys = [key for key in ("title", "item", "name", "series", "person", "period_end", "date", "ex_date") if key in columns]
    return " ".join(str(row[columns.index(key)])[:80] for key in keys)
