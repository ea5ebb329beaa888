"""The ledger against a provider's usage export, day by day and model by model."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.money import usage_export
from harness.money.usage_export import ALL_MODELS, COUNTS, Key, Used
from harness.storage import run_folder

if TYPE_CHECKING:
    import pandas as pd

_DATED = re.compile(r"-\d{4}-\d{2}-\d{2}$")


@dataclass(frozen=True)
class Row:
    """One day of one model: what was recorded here, and what the provider says."""

    day: str
    model: str
    """Empty where the export has sums over all models."""
    ours: Mapping[str, float | None]
    theirs: Mapping[str, float | None]
    verdict: str
    """agrees | they say more | we say more | only here | only there | nothing to compare."""
    differs: Mapping[str, float]
    """Requests, tokens or money that differ -> ours minus theirs, as a share of the larger."""
    killed: int
    """Requests of ours without an answer, which the provider may have billed; they are not compared."""


@dataclass(frozen=True)
class Reconciled:
    """The whole comparison."""

    rows: tuple[Row, ...]
    ours_usd: float | None
    theirs_usd: float | None
    """Of the days of the run."""
    other_days: int
    """Days and models of the export before or after the run: left out."""

    @property
    def agrees(self) -> bool:
        return all(row.verdict == "agrees" for row in self.rows)

    def to_plain(self) -> dict[str, Any]:
        sums = {"ours_usd": self.ours_usd, "theirs_usd": self.theirs_usd}
        return {"agrees": self.agrees, **sums, "other_days": self.other_days, "rows": [asdict(row) for row in self.rows]}


def reconcile(results: str, run: str, usage: Path, tolerance: float = 0.005) -> Reconciled:
    """Hold a run's hosted calls against an export (CSV). Tokens and money may differ by `tolerance` of the larger."""
    said = usage_export.read(usage)
    calls = _calls(results, run, is_by_model=any(model != ALL_MODELS for _, model in said))
    ours = _named_alike(_used(calls[calls["outcome"] == "answered"]), said)
    days = {day for day, _ in ours}
    theirs = {key: used for key, used in said.items() if days and min(days) <= key[0] <= max(days)}
    told = {name for used in theirs.values() for name, value in used.items() if value is not None}
    killed = calls[calls["outcome"] == "killed"].groupby(["day", "model"]).size().to_dict()
    rows = tuple(
        _row(key, ours.get(key), theirs.get(key), told, tolerance, int(killed.get(key, 0))) for key in sorted({*ours, *theirs})
    )
    return Reconciled(rows, _sum(ours), _sum(theirs), len(said) - len(theirs))


def _row(key: Key, ours: Used | None, theirs: Used | None, told: set[str], tolerance: float, killed: int) -> Row:
    mine, other = dict(ours or {}), dict(theirs or {})
    gaps = {name: _gap(mine.get(name), other.get(name), tolerance) for name in sorted(told)}
    known = {name: gap for name, gap in gaps.items() if gap is not None}
    verdict = "only there" if ours is None else "only here" if theirs is None else _verdict(known)
    return Row(*key, mine, other, verdict, {name: gap for name, gap in known.items() if gap}, killed)


def _verdict(gaps: Mapping[str, float]) -> str:
    if not gaps:
        return "nothing to compare"
    worst = max(gaps.values(), key=abs)
    return "agrees" if not worst else "we say more" if worst > 0 else "they say more"


def _gap(ours: float | None, theirs: float | None, tolerance: float) -> float | None:
    """Ours minus theirs as a share of the larger; 0 within the tolerance, None where one does not know."""
    if ours is None or theirs is None:
        return None
    larger = max(abs(ours), abs(theirs))
    gap = (ours - theirs) / larger if larger else 0.0
    return 0.0 if abs(gap) <= tolerance else gap


def _calls(results: str, run: str, *, is_by_model: bool) -> pd.DataFrame:
    from harness.money import repricing

    calls = repricing.hosted_calls(run_folder.find(results, run))
    models = calls["model_returned"].fillna(calls["model_requested"]) if is_by_model else ALL_MODELS
    return calls.assign(day=calls["started_at"].dt.strftime("%Y-%m-%d"), model=models)


def _used(calls: pd.DataFrame) -> dict[Key, Used]:
    return {(str(day), str(model)): _sums(group) for (day, model), group in calls.groupby(["day", "model"])}


def _sums(group: pd.DataFrame) -> Used:
    sums = {name: None if group[name].isna().all() else float(group[name].sum()) for name in COUNTS if name != "requests"}
    return {"requests": float(len(group))} | sums


def _named_alike(ours: Mapping[Key, Used], theirs: Mapping[Key, Used]) -> dict[Key, Used]:
    """A model that one side dates and the other does not is the same model."""
    undated = {(day, _DATED.sub("", model)): model for day, model in theirs}
    found: dict[Key, Used] = {}
    for (day, model), used in ours.items():
        name = model if (day, model) in theirs else undated.get((day, _DATED.sub("", model)), model)
        found[day, name] = _added(found.get((day, name)), used)
    return found


def _added(one: Used | None, more: Used) -> Used:
    if one is None:
        return more
    pairs = {name: (one.get(name), more.get(name)) for name in COUNTS}
    return {name: None if left is None or right is None else left + right for name, (left, right) in pairs.items()}


def _sum(used: Mapping[Key, Used]) -> float | None:
    costs: Iterable[float | None] = [one.get("cost_usd") for one in used.values()]
    known = [cost for cost in costs if cost is not None]
    return sum(known) if known and len(known) == len(used) else None
