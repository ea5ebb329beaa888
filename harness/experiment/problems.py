"""Problems of an experiment file: all of them at once, each with its line, what is allowed, and the fix."""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from harness.errors import Problem
from harness.experiment.yaml_file import Document, Place, dotted


def _own(details: list[ErrorDetails]) -> list[ErrorDetails]:
    """Without lists that are only too short because what is wrong in them does not count."""
    wrong = [detail["loc"] for detail in details]
    return [
        detail
        for detail in details
        if detail["type"] != "too_short" or not any(loc[: len(detail["loc"])] == detail["loc"] != loc for loc in wrong)
    ]


def of_types(error: ValidationError, document: Document, model: type[BaseModel]) -> list[Problem]:
    """Each thing that breaks the types, in the order of the file; the ways of a union count as one."""
    by_place: dict[tuple[Place, str], list[ErrorDetails]] = {}
    for detail in _own(error.errors(include_url=False)):
        place = _real(detail, document)
        kind = detail["type"] if detail["type"] in ("extra_forbidden", "missing") else "value"
        by_place.setdefault((place, kind), []).append(detail)
    return [_problem(details, place, document, model) for (place, _), details in by_place.items()]


def _real(detail: ErrorDetails, document: Document) -> Place:
    """pydantic's place without its union tags and shorthands: the steps that stand in the file."""
    place: Place = ()
    for index, step in enumerate(detail["loc"]):
        last = index == len(detail["loc"]) - 1
        if (*place, step) in document.lines or (last and detail["type"] in ("missing", "extra_forbidden")):
            place = (*place, step)
    return place


def unknown(document: Document, place: Place, what: str, said: str, known: Iterable[str]) -> Problem:
    """An unknown name; the fix is the closest known one."""
    names = sorted(known)
    return Problem(
        document.where(place),
        f"unknown {what} {said!r} in {dotted(place)}; known: {', '.join(names) or 'none'}",
        closest(said, names),
    )


def in_order(found: Iterable[Problem]) -> list[Problem]:
    """As they stand in the file."""
    return sorted(found, key=lambda one: int(match[1]) if (match := re.search(r":(\d+)(?: |$)", one.where)) else 0)


def closest(said: str, known: Iterable[str]) -> str:
    matches = get_close_matches(said.lower(), {name.lower(): name for name in known}, n=1, cutoff=0.6)
    by_lower = {name.lower(): name for name in known}
    return f"did you mean {by_lower[matches[0]]!r}?" if matches else "use a known one"


def _problem(details: list[ErrorDetails], place: Place, document: Document, model: type[BaseModel]) -> Problem:
    first = details[0]
    if first["type"] == "extra_forbidden":
        *above, key = first["loc"]
        return unknown(document, place, "key", str(key), _fields_at(model, tuple(above)))
    if first["type"] == "missing":
        return Problem(document.where(place), f"{dotted(place)} is missing", "add it")
    message = "; or ".join(dict.fromkeys(detail["msg"].removeprefix("Value error, ") for detail in details))
    given = first["input"]
    shown = f" (given: {given!r})" if isinstance(given, str | int | float) and repr(given) not in message else ""
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
    """Keys that a part of the file knows, found by walking the types along a place."""
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
        return [one for arg in typing.get_args(annotation) for one in _flat(arg)]
    return [annotation]
