"""Strict YAML with the line of every key, and the problems of such a file."""

from __future__ import annotations

import math
import re
import types
import typing
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails
from yaml.reader import ReaderError

from harness.errors import InvalidInput, Problem

MOST_BYTES = 256 * 1024
MOST_NODES = 20_000
MOST_DEPTH = 40
Place = tuple[str | int, ...]


@dataclass(frozen=True)
class Document:
    """A file's values and their lines."""

    path: Path
    value: Any
    lines: dict[Place, int]

    def where(self, place: Place) -> str:
        """`file:line key`, with the nearest line that is known."""
        for length in range(len(place), -1, -1):
            if place[:length] in self.lines:
                return f"{self.path}:{self.lines[place[:length]]} {dotted(place)}".rstrip()
        return f"{self.path} {dotted(place)}".rstrip()


def dotted(place: Place) -> str:
    """A path in dotted form: arms.gpt-5.all, tickers[2]."""
    text = ""
    for step in place:
        text += f"[{step}]" if isinstance(step, int) else f".{step}"
    return text.removeprefix(".")


def load(path: Path) -> Document:
    """Read a YAML file; raises InvalidInput if it is missing, too big, not YAML, or has duplicate keys or NaN."""
    return parse(_text(path), path)


def parse(text: str, path: Path) -> Document:
    """Values of a YAML text; `path` only names it in messages."""
    if len(text.encode()) > MOST_BYTES:
        raise _refused(f"{path}", f"the file is larger than {MOST_BYTES // 1024} KiB", "split the experiment")
    loader = _loader(text, path)
    try:
        node = loader.get_single_node()
        if node is None:
            raise _refused(str(path), "the file is empty", "write an experiment; see experiments/smoke.yaml")
        _refuse_bombs(node, path)
        lines, problems = _survey(node, path)
        if problems:
            raise InvalidInput(problems)
        return Document(path, loader.construct_document(node), lines)
    except yaml.MarkedYAMLError as error:
        raise _broken(error, path) from error
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise _refused(str(path), f"not readable as YAML: {error}", "fix the syntax") from error
    finally:
        loader.dispose()


def _loader(text: str, path: Path) -> _Loader:
    try:
        return _Loader(text)
    except ReaderError as error:
        problem = f"not readable as YAML: character #x{error.character:04x} at position {error.position}"
        raise _refused(str(path), problem, "give a text file without control characters") from error


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > MOST_BYTES:
            raise _refused(str(path), f"the file is larger than {MOST_BYTES // 1024} KiB", "split the experiment")
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise _refused(str(path), "there is no such file", _neighbours(path)) from error
    except (OSError, UnicodeDecodeError) as error:
        raise _refused(str(path), f"cannot be read as text: {error}", "give a readable UTF-8 YAML file") from error


def _neighbours(path: Path) -> str:
    files = sorted(str(file) for file in path.parent.glob("*.yaml")) if path.parent.is_dir() else []
    return f"known here: {', '.join(files)}" if files else "give the path of an experiment file"


def _refused(where: str, problem: str, fix: str) -> InvalidInput:
    return InvalidInput([Problem(where, problem, fix)])


def _broken(error: yaml.MarkedYAMLError, path: Path) -> InvalidInput:
    line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
    return _refused(f"{path}{line}", f"not readable as YAML: {error.problem}", "fix the syntax (indentation, quotes, brackets)")


def _refuse_bombs(root: yaml.Node, path: Path) -> None:
    """Aliases share nodes, so a few lines can expand to billions of values: count them as if written out."""
    sizes: dict[int, int] = {}

    def size(node: yaml.Node, above: frozenset[int]) -> int:
        if id(node) in above:
            raise _refused(f"{path}:{node.start_mark.line + 1}", "an alias contains itself", "write the values out")
        if len(above) > MOST_DEPTH:
            raise _refused(f"{path}:{node.start_mark.line + 1}", f"nested deeper than {MOST_DEPTH}", "flatten the file")
        if id(node) not in sizes:
            inner = above | {id(node)}
            sizes[id(node)] = 1 + sum(size(child, inner) for child in _children(node))
        return sizes[id(node)]

    if size(root, frozenset()) > MOST_NODES:
        raise _refused(str(path), f"aliases expand it to more than {MOST_NODES} values", "write the values out")


