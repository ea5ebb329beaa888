"""A user's own sections of the page: computed when a run ends, from files that its experiment names, and kept in its folder.

What the functions return is data: texts are shown as light Markdown and tables as text, so nothing of them is HTML or a script.
A page reads what was kept and executes nothing of a run folder.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from markupsafe import Markup

from domain.user_code import UserCodeError, called, digest, load, path_of
from reports.format import known, significant
from reports.metrics.facts import Facts
from reports.page.prose import prose

if TYPE_CHECKING:
    from reports.load import Run

FILE = "own_sections.json"
GROUP = "tradingagents_harness.sections"
"""Entry points of packages that bring sections: name = module."""
MOST_PARTS, MOST_ROWS, MOST_COLUMNS = 20, 200, 20
MOST_CELL_CHARACTERS, MOST_TEXT_CHARACTERS = 300, 20_000
_RETURN = "return a text, a DataFrame, or a list of them"


@dataclass(frozen=True)
class OwnSection:
    """A function of a user that writes a section."""

    title: str
    lead: str
    """Its docstring."""
    write: Callable[[Facts], Any]


@dataclass(frozen=True)
class OwnSections:
    """The sections of the files that an experiment names."""

    sections: tuple[tuple[OwnSection, Path], ...]
    """With their files."""
    digests: Mapping[str, str]
    """File as the experiment names it -> sha256."""


@dataclass(frozen=True)
class KeptPart:
    """A text, or a table, of a kept section."""

    text: Markup
    columns: Sequence[tuple[str, bool]]
    """Heading, and whether the values are numbers."""
    rows: Sequence[Sequence[str | None]]
    """None is unknown."""
    left_out: int
    """Rows of the table that are not shown."""


@dataclass(frozen=True)
class KeptSection:
    """A section as the page shows it."""

    title: str
    lead: str
    parts: tuple[KeptPart, ...]
    error: str
    file: str
    version: str
    """Start of the file's hash; empty if it could not be loaded."""


def section(title: str) -> Callable[[Callable[[Facts], Any]], OwnSection]:
    """Declare a function as a section; it gets the run's tables and returns a text, a DataFrame, or a list of them."""

    def declare(function: Callable[[Facts], Any]) -> OwnSection:
        lead = " ".join((inspect.getdoc(function) or "").split()) if function.__doc__ else ""
        return OwnSection(title, lead, function)

    return declare


def declared(references: Sequence[str], folder: Path) -> OwnSections:
    """Load the files. Raises UserCodeError with file and line."""
    sections: list[tuple[OwnSection, Path]] = []
    digests: dict[str, str] = {}
    for reference in references:
        path = path_of(reference, folder, GROUP)
        digests[reference] = digest(path)
        of_file = [each for each in vars(load(path)).values() if isinstance(each, OwnSection)]
        if not of_file:
            raise UserCodeError(f"{reference}: no function is decorated with @section; see docs/your-code.md")
        sections += [(each, path) for each in of_file]
    return OwnSections(tuple(sections), digests)


def computed(run: Run, references: Sequence[str], folder: Path) -> str:
    """The content of FILE: every section, or the error that it ended with. Raises nothing of theirs."""
    try:
        own = declared(references, folder)
    except UserCodeError as error:
        failed = {"title": ", ".join(references), "lead": "", "parts": [], "error": str(error), "file": ""}
        return json.dumps({"files": {}, "sections": [failed]})
    facts = Facts(run)
    entries = [_written(each, facts, path) for each, path in own.sections]
    return json.dumps({"files": dict(own.digests), "sections": entries}, indent=1)


def _written(own: OwnSection, facts: Facts, path: Path) -> dict[str, Any]:
    entry = {"title": str(own.title), "lead": own.lead, "parts": [], "error": "", "file": path.name}
    try:
        return entry | {"parts": called(path, _parts, own, facts)}
    except UserCodeError as error:
        return entry | {"error": str(error)}


def _parts(own: OwnSection, facts: Facts) -> list[dict[str, Any]]:
    returned = own.write(facts)
    parts = list(returned) if isinstance(returned, list | tuple) else [returned]
    if len(parts) > MOST_PARTS:
        raise ValueError(f"{own.title!r} returned {len(parts)} parts; the most is {MOST_PARTS}")
    return [_part(own, part) for part in parts]


def _part(own: OwnSection, part: Any) -> dict[str, Any]:
    if isinstance(part, str):
        is_long = len(part) > MOST_TEXT_CHARACTERS
        return {"text": part[:MOST_TEXT_CHARACTERS] + ("\n\n(cut here: the text is too long)" if is_long else "")}
    if isinstance(part, pd.DataFrame):
        return _table(own, part)
    raise TypeError(f"{own.title!r} returned {type(part).__name__}; {_RETURN}")


def _table(own: OwnSection, frame: pd.DataFrame) -> dict[str, Any]:
    named = frame if isinstance(frame.index, pd.RangeIndex) else frame.reset_index()
    if len(named.columns) > MOST_COLUMNS:
        raise ValueError(f"{own.title!r} returned a table of {len(named.columns)} columns; the most is {MOST_COLUMNS}")
    shown = named.head(MOST_ROWS)
    return {
        "columns": [[_heading(name), pd.api.types.is_numeric_dtype(kind)] for name, kind in named.dtypes.items()],
        "rows": [[_cell(value) for value in row] for row in shown.itertuples(index=False, name=None)],
        "left_out": len(named) - len(shown),
    }


def _heading(name: Any) -> str:
    words = name if isinstance(name, tuple) else (name,)
    return _shortened(" ".join(str(word) for word in words if str(word)))


def _cell(value: Any) -> str | None:
    """A value as text: whole numbers with separators, other numbers with three significant digits, None if unknown."""
    if isinstance(value, bool | str):
        return _shortened(str(value))
    if isinstance(value, Integral):
        return f"{int(value):,}"
    if isinstance(value, Real):
        return significant(float(value)) if known(value) and abs(float(value)) != float("inf") else None
    return None if value is None or value is pd.NA or value is pd.NaT else _shortened(str(value))


def _shortened(text: str) -> str:
    return text if len(text) <= MOST_CELL_CHARACTERS else f"{text[:MOST_CELL_CHARACTERS]}..."


def digests_of(text: str | None) -> dict[str, str]:
    """The files behind a kept FILE; none if there is none."""
    return dict(json.loads(text)["files"]) if text else {}


def read(run: Run) -> tuple[KeptSection, ...]:
    """The sections that were kept when the run ended."""
    text = run.read_text(FILE)
    return tuple(_kept(json.loads(text))) if text else ()


def _kept(document: Mapping[str, Any]) -> Iterator[KeptSection]:
    versions = {Path(file).name: sha256[:12] for file, sha256 in document["files"].items()}
    for entry in document["sections"]:
        parts = tuple(_shown(part) for part in entry["parts"])
        yield KeptSection(entry["title"], entry["lead"], parts, entry["error"], entry["file"], versions.get(entry["file"], ""))


def _shown(part: Mapping[str, Any]) -> KeptPart:
    columns = [(str(heading), bool(is_number)) for heading, is_number in part.get("columns", ())]
    return KeptPart(prose(part.get("text", "")), columns, part.get("rows", ()), part.get("left_out", 0))
