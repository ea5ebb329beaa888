"""What the environment says: the .env beside an experiment under the process's own variables."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path


def read(experiment_dir: Path | None = None) -> Mapping[str, str]:
    """Variables of this process, and those of `.env` in the folder of an experiment where it does not say them."""
    from dotenv import dotenv_values

    folder = experiment_dir if experiment_dir is None or experiment_dir.is_dir() else experiment_dir.parent
    found = {} if folder is None else dotenv_values(folder / ".env")
    return {key: value for key, value in found.items() if value} | dict(os.environ)
