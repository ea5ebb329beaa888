"""The Jinja environment of all pages, and their inlined style and script."""

from __future__ import annotations

import base64
import os
import sys
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from numbers import Integral
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemBytecodeCache, FileSystemLoader, StrictUndefined, Undefined
from markupsafe import Markup

from reports import format
from reports.answer import table, wording
from reports.format import plain, visible
from reports.money.breakdown import is_deferred
from reports.page import charts, html, svg

HERE = Path(__file__).parent
WRITERS = (
    format.usd,
    format.seconds,
    format.percent,
    format.count,
    format.number,
    format.integer,
    format.excess,
    format.price,
    format.datum,
)


@dataclass(frozen=True)
class Assets:
    """Inlined style and script of a page, and the policy that allows only them."""

    style: Markup
    script: Markup

    @property
    def policy(self) -> str:
        """Content-Security-Policy: nothing is fetched except the marker file that shows whether cases/ exists."""
        script, style = _fingerprint(self.script), _fingerprint(self.style)
        parts = ("default-src 'none'", f"script-src '{script}'", f"style-src '{style}'", "img-src 'self'")
        return "; ".join((*parts, "base-uri 'none'", "form-action 'none'"))


STYLES = {
    "page": ("base", "ratings", "report", "evidence"),
    "case": ("base", "ratings", "case"),
    "changes": ("base", "ratings"),
}
SCRIPTS = {"page": ("base", "hover", "grid", "bill", "csv"), "case": ("base", "hover", "case"), "changes": ("base", "csv")}


@cache
def assets(name: str) -> Assets:
    """The style sheets and scripts of one kind of page, joined in this order."""
    return Assets(_joined(STYLES[name], "css"), _joined(SCRIPTS[name], "js"))


def _joined(names: tuple[str, ...], suffix: str) -> Markup:
    files = [HERE / "assets" / f"{name}.{suffix}" for name in names]
    return Markup("\n").join(Markup(file.read_text(encoding="utf-8")) for file in files)


@cache
def environment() -> Environment:
    """The environment: every value is escaped, and numbers can only be printed with a unit."""
    templates = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_printable,
        bytecode_cache=_compiled(),
        optimized=False,  # the result of a filter on a constant must not stay in a compiled template
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.globals.update(charts=charts, html=html, wording=wording, svg=svg, format=format, zip=zip)
    for writer in WRITERS:
        templates.filters[writer.__name__] = writer
    templates.filters["attr_text"] = lambda text: Markup("{}").format(plain(str(text)))
    templates.filters["words"] = lambda name: str(name).replace("_", " ")
    templates.filters["basis"] = lambda name: table.BASES.get(name, str(name).replace("_", " "))
    templates.filters["is_deferred"] = is_deferred
    templates.filters["short"] = format.shortened
    templates.tests["known"] = format.known
    return templates


def _compiled() -> FileSystemBytecodeCache | None:
    """Cache of compiled templates next to Python's compiled modules; saves half a second per page."""
    folder = HERE / "__pycache__"
    if sys.dont_write_bytecode or not os.access(folder, os.W_OK):
        return None
    made_by = sha256(Path(__file__).read_bytes()).hexdigest()[:8]
    return FileSystemBytecodeCache(str(folder), f"{made_by}-%s.jinja")


def _printable(value: Any) -> Any:
    """What `{{ }}` may print: text (hidden characters shown), integers and formatted figures; anything else is an error."""
    if isinstance(value, Markup | Undefined):
        return value
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, Integral):
        return value
    raise TypeError(f"a template printed {value!r}; write numbers with a figure filter, which knows units and unknowns")


def _fingerprint(text: str) -> str:
    return "sha256-" + base64.b64encode(sha256(text.encode()).digest()).decode()
