"""The page of a run: one self-contained HTML file, made of the sections found in sections/."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Undefined
from markupsafe import Markup

from reports import case_pages, charts, figures, forest, shown, svg, wording
from reports.load import Run, load
from reports.page import Page
from reports.visible import plain, slug, visible

if TYPE_CHECKING:
    from jinja2 import Template

    from reports.run_changes import Changes

HERE = Path(__file__).parent
MOST_CASES = 500
"""Case pages written unless more are asked for."""


WRITERS = (
    figures.usd,
    figures.seconds,
    figures.percent,
    figures.count,
    figures.number,
    figures.integer,
    figures.excess,
    figures.price,
    figures.datum,
)


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


def write(run: Run, name: str, text: str) -> str:
    """Put a file into the run folder, whole or not at all."""
    from pyarrow import fs

    target = f"{run.path.rstrip('/')}/{name}"
    if isinstance(run.filesystem, fs.LocalFileSystem):
        Path(target).parent.mkdir(parents=True, exist_ok=True)
        fresh = Path(f"{target}.part")
        fresh.write_text(text, encoding="utf-8")
        fresh.replace(target)
    else:
        with run.filesystem.open_output_stream(target) as stream:
            stream.write(text.encode())
    return target


@dataclass(frozen=True)
class Assets:
    """Style and script of a page, inlined, and the policy that lets only them in."""

    style: Markup
    script: Markup

    @property
    def policy(self) -> str:
        """Content-Security-Policy: nothing is fetched but the marker file that tells whether cases/ is there."""
        script, style = _fingerprint(self.script), _fingerprint(self.style)
        parts = ("default-src 'none'", f"script-src '{script}'", f"style-src '{style}'", "img-src 'self'")
        return "; ".join((*parts, "base-uri 'none'", "form-action 'none'"))


@cache
def assets(name: str) -> Assets:
    """The style sheet shared by all pages and the script of this one."""
    folder = HERE / "assets"
    style = (folder / "page.css").read_text(encoding="utf-8")
    file = folder / f"{name}.js"
    script = file.read_text(encoding="utf-8") if file.exists() else ""
    return Assets(Markup(style), Markup(script))


@cache
def environment() -> Environment:
    """Templates in which every value is escaped, and a number can only be printed with its unit."""
    made = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_printable,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals.update(charts=charts, forest=forest, shown=shown, wording=wording, svg=svg, figures=figures, zip=zip)
    for writer in WRITERS:
        made.filters[writer.__name__] = writer
    made.filters["attr_text"] = lambda text: Markup("{}").format(plain(str(text)))
    made.filters["words"] = lambda name: str(name).replace("_", " ")
    made.filters["short"] = lambda text: text if len(text) <= 300 else text[:300] + " ..."
    made.tests["known"] = figures.known
    return made


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


def _printable(value: Any) -> Any:
    """What `{{ }}` may print: text (made visible), whole numbers and finished figures; the rest is a mistake."""
    if isinstance(value, Markup | Undefined):
        return value
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, Integral):
        return value
    raise TypeError(f"a template printed {value!r}; write numbers with a figure filter, which knows units and unknowns")


def _fingerprint(text: str) -> str:
    return "sha256-" + base64.b64encode(sha256(text.encode()).digest()).decode()
