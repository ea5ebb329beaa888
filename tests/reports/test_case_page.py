"""The case page in a real Chromium: prompts once, arms side by side, word differences, repeats, the frozen inputs."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

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


def _freeze(run: Path) -> None:
    cells = pq.read_table(run / "cells.parquet").to_pylist()
    sha = next(cell["snapshot_sha256"] for cell in cells if cell["case_id"] == CASE)
    prices = {"columns": ["date", "close"], "rows": [[f"2025-08-{day:02}", 100.0 + day] for day in range(1, 30)]}
    told = {
        "format": 1,
        "decision_time": "2025-09-02T20:00:00Z",
        "sources": {"prices": "demo"},
        "absent": {"news": "The demo source has no news.", "social": "The demo source has no social text."},
        "parts": {"prices": prices, "news": {"columns": ["title"], "rows": []}},
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
    plain = pane.locator("pre.said").inner_text()
    assert browser.locator("ins, del").count() == 0
    pane.locator("button.diff").click()
    assert pane.locator("ins").count() > 0
    assert pane.locator("del").count() > 0
    kept = pane.locator("pre.said").evaluate(
        "e => Array.from(e.childNodes).filter(n => n.tagName !== 'DEL').map(n => n.textContent).join('')"
    )
    assert kept == plain
    pane.locator("button.diff").click()
    assert pane.locator("pre.said").inner_text() == plain


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
