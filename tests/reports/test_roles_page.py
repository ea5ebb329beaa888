"""The section on roles and the replayed pairs of a case page, in a real Chromium."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from reports.load import load
from reports.page.render import render
from tests.fixtures.browser import Open
from tests.reports.replayed import add_judge, add_replay, give_forms
from tests.reports.synthetic import FakeArm, make_run

CASE = "AAPL@2025-09-02"


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`big` replayed to `small`, whose bull invents a figure and whose manager says Sell on one case; judged once."""
    arms = {"big": FakeArm(), "small": FakeArm("tiny", "llamacpp", 0.01)}
    said = "The close of 118.38 fell 3.1 %."
    made = make_run(tmp_path_factory.mktemp("run") / "r1", arms=arms, tickers=("AAPL",), text=said)
    give_forms(made, lambda call: "Buy")
    cells = load(made).cells
    sold = set(cells.loc[cells["case_id"] == CASE, "cell_id"])

    def smaller(call: dict[str, Any]) -> dict[str, Any]:
        form = json.dumps({"rating": "Sell" if call["cell_id"] in sold else "Buy", "confidence": 60, "summary": "as said"})
        text = "The close of 118.38 rose to 777.77 dollars." if call["role"] == "bull" else said
        return {"response": text, "parsed": form if call["role"] == "portfolio_manager" else None, "cost_usd": 0.0001}

    add_replay(made, "big", "small", smaller)
    add_replay(made, "big", "big", lambda call: {})
    add_judge(made, "arbiter", "big > small", lambda call, order: "AB"[order] if call["role"] == "bull" else "tie")
    return Path(render(made))


@pytest.fixture
def case_page(report: Path) -> Path:
    return report.parent / "cases" / f"{CASE}.html"


@pytest.mark.parametrize("width", [1440, 390])
def test_the_section_stands_without_complaint_and_never_wider_than_the_screen(
    report: Path, open_page: Open, width: int
) -> None:
    seen = open_page(report, "#roles", width)
    assert seen.page.locator("#roles h3", has_text="which roles may go?").count() == 1
    assert seen.page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert seen.problems == []


def test_each_role_has_its_evidence_and_a_recommendation_that_can_be_pasted(report: Path, open_page: Open) -> None:
    roles = open_page(report, "#roles").page.locator("#roles")
    rows = roles.locator("table").first.locator("tbody tr")
    assert rows.count() == 12
    bull, manager = rows.filter(has_text="bull"), rows.filter(has_text="portfolio manager")
    assert "Keep" in bull.inner_text()
    assert "Undecided" in manager.inner_text() or "Keep" in manager.inner_text()
    lineup = yaml.safe_load(roles.locator("pre").first.inner_text())["recommended"]
    assert lineup["all"] == "big"
    assert lineup["bear"] == "small"
    assert "bull" not in lineup


def test_judges_stand_with_their_biases_and_their_bill(report: Path, open_page: Open) -> None:
    text = open_page(report, "#roles").page.locator("#roles").inner_text()
    assert "What judges prefer: big or small?" in text
    assert "arbiter" in text
    assert "0 of 96 pairs" in text
    assert "$0.192" in text


def test_replayed_pairs_show_the_input_once_and_both_outputs(case_page: Path, open_page: Open) -> None:
    seen = open_page(case_page, "#again")
    pair = seen.page.locator(".again-pair", has_text="bull").first
    assert [text.split("\n")[0] for text in pair.locator(".pane h3").all_inner_texts()] == ["big", "small"]
    assert "asked again" in seen.page.locator(".again-pair").last.inner_text(), "the noise floor comes last"
    part = pair.locator("a.again").first
    part.click()
    assert seen.page.locator(f"{part.get_attribute('href')}[open]").count() == 1
    assert "arbiter prefers big in both orders" in pair.inner_text()
    assert seen.problems == []


def test_replayed_pairs_show_word_differences_and_name_the_parts_of_their_prompt(case_page: Path, open_page: Open) -> None:
    browser = open_page(case_page, "#again").page
    pair = browser.locator(".again-pair", has_text="bull").first
    pair.locator("button.diff", has_text="differences from big").click()
    assert pair.locator("ins").count() > 0
    titles = pair.locator("a.again").all_inner_texts()
    assert titles[0].startswith("You are the bull")
    assert not any(title.startswith("part ") for title in titles)


def test_a_figure_tells_its_source_to_the_pointer(case_page: Path, open_page: Open) -> None:
    pair = open_page(case_page, "#again").page.locator(".again-pair", has_text="bull").first
    invented = pair.locator("span.bad-fig", has_text="777.77")
    invented.hover()
    assert (invented.get_attribute("title") or "").startswith("unsupported")
    given = pair.locator(".pane").last.locator("span.fig", has_text="118.38").first
    assert "The close of 118.38 fell" in (given.get_attribute("title") or "")


def test_the_filters_leave_the_pairs_that_differ_or_are_ungrounded(case_page: Path, open_page: Open) -> None:
    browser = open_page(case_page, "#again").page
    pairs = browser.locator(".again-pair:visible")
    every = pairs.count()
    assert every == 24
    browser.locator("button.only", has_text="ungrounded").click()
    assert [text.split("\n")[0].split(" ")[0].lower() for text in pairs.all_inner_texts()] == ["bull"]
    browser.locator("button.only", has_text="differs").click()
    browser.locator("button.only", has_text="ungrounded").click()
    heads = [text.split("\n")[0].lower() for text in pairs.all_inner_texts()]
    assert any("portfolio manager" in head for head in heads)
    assert len(heads) < every
    assert browser.locator("#again-count").inner_text() == f"{len(heads)} of 24 shown"
