"""Model output is hostile: in a real Chromium nothing of it runs, nothing is fetched, and all of it is shown as text."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reports import tables
from reports.format import plain, slug, visible
from reports.page.render import render
from tests.fixtures.browser import Open
from tests.reports.synthetic import FakeArm, make_run, sessions

ATTACK = (
    "<script>document.title='owned';fetch('http://127.0.0.1:9/x')</script>"
    "<img src='http://127.0.0.1:9/i.png' onerror=\"document.title='owned'\"><svg onload=alert(1)>"
    "</pre></section></script><iframe src='data:text/html,<script>alert(2)</script>'></iframe>"
    '<style>body{display:none}</style><a href="javascript:alert(3)">click</a> [link](javascript:alert(4)) '
    "![pic](http://127.0.0.1:9/p.png) {{ 7*7 }} {% raise %} ${7*7} '\"`>"
    "\u202egnp.exe\u2066 zero\u200bwidth \x00\x07\x1b[31mred\x1b[0m \ufeff\U000e0041 مرحبا"
)

OWN_TABLES = "#answers td, .bill td, .heat td"
"""Whose cells have bold text of their own."""
INJECTED = f"iframe, img, object, embed, form, pre script, pre svg, pre style, td:not({OWN_TABLES}) b, td b b, h3 b b"
"""Elements that only a hostile text could have made."""


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    arms = {"gpt-5": FakeArm(), "<b>arm</b>": FakeArm("<i>m</i>", "ollama", None, failing=0.3)}
    run = make_run(tmp_path_factory.mktemp("run") / "r1", arms=arms, tickers=("AAPL", "BRK/B"), text=ATTACK)
    _poison(run)
    return Path(render(run))


def _poison(run: Path) -> None:
    """Put the attack into every text column that a model or a server can fill."""
    for name, columns in {
        "cells": ("rationale", "horizon", "error", "worker"),
        "calls": ("model_returned", "error", "reasoning", "tool_calls", "params", "finish_reason"),
        "messages": ("text",),
    }.items():
        table = pq.read_table(run / f"{name}.parquet")
        for column in columns:
            at = table.schema.get_field_index(column)
            table = table.set_column(at, table.schema.field(at), pa.array([ATTACK] * table.num_rows, pa.string()))
        pq.write_table(table.cast(tables.TABLES[name]), run / f"{name}.parquet")


def test_nothing_runs_and_nothing_is_fetched(hostile: Path, open_page: Open) -> None:
    for file in (hostile, *sorted((hostile.parent / "cases").glob("*.html"))[:3]):
        seen = open_page(file)
        seen.page.evaluate("document.querySelectorAll('details').forEach(box => { box.open = true })")
        seen.page.wait_for_timeout(100)
        assert seen.problems == []
        assert seen.requests == [file.resolve().as_uri()]
        assert "owned" not in seen.page.title()
        assert seen.page.locator(INJECTED).count() == 0
        assert seen.page.locator("a[href^='javascript'], a[href^='data'], a[href^='http']").count() == 0
        assert seen.page.locator("script:not([type='application/json'])").count() == 1


def test_the_attack_is_shown_as_text_with_its_hidden_characters(hostile: Path, open_page: Open) -> None:
    browser = open_page(next((hostile.parent / "cases").glob("AAPL*.html"))).page
    said = browser.locator(".said").first
    text = said.text_content()
    assert text is not None
    assert "<script>document.title='owned'" in text
    assert "{{ 7*7 }}" in text
    marks = said.locator(".hid").all_inner_texts()
    assert {"U+202E", "U+2066", "U+200B", "U+0000", "U+0007", "U+001B", "U+FEFF", "U+E0041"} <= set(marks)
    assert "\u202e" not in text


def test_differences_of_hostile_texts_are_texts_too(hostile: Path, open_page: Open) -> None:
    seen = open_page(next((hostile.parent / "cases").glob("AAPL*.html")))
    seen.page.locator("button.diff").first.click()
    assert seen.problems == []
    assert seen.page.locator(".said script").count() == 0


def test_the_policy_lets_in_only_the_pages_own_script_and_style(hostile: Path, open_page: Open) -> None:
    browser = open_page(hostile).page
    policy = browser.locator("meta[http-equiv='Content-Security-Policy']").get_attribute("content")
    assert policy is not None
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy
    browser.evaluate("""() => {
        const script = document.createElement('script');
        script.textContent = "document.title = 'owned'";
        const image = new Image();
        image.src = 'http://127.0.0.1:9/x.png';
        document.body.append(script, image);
        document.body.insertAdjacentHTML('beforeend', '<p style="color:red" onclick="document.title=1">x</p>');
    }""")
    browser.wait_for_timeout(50)
    assert browser.title() != "owned"


def test_a_text_of_200_kb_is_shown_and_can_be_compared(tmp_path: Path, open_page: Open) -> None:
    run = make_run(tmp_path / "r1", tickers=("AAPL",), dates=sessions("2025-09-02", 1), words=6)
    _lengthen(run, "market_analyst", 200_000)
    page = Path(render(run, 1))
    seen = open_page(next((page.parent / "cases").glob("*.html")), width=390)
    assert seen.page.evaluate("document.documentElement.scrollWidth") <= 390
    seen.page.locator("button.diff").first.click()
    assert seen.page.locator(".said").nth(1).inner_text() != ""
    assert seen.problems == []


def _lengthen(run: Path, role: str, size: int) -> None:
    """Let one role of every arm say so many characters, each arm others."""
    calls = pq.read_table(run / "calls.parquet")
    said = [
        f"{row['arm']} says {row['call_id'][:8]} again. ".ljust(30) * (size // 30) if row["role"] == role else row["response"]
        for row in calls.to_pylist()
    ]
    at = calls.schema.get_field_index("response")
    pq.write_table(calls.set_column(at, calls.schema.field(at), pa.array(said, pa.string())), run / "calls.parquet")


def test_names_become_file_names_that_stay_in_their_folder() -> None:
    assert slug("AAPL@2025-03-03") == "AAPL@2025-03-03"
    assert slug("../../etc/passwd") == "..~2f..~2fetc~2fpasswd"
    assert slug("..") == "~.."
    assert slug("BRK/B@2025-03-03") == "BRK~2fB@2025-03-03"


def test_hidden_characters_become_visible_and_plain_text_stays() -> None:
    assert str(visible("a<b\u202e")) == 'a&lt;b<span class="hid">U+202E</span>'
    assert plain("ok\u200b") == "ok[U+200B]"
    assert str(visible("tab\tline\nمرحبا 你好 🙂")) == "tab\tline\nمرحبا 你好 🙂"
