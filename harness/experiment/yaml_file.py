"""Strict YAML with the line of every key, and the problems of such a file."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails
from ruamel.yaml import YAML
from ruamel.yaml.composer import Composer, MaxDepthExceededError
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, SequenceNode
from ruamel.yaml.reader import ReaderError

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
        line = next((self.lines[place[:length]] for length in range(len(place), 0, -1) if place[:length] in self.lines), None)
        return f"{self.path}{'' if line is None else f':{line}'} {dotted(place)}".rstrip()


def dotted(place: Place) -> str:
    """A path in dotted form: arms.gpt-5.all, tickers[2]."""
    text = ""
    for step in place:
        text += f"[{step}]" if isinstance(step, int) else f".{step}"
    return text.removeprefix(".")


# --- reading ------------------------------------------------------------------------------------------------------------


def load(path: Path) -> Document:
    """Read a YAML file; raises InvalidInput if it is missing, too big, not YAML, or has duplicate keys or NaN."""
    return parse(_text(path), path)


def parse(text: str, path: Path) -> Document:
    """Values of a YAML 1.2 text; `path` only names it in messages."""
    if len(text.encode()) > MOST_BYTES:
        raise _refused(f"{path}", f"the file is larger than {MOST_BYTES // 1024} KiB", "split the experiment")
    reader = YAML(typ="safe", pure=True)
    reader.Composer, reader.max_depth = _BoundedComposer, MOST_DEPTH + 1
    try:
        root = reader.compose(text)
    except MaxDepthExceededError as error:
        raise _too_deep(path, error.problem_mark.line + 1) from error
    except _TooManyValues as error:
        raise _refused(str(path), f"more than {MOST_NODES:,} keys and values", "split the experiment") from error
    except ReaderError as error:
        problem = f"not readable as YAML: character #x{error.character:04x} at position {error.position}"
        raise _refused(str(path), problem, "give a text file without control characters") from error
    except MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        problem = f"not readable as YAML: {error.problem}"
        raise _refused(f"{path}{line}", problem, "fix the syntax (indentation, quotes, brackets)") from error
    except (YAMLError, RecursionError, ValueError) as error:
        raise _refused(str(path), f"not readable as YAML: {error}", "fix the syntax") from error
    if root is None:
        raise _refused(str(path), "the file is empty", "write an experiment; see experiments/smoke.yaml")
    return _Construction(path).document(root)


class _TooManyValues(YAMLError):
    """The text has more values than a file may have."""


class _BoundedComposer(Composer):
    """Stops at the limit while it reads: a small text of brackets alone would take seconds."""

    def __init__(self, loader: Any = None) -> None:
        super().__init__(loader)
        self.warn_double_anchors = False  # YAML allows them, and a text could fill the log with warnings
        self.count = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        self.count += 1
        if self.count > MOST_NODES:
            raise _TooManyValues
        return super().compose_node(parent, index)


def _too_deep(path: Path, line: int) -> InvalidInput:
    return _refused(f"{path}:{line}", f"nested deeper than {MOST_DEPTH}", "flatten the file")


_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")
_PLAIN_SCALAR = re.compile(r"[-+]?\d[\d._]*|true|false")


def filled_in(document: Document, environment: Mapping[str, str]) -> Document:
    """The document with each value `${NAME}` or `${NAME:-default}` read from the environment, as compose reads them.

    A value that ends up empty counts as not written. Raises InvalidInput for a variable without value and default."""
    return replace(document, value=_filled_in(document.value, document, environment, ()))


def _filled_in(value: Any, document: Document, environment: Mapping[str, str], place: Place) -> Any:
    if isinstance(value, dict):
        entries = {key: _filled_in(item, document, environment, (*place, key)) for key, item in value.items()}
        return {key: item for key, item in entries.items() if not (item is None and value[key] is not None)}
    if isinstance(value, list):
        return [_filled_in(item, document, environment, (*place, index)) for index, item in enumerate(value)]
    if not isinstance(value, str) or not _VARIABLE.search(value):
        return value
    text = _VARIABLE.sub(lambda match: _value_of(match, document.where(place), environment), value)
    return parse(text, document.path).value if _PLAIN_SCALAR.fullmatch(text) else text or None


def _value_of(match: re.Match[str], where: str, environment: Mapping[str, str]) -> str:
    name, default = match.groups()
    found = environment.get(name) or default
    if found is None:
        raise _refused(where, f"{name} is not set", f"set it in .env or the environment, or write ${{{name}:-DEFAULT}}")
    return found


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


@dataclass
class _Construction:
    """Plain values of a tree of nodes. Aliases share nodes, so values are counted as if they were written out."""

    path: Path
    lines: dict[Place, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    count: int = 0

    def document(self, root: Node) -> Document:
        value = self._value(root, (), ())
        if self.problems:
            raise InvalidInput(self.problems)
        return Document(self.path, value, self.lines)

    def _value(self, node: Node, place: Place, above: tuple[int, ...]) -> Any:
        line = node.start_mark.line + 1
        self.lines.setdefault(place, line)
        self.count += 1
        if id(node) in above:
            raise _refused(f"{self.path}:{line}", "an alias contains itself", "write the values out")
        if len(above) > MOST_DEPTH:
            raise _too_deep(self.path, line)
        if self.count > MOST_NODES:
            raise _refused(str(self.path), f"aliases expand it to more than {MOST_NODES} values", "write the values out")
        if _kind(node) not in _KINDS:
            raise _refused(f"{self.path}:{line}", f"not readable as YAML: unknown tag {node.tag}", "write plain values")
        above = (*above, id(node))
        if isinstance(node, SequenceNode):
            return [self._value(child, (*place, index), above) for index, child in enumerate(node.value)]
        if isinstance(node, MappingNode):
            return self._mapping(node, place, above)
        return self._scalar(node, place, line)

    def _mapping(self, node: MappingNode, place: Place, above: tuple[int, ...]) -> dict[str, Any]:
        merged: dict[str, Any] = {}
        own: dict[str, Any] = {}
        for key, value in node.value:
            name, line = str(key.value), key.start_mark.line + 1
            if name == "<<":
                for base in value.value if isinstance(value, SequenceNode) else [value]:
                    merged = self._mapping(base, place, above) | merged
                continue
            if name in own:
                where = f"{self.path}:{line} {dotted((*place, name))}"
                problem = f"duplicate key, first in line {self.lines[(*place, name)]}"
                self.problems.append(Problem(where, problem, "keep one of them"))
            self.lines[(*place, name)] = line
            own[name] = self._value(value, (*place, name), above)
        return merged | own

    def _scalar(self, node: Node, place: Place, line: int) -> Any:
        kind, text = _kind(node), node.value
        if kind in ("bool", "null") and text.isupper():
            return text  # a ticker, such as TRUE
        if kind == "bool":
            return text.lower() == "true"
        if kind == "null":
            return None
        if kind == "int":
            return int(text.replace("_", ""), 0 if text.lstrip("+-")[:2].lower() in ("0x", "0o") else 10)
        if kind != "float":
            return text
        number = float(text.replace("_", "").lower().replace(".inf", "inf").replace(".nan", "nan"))
        if not math.isfinite(number):
            self.problems.append(Problem(f"{self.path}:{line} {dotted(place)}", f"{text} is no number", "use a finite number"))
        return number


_KINDS = frozenset({"map", "seq", "str", "int", "float", "bool", "null", "timestamp"})
"""Kinds of values in YAML 1.2; a timestamp stays text."""


def _kind(node: Node) -> str:
    return str(node.tag).removeprefix("tag:yaml.org,2002:")


# --- problems -----------------------------------------------------------------------------------------------------------


def problems(error: ValidationError, document: Document) -> list[Problem]:
    """Each problem that pydantic found, in the order of the file; the variants of a union count as one."""
    by_place: dict[tuple[Place, str], list[ErrorDetails]] = {}
    for detail in _without_consequences(error.errors(include_url=False)):
        kind = detail["type"] if detail["type"] in _KEEP_LAST_STEP else "value"
        by_place.setdefault((_in_file(detail, document), kind), []).append(detail)
    return in_file_order(_problem(details, place, document) for (place, _), details in by_place.items())


def in_file_order(unordered: Iterable[Problem]) -> list[Problem]:
    return sorted(unordered, key=lambda problem: int(match[1]) if (match := re.search(r":(\d+)(?: |$)", problem.where)) else 0)


def closest_name(unknown: str, allowed: Iterable[str]) -> str:
    by_lower = {name.lower(): name for name in allowed}
    matches = get_close_matches(unknown.lower(), by_lower, n=1, cutoff=0.6)
    return f"did you mean {by_lower[matches[0]]!r}?" if matches else "use a known one"


_KEEP_LAST_STEP = ("missing", "unknown_name")
"""Errors about something that is not in the file, or is there in a short form."""


def _without_consequences(details: list[ErrorDetails]) -> Iterator[ErrorDetails]:
    """Leave out lists that are too short only because what is wrong in them does not count."""
    places = [detail["loc"] for detail in details]
    for detail in details:
        loc = detail["loc"]
        if detail["type"] != "too_short" or not any(place[: len(loc)] == loc != place for place in places):
            yield detail


def _in_file(detail: ErrorDetails, document: Document) -> Place:
    """pydantic's location without tags of unions and the long form of shorthands: the steps in the file."""
    steps = [step for step in detail["loc"] if step != "[key]"]
    place: Place = ()
    for index, step in enumerate(steps):
        is_last = index == len(steps) - 1
        if (*place, step) in document.lines or (is_last and detail["type"] in _KEEP_LAST_STEP):
            place = (*place, step)
    return place


