"""A rehearsal: a few cells of every arm with every model replaced by the embedded tiny one, to test the whole setup for $0."""

from __future__ import annotations

import datetime as dt
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from domain.providers import EMBEDDED
from harness.experiment import cases
from harness.experiment.spec import Experiment

if TYPE_CHECKING:
    from rich.console import Console

    from harness.runs.session import RunOptions


MODEL = "smollm2-135m"
CONTEXT_TOKENS = 8192
CASES = 1
ANALYST_TOKENS = 300
"""Snapshot tokens per analyst: the tiny model reads about 280 tokens a second."""
ANSWER_TOKENS = 64
HISTORY_TOKENS = 200


def play(options: RunOptions, console: Console) -> int:
    """Run the rehearsal, then show the plan with what it measured; returns the rehearsal's exit code."""
    from harness.checking.resolved import resolve
    from harness.experiment import matrix
    from harness.runs import approval
    from harness.runs import run as engine

    experiment = options.experiment
    with tempfile.TemporaryDirectory(prefix="rehearsal-") as folder:
        path = write(experiment, Path(folder), options.experiment_dir)
        changes: dict[str, Any] = {"only": None, "limit": None, "budget": None, "archive": None, "servers": None}
        code = engine.run(replace(options, path=path, yes=True, **changes), console)
    if code == 0:
        resolved = resolve(experiment, options.experiment_dir, options.servers)
        cells = matrix.in_order(matrix.expand(experiment), resolved.hosted)
        approval.show_plan(resolved, matrix.select(cells, options.only, options.limit), options, console)
    return code


def rehearsal_name(experiment: str) -> str:
    """The experiment as which a rehearsal runs."""
    return f"{experiment}-rehearsal"[:64]


def cut_down(experiment: Experiment, experiment_dir: Path | None = None, now: dt.datetime | None = None) -> dict[str, Any]:
    """The experiment with its own arms, pipeline and data, reduced to what a CPU does in minutes."""
    plain = experiment.resolved()
    models = {alias: _tiny(place) for place, alias in enumerate(plain["models"])}
    days = cases.decision_dates(experiment.dates, now)
    short = {
        "name": rehearsal_name(experiment.name),
        "tickers": list(experiment.tickers[:CASES]),
        "dates": {"days": [days[0].isoformat()]},
        "repeats": 1,
        "models": models,
        "pipeline": _short(_here(plain["pipeline"], experiment.folder)),
        "arms": {name: _arm(arm, experiment.folder) for name, arm in plain["arms"].items()},
        "budget": {},
        "gates": {},
    }
    unchanged = {key: plain[key] for key in ("data", "compare", "outcomes", "cell_limit", "local_cost") if key in plain}
    for key, names in (("metrics", experiment.metrics), ("sections", experiment.sections)):
        if names:
            short[key] = [str(experiment.folder / name) if name.endswith(".py") else name for name in names]
    return unchanged | short | {"data": _data(unchanged["data"], experiment_dir)}


def write(experiment: Experiment, folder: Path, experiment_dir: Path | None = None) -> Path:
    """Write the rehearsal as an experiment file; returns its path."""
    path = folder / f"{experiment.name}-rehearsal.yaml"
    path.write_text(yaml.safe_dump(cut_down(experiment, experiment_dir), sort_keys=False), encoding="utf-8")
    return path


def _tiny(place: int) -> dict[str, Any]:
    """A tiny model for each alias, with its own seed so that no two arms become equal."""
    return {"provider": EMBEDDED.name, "model": MODEL, "num_ctx": CONTEXT_TOKENS, "temperature": 0.7, "seed": place}


def _short(pipeline: dict[str, Any]) -> dict[str, Any]:
    analysts = pipeline.get("analysts", ("market", "sentiment", "news", "fundamentals"))
    budget = {name: min(ANALYST_TOKENS, pipeline.get("budget_tokens", {}).get(name, ANALYST_TOKENS)) for name in analysts}
    small = {"budget_tokens": budget, "max_output_tokens": {"all": ANSWER_TOKENS}, "history_tokens": HISTORY_TOKENS}
    return pipeline | small


def _here(pipeline: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The paths of an attached program made absolute: the rehearsal's file is in another folder."""
    paths = {key: str(folder / pipeline[key]) for key in ("folder", "roles") if pipeline.get(key)}
    command = [word.replace("{experiment}", str(folder)) for word in pipeline.get("command") or ()]
    return pipeline | paths | ({"command": command} if command else {})


_FLOW = ("depth", "inputs", "analysts", "entry", "command", "folder", "models", "roles", "volatile", "cache", "result", "env")


def _arm(arm: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The arm, with only those pipeline keys of its own that change the flow."""
    flow = {key: value for key, value in _here(arm.get("pipeline", {}), folder).items() if key in _FLOW}
    return {key: value for key, value in arm.items() if key != "pipeline"} | ({"pipeline": flow} if flow else {})


def _data(data: dict[str, Any], experiment_dir: Path | None) -> dict[str, Any]:
    """Make the archive path absolute: the rehearsal's file is in another folder."""
    archive = data.get("archive")
    if not archive or "://" in archive or experiment_dir is None:
        return data
    return data | {"archive": str((experiment_dir / archive).resolve())}
