"""Writing the case pages: in order, in chunks, and side by side in processes when there are many."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from reports.cases import cases
from reports.processes import is_local, side_by_side
from reports.run_file import write
from reports.templates import assets, environment
from reports.visible import slug

if TYPE_CHECKING:
    from reports.load import Run

CHUNK = 250
"""Cases whose texts are in memory at once."""
MARKER = '<svg xmlns="http://www.w3.org/2000/svg" width="1" height="1"/>'


@dataclass(frozen=True)
class Link:
    """A neighbouring case."""

    href: str
    label: str


def write_all(run: Run, case_ids: Sequence[str], processes: int | None = None) -> int:
    """Write cases/ID.html for these cases and, last, the marker by which report.html finds the folder; returns how many."""
    size = max(min(CHUNK, -(-len(case_ids) // (processes or os.cpu_count() or 1))), 50)
    chunks = [(start, list(case_ids[start : start + size])) for start in range(0, len(case_ids), size)]
    workers = min(processes or os.cpu_count() or 1, len(chunks)) if is_local(run) else 1
    if workers > 1:
        _spread(run, chunks, list(case_ids), workers)
    else:
        for start, chunk in chunks:
            _write_chunk(run, start, chunk, case_ids)
    write(run, "cases/here.svg", MARKER)
    return len(case_ids)


def page_html(run: Run, case: cases.Case, before: Link | None = None, after: Link | None = None) -> str:
    """One case page."""
    name = str(run.experiment.get("name") or run.run_id)
    template = environment().get_template("case.html")
    return template.render(case=case, name=name, before=before, after=after, assets=assets("case"))


def _spread(run: Run, chunks: Sequence[tuple[int, list[str]]], case_ids: list[str], workers: int) -> None:
    for _ in side_by_side(_elsewhere, [(run.path, start, chunk, case_ids) for start, chunk in chunks], workers):
        pass


def _elsewhere(address: str, start: int, chunk: list[str], case_ids: list[str]) -> None:
    from reports.load import load

    _write_chunk(load(address), start, chunk, case_ids)


def _write_chunk(run: Run, start: int, chunk: Sequence[str], case_ids: Sequence[str]) -> None:
    where = {case_id: start + offset for offset, case_id in enumerate(chunk)}
    for case in cases.read(run, chunk):
        before, after = _neighbours(where[case.case_id], case_ids)
        write(run, f"cases/{slug(case.case_id)}.html", page_html(run, case, before, after))


def _neighbours(at: int, case_ids: Sequence[str]) -> Iterator[Link | None]:
    for index in (at - 1, at + 1):
        there = 0 <= index < len(case_ids)
        yield Link(f"{slug(case_ids[index])}.html", case_ids[index].replace("@", " ")) if there else None
