"""A provider's usage or cost export (CSV): what it says was used per day and model, summed over projects, keys and tiers."""

from __future__ import annotations

import csv
import datetime as dt
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from harness.errors import InvalidInput, Problem

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

Key = tuple[str, str]
Used = dict[str, float | None]


def read(path: Path) -> dict[Key, Used]:
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
    found: dict[Key, Used] = {}
    for line in reader:
        told = {want: str(line[column] or "").strip() for want, column in columns.items()}
        # A day on which nothing was used is a line without figures.
        if any(told.get(name) for name in COUNTS):
            _add(found, told, f"{path}:{reader.line_num}")
    return found


def _columns(names: Iterable[str], path: Path) -> dict[str, str]:
    """What is wanted -> the column that says it."""
    by_lower = {name.strip().lower(): name for name in names if name}
    found = {want: by_lower[name] for want, known in _NAMES.items() for name in reversed(known) if name in by_lower}
    missing = [want for want in ("day", "model") if want not in found]
    if missing or not set(found) & set(COUNTS):
        lacking = ", ".join(missing) or "tokens, requests or cost"
        what = f"no column for {lacking}; there are: {', '.join(by_lower) or 'none'}"
        known = "; ".join(f"{want} as {' or '.join(_NAMES[want])}" for want in missing or COUNTS)
        raise InvalidInput([Problem(str(path), what, f"export the usage per day and model; known are {known}")])
    return found


def _add(found: dict[Key, Used], told: Mapping[str, str], where: str) -> None:
    if told.get("cost_usd") and (currency := told.get("currency", "").lower()) not in ("", "usd"):
        raise InvalidInput([Problem(where, f"amounts are in {currency.upper()}", "export them in USD: prices here are in USD")])
    # Costs come by line item: `gpt-5-mini-2025-08-07, cached input`.
    row = found.setdefault((_day(told["day"], where), told["model"].split(",")[0].strip() or ALL_MODELS), {})
    for name in COUNTS:
        if told.get(name):
            row[name] = (row.get(name) or 0.0) + _number(told[name], f"{where} {name}")


def _day(text: str, where: str) -> str:
    try:
        if text.isdigit():
            return dt.datetime.fromtimestamp(int(text), dt.UTC).date().isoformat()
        told = dt.datetime.fromisoformat(text.replace("Z", "+00:00"))
        return (told.astimezone(dt.UTC) if told.tzinfo else told).date().isoformat()
    except (ValueError, OverflowError, OSError) as error:
        raise InvalidInput([Problem(where, f"{text!r} is no day", "YYYY-MM-DD or Unix seconds are known")]) from error


def _number(text: str, where: str) -> float:
    if not _PLAIN.fullmatch(text) or not any(sign.isdigit() for sign in text):
        raise InvalidInput([Problem(where, f"{text!r} is no number", "export the plain figures, with a point before decimals")])
    value = float(text.replace("$", "").replace(",", ""))
    if value < 0 or value == float("inf"):
        raise InvalidInput([Problem(where, f"{text!r} is no count or amount", "remove credits and refunds from the export")])
    return value
