"""The case page in a real Chromium: prompts once, arms side by side, word differences, repeats, the frozen inputs."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reports import tables
from reports.page.render import render
from tests.fixtures.browser import Open
from tests.reports.synthetic import FakeArm, make_run

CASE = "AAPL@2025-09-02"


@pytest.fixture(scope="module")
def case_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    arms = {"gpt-5": FakeArm(), "local": FakeArm("llama3.1:8b", "ollama", None)}
    run = make_run(tmp_path_factory.mktemp("run") / "r1", arms=arms, tickers=("AAPL",), repeats=2)
    _freeze(run)
    return Path(render(run)).parent / "cases" / f"{CASE}.html"


def _freeze(run: Path, title: str | None = None) -> None:
    cells = pq.read_table(run / "cells.parquet").to_pylist()
    sha = next(cell["snapshot_sha256"] for cell in cells if cell["case_id"] == CASE)
    prices = {"columns": ["date", "close"], "rows": [[f"2025-08-{day:02}", 100.0 + day] for day in range(1, 30)]}
    told = {
        "format": 1,
        "decision_time": "2025-09-02T20:00:00Z",
        "sources": {"prices": "demo"},
        "absent": {"news": "The demo source has no news.", "social": "The demo source has no social text."},
        "parts": {"prices": prices, "news": {"columns": ["title"], "rows": [[title]] if title else []}},
    }
    (run / "snapshots").mkdir()
    (run / "snapshots" / f"{sha}.json").write_text(json.dumps(told))


def test_every_role_stands_with_its_arms_side_by_side(case_page: Path, open_page: Open) -> None:
    seen = open_page(case_page)
    assert seen.page.locator("section.stage").count() == 12
    panes = seen.page.locator("#s-market_analyst .pane:visible h3").all_inner_texts()
    assert [text.split()[0] for text in panes] == ["gpt-5", "local"]
    assert seen.problems == []


def test_a_shared_prompt_part_stands_once_and_is_linked_afterwards(case_page: Path, open_page: Open) -> None:
    browser = open_page(case_page).page
    ids = browser.evaluate("Array.from(document.querySelectorAll('[id]')).map(e => e.id)")
    assert len(ids) == len(set(ids))
    browser.locator("#s-trader .pane:visible details.own-prompt").first.locator("summary").first.click()
    again = browser.locator("a.again:visible").first
    again.click()
    target = again.get_attribute("href")
    assert browser.locator(f"{target}[open]").count() == 1


def test_what_the_source_lacks_is_said_and_the_frozen_rows_are_shown(case_page: Path, open_page: Open) -> None:
    text = open_page(case_page).page.locator("#snapshot").inner_text()
    assert "The demo source has no news." in text
    assert "The demo source has no social text." in text
    assert "29 rows from demo" in text


def test_word_differences_come_on_demand_and_go_again(case_page: Path, open_page: Open) -> None:
    browser = open_page(case_page).page
    pane = browser.locator("#s-trader .pane:visible", has_text="local").first
    plain = pane.locator(".said").inner_html()
    text = (pane.locator(".said").text_content() or "").strip()
    assert browser.locator("ins, del").count() == 0
    pane.locator("button.diff").click()
    assert pane.locator("ins").count() > 0
    assert pane.locator("del").count() > 0
    kept = pane.locator(".said").evaluate(
        "e => Array.from(e.childNodes).filter(n => n.tagName !== 'DEL').map(n => n.textContent).join('')"
    )
    assert kept == text
    pane.locator("button.diff").click()
    assert pane.locator(".said").inner_html() == plain


def test_arms_are_picked_and_the_choice_follows_to_the_next_case(case_page: Path, open_page: Open) -> None:
    browser = open_page(case_page).page
    panes = browser.locator("#s-trader .pane:visible")
    browser.locator("button.pick", has_text="local").click()
    assert [text.split()[0] for text in panes.locator("h3").all_inner_texts()] == ["gpt-5"]
    assert browser.evaluate("location.hash") == "#arms=0"
    browser.keyboard.press("j")
    browser.wait_for_url("**/AAPL@2025-10-01.html#arms=0")
    assert panes.count() == 1
    browser.locator("button.pick", has_text="gpt-5").click()
    assert panes.count() == 1, "one arm is always shown"


def test_j_and_k_turn_the_pages_but_not_with_a_modifier(case_page: Path, open_page: Open) -> None:
    browser = open_page(case_page).page
    browser.keyboard.press("Control+j")
    browser.keyboard.press("k")
    assert CASE in unquote(browser.url), "the first case has none before it"
    browser.keyboard.press("j")
    browser.wait_for_url("**/AAPL@2025-10-01.html*")
    browser.keyboard.press("k")
    browser.wait_for_url(f"**/{CASE}.html*")


def test_the_decisions_of_an_arm_are_one_row_with_a_letter_per_repeat(case_page: Path, open_page: Open) -> None:
    rows = open_page(case_page).page.locator("#answers tbody tr")
    assert rows.count() == 2
    assert rows.first.locator("i.key").count() == 2


def test_a_chart_of_closes_marks_the_decision(case_page: Path, open_page: Open) -> None:
    browser = open_page(case_page).page
    chart = browser.locator("#answers .plot svg").first
    assert chart.locator("line.decision").count() == 1
    chart.focus()
    browser.keyboard.press("ArrowRight")
    assert "2025" in browser.locator(".tip").inner_text()


def test_one_repeat_is_shown_at_a_time(case_page: Path, open_page: Open) -> None:
    browser = open_page(case_page).page
    panes = browser.locator("#s-trader .pane:visible")
    assert panes.count() == 2
    browser.locator("button.rep", has_text="2").click()
    assert panes.count() == 2
    assert all("repeat 2" in text for text in panes.all_inner_texts())


def test_tokens_cost_and_time_stand_at_each_call(case_page: Path, open_page: Open) -> None:
    metas = open_page(case_page).page.locator("#s-bear-1 .pane:visible .meta").all_inner_texts()
    assert "cached" in metas[0]
    assert "$" in metas[0]
    assert "unknown" in metas[1]


def test_markdown_of_models_is_formatted_and_their_html_and_links_are_not(tmp_path: Path, open_page: Open) -> None:
    text = (
        "# Findings\n\n**Three findings** of 2*3*4\n\n- first <b>bold</b>\n- second [link](http://127.0.0.1:9/)\n\n"
        "| a | b |\n|:--|--:|\n| 1 | 2 |\n"
    )
    run = make_run(tmp_path / "r1", tickers=("AAPL",), text=text)
    seen = open_page(Path(render(run, 1)).parent / "cases" / f"{CASE}.html")
    said = seen.page.locator("#s-trader .said").first
    assert said.locator("strong").inner_text() == "Three findings"
    assert said.locator("li").count() == 2
    assert said.locator("table td").all_inner_texts() == ["1", "2"]
    assert said.locator("a, h1, li b").count() == 0
    assert "2*3*4" in said.inner_text()
    assert "[link](http://127.0.0.1:9/)" in said.inner_text()
    assert seen.problems == []


@pytest.mark.parametrize("width", [1440, 390])
def test_long_unbroken_text_wraps_everywhere(width: int, tmp_path: Path, open_page: Open) -> None:
    run = make_run(
        tmp_path / "r1", arms={"a" * 60: FakeArm(), "b" * 60: FakeArm(failing=0.5)}, tickers=("AAPL",), text="x" * 5000
    )
    cells = pq.read_table(run / "cells.parquet").to_pylist()
    for cell in cells:
        cell["error"] = cell["error"] and "y" * 2000
    pq.write_table(pa.Table.from_pylist(cells, schema=tables.CELLS), run / "cells.parquet")
    _freeze(run, title="z" * 20_000)
    for file in sorted((Path(render(run)).parent / "cases").glob("*.html"))[:2]:
        browser = open_page(file, width=width).page
        browser.evaluate("document.querySelectorAll('details').forEach(box => { box.open = true })")
        assert browser.evaluate("document.documentElement.scrollWidth") <= width
        assert browser.locator("#snapshot .scroll").evaluate_all("boxes => Math.max(...boxes.map(b => b.scrollWidth))") < 2500
