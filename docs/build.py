"""python docs/build.py [FOLDER]

Builds the documentation site into FOLDER/site (default: build/docs): the pages of docs/ and the reference, which is generated
from the schema, the result tables and the command line. Fails on every warning, broken internal links included.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import click
import typer.main
from fastapi import FastAPI

from harness import cli, json_output
from harness.experiment import servers, spec
from harness.service import app
from harness.service.errors import RESPONSES
from reports.tables import TABLES

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
ROOT_PAGES = ("CONTRIBUTING.md", "CHANGELOG.md")
"""Pages outside docs/."""


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "build" / "docs"
    stage(folder)
    zensical = Path(sys.executable).with_name("zensical")
    built = subprocess.run([zensical, "build", "--strict", "--config-file", folder / "zensical.toml"], check=False)
    sys.exit(built.returncode)


def stage(folder: Path) -> None:
    """Write everything that the site is built from into an empty folder."""
    shutil.rmtree(folder, ignore_errors=True)
    pages = folder / "docs"
    (pages / "reference").mkdir(parents=True)
    shutil.copy(DOCS / "zensical.toml", folder)
    shutil.copy(DOCS / "site.css", pages)
    shutil.copytree(DOCS / "images", pages / "images")
    shutil.copytree(ROOT / "experiments", pages / "experiments")
    for page in (*DOCS.glob("*.md"), *(ROOT / name for name in ROOT_PAGES)):
        text = re.sub(r"\]\((?:\.\./|docs/)", "](", page.read_text(encoding="utf-8"))
        (pages / page.name).write_text(text, encoding="utf-8")
    for name, text in reference().items():
        (pages / "reference" / f"{name}.md").write_text(text, encoding="utf-8")


def reference() -> Mapping[str, str]:
    """Name -> text of the generated pages."""
    return {
        "experiment": "\n".join(_experiment()),
        "servers": "\n".join(_servers()),
        "tables": "\n".join(_tables()),
        "commands": "\n".join(_commands()),
        "http": "\n".join(_http()),
        "json": "\n".join(_json()),
    }


# --- output of --json ---------------------------------------------------------------------------------------------------


def _json() -> Iterator[str]:
    yield "# JSON schemas\n\nThe objects that `--json` prints, by the value of their key `schema`.\n"
    for name, schema in json_output.schemas().items():
        yield f"## {name}\n\n{schema['description']}\n"
        yield "| key | meaning | type |\n|---|---|---|"
        for key, part in schema["properties"].items():
            yield f"| `{key}` | {part.get('description', '')} | {_json_type(part)} |"
        yield ""


def _json_type(part: Mapping[str, Any]) -> str:
    if "$ref" in part:
        return str(part["$ref"].rpartition("/")[2])
    if "enum" in part or "const" in part:
        return ", ".join(f"`{value}`" for value in part.get("enum", [part.get("const")]))
    names = part["type"] if isinstance(part["type"], list) else [part["type"]]
    return " or ".join(names)


# --- experiment file and servers.yaml -----------------------------------------------------------------------------------


def _experiment() -> Iterator[str]:
    schema = spec.schema()
    yield "# Experiment file\n\nEvery key of an experiment file. Editors complete it with `experiments/schema.json`.\n"
    yield from _part(schema)
    for name, part in schema["$defs"].items():
        if part.get("properties"):
            yield f"## {name}\n"
            yield f"{part.get('description', '')}\n"
            yield from _part(part)


def _servers() -> Iterator[str]:
    yield "# servers.yaml\n\nName of a server -> these keys. Nothing of it is part of a result's identity.\n"
    yield from _part(servers.ServerPart.model_json_schema(by_alias=True))


def _part(schema: Mapping[str, Any]) -> Iterator[str]:
    yield "| key | meaning | type | default |\n| -- | -- | -- | -- |"
    required = schema.get("required", ())
    for name, field in schema["properties"].items():
        has_default = isinstance(field.get("default"), str | int | float) and field["default"] != ""
        default = "required" if name in required else _code(field["default"]) if has_default else ""
        yield f"| `{name}` | {_cell(field.get('description', ''))} | {_cell(_type(field))} | {default} |"
    yield ""


def _type(field: Mapping[str, Any]) -> str:
    """A short name of a JSON schema: an object's name links to its table."""
    if "$ref" in field:
        name = field["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    for choice in ("anyOf", "oneOf", "allOf"):
        if choice in field:
            return " or ".join(dict.fromkeys(_type(each) for each in field[choice] if each.get("type") != "null"))
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    if "const" in field:
        return f"`{field['const']}`"
    kind = field.get("type", "any")
    if kind == "array" and isinstance(field.get("items"), dict):
        return f"list of {_type(field['items'])}"
    if kind == "object" and isinstance(field.get("additionalProperties"), dict):
        return f"name: {_type(field['additionalProperties'])}"
    return " or ".join(kind) if isinstance(kind, list) else str(kind)


def _code(value: object) -> str:
    return f"`{_cell(str(value))}`"


def _cell(text: str) -> str:
    """Text that stays inside its cell of a Markdown table."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


# --- result tables --------------------------------------------------------------------------------------------------------


def _tables() -> Iterator[str]:
    yield "# Result tables\n\nThe Parquet tables of a run folder. Unknown is NULL, never 0.\n"
    for name, schema in TABLES.items():
        yield f"## {name}\n\n| column | meaning | type |\n| -- | -- | -- |"
        for column in schema:
            yield f"| `{column.name}` | {_cell(column.metadata[b'doc'].decode())} | {_cell(str(column.type))} |"
        yield ""


# --- commands -------------------------------------------------------------------------------------------------------------


def _commands() -> Iterator[str]:
    yield "# Commands\n\n`python -m harness COMMAND ...`; an installed package also has `harness COMMAND ...`.\n"
    yield from _group(typer.main.get_command(cli.build()), "")


def _group(group: Any, prefix: str) -> Iterator[str]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _group(command, f"{prefix}{name} ")
            continue
        yield f"## {prefix}{name}\n\n{_cell(command.help or '')}\n"
        yield "| argument or option | meaning | default |\n| -- | -- | -- |"
        for parameter in command.params:
            yield from _parameter(parameter)
        yield ""


def _parameter(parameter: Any) -> Iterator[str]:
    if parameter.name == "help":
        return
    is_option = isinstance(parameter, click.Option) or parameter.param_type_name == "option"
    shown = (
        ", ".join(f"`{name}`" for name in parameter.opts) if is_option else f"`{parameter.metavar or parameter.name.upper()}`"
    )
    default = parameter.default
    has_default = isinstance(default, str | int | float) and not isinstance(default, bool)
    yield f"| {shown} | {_cell(getattr(parameter, 'help', None) or '')} | {_code(default) if has_default else ''} |"


# --- HTTP API -------------------------------------------------------------------------------------------------------------


def _http() -> Iterator[str]:
    api = FastAPI()
    for name in ("harness.service.app.health", *(f"{module}.router" for module in app.ROUTERS)):
        module, _, router = name.rpartition(".")
        api.include_router(getattr(import_module(module), router))
    document = api.openapi()
    yield "# HTTP API\n\nThe routes of `harness serve`. The service itself has them at `/openapi.json`.\n"
    yield 'Every error answers `{"error": {"code", "message", "fix"}}`; `code` is stable.\n'
    yield "| status | meaning |\n| -- | -- |"
    yield from (f"| {status} | {_cell(each['description'])} |" for status, each in sorted(RESPONSES.items()))
    yield ""
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            sentence = _cell(operation.get("description") or operation.get("summary", ""))
            yield f"## {method.upper()} {path}\n\n{sentence.rstrip('.')}.\n"
            yield from _parameters(operation)
            yield f"Answers: {', '.join(_answer(*each) for each in sorted(operation['responses'].items()))}.\n"
    yield "# Bodies\n"
    for name, schema in document["components"]["schemas"].items():
        if schema.get("properties"):
            yield f"## {name}\n\n{_cell(schema.get('description', ''))}\n"
            yield from _part({"required": (), **schema})


def _parameters(operation: Mapping[str, Any]) -> Iterator[str]:
    parameters = operation.get("parameters", ())
    if parameters:
        yield "| parameter | meaning | in | type |\n| -- | -- | -- | -- |"
        for each in parameters:
            meaning = _cell(each.get("description", ""))
            yield f"| `{each['name']}` | {meaning} | {each['in']} | {_cell(_type(each['schema']))} |"
        yield ""
    for content in operation.get("requestBody", {}).get("content", {}).values():
        if "$ref" in content["schema"]:
            yield f"Body: {_type(content['schema'])}.\n"


def _answer(status: str, response: Mapping[str, Any]) -> str:
    schema = response.get("content", {}).get("application/json", {}).get("schema", {})
    is_named = "$ref" in schema and not schema["$ref"].endswith("ErrorBody")
    return f"{status} with {_type(schema)}" if is_named else status


if __name__ == "__main__":
    main()