def _problem(details: list[ErrorDetails], place: Place, document: Document) -> Problem:
    first = details[0]
    if first["type"] == "missing":
        return Problem(document.where(place), f"{dotted(place)} is missing", "add it")
    if first["type"] == "unknown_name":
        return _unknown_name(first, place, document)
    if first["type"] == "refused":
        return Problem(document.where(place), first["ctx"]["what"], first["ctx"]["fix"])
    message = "; or ".join(dict.fromkeys(detail["msg"].removeprefix("Value error, ") for detail in details))
    value = first["input"]
    shown = f" (given: {value!r})" if isinstance(value, str | int | float) and repr(value) not in message else ""
    return Problem(document.where(place), f"{message}{shown}", _FIXES.get(first["type"], "change it"))


def _unknown_name(detail: ErrorDetails, place: Place, document: Document) -> Problem:
    """A name in a list, or the key of a mapping, is named with the list or mapping."""
    kind, name, known = (detail["ctx"][key] for key in ("kind", "name", "known"))
    holder = place[:-1] if kind != "key" and (isinstance(place[-1], int) or detail["loc"][-1] == "[key]") else place
    where = document.where(place).split(" ")[0] + " " + dotted(holder)
    what = f"unknown {kind} {name!r} in {dotted(holder)}; known: {', '.join(known) or 'none'}"
    return Problem(where, what, closest_name(name, known))


_FIXES = {
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
