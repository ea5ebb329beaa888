"""A file of further models for `replay --models FILE`: models that an experiment did not declare, and their servers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError

from harness.errors import InvalidInput, Problem
from harness.experiment import yaml_file
from harness.experiment.lineups import ModelPart
from harness.experiment.servers import ServerPart
from harness.experiment.spec import Experiment
from harness.experiment.terms import ConfigModel, Name

_FIX = "write models: {NAME: {provider: ..., model: ...}}, and servers: as in servers.yaml if they need new ones"


class ModelsFile(ConfigModel):
    """Models to ask in a replay, written as in an experiment file."""

    models: Annotated[dict[Name, ModelPart], Field(min_length=1)]
    """Configured models, by the name that --to uses."""
    servers: dict[Name, ServerPart] = Field(default_factory=dict)
    """Servers of these models, written as in servers.yaml; one of the same name there is replaced."""


def load(path: Path) -> ModelsFile:
    """Read such a file. Raises InvalidInput with every problem of it."""
    document = yaml_file.load(path)
    if not isinstance(document.value, dict):
        raise InvalidInput([Problem(str(path), "this is not a file of models: keys and values are expected", _FIX)])
    try:
        return ModelsFile.model_validate(document.value)
    except ValidationError as error:
        raise InvalidInput(yaml_file.problems(error, document)) from error


def added(experiment: Experiment, file: ModelsFile, path: Path) -> Experiment:
    """The experiment with these models too. Raises InvalidInput for a name that means another model there."""
    clashes = [
        Problem(
            f"{path} models.{alias}",
            f"the run already has a model {alias!r} with other settings",
            "choose another name: answers of both would be taken for those of one model",
        )
        for alias, part in file.models.items()
        if alias in experiment.models and _asked(experiment.models[alias]) != _asked(part)
    ]
    if clashes:
        raise InvalidInput(clashes)
    return experiment.model_copy(update={"models": {**experiment.models, **file.models}})


def _asked(part: ModelPart) -> tuple[str, str, dict[str, object]]:
    return part.provider, part.model, part.parameters()
