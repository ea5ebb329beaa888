"""Templates, style and script of the service's pages; their look is the report's."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from fastapi.responses import HTMLResponse, Response
from jinja2 import Environment, FileSystemLoader, StrictUndefined

import reports
from reports import format

_HERE = Path(__file__).parent
_LOOK = Path(reports.__file__).parent / "page" / "assets"
_SHEETS = (_LOOK / "base.css", _LOOK / "ratings.css", _HERE / "page.css")
_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "content-security-policy": _POLICY,
    "referrer-policy": "same-origin",  # without any, browsers would not say where a form is from
}
_KEPT = {"cache-control": "public, max-age=31536000, immutable"}
_WRITERS: tuple[Callable[..., Any], ...] = (
    format.usd,
    format.seconds,
    format.percent,
    format.count,
    format.integer,
    format.price,
    format.visible,
)


@cache
def style() -> str:
    return "\n".join(path.read_text(encoding="utf-8") for path in _SHEETS)


@cache
def script() -> str:
    return (_HERE / "page.js").read_text(encoding="utf-8")


def asset(name: str) -> Response | None:
    """A file of the pages, by the name that `addresses` gives it; None: there is no such file."""
    files = {address.rpartition("/")[2]: kind for kind, address in addresses().items()}
    kind = files.get(name)
    if kind is None:
        return None
    text, media_type = (style(), "text/css") if kind == "style" else (script(), "text/javascript")
    return Response(text, headers=_KEPT, media_type=media_type)


@cache
def addresses() -> dict[str, str]:
    """Addresses of style and script; they change with the content, so that browsers may keep them."""
    mark = {kind: sha256(text.encode()).hexdigest()[:12] for kind, text in (("style", style()), ("script", script()))}
    return {"style": f"/static/{mark['style']}.css", "script": f"/static/{mark['script']}.js"}


@cache
def _environment() -> Environment:
    templates = Environment(
        loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    for writer in _WRITERS:
        templates.filters[writer.__name__] = writer
    templates.filters["moment"] = _moment
    templates.filters["iso_moment"] = lambda text: _moment(dt.datetime.fromisoformat(text).timestamp())
    templates.filters["clock"] = _clock
    templates.filters["words"] = lambda name: str(name).replace("_", " ")
    return templates


def page(name: str, status: int = 200, **values: Any) -> HTMLResponse:
    """A page, or a part of one."""
    text = _environment().get_template(f"{name}.html").render(assets=addresses(), **values)
    return HTMLResponse(text, status, _HEADERS)


def _moment(unix: float | None) -> str:
    """Date and time in UTC."""
    return "" if unix is None else f"{dt.datetime.fromtimestamp(unix, dt.UTC):%Y-%m-%d %H:%M} UTC"


def _clock(unix: float | None) -> str:
    """The time in UTC, with the date if that is not today."""
    if unix is None:
        return ""
    at = dt.datetime.fromtimestamp(unix, dt.UTC)
    is_today = at.date() == dt.datetime.now(dt.UTC).date()
    return f"{at:%H:%M:%S}" if is_today else f"{at:%Y-%m-%d %H:%M}"
