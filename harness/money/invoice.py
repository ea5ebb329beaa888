"""Recorded usage against a provider's usage or cost export (CSV), per day and model."""

from __future__ import annotations

import csv
import datetime as dt
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import InvalidInput, Problem
from harness.storage import run_folder
from reports.money.bill import USAGE

if TYPE_CHECKING:
    import pandas as pd

    from harness.storage.run_folder import RunFolder


MOST_BYTES = 200 * 1024**2
ALL_MODELS = ""
"""In place of a model's name, where the export has sums over all models."""
COUNTS = ("requests", "input_tokens", "cached_tokens", "output_tokens", "cost_usd")
_NAMES: Mapping[str, tuple[str, ...]] = {
    "day": ("date", "day", "start_time_iso", "start_time", "usage_date", "timestamp"),
    "model": ("model", "model_id", "snapshot_id", "line_item"),
    "requests": ("num_model_requests", "n_requests", "requests", "num_requests"),
    "input_tokens": ("input_tokens", "n_context_tokens_total", "prompt_tokens"),
    "cached_tokens": ("input_cached_tokens", "cached_tokens", "n_cached_context_tokens_total"),
    "output_tokens": ("output_tokens", "n_generated_tokens_total", "completion_tokens"),
    "cost_usd": ("cost_usd", "amount_value", "amount", "cost", "cost_in_major"),
    "currency": ("amount_currency", "currency"),
}
_PLAIN = re.compile(r"-?\$?(?:\d+|\d{1,3}(?:,\d{3})+)?(?:\.\d+)?(?:[eE][+-]?\d+)?")
"""A number as exports write it; 0,45 is none: it may be 0.45, or 45."""

FEWEST_DAYS = 7
"""Days of an export outside the run from which usage of a month is derived."""
DAYS_PER_MONTH = 365.25 / 12

Key = tuple[str, str]
Used = dict[str, float | None]


def read_usage_export(path: Path) -> dict[Key, Used]:
    """(day in UTC, model) -> what was used. Raises InvalidInput with file, line and fix."""
    try:
        if path.stat().st_size > MOST_BYTES:
            raise InvalidInput([Problem(str(path), "larger than 200 MB", "export the days of the run only")])
        with path.open(newline="", encoding="utf-8-sig") as file:
            return _read(file.read().splitlines(), path)
    except FileNotFoundError as error:
        fix = "export the usage as CSV from the provider's page"
        raise InvalidInput([Problem(str(path), "there is no such file", fix)]) from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InvalidInput([Problem(str(path), f"not readable as CSV: {error}", "export it again as CSV, UTF-8")]) from error


def _read(lines: list[str], path: Path) -> dict[Key, Used]:
    head = lines[0] if lines else ""
    reader = csv.DictReader(lines, delimiter=max(",\t;", key=head.count))
    columns = _columns(reader.fieldnames or [], path)
    usage: dict[Key, Used] = {}
    for line in reader:
        values = {want: str(line[column] or "").strip() for want, column in columns.items()}
        # A day on which nothing was used is a line without figures.
        if any(values.get(name) for name in COUNTS):
            _add(usage, values, f"{path}:{reader.line_num}")
    return usage


def _columns(names: Iterable[str], path: Path) -> dict[str, str]:
    """Wanted value -> column of the export."""
    by_lower = {name.strip().lower(): name for name in names if name}
    columns = {want: by_lower[name] for want, spellings in _NAMES.items() for name in reversed(spellings) if name in by_lower}
    missing = [want for want in ("day", "model") if want not in columns]
    if missing or not set(columns) & set(COUNTS):
        lacking = ", ".join(missing) or "tokens, requests or cost"
        problem = f"no column for {lacking}; there are: {', '.join(by_lower) or 'none'}"
        spellings = "; ".join(f"{want} as {' or '.join(_NAMES[want])}" for want in missing or COUNTS)
        raise InvalidInput([Problem(str(path), problem, f"export the usage per day and model; known are {spellings}")])
    return columns


def _add(usage: dict[Key, Used], values: Mapping[str, str], where: str) -> None:
    if values.get("cost_usd") and (currency := values.get("currency", "").lower()) not in ("", "usd"):
        raise InvalidInput([Problem(where, f"amounts are in {currency.upper()}", "export them in USD: prices here are in USD")])
    # Costs come by line item: `gpt-5-mini-2025-08-07, cached input`.
    row = usage.setdefault((_day(values["day"], where), values["model"].split(",")[0].strip() or ALL_MODELS), {})
    for name in COUNTS:
        if values.get(name):
            row[name] = (row.get(name) or 0.0) + _number(values[name], f"{where} {name}")


