"""`schema`: the JSON schema of the experiment file, for editors."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def schema(
    write: Annotated[Path | None, typer.Option(help="Write to this file instead of printing.")] = None,
) -> None:
    """Print the JSON schema of the experiment file."""
    import json

    from harness.experiment import spec

    text = json.dumps(spec.schema(), indent=2) + "\n"
    if write:
        write.write_text(text, encoding="utf-8")
    else:
        print(text, end="")
