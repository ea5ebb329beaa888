"""`run --open`: a page that renews itself while the run goes on, and ends as the report."""

from __future__ import annotations

import contextlib
import io
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from typing import IO

import pytest
from rich.console import Console

from harness.errors import InvalidInput, Problem
from harness.runs.open_page import opened
from harness.web.live import LivePage
from harness.web.server import serving
from tests.fixtures.browser import Open
from tests.fixtures.runs import HOSTED, PATIENCE_S, Lab, wait_for


def first_address(output: IO[str]) -> str:
    """The address that a run prints first."""
    while line := output.readline():
        if match := re.search(r"http://127\.0\.0\.1:\d+/", line):
            return match[0]
    raise AssertionError("no address was printed")


def ask(url: str, host: str | None = None) -> tuple[int, str]:
    request = urllib.request.Request(url, headers={"host": host} if host else {})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, ""


@pytest.fixture
def slow_lab(lab: Lab) -> Lab:
    """Four cells, of which two take some seconds, without a browser of the machine's user."""
    lab.environment = {"BROWSER": "true"}
    lab.experiment(dates=2)
    lab.fake.control(rules=[{"model": HOSTED, "do": {"latency_s": 0.6}}])
    return lab


def test_the_page_of_a_run_renews_itself_and_ends_as_the_report(slow_lab: Lab, open_page: Open) -> None:
    run = slow_lab.start("run", "lab.yaml", "--open")
    assert run.stdout is not None
    address = first_address(run.stdout)

    seen = open_page(address)
    seen.page.wait_for_function("() => document.querySelector('#bar')?.value === 0.5", timeout=1000 * PATIENCE_S)
    assert seen.page.locator("#arms tbody tr").count() == 2
    seen.page.wait_for_url(f"{address}report.html", timeout=1000 * PATIENCE_S)

    assert "how different are the arms?" in seen.page.title()
    assert seen.problems == []
    assert {request.split("/")[2] for request in seen.requests} == {address.split("/")[2]}
    assert run.wait(30) == 0


