"""What the environment says: the .env beside an experiment under the process's own variables."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path


def read(beside: Path | None = None) -> Mapping[str, str]:
    """Variables of this process, and those of `.env` in the folder of an experiment where it does not say them."""
    from dotenv import dotenv_values

    folder = beside if beside is None or beside.is_dir() else beside.parent
    found = {} if folder is None else dotenv_values(folder / ".env")
    return {key: value for key, value in found.items() if value} | dict(os.environ)