def _children(node: yaml.Node) -> Iterator[yaml.Node]:
    if isinstance(node, yaml.SequenceNode):
        yield from node.value
    elif isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield key
            yield value


def _survey(root: yaml.Node, path: Path) -> tuple[dict[Place, int], list[Problem]]:
    lines: dict[Place, int] = {}
    problems: list[Problem] = []

    def walk(node: yaml.Node, place: Place) -> None:
        if isinstance(node, yaml.MappingNode):
            walk_mapping(node, place)
        elif isinstance(node, yaml.SequenceNode):
            for index, child in enumerate(node.value):
                lines[(*place, index)] = child.start_mark.line + 1
                walk(child, (*place, index))
        elif node.tag == "tag:yaml.org,2002:float" and not math.isfinite(_as_float(node.value)):
            problems.append(Problem(f"{path}:{node.start_mark.line + 1} {dotted(place)}", f"{node.value} is no number", ""))

    def walk_mapping(node: yaml.MappingNode, place: Place) -> None:
        seen: dict[str, int] = {}
        for key, value in node.value:
            name, line = str(key.value), key.start_mark.line + 1
            if name in seen and name != "<<":
                problems.append(_duplicate(path, (*place, name), line, seen[name]))
            seen[name] = line
            lines[(*place, name)] = line
            walk(value, (*place, name))

    walk(root, ())
    return lines, problems


def _duplicate(path: Path, place: Place, line: int, first: int) -> Problem:
    return Problem(f"{path}:{line} {dotted(place)}", f"duplicate key, first in line {first}", "keep one of them")


def _as_float(text: str) -> float:
    return float(text.replace("_", "").replace(".inf", "inf").replace(".nan", "nan").replace(".NaN", "nan").lower().lstrip("."))


class _Loader(yaml.SafeLoader):
    """SafeLoader with YAML 1.2's plain scalars: 16:00 is no number, the ticker ON no boolean, and dates stay text."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012


_PLAIN = (
    ("bool", r"^(?:true|false|True|False)$", "tfTF"),
    ("null", r"^(?:~|null|Null|)$", ["~", "n", "N", ""]),
    ("int", r"^[-+]?(?:0|[1-9][0-9_]*)$", "-+0123456789"),
    (
        "float",
        r"^[-+]?(?:(?:[0-9][0-9_]*\.[0-9_]*|\.[0-9_]+)(?:[eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+|\.inf|\.Inf|\.nan|\.NaN)$",
        "-+0123456789.",
    ),
    ("merge", r"^<<$", "<"),
)
for _name, _pattern, _first in _PLAIN:
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_name}", re.compile(_pattern), list(_first))


def _own(details: list[ErrorDetails]) -> list[ErrorDetails]:
    """Without lists that are only too short because what is wrong in them does not count."""
    wrong = [detail["loc"] for detail in details]
    return [
        detail
        for detail in details
        if detail["type"] != "too_short" or not any(loc[: len(detail["loc"])] == detail["loc"] != loc for loc in wrong)
    ]


def type_problems(error: ValidationError, document: Document, model: type[BaseModel]) -> list[Problem]:
    """Each type error, in the order of the file; the variants of a union count as one."""
    by_place: dict[tuple[Place, str], list[ErrorDetails]] = {}
    for detail in _own(error.errors(include_url=False)):
        place = _real(detail, document)
        kind = detail["type"] if detail["type"] in ("extra_forbidden", "missing") else "value"
        by_place.setdefault((place, kind), []).append(detail)
    return [_problem(details, place, document, model) for (place, _), details in by_place.items()]


def _real(detail: ErrorDetails, document: Document) -> Place:
    """pydantic's location without union tags and shorthands: the steps in the file."""
    place: Place = ()
    for index, step in enumerate(detail["loc"]):
        last = index == len(detail["loc"]) - 1
        if (*place, step) in document.lines or (last and detail["type"] in ("missing", "extra_forbidden")):
            place = (*place, step)
    return place


