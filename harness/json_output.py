"""What `--json` prints: one object per command that names its schema, and errors as objects too.

The schemas are in output_schemas.yaml. Keys may be added to a version; a key that goes or changes makes a new version.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import typer

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object; see docs/json.md.")]
_FLAG = "--json"


def emit(schema: str, value: Mapping[str, Any], *, on_one_line: bool = False) -> None:
    """Print one object, with the name of its schema first; NaN and infinity are null."""
    indent = None if on_one_line else 2
    typer.echo(json.dumps(_plain({"schema": schema, **value}), indent=indent, default=str, allow_nan=False))


def is_asked_for() -> bool:
    """Whether this command line asks for JSON, so that its errors are JSON too."""
    words = sys.argv[1:]
    return _FLAG in (words[: words.index("--")] if "--" in words else words)


def emit_error(code: str, message: str, exit_code: int, problems: Sequence[Mapping[str, str]] = (), fix: str = "") -> None:
    """Print why the command failed; `problems` has everything that must be fixed, `fix` the first of it."""
    fixes = [problem["fix"] for problem in problems if problem["fix"]]
    error = {"code": code, "message": message, "fix": fix or next(iter(fixes), "")}
    emit("error/1", {"error": error, "exit_code": exit_code, "problems": list(problems)})


@cache
def schemas() -> dict[str, dict[str, Any]]:
    """Name and version -> JSON schema."""
    import yaml

    document = yaml.safe_load((Path(__file__).parent / "output_schemas.yaml").read_text(encoding="utf-8"))
    shared = document.pop("$defs")
    dialect = "https://json-schema.org/draft/2020-12/schema"
    return {name: {"$schema": dialect, "title": name, **_of(name, body), "$defs": shared} for name, body in document.items()}


def _of(name: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of an object: every listed key is required, further ones are allowed."""
    properties = {"schema": {"const": name}, **body["properties"]}
    return {"type": "object", **body, "properties": properties, "required": list(properties)}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value.item() if hasattr(value, "item") else value
