"""`schema`: the JSON schema of the experiment file, for editors."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def schema(
    write: Annotated[Path | None, typer.Option(help="Write to this file instead of printing.")] = None,
    output: Annotated[bool, typer.Option("--output", help="The schemas of what --json prints, by name.")] = False,
) -> None:
    """Print the JSON schema of the experiment file, or those of the output of --json."""
    import json

    from harness import json_output
    from harness.experiment import spec

    text = json.dumps(json_output.schemas() if output else spec.schema(), indent=2) + "\n"
    if write:
        write.write_text(text, encoding="utf-8")
    else:
        print(text, end="")
