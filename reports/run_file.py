"""A file of ours put into a run folder, local or in an object store."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reports.load import Run


def write(run: Run, name: str, text: str) -> str:
    """Put a file into the run folder, whole or not at all."""
    from pyarrow import fs

    target = f"{run.path.rstrip('/')}/{name}"
    if isinstance(run.filesystem, fs.LocalFileSystem):
        Path(target).parent.mkdir(parents=True, exist_ok=True)
        fresh = Path(f"{target}.part")
        fresh.write_text(text, encoding="utf-8")
        fresh.replace(target)
    else:
        with run.filesystem.open_output_stream(target) as stream:
            stream.write(text.encode())
    return target
