"""The page of `run --open`: the progress of a run, renewed every second, and its report once that is written."""

from __future__ import annotations

import re
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.web.server import guarded_app

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

REPORT = "report.html"
REPORT_FILE = re.compile(r"report\.html|cases/[A-Za-z0-9._@~-]+\.(html|svg)")
"""The files of a report; nothing else of the run folder is served."""
REPORT_TYPES = {"html": "text/html; charset=utf-8", "svg": "image/svg+xml"}
_MOST_SENTENCES = 40
_HEADERS = {
    "cache-control": "no-store",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}

Read = Callable[[str], bytes | None]
"""Content of a file of the run folder, None if it does not exist."""


class LivePage:
    """What the page shows: written by the thread that runs the experiment, read by the server's thread."""

    def __init__(self, title: str) -> None:
        self._view: Mapping[str, Any] = {"title": title, "state": "Starting.", "sentences": []}
        self._read_report: Read | None = None
        self._asked_at = 0.0
        self.end_was_read = threading.Event()
        self.report_was_read = threading.Event()

    def show(self, **view: Any) -> None:
        """Replace parts of the view: title, state, headings, rows (name -> figures), share, line, later, notes, ended."""
        self._view = {**self._view, **view}

    def say(self, sentence: str) -> None:
        """Add a sentence, as it was printed on the terminal."""
        self.show(sentences=[*self._view["sentences"], sentence][-_MOST_SENTENCES:])

    def has_report(self, read: Read) -> None:
        """The report is written; `read` returns its files."""
        self._read_report = read

    def end(self, state: str) -> None:
        """Nothing changes any more: browsers that show this page go to the report, if there is one."""
        self.show(state=state, ended=True, report=None if self._read_report is None else f"/{REPORT}")

    @property
    def has_viewer(self) -> bool:
        """Whether a browser has asked for the progress within the last seconds."""
        return time.monotonic() - self._asked_at < 5.0

    def app(self) -> Starlette:
        from starlette.routing import Route

        return guarded_app(
            [
                Route("/", self._page),
                Route("/progress.json", self._progress),
                Route("/favicon.ico", _no_icon),
                Route("/{name:path}", self._report_file),
            ]
        )

    async def _page(self, request: Request) -> Response:
        from starlette.responses import HTMLResponse

        nonce = secrets.token_urlsafe(16)
        text = Path(__file__).with_name("live.html").read_text(encoding="utf-8").replace("NONCE", nonce)
        policy = f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; connect-src 'self'; img-src data:"
        policy += "; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        return HTMLResponse(text, headers=_HEADERS | {"content-security-policy": policy})

    async def _progress(self, request: Request) -> Response:
        from starlette.responses import JSONResponse

        self._asked_at, view = time.monotonic(), self._view
        if view.get("ended"):
            self.end_was_read.set()
        return JSONResponse(dict(view), headers=_HEADERS)

    def _report_file(self, request: Request) -> Response:
        from starlette.responses import PlainTextResponse
        from starlette.responses import Response as Whole

        name = request.path_params["name"]
        content = self._read_report(name) if self._read_report and REPORT_FILE.fullmatch(name) else None
        if content is None:
            return PlainTextResponse("not found", status_code=404, headers=_HEADERS)
        if name == REPORT:
            self.report_was_read.set()
        return Whole(content, media_type=REPORT_TYPES[name.rpartition(".")[2]], headers=_HEADERS)


async def _no_icon(request: Request) -> Response:
    """Browsers ask for it when they show the report, and would report an error."""
    from starlette.responses import Response as Whole

    return Whole(status_code=204, headers=_HEADERS)
