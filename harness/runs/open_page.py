"""`run --open`: the run's page in a browser, from the first step until the report has been read."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from harness.web.live import LivePage
from harness.web.server import serving

if TYPE_CHECKING:
    from rich.console import Console

_READ_S = 10.0
"""Without a terminal the user cannot end the page: an open browser gets this long to load the report."""
_CASES_S = 1.0
_LAST_LOOK_S = 5.0
"""After an error: an open browser asks again every second."""


@contextlib.contextmanager
def opened(title: str, console: Console) -> Iterator[LivePage]:
    """Serve the page while the block runs, and open a browser if this machine has a screen."""
    page = LivePage(title)
    with serving(page.app()) as url:
        _say(console, f"progress: {url}/")
        if _has_screen():
            import webbrowser

            webbrowser.open(url)
        try:
            yield page
        except BaseException as error:
            _show_failure(page, error)
            raise
        page.end("The run has ended; the messages below say how.")
        with contextlib.suppress(KeyboardInterrupt):
            _wait_for_viewers(page, url, console)


def _show_failure(page: LivePage, error: BaseException) -> None:
    """Show on the page why the command ends, and let an open browser read it."""
    for line in str(error).splitlines():
        page.say(line)
    page.end("The command was interrupted." if isinstance(error, KeyboardInterrupt) else "The command has ended with an error.")
    if page.has_viewer:
        page.end_was_read.wait(_LAST_LOOK_S)


def _has_screen() -> bool:
    """Whether a browser would open a window; on other machines Python would start one in the terminal."""
    named = any(os.environ.get(name) for name in ("BROWSER", "DISPLAY", "WAYLAND_DISPLAY"))
    return named or sys.platform in ("darwin", "win32")


def _wait_for_viewers(page: LivePage, url: str, console: Console) -> None:
    """On a terminal: serve until Ctrl-C. Elsewhere: until an open browser has loaded the report."""
    if sys.stdin.isatty() and console.is_terminal:
        # A shell starts background commands with SIGINT ignored, and they inherit that.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        _say(console, f"the report is at {url}/report.html until you press Ctrl-C")
        while True:
            time.sleep(3600)
    if page.has_viewer and page.report_was_read.wait(_READ_S):
        time.sleep(_CASES_S)


def _say(console: Console, sentence: str) -> None:
    console.print(sentence, markup=False, highlight=False, soft_wrap=True)
