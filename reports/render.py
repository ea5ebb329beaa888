"""The page of a run: one self-contained HTML file, made of the sections found in sections/."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from reports.cases import pages as case_pages
from reports.load import load
from reports.page import Page
from reports.run_file import write
from reports.templates import HERE, assets, environment
from reports.visible import slug

if TYPE_CHECKING:
    from jinja2 import Template

    from reports.answer.run_changes import Changes

MOST_CASES = 500
"""Case pages written unless more are asked for."""


@dataclass(frozen=True)
class Section:
    """One rendered section."""

    anchor: str
    title: str
    nav: str
    lead: str
    body: Markup


def render(path: str | Path, cases: int | None = MOST_CASES) -> str:
    """Write report.html and the case pages into the run folder (local or s3://); returns the page's path.

    At most `cases` case pages are written (None: all), those where the arms differ first. Raises NoRun.
    """
    page = Page(load(path))
    chosen = _chosen(page, cases)
    page.case_ids = frozenset(chosen)
    written = write(page.run, "report.html", page_html(page))
    case_pages.write_all(page.run, chosen)
    return written


def render_changes(path: str | Path, found: Changes) -> str:
    """Write the page of what changed since an earlier run into this run's folder; returns its path."""
    html = environment().get_template("changes.html").render(found=found, assets=assets("changes"))
    return write(load(path), f"changes-since-{slug(found.before)}.html", html)


def page_html(page: Page) -> str:
    """The page as one string; a section that has nothing to say is left out."""
    shown = [section for section in map(_section(page), _section_files()) if section is not None]
    return environment().get_template("page.html").render(page=page, sections=shown, assets=assets("page"))


def _chosen(page: Page, most: int | None) -> list[str]:
    """Ids of the cases that get a page, in the order of the grid."""
    ids = [row.case_id for row in page.decisions.rows]
    if most is None or len(ids) <= most:
        return ids
    kept = {row.case_id for row in sorted(page.decisions.rows, key=lambda row: not row.differs)[:most]}
    return [case_id for case_id in ids if case_id in kept]


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
