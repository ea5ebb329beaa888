"""The recommended experiment file: baseline and pick on the dates that tested them, so that `run` finds every cell paid."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from harness.experiment import matrix, spec
from harness.experiment.cases import Dates
from reports.finding import RECOMMENDED, Finding

if TYPE_CHECKING:
    from harness.experiment.spec import Experiment
    from harness.runs.session import RunPlan


def write(plan: RunPlan, finding: Finding) -> str | None:
    """Write the file into the run folder; returns its address, None without a recommendation."""
    if finding.pick is None:
        return None
    text = of_pick(plan.experiment, finding, finding.pick)
    _validate(text)
    plan.run.store.folder.write(RECOMMENDED, text.encode())
    return f"{plan.run.store.folder.url}/{RECOMMENDED}"


def of_pick(experiment: Experiment, finding: Finding, pick: str) -> str:
    """The experiment reduced to two arms and their tested dates, as YAML without defaults."""
    design, arms = finding.design, matrix.arms(experiment)
    kept = {name: arms[name] for name in (design.baseline, pick)}
    played = {model.alias for arm in kept.values() for model in matrix.lineup(experiment, arm).values()}
    dates = sorted(design.dates_until(finding.looks_of(pick)))
    reduced = experiment.model_copy(
        update={
            "description": f"{pick} against {design.baseline}, on the cases that find tested",
            "dates": Dates.model_validate({"days": dates}),
            "models": {name: model for name, model in experiment.models.items() if name in played},
            "arms": kept,
            "compare": experiment.compare.model_copy(update={"baseline": design.baseline}),
        }
    )
    plain = reduced.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_defaults=True)
    heading = (
        f"# Recommended by find: {pick}. Save it in the folder of the experiment file (its paths are relative); `run` pays\n"
        "# nothing for its cells again. For new decisions, change the dates.\n"
    )
    return heading + yaml.safe_dump(plain, sort_keys=False, allow_unicode=True)


def _validate(text: str) -> None:
    """Raises InvalidInput if the file would not load."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / RECOMMENDED
        path.write_text(text, encoding="utf-8")
        spec.load(path)
