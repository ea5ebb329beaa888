"""`init`: the files of a new project."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.json_output import Json, emit

TEMPLATES = Path(__file__).parents[1] / "templates"
FILES = {
    "demo.yaml": "demo.yaml",
    "compare.yaml": "compare.yaml",
    "servers.template.yaml": "servers.yaml",
    "env.example": ".env.example",
    "gitignore": ".gitignore",
    "workflow.yml": ".github/workflows/compare.yml",
}
"""Template -> file in the new project."""


def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of the project; it is made if it is missing.")],
    as_json: Json = False,
) -> None:
    """Write a first experiment, servers.yaml, .env example, .gitignore and CI file."""
    from harness.errors import InvalidInput, Problem

    taken = [target for target in FILES.values() if (folder / target).exists()]
    if taken:
        raise InvalidInput(
            [Problem(str(folder), f"there already is {', '.join(taken)}", "name another folder; nothing was written")]
        )
    for template, target in FILES.items():
        path = folder / target
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text((TEMPLATES / template).read_text(encoding="utf-8"), encoding="utf-8")
        if not as_json:
            print(path)
    if as_json:
        emit("files/1", {"files": [str(folder / target) for target in FILES.values()]})
        return
    print(
        f"\nnext: cd {folder}\n"
        "  harness run demo.yaml          two minutes, a tiny model on this CPU, no key and no network\n"
        "  harness doctor compare.yaml    what the real comparison needs, and how to get it\n"
        "  harness plan compare.yaml      its calls, cost and time; spends nothing"
    )
