"""A user's own metrics: computed once when a run ends, from files that its experiment names, and kept in the run folder.

A report reads the kept values and executes nothing of a run folder, so a page can be made again anywhere, without the files.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from domain.user_code import UserCodeError, called, digest, load, path_of
from reports.metrics import catalog, registry
from reports.metrics.facts import Facts
from reports.metrics.registry import Metric

if TYPE_CHECKING:
    from reports.load import Run

FILE = "own_metrics.json"
GROUP = "tradingagents_harness.metrics"
"""Entry points of packages that bring metrics: name = module."""
_KINDS = ("mean", "share", "agreement", "rare")
_UNITS = ("usd", "s", "tokens", "share", "score", "return", "correlation", "tokens_per_s")
_FIELDS = ("name", "title", "group", "unit", "better", "kind", "scale", "footnote", "level")


class BadMetric(Exception):
    """A metric that cannot be used as declared, or returned something that is no table of cases and arms."""


@dataclass(frozen=True)
class OwnMetrics:
    """The metrics of the files that an experiment names."""

    metrics: tuple[Metric, ...]
    paths: Mapping[str, Path]
    """Metric -> its file."""
    digests: Mapping[str, str]
    """File as the experiment names it -> sha256."""


def declared(references: Sequence[str], folder: Path) -> OwnMetrics:
    """Load the files. Raises UserCodeError with file and line."""
    metrics: dict[str, Metric] = {}
    paths: dict[str, Path] = {}
    digests: dict[str, str] = {}
    taken = {metric.name for metric in catalog.all_metrics()}
    for reference in references:
        with registry.apart():
            # An entry point is imported to find its file, which registers its metrics.
            path = path_of(reference, folder, GROUP)
        digests[reference] = digest(path)
        with registry.apart() as added:
            load(path)
        if not added:
            raise UserCodeError(f"{reference}: no function is decorated with @metric; see docs/your-code.md")
        for name, metric in added.items():
            if name in taken:
                raise UserCodeError(f"{reference}: the metric {name!r} exists already; give the function another name")
            taken.add(name)
            metrics[name], paths[name] = _usable(metric, reference), path
    return OwnMetrics(tuple(metrics.values()), paths, digests)


def _usable(metric: Metric, reference: str) -> Metric:
    if metric.kind not in _KINDS or metric.is_outcome:
        raise UserCodeError(f"{reference}: the metric {metric.name!r} has the kind {metric.kind!r}; use {', '.join(_KINDS)}")
    if metric.unit not in _UNITS:
        raise UserCodeError(f"{reference}: the metric {metric.name!r} has the unit {metric.unit!r}; use {', '.join(_UNITS)}")
    return metric


def computed(run: Run, references: Sequence[str], folder: Path) -> str:
    """The content of FILE: every metric with its values, or with the error that it ended with. Raises nothing of theirs."""
    try:
        own = declared(references, folder)
    except UserCodeError as error:
        names = [name for name in run.settings.margins if name not in catalog.metric_names(run.settings.horizons)]
        failed = [_entry(_placeholder(name), {}, str(error), "") for name in names or references]
        return json.dumps({"files": {}, "metrics": failed})
    facts = Facts(run)
    entries = [_measured(metric, facts, own.paths[metric.name]) for metric in own.metrics]
    return json.dumps({"files": dict(own.digests), "metrics": entries}, indent=1)


def _placeholder(name: str) -> Metric:
    return Metric(name, name.replace("_", " "), "your own", "score", None, "mean", "difference", "", lambda facts: None)


def _measured(metric: Metric, facts: Facts, path: Path) -> dict[str, Any]:
    try:
        frame = _frame(metric, called(path, metric.compute, facts), facts)
    except BadMetric as error:
        return _entry(metric, {}, f"{path.name}: {metric.name}: {error}", path.name)
    except UserCodeError as error:
        return _entry(metric, {}, str(error), path.name)
    values = {str(arm): {str(case): float(value) for case, value in frame[arm].dropna().items()} for arm in frame}
    return _entry(metric, values, "", path.name)


def _frame(metric: Metric, returned: Any, facts: Facts) -> pd.DataFrame:
    """The returned values, infinite ones as unknown. Raises BadMetric."""
    if not isinstance(returned, pd.DataFrame):
        raise BadMetric(f"returned {type(returned).__name__}; return a frame of cases and arms, such as facts.by_case(...)")
    frame = returned.reindex(index=facts.dates.index, columns=list(facts.arms))
    try:
        frame = frame.astype(float).replace([np.inf, -np.inf], np.nan)
    except (TypeError, ValueError) as error:
        raise BadMetric(f"returned values that are no numbers: {error}") from error
    low, high = metric.range
    outside = int(((frame < low) | (frame > high)).sum().sum())
    if outside:
        raise BadMetric(f"{outside} values are outside of {low:g} to {high:g}, the range of the unit {metric.unit!r}")
    return frame


def _entry(metric: Metric, values: Mapping[str, Mapping[str, float]], error: str, file: str) -> dict[str, Any]:
    return {**{name: getattr(metric, name) for name in _FIELDS}, "values": values, "error": error, "file": file}


def digests_of(text: str | None) -> dict[str, str]:
    """The files behind a kept FILE; none if there is none."""
    return dict(json.loads(text)["files"]) if text else {}


def read(run: Run) -> tuple[Metric, ...]:
    """The metrics that were kept when the run ended; a metric that failed, or knows only some cases, says so in its title."""
    text = run.read_text(FILE)
    return tuple(_kept(run, json.loads(text))) if text else ()


def _kept(run: Run, document: Mapping[str, Any]) -> Iterator[Metric]:
    digests = {Path(file).name: found[:12] for file, found in document["files"].items()}
    asked = len(run.measured_cells[["case_id", "arm"]].drop_duplicates())
    for entry in document["metrics"]:
        known = sum(len(values) for values in entry["values"].values())
        fields = {name: entry[name] for name in _FIELDS}
        if entry["error"]:
            fields["title"] += f" (failed: {entry['error']})"
        elif known < asked:
            fields["title"] += f" (known for {known} of {asked} cases and arms)"
        version = f" Your own metric, of {entry['file']} ({digests[entry['file']]})." if entry["file"] in digests else ""
        fields["footnote"] = f"{entry['footnote']}{version}".strip()
        yield Metric(**fields, compute=_reader(entry["values"]))


def _reader(values: Mapping[str, Mapping[str, float]]) -> Callable[[Facts], pd.DataFrame]:
    def compute(facts: Facts) -> pd.DataFrame:
        frame = pd.DataFrame({arm: pd.Series(cases, dtype=float) for arm, cases in values.items()})
        return frame.reindex(index=facts.dates.index, columns=list(facts.arms)).astype(float)

    return compute
