"""Sweeps: one line of the experiment file that expands into an arm for each combination of parameters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.errors import InvalidInput
from harness.experiment import matrix, spec
from harness.experiment.spec import Experiment


def load(folder: Path, **arms: Any) -> Experiment:
    plain = {
        "name": "sweep",
        "tickers": ["AAPL"],
        "dates": ["2012-06-15"],
        "repeats": 1,
        "data": "demo",
        "models": {
            "big": {"provider": "openai", "model": "gpt-5", "reasoning_effort": "low"},
            "tiny": {"provider": "llamacpp", "model": "smollm2-135m"},
        },
        "arms": arms,
    }
    path = folder / "sweep.yaml"
    path.write_text(yaml.safe_dump(plain, sort_keys=False))
    return spec.load(path)


def test_a_sweep_makes_an_arm_of_each_combination(tmp_path: Path) -> None:
    sweep = {"model": "big", "reasoning_effort": ["none", "low"], "verbosity": ["low", "high"]}
    experiment = load(tmp_path, tiny={"all": "tiny"}, sweep=sweep)

    assert list(experiment.arms) == ["tiny", "big-none-low", "big-none-high", "big-low-low", "big-low-high"]
    cells = {cell.arm: cell for cell in matrix.expand(experiment)}
    asked = {model.params["reasoning_effort"] for model in cells["big-none-high"].lineup.values()}
    assert asked == {"none"}
    assert Experiment.model_validate(yaml.safe_load(experiment.to_yaml())).arms == experiment.arms


def test_a_combination_that_is_an_arm_already_is_left_out(tmp_path: Path) -> None:
    experiment = load(tmp_path, big={"all": "big"}, sweep={"model": "big", "reasoning_effort": ["low", "high"]})
    assert list(experiment.arms) == ["big", "big-high"]


@pytest.mark.parametrize(
    ("sweep", "problem"),
    [
        ({"model": "big"}, "varies nothing"),
        ({"model": "big", "reasoning_effort": ["low", "low"]}, "twice"),
        ({"model": "tiny", "reasoning_effort": ["low"]}, "means nothing to llamacpp"),
        ({"model": "bigg", "reasoning_effort": ["low"]}, "unknown model 'bigg'"),
        ({"model": "big", "effort": ["low"]}, "effort"),
    ],
)
def test_a_sweep_that_cannot_be_expanded_is_refused(tmp_path: Path, sweep: Any, problem: str) -> None:
    with pytest.raises(InvalidInput, match=problem):
        load(tmp_path, big={"all": "big"}, sweep=sweep)