def _day(text: str, where: str) -> str:
    try:
        if text.isdigit():
            return dt.datetime.fromtimestamp(int(text), dt.UTC).date().isoformat()
        moment = dt.datetime.fromisoformat(text.replace("Z", "+00:00"))
        return (moment.astimezone(dt.UTC) if moment.tzinfo else moment).date().isoformat()
    except (ValueError, OverflowError, OSError) as error:
        raise InvalidInput([Problem(where, f"{text!r} is no day", "YYYY-MM-DD or Unix seconds are known")]) from error


def _number(text: str, where: str) -> float:
    if not _PLAIN.fullmatch(text) or not any(sign.isdigit() for sign in text):
        raise InvalidInput([Problem(where, f"{text!r} is no number", "export the plain figures, with a point before decimals")])
    value = float(text.replace("$", "").replace(",", ""))
    if value < 0 or value == float("inf"):
        raise InvalidInput([Problem(where, f"{text!r} is no count or amount", "remove credits and refunds from the export")])
    return value


_DATED = re.compile(r"-\d{4}-\d{2}-\d{2}$")


@dataclass(frozen=True)
class InvoiceRow:
    """One day of one model: our records and the provider's."""

    day: str
    model: str
    """Empty where the export has sums over all models."""
    ours: Mapping[str, float | None]
    theirs: Mapping[str, float | None]
    verdict: str
    """agrees | provider has more | we have more | only here | only there | nothing to compare."""
    differs: Mapping[str, float]
    """Requests, tokens or money that differ -> ours minus theirs, as a share of the larger."""
    killed: int
    """Requests of ours without an answer, which the provider may have billed; they are not compared."""


@dataclass(frozen=True)
class MonthlyUsage:
    """What an export shows of the baseline's models on the days before and after the run."""

    baseline: str
    usd_a_month: float
    days: int


@dataclass(frozen=True)
class Reconciled:
    """The whole comparison."""

    rows: tuple[InvoiceRow, ...]
    ours_usd: float | None
    theirs_usd: float | None
    """Of the days of the run."""
    reused_usd: float | None
    """Of calls that earlier runs sent: their bill, not this run's."""
    other_days: int
    """Days and models of the export before or after the run: left out."""
    monthly_usage: MonthlyUsage | None = None
    """None if the export has no costs, or fewer than FEWEST_DAYS days outside the run."""

    @property
    def agrees(self) -> bool:
        return all(row.verdict == "agrees" for row in self.rows)

    def to_plain(self) -> dict[str, Any]:
        sums = {"ours_usd": self.ours_usd, "theirs_usd": self.theirs_usd, "reused_usd": self.reused_usd}
        monthly_usage = asdict(self.monthly_usage) if self.monthly_usage else None
        rows = [asdict(row) for row in self.rows]
        return {"agrees": self.agrees, **sums, "other_days": self.other_days, "monthly_usage": monthly_usage, "rows": rows}


def reconcile(results: str, run: str, usage: Path, tolerance: float = 0.005) -> Reconciled:
    """Hold the hosted calls that a run sent against an export (CSV). Tokens and money may differ by `tolerance` of the
    larger. What the export shows of other days is kept in the run folder, where the bill of the report starts with it."""
    exported = read_usage_export(usage)
    folder = run_folder.find(results, run)
    all_calls = _calls(folder, is_by_model=any(model != ALL_MODELS for _, model in exported))
    is_sent_here = all_calls["run_id"] == folder.store.manifest().get("run_id", folder.run_id)
    calls, reused = all_calls[is_sent_here], all_calls[~is_sent_here]
    ours = _named_alike(_used(calls[calls["outcome"] == "answered"]), exported)
    days = {day for day, _ in ours}
    provider = {key: used for key, used in exported.items() if days and min(days) <= key[0] <= max(days)}
    reported_fields = {name for used in provider.values() for name, value in used.items() if value is not None}
    killed = calls[calls["outcome"] == "killed"].groupby(["day", "model"]).size().to_dict()
    rows = tuple(
        _row(key, ours.get(key), provider.get(key), reported_fields, tolerance, int(killed.get(key, 0)))
        for key in sorted({*ours, *provider})
    )
    reused_usd = None if reused["cost_usd"].isna().any() else float(reused["cost_usd"].sum())
    monthly_usage = _monthly_usage(folder, all_calls, exported, days)
    if monthly_usage:
        folder.store.folder.write(USAGE, json.dumps(asdict(monthly_usage), indent=2).encode())
    return Reconciled(rows, _sum(ours), _sum(provider), reused_usd, len(exported) - len(provider), monthly_usage)


