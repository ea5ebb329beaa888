"""The templates of all pages: what they may print, and the style and script that are inlined with them."""

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
from reports.answer import wording
from reports.format import plain, visible
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
        bytecode_cache=_compiled(),
        optimized=False,  # what a filter makes of a constant must not stay in a compiled template
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals.update(charts=charts, html=html, wording=wording, svg=svg, format=format, zip=zip)
    for writer in WRITERS:
        made.filters[writer.__name__] = writer
    made.filters["attr_text"] = lambda text: Markup("{}").format(plain(str(text)))
    made.filters["words"] = lambda name: str(name).replace("_", " ")
    made.filters["short"] = lambda text: text if len(text) <= 300 else text[:300] + " ..."
    made.tests["known"] = format.known
    return made


def _compiled() -> FileSystemBytecodeCache | None:
    """Compiled templates stand beside Python's own compiled modules, under the same rights: half a second of every page."""
    folder = HERE / "__pycache__"
    if sys.dont_write_bytecode or not os.access(folder, os.W_OK):
        return None
    made_by = sha256(Path(__file__).read_bytes()).hexdigest()[:8]
    return FileSystemBytecodeCache(str(folder), f"{made_by}-%s.jinja")


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