def test_on_a_terminal_the_report_stays_until_ctrl_c(slow_lab: Lab) -> None:
    slow_lab.fake.control(rules=[])
    mine, theirs = pty.openpty()
    command = [sys.executable, "-m", "harness", "run", "lab.yaml", "--open", "--yes"]
    environment = os.environ | slow_lab.environment | {"FAKE_KEY": "sk-fake", "PYTHONPATH": os.getcwd(), "COLUMNS": "200"}
    run = subprocess.Popen(command, cwd=slow_lab.folder, env=environment, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    printed = ""

    def has_ended() -> bool:
        nonlocal printed
        printed += os.read(mine, 65536).decode(errors="replace")
        return "until you press Ctrl-C" in printed

    wait_for(has_ended, "the end of the run")
    (report,) = set(re.findall(r"(http://127\.0\.0\.1:\d+/report\.html) until", printed))
    assert ask(report)[0] == 200
    assert run.poll() is None

    run.send_signal(signal.SIGINT)
    assert run.wait(30) == 0
    os.close(mine)


def test_the_page_answers_no_other_name_and_serves_nothing_but_the_report() -> None:
    page = LivePage("lab")
    page.has_report({"report.html": b"the report", "manifest.json": b"secret", "cases/A@1.html": b"a case"}.get)

    with serving(page.app()) as url:
        assert ask(f"{url}/progress.json")[0] == 200
        assert ask(f"{url}/report.html") == (200, "the report")
        assert ask(f"{url}/cases/A@1.html") == (200, "a case")
        assert ask(f"{url}/report.html", host="rebound.example")[0] == 400
        for name in ("manifest.json", "cases/../manifest.json", "cases/..%2Fmanifest.json", "%2Fetc%2Fpasswd", "calls.parquet"):
            assert ask(f"{url}/{name}")[0] == 404
        assert is_loopback_only(url)


def is_loopback_only(url: str) -> bool:
    """Whether the port is free on the machine's other addresses."""
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.2", int(url.rpartition(":")[2])))
    return True


def test_hostile_names_and_notes_stay_text(open_page: Open) -> None:
    hostile = "<img src=x onerror=alert(1)><script>alert(2)</script>"
    page = LivePage(hostile)
    page.show(headings=["ended"], rows={hostile: ["1/2"]}, line=hostile, notes=[hostile])
    page.say(hostile)

    with serving(page.app()) as url:
        seen = open_page(f"{url}/", width=390)
        seen.page.wait_for_selector("#arms tbody tr")
        assert seen.page.locator("img").count() == 0
        assert seen.page.locator("#arms tbody th").inner_text() == hostile
        assert not seen.problems
        assert seen.page.evaluate("document.documentElement.scrollWidth") <= 390


def page_in_progress() -> LivePage:
    """A page of two arms, one of them in a deferred lane."""
    page = LivePage("lab/20260105-080000-abcd")
    rows = {"gpt-5": ["12/84", "12", "0", "$0.4210", "3m 20s"], "a-name-of-" + 50 * "x": ["0/84", "0", "1", "$0.0000", "?"]}
    page.show(
        state="Running: 12 of 168 cells have ended, about 3m 20s left.",
        headings=["ended", "usable", "failed", "paid", "left"],
        rows=rows,
        line="12 of 168 cells | 4 running | 144 calls",
        share=12 / 168,
        later=["portfolio manager: 84 of 84 submitted, 14 back (gpt-5, lane batch: in progress)"],
        notes=["gpt-5 AAPL@2025-09-02: failed (timeout): no answer within 600 s"],
    )
    page.say("freezing 84 cases")
    return page


@pytest.mark.parametrize(("width", "scheme"), [(1440, "light"), (1440, "dark"), (390, "light"), (390, "dark")])
def test_axe_finds_no_violation_on_the_page_of_a_run_in_progress(open_page: Open, width: int, scheme: str) -> None:
    from axe_playwright_python.sync_playwright import Axe

    with serving(page_in_progress().app()) as url:
        # Running axe needs scripts of the test itself, which the page's own policy forbids.
        seen = open_page(f"{url}/", width=width, scheme=scheme, bypass_csp=True)
        seen.page.wait_for_selector("#arms tbody tr")
        found = Axe().run(seen.page).response["violations"]
        assert [(one["id"], one["nodes"][0]["html"]) for one in found] == []
        assert seen.page.evaluate("document.documentElement.scrollWidth") <= width
        assert "14 back" in seen.page.locator("#later").inner_text()
        assert seen.problems == []


def test_a_command_that_fails_says_why_on_its_page(open_page: Open) -> None:
    output = io.StringIO()
    problem = Problem("budget", "42 cells ask hosted models, without a budget", "pass --budget N")
    with contextlib.suppress(InvalidInput), opened("lab", Console(file=output)):
        (address,) = re.findall(r"http://\S+", output.getvalue())
        seen = open_page(address)
        seen.page.wait_for_function("() => document.title === 'lab'")
        raise InvalidInput([problem])

    seen.page.wait_for_function("() => document.querySelector('#state').textContent.includes('ended with an error')")
    assert "without a budget" in seen.page.locator("#sentences").inner_text()
    assert seen.problems == [], "the page asks a server that is gone"


def test_a_command_that_is_killed_leaves_its_last_figures_and_what_to_do(open_page: Open) -> None:
    with serving(page_in_progress().app()) as url:
        seen = open_page(f"{url}/")
        seen.page.wait_for_selector("#arms tbody tr")

    seen.page.wait_for_function("() => document.querySelector('#state').textContent.includes('does not answer any more')")
    assert "the same command continues the run" in seen.page.locator("#state").inner_text()
    assert seen.page.locator("#arms tbody tr").count() == 2