def unknown_name(document: Document, place: Place, kind: str, name: str, allowed: Iterable[str]) -> Problem:
    """An unknown name; the fix is the closest known one."""
    names = sorted(allowed)
    return Problem(
        document.where(place),
        f"unknown {kind} {name!r} in {dotted(place)}; known: {', '.join(names) or 'none'}",
        closest_name(name, names),
    )


def in_file_order(problems: Iterable[Problem]) -> list[Problem]:
    """In the order of the file."""
    return sorted(problems, key=lambda problem: int(match[1]) if (match := re.search(r":(\d+)(?: |$)", problem.where)) else 0)


def closest_name(unknown: str, allowed: Iterable[str]) -> str:
    matches = get_close_matches(unknown.lower(), {name.lower(): name for name in allowed}, n=1, cutoff=0.6)
    by_lower = {name.lower(): name for name in allowed}
    return f"did you mean {by_lower[matches[0]]!r}?" if matches else "use a known one"


def _problem(details: list[ErrorDetails], place: Place, document: Document, model: type[BaseModel]) -> Problem:
    first = details[0]
    if first["type"] == "extra_forbidden":
        *above, key = first["loc"]
        return unknown_name(document, place, "key", str(key), _fields_at(model, tuple(above)))
    if first["type"] == "missing":
        return Problem(document.where(place), f"{dotted(place)} is missing", "add it")
    message = "; or ".join(dict.fromkeys(detail["msg"].removeprefix("Value error, ") for detail in details))
    value = first["input"]
    shown = f" (given: {value!r})" if isinstance(value, str | int | float) and repr(value) not in message else ""
    return Problem(document.where(place), f"{message}{shown}", _MENDS.get(first["type"], "change it"))


_MENDS = {
    "float_type": "write a plain number without quotes",
    "int_type": "write a plain whole number without quotes",
    "string_type": "put it in quotes",
    "string_pattern_mismatch": "use letters, digits and . _ - (tickers in capitals)",
    "literal_error": "use one of these",
    "greater_than_equal": "use a larger number",
    "greater_than": "use a larger number",
    "finite_number": "use a finite number",
    "date_from_datetime_parsing": "write YYYY-MM-DD",
    "date_parsing": "write YYYY-MM-DD",
    "dict_type": "write keys and values",
    "model_type": "write keys and values",
    "tuple_type": "write a list: [a, b]",
}


def _fields_at(model: type[BaseModel], place: Place) -> list[str]:
    """Keys allowed at a path, found by walking the types."""
    here: Any = model
    for step in place:
        here = _step(here, step)
    return [info.alias or name for kind in _models(here) for name, info in kind.model_fields.items()]


def _step(annotation: Any, step: str | int) -> Any:
    for kind in _models(annotation):
        for name, info in kind.model_fields.items():
            if step in (name, info.alias):
                return info.annotation
    inner = [arg for kind in _flat(annotation) for arg in typing.get_args(kind) if arg is not Ellipsis]
    tagged = [kind for kind in _models(annotation) if kind.__name__ == step]
    return tagged[0] if tagged else inner[-1] if inner else None


def _models(annotation: Any) -> list[type[BaseModel]]:
    return [kind for kind in _flat(annotation) if isinstance(kind, type) and issubclass(kind, BaseModel)]


def _flat(annotation: Any) -> list[Any]:
    if typing.get_origin(annotation) is typing.Annotated:
        return _flat(typing.get_args(annotation)[0])
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return [part for arg in typing.get_args(annotation) for part in _flat(arg)]
    return [annotation]