def _row(
    key: Key, ours: Used | None, provider: Used | None, reported_fields: set[str], tolerance: float, killed: int
) -> InvoiceRow:
    mine, other = dict(ours or {}), dict(provider or {})
    gaps = {name: _gap(mine.get(name), other.get(name), tolerance) for name in sorted(reported_fields)}
    known_gaps = {name: gap for name, gap in gaps.items() if gap is not None}
    verdict = "only there" if ours is None else "only here" if provider is None else _verdict(known_gaps)
    return InvoiceRow(*key, mine, other, verdict, {name: gap for name, gap in known_gaps.items() if gap}, killed)


def _verdict(gaps: Mapping[str, float]) -> str:
    if not gaps:
        return "nothing to compare"
    worst = max(gaps.values(), key=abs)
    return "agrees" if not worst else "we have more" if worst > 0 else "provider has more"


def _gap(ours: float | None, provider: float | None, tolerance: float) -> float | None:
    """Ours minus theirs as a share of the larger; 0 within the tolerance, None where one does not know."""
    if ours is None or provider is None:
        return None
    larger = max(abs(ours), abs(provider))
    gap = (ours - provider) / larger if larger else 0.0
    return 0.0 if abs(gap) <= tolerance else gap


def _monthly_usage(folder: RunFolder, calls: pd.DataFrame, exported: Mapping[Key, Used], days: set[str]) -> MonthlyUsage | None:
    """Cost of the baseline's models outside the days of the run, scaled to a month."""
    from reports import load

    if not days:
        return None
    baseline = load(folder.store.folder.url).baseline
    models = {_DATED.sub("", model) for model in calls.loc[calls["arm"] == baseline, "model"]}
    others = {key: used for key, used in exported.items() if not min(days) <= key[0] <= max(days)}
    costs = [used["cost_usd"] for (_, model), used in others.items() if _DATED.sub("", model) in models and "cost_usd" in used]
    exported_days = {day for day, _ in exported}
    inside = {day for day in exported_days if min(days) <= day <= max(days)}
    number_of_days = _span(exported_days) - (_span(inside) if inside else 0)
    usd = sum(cost for cost in costs if cost is not None)
    if baseline is None or not usd or number_of_days < FEWEST_DAYS:
        return None
    return MonthlyUsage(baseline, usd / number_of_days * DAYS_PER_MONTH, number_of_days)


def _span(days: set[str]) -> int:
    """Days from the first to the last, both included."""
    return (dt.date.fromisoformat(max(days)) - dt.date.fromisoformat(min(days))).days + 1


def _calls(run: RunFolder, *, is_by_model: bool) -> pd.DataFrame:
    from harness.money import repricing

    calls = repricing.hosted_calls(run)
    models = calls["model_returned"].fillna(calls["model_requested"]) if is_by_model else ALL_MODELS
    return calls.assign(day=calls["started_at"].dt.strftime("%Y-%m-%d"), model=models)


def _used(calls: pd.DataFrame) -> dict[Key, Used]:
    return {(str(day), str(model)): _sums(group) for (day, model), group in calls.groupby(["day", "model"])}


def _sums(group: pd.DataFrame) -> Used:
    sums = {name: None if group[name].isna().all() else float(group[name].sum()) for name in COUNTS if name != "requests"}
    return {"requests": float(len(group))} | sums


def _named_alike(ours: Mapping[Key, Used], provider: Mapping[Key, Used]) -> dict[Key, Used]:
    """A model that one side dates and the other does not is the same model."""
    undated = {(day, _DATED.sub("", model)): model for day, model in provider}
    renamed: dict[Key, Used] = {}
    for (day, model), used in ours.items():
        name = model if (day, model) in provider else undated.get((day, _DATED.sub("", model)), model)
        renamed[day, name] = _added(renamed.get((day, name)), used)
    return renamed


def _added(used: Used | None, more: Used) -> Used:
    if used is None:
        return more
    pairs = {name: (used.get(name), more.get(name)) for name in COUNTS}
    return {name: None if left is None or right is None else left + right for name, (left, right) in pairs.items()}


def _sum(used: Mapping[Key, Used]) -> float | None:
    costs: Iterable[float | None] = [usage.get("cost_usd") for usage in used.values()]
    known_costs = [cost for cost in costs if cost is not None]
    return sum(known_costs) if known_costs and len(known_costs) == len(used) else None
