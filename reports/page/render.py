"""Write the pages of a run: report.html from the templates in sections/, one page per case, and the page of changes."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar

from markupsafe import Markup

from domain.freed_memory import return_freed_memory
from reports.answer import paired_runs
from reports.format import slug
from reports.load import load, write_file
from reports.page import cases
from reports.page.page import Page
from reports.page.templates import HERE, assets, environment

if TYPE_CHECKING:
    from concurrent.futures import Future

    from jinja2 import Template

    from reports.answer.run_changes import Changes
    from reports.load import Run

CELLS_AT_A_TIME = 750
"""Cells whose texts are in memory at the same time, in each process."""
_FEWEST_CASES = 50
"""Cases for which a process is worth its start, and a scan of the tables its time."""
FOLDER_MARKER = '<svg xmlns="http://www.w3.org/2000/svg" width="1" height="1"/>'


@dataclass(frozen=True)
class Link:
    """A neighbouring case."""

    href: str
    label: str


def write_cases(run: Run, case_ids: Sequence[str], processes: int | None = None) -> int:
    """Write cases/ID.html for these cases, then the marker by which report.html finds the folder; return how many."""
    size = _cases_at_a_time(run, len(case_ids), processes or os.cpu_count() or 1)
    chunks = [(start, list(case_ids[start : start + size])) for start in range(0, len(case_ids), size)]
    workers = min(processes or os.cpu_count() or 1, len(chunks)) if is_local(run) else 1
    if workers > 1:
        _spread(run, chunks, list(case_ids), workers)
    else:
        for start, chunk in chunks:
            _write_chunk(run, start, chunk, case_ids)
    write_file(run, "cases/here.svg", FOLDER_MARKER)
    return len(case_ids)


def _cases_at_a_time(run: Run, cases: int, processes: int) -> int:
    """As many as each process gets, within what fits in memory: a case may have dozens of cells."""
    cells_per_case = len(run.cells) / max(1, run.cells["case_id"].nunique())
    most = max(1, int(CELLS_AT_A_TIME / max(1.0, cells_per_case)))
    return min(most, max(_FEWEST_CASES, -(-cases // processes)))


def case_html(run: Run, case: cases.CasePage, before: Link | None = None, after: Link | None = None) -> str:
    """One case page."""
    template = environment().get_template("case.html")
    return template.render(case=case, name=run.name, before=before, after=after, assets=assets("case"))


def _spread(run: Run, chunks: Sequence[tuple[int, list[str]]], case_ids: list[str], workers: int) -> None:
    for _ in side_by_side(_elsewhere, [(run.path, start, chunk, case_ids) for start, chunk in chunks], workers):
        pass


def _elsewhere(address: str, start: int, chunk: list[str], case_ids: list[str]) -> None:
    from reports.load import load

    _write_chunk(load(address), start, chunk, case_ids)


def _write_chunk(run: Run, start: int, chunk: Sequence[str], case_ids: Sequence[str]) -> None:
    where = {case_id: start + offset for offset, case_id in enumerate(chunk)}
    for case in cases.case_pages(run, chunk):
        before, after = _neighbours(where[case.case_id], case_ids)
        write_file(run, f"cases/{slug(case.case_id)}.html", case_html(run, case, before, after))


def _neighbours(at: int, case_ids: Sequence[str]) -> Iterator[Link | None]:
    for index in (at - 1, at + 1):
        there = 0 <= index < len(case_ids)
        yield Link(f"{slug(case_ids[index])}.html", case_ids[index].replace("@", " ")) if there else None


T = TypeVar("T")


def side_by_side(work: Callable[..., T], jobs: Sequence[tuple[Any, ...]], most: int | None = None) -> Iterator[T]:
    """Yield work(*job) for each job, in order, computed in up to `most` processes (default: one per core)."""
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    # Spawned, because forking a process with pyarrow's threads can hang.
    fresh = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(
        min(most or os.cpu_count() or 1, len(jobs)), mp_context=fresh, initializer=return_freed_memory
    ) as pool:
        with _main_hidden():
            running: list[Future[T]] = [pool.submit(work, *job) for job in jobs]
        for future in running:
            yield future.result()


def is_local(run: Run) -> bool:
    """Whether other processes of this machine can open the run by its path."""
    from pyarrow import fs

    return isinstance(run.filesystem, fs.LocalFileSystem)


@contextmanager
def _main_hidden() -> Iterator[None]:
    """A spawned process imports __main__: a script that renders a report outside `if __name__ == ...` would run again."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


MOST_CASES = 500
"""Default number of case pages."""


@dataclass(frozen=True)
class Section:
    """One rendered section."""

    anchor: str
    title: str
    nav: str
    lead: str
    body: Markup


def render(path: str | Path, cases: int | None = MOST_CASES) -> str:
    """Write report.html and the case pages into the run folder (local or s3://); return the page's path.

    At most `cases` case pages are written (None: all), cases where the arms differ first. Raises NoRun.
    """
    return write_page(Page(load(path)), cases)


def write_page(page: Page, cases: int | None = MOST_CASES) -> str:
    """`render` for a page that is loaded already, with the findings that it has computed so far."""
    chosen = _chosen(page, cases)
    page.case_ids = frozenset(chosen)
    written = write_file(page.run, "report.html", page_html(page))
    write_cases(page.run, chosen)
    return written


def pack(path: str | Path, target: Path, cases: int | None = MOST_CASES) -> None:
    """Write the page and its case pages as one zip file that works where it is unpacked. Raises NoRun."""
    import zipfile

    page = Page(load(path))
    write_page(page, cases)
    names = ["report.html", "cases/here.svg", *(f"cases/{slug(case_id)}.html" for case_id in sorted(page.case_ids or ()))]
    part = target.with_name(f"{target.name}.part")
    with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as packed:
        for name in names:
            # One date for all: the same page gives the same bytes.
            entry = zipfile.ZipInfo(f"{page.run.run_id}/{name}", (1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            packed.writestr(entry, page.run.read_text(name) or "")
    part.replace(target)


def render_changes(path: str | Path, changes: Changes) -> str:
    """Write the page of changes since an earlier run into this run's folder; return its path."""
    html = environment().get_template("changes.html").render(found=changes, notes=paired_runs, assets=assets("changes"))
    return write_file(load(path), f"changes-since-{slug(changes.before)}.html", html)


def page_html(page: Page) -> str:
    """The page as one string, without empty sections."""
    shown = [section for section in map(_section(page), _section_files()) if section is not None]
    return environment().get_template("page.html").render(page=page, sections=shown, assets=assets("page"))


def _chosen(page: Page, most: int | None) -> list[str]:
    """Ids of the cases with a page, in the order of the grid."""
    ids = [row.case_id for row in page.decisions.rows]
    if most is None or len(ids) <= most:
        return ids
    rules = page.run.settings.rule_arms
    named = [one.case_id for one in page.answer.apart] if page.answer and most else []
    by_spread = [row.case_id for row in sorted(page.decisions.rows, key=lambda row: -row.spread(rules))]
    shown = set(list(dict.fromkeys([*named, *by_spread]))[:most])
    return [case_id for case_id in ids if case_id in shown]


def _section(page: Page) -> Any:
    def made(file: Path) -> Section | None:
        template: Template = environment().get_template(f"sections/{file.name}")
        module: Any = template.make_module({"page": page, "run": page.run})
        body = str(module).strip()
        anchor = file.stem.partition("_")[2]
        return Section(anchor, module.title, module.nav, module.lead, Markup(body)) if body else None

    return made


def _section_files() -> list[Path]:
    return sorted((HERE / "sections").glob("[0-9]*.html"))
