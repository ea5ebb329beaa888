"""The ledger against a provider's usage export, day by day and model by model."""

from __future__ import annotations

import csv
import datetime as dt
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import Problem, Unmended
from harness.storage import run_folder

if TYPE_CHECKING:
    import pandas as pd

MOST_BYTES = 200 * 1024**2
_NAMES: Mapping[str, tuple[str, ...]] = {
    "day": ("date", "day", "start_time_iso", "start_time", "usage_date", "timestamp"),
    "model": ("model", "model_id", "snapshot_id", "line_item"),
    "requests": ("num_model_requests", "n_requests", "requests", "num_requests"),
    "input_tokens": ("input_tokens", "n_context_tokens_total", "prompt_tokens"),
    "cached_tokens": ("input_cached_tokens", "cached_tokens", "n_cached_context_tokens_total"),
    "output_tokens": ("output_tokens", "n_generated_tokens_total", "completion_tokens"),
    "cost_usd": ("cost_usd", "amount_value", "amount", "cost", "cost_in_major"),
}
_NEEDED = ("day", "model")
_COUNTS = ("requests", "input_tokens", "cached_tokens", "output_tokens", "cost_usd")


@dataclass(frozen=True)
class Row:
    """One day of one model: what was recorded here, and what the provider says."""

    day: str
    model: str
    ours: Mapping[str, float | None]
    theirs: Mapping[str, float | None]
    verdict: str
    """agrees | they say more | we say more | only here | only there | nothing to compare."""


@dataclass(frozen=True)
class Reconciled:
    """The whole comparison."""

    rows: tuple[Row, ...]
    ours_usd: float | None
    theirs_usd: float | None

    @property
    def agrees(self) -> bool:
        return all(row.verdict == "agrees" for row in self.rows)

    def to_plain(self) -> dict[str, Any]:
        rows = [asdict(row) for row in self.rows]
        return {"agrees": self.agrees, "ours_usd": self.ours_usd, "theirs_usd": self.theirs_usd, "rows": rows}


def reconcile(results: str, run: str, usage: Path, tolerance: float = 0.005) -> Reconciled:
    """Hold a run's hosted calls against an export (CSV). Tokens and money may differ by `tolerance` of the larger."""
    theirs = _export(usage)
    ours = _ours(results, run)
    keys = sorted({*ours, *theirs})
    told = {name for row in theirs.values() for name, value in row.items() if value is not None}
    rows = tuple(_row(key, ours.get(key), theirs.get(key), told, tolerance) for key in keys)
    return Reconciled(
        rows, _sum(row.get("cost_usd") for row in ours.values()), _sum(row.get("cost_usd") for row in theirs.values())
    )


def _row(
    key: tuple[str, str],
    ours: Mapping[str, float | None] | None,
    theirs: Mapping[str, float | None] | None,
    told: set[str],
    tolerance: float,
) -> Row:
    mine, other = dict(ours or {}), dict(theirs or {})
    if ours is None or theirs is None:
        return Row(*key, mine, other, "only there" if ours is None else "only here")
    gaps = [_gap(mine.get(name), other.get(name), tolerance) for name in sorted(told)]
    known = [gap for gap in gaps if gap is not None]
    if not known:
        return Row(*key, mine, other, "nothing to compare")
    worst = max(known, key=abs)
    return Row(*key, mine, other, "agrees" if not worst else "we say more" if worst > 0 else "they say more")


def _gap(ours: float | None, theirs: float | None, tolerance: float) -> float | None:
    """Ours minus theirs as a share of the larger; 0 within the tolerance, None where one does not know."""
    if ours is None or theirs is None:
        return None
    larger = max(abs(ours), abs(theirs))
    gap = (ours - theirs) / larger if larger else 0.0
    return 0.0 if abs(gap) <= tolerance else gap


def _export(path: Path) -> dict[tuple[str, str], dict[str, float | None]]:
    try:
        if path.stat().st_size > MOST_BYTES:
            raise Unmended([Problem(str(path), "larger than 200 MB", "export the days of the run only")])
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            columns = _columns(reader.fieldnames or [], path)
            found: dict[tuple[str, str], dict[str, float | None]] = {}
            for number, line in enumerate(reader, start=2):
                _add(found, line, columns, f"{path}:{number}")
            return found
    except FileNotFoundError as error:
        raise Unmended(
            [Problem(str(path), "there is no such file", "export the usage as CSV from the provider's page")]
        ) from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise Unmended([Problem(str(path), f"not readable as CSV: {error}", "export it again as CSV, UTF-8")]) from error


def _columns(names: Iterable[str], path: Path) -> dict[str, str]:
    """What is wanted -> the column that says it."""
    by_lower = {name.strip().lower(): name for name in names}
    found = {want: by_lower[name] for want, known in _NAMES.items() for name in reversed(known) if name in by_lower}
    missing = [want for want in _NEEDED if want not in found]
    if missing or not set(found) & set(_COUNTS):
        lacking = ", ".join(missing) or "tokens, requests or cost"
        what = f"no column for {lacking}; there are: {', '.join(by_lower) or 'none'}"
        known = "; ".join(f"{want} as {' or '.join(_NAMES[want])}" for want in missing or _COUNTS)
        raise Unmended([Problem(str(path), what, f"export the usage per day and model; known are {known}")])
    return found


def _add(
    found: dict[tuple[str, str], dict[str, float | None]], line: Mapping[str, Any], columns: Mapping[str, str], where: str
) -> None:
    day, model = _day(str(line[columns["day"]] or ""), where), str(line[columns["model"]] or "").strip()
    row = found.setdefault((day, model), {})
    for name in _COUNTS:
        if name in columns and str(line[columns[name]] or "").strip():
            row[name] = (row.get(name) or 0.0) + _number(str(line[columns[name]]), f"{where} {columns[name]}")


def _day(text: str, where: str) -> str:
    text = text.strip()
    try:
        if text.isdigit():
            return dt.datetime.fromtimestamp(int(text), dt.UTC).date().isoformat()
        return dt.datetime.fromisoformat(text.replace("Z", "+00:00")).date().isoformat()
    except (ValueError, OverflowError, OSError) as error:
        raise Unmended([Problem(where, f"{text!r} is no day", "YYYY-MM-DD or Unix seconds are known")]) from error


def _number(text: str, where: str) -> float:
    try:
        value = float(text.strip().lstrip("$").replace(",", ""))
    except ValueError as error:
        raise Unmended([Problem(where, f"{text!r} is no number", "export the plain figures")]) from error
    if value < 0 or value != value or value == float("inf"):
        raise Unmended([Problem(where, f"{text!r} is no count or amount", "remove credits and refunds from the export")])
    return value


def _ours(results: str, run: str) -> dict[tuple[str, str], dict[str, float | None]]:
    from harness.money import repricing

    calls = repricing.hosted_calls(run_folder.find(results, run))
    calls = calls[calls["outcome"] == "answered"]
    days = calls["started_at"].dt.strftime("%Y-%m-%d")
    models = calls["model_returned"].fillna(calls["model_requested"])
    return {(str(day), str(model)): _used(group) for (day, model), group in calls.groupby([days, models])}


def _used(group: pd.DataFrame) -> dict[str, float | None]:
    names = ("input_tokens", "cached_tokens", "output_tokens", "cost_usd")
    sums = {name: None if group[name].isna().all() else float(group[name].sum()) for name in names}
    return {"requests": float(len(group))} | sums


def _sum(values: Iterable[float | None]) -> float | None:
    known = list(values)
    return None if None in known or not known else sum(value for value in known if value is not None)
