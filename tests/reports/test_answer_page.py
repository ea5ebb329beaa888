"""The first half of the page in a real Chromium: the table of the answer, the bill, what to do, warnings, words."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from reports.load import load
from reports.money import bill
from reports.page.page import Page
from reports.page.render import page_html, render
from tests.fixtures.browser import Open
from tests.reports.synthetic import FakeArm, make_run, make_tables, sessions

ARMS = {
    "gpt-5": FakeArm(),
    "llama3.1-8b": FakeArm("llama3.1:8b", "ollama", 0.02, 200.0, unparsed=0.2, noise=0.9),
    "small": FakeArm("tiny", "llamacpp", None, 30.0, failing=0.3),
    "macd": FakeArm(rule="macd", cost_usd=0.0),
}


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = make_run(tmp_path_factory.mktemp("run") / "r1", arms=ARMS, tickers=("AAPL", "MSFT"), repeats=2, words=12)
    return Path(render(run))


def dollars(text: str) -> float:
    return float(text.replace("$", "").replace(",", ""))


def arms_in_order(browser: Any) -> list[str]:
    return [text.strip() for text in browser.locator("#answers .arm-name").all_inner_texts()]


def test_the_page_answers_first_and_complains_about_nothing(page: Path, open_page: Open) -> None:
    seen = open_page(page)
    answer = seen.page.locator("#answer")
    assert "Is there much of a difference between gpt-5" in answer.inner_text()
    assert answer.locator("h1 .nb").first.inner_text() == "gpt-5,", "no line of the heading starts with a comma"
    for part in ("#says-decisions", "#says-returns", "#answers"):
        box = answer.locator(part).bounding_box()
        assert box is not None
        assert box["y"] < 450
    assert seen.page.locator("#answers tbody tr").count() == len(ARMS)
    assert seen.problems == []
    assert [url for url in seen.requests if url != page.as_uri()] == []


def test_an_unknown_cost_is_called_unknown_with_its_reason_and_never_zero(page: Path, open_page: Open) -> None:
    row = open_page(page).page.locator("#answers tbody tr", has_text="small")
    assert row.locator("td.c-cost").inner_text().startswith("unknown")
    assert "a local model has no price until the experiment gives local_cost" in row.locator("td.c-cost").inner_html()
    assert row.locator("td.c-saved").inner_text().startswith("unknown")


def test_the_table_sorts_by_a_click_and_leaves_the_unknown_last(page: Path, open_page: Open) -> None:
    browser = open_page(page).page
    head = browser.locator("#answers thead th", has_text="Cost per 1,000")
    head.locator("button").click()
    assert head.get_attribute("aria-sort") == "ascending"
    assert arms_in_order(browser) == ["macd", "llama3.1-8b", "gpt-5", "small"]
    head.locator("button").click()
    assert head.get_attribute("aria-sort") == "descending"
    assert arms_in_order(browser) == ["gpt-5", "llama3.1-8b", "macd", "small"]


def test_on_a_phone_each_arm_takes_three_lines_and_a_select_sorts(page: Path, open_page: Open) -> None:
    browser = open_page(page, width=390).page
    assert browser.evaluate("document.documentElement.scrollWidth") <= 390
    heights = [box["height"] for row in browser.locator("#answers tbody tr").all() if (box := row.bounding_box())]
    assert len(heights) == len(ARMS)
    assert max(heights) < 200
    browser.select_option("select.sort-by", label="per 1,000")
    assert arms_in_order(browser)[0] == "macd"


def test_a_volume_is_typed_and_kept_in_the_address(page: Path, open_page: Open) -> None:
    seen = open_page(page, "#decisions")
    row = seen.page.locator("#bill-rows tbody tr", has_text="llama3.1-8b")
    thousand = row.locator(".sum").inner_text()
    assert thousand == seen.page.locator("#answers tr", has_text="llama3.1-8b").locator("td.c-cost b").inner_text()
    seen.page.fill("#volume", "10000")
    assert "decisions=10000" in seen.page.url
    ten_thousand = row.locator(".sum").inner_text()
    assert dollars(ten_thousand) == pytest.approx(10 * dollars(thousand), rel=0.01)
    again = open_page(page, seen.page.url.removeprefix(page.resolve().as_uri()))
    assert again.page.locator("#volume").input_value() == "10000"
    assert again.page.locator("#bill-rows tbody tr", has_text="llama3.1-8b").locator(".sum").inner_text() == ten_thousand
    assert seen.problems == again.problems == []


def test_the_bill_starts_with_what_a_reconciled_export_pays_for_the_baseline(tmp_path: Path) -> None:
    run = make_tables(tmp_path / "r1", arms=ARMS)
    (run / bill.USAGE).write_text('{"baseline": "gpt-5", "usd_a_month": 500.0, "days": 30}')
    view = Page(load(run)).bill
    assert view is not None
    usd_per_decision = next(one.hosted_usd for one in view.bills if one.arm == "gpt-5")
    assert view.volume == round(500 / usd_per_decision) != bill.DECISIONS
    html = page_html(Page(load(run)))
    assert f'id="volume" type="number" min="1" max="100000000" step="1" value="{view.volume}"' in html
    assert "is what your usage export pays for the models of gpt-5" in html


def test_an_edited_price_changes_the_bill(page: Path, open_page: Open) -> None:
    seen = open_page(page)
    row = seen.page.locator("#bill-rows tbody tr", has_text="gpt-5")
    before = dollars(row.locator(".sum").inner_text())
    seen.page.locator("#controls summary").click()
    seen.page.locator("input[data-price='m:gpt-5']").fill("50")
    assert dollars(row.locator(".sum").inner_text()) == pytest.approx(before / 2, rel=0.01)
    assert "at the prices that you typed" in seen.page.locator("#bill-says").inner_text()
    assert seen.problems == []


def test_a_bought_machine_pays_off_once_its_prices_are_typed(page: Path, open_page: Open) -> None:
    browser = open_page(page).page
    row = browser.locator("#bill-rows tbody tr", has_text="llama3.1-8b")
    assert "needs its purchase" in row.locator(".pay").inner_text()
    browser.locator("#controls summary").click()
    for key, value in (("purchase", "2400"), ("months", "48"), ("watts", "360"), ("kwh", "0.25")):
        browser.locator(f"input[data-price='{key}:gpu-box']").fill(value)
    browser.locator("input[name=machine][value=bought]").check(force=True)
    # $2400 over 48 months is $50 a month, saved at about $0.24 a decision.
    pays_from = re.match(r"([\d,]+) against gpt-5", row.locator(".pay").inner_text())
    assert pays_from is not None
    assert 200 < int(pays_from[1].replace(",", "")) < 230
    assert 50 < dollars(row.locator(".sum").inner_text()) < 60


def test_a_dollar_is_split_by_roles_and_by_what_was_lost(page: Path, open_page: Open) -> None:
    bars = open_page(page).page.locator("svg.stack")
    assert bars.count() == 2
    assert "failed or unusable" in (bars.last.get_attribute("aria-label") or "")
    widths = bars.first.locator("rect").evaluate_all("parts => parts.map(part => Number(part.getAttribute('width')))")
    assert sum(widths) == pytest.approx(1000, abs=1)


def test_the_cases_that_differ_most_open_with_both_outputs(page: Path, open_page: Open) -> None:
    seen = open_page(page)
    links = seen.page.locator("#answer a.case")
    assert 1 <= links.count() <= 3
    links.first.click()
    seen.page.wait_for_url("**/cases/*.html*")
    assert seen.page.locator(".panes").first.locator(".pane").count() >= 2
    assert seen.problems == []


def test_at_most_five_warnings_are_folded_with_their_fix(page: Path, open_page: Open) -> None:
    warnings = open_page(page).page.locator("#warnings li")
    assert 1 <= warnings.count() <= 5
    assert not warnings.first.locator("p").is_visible()
    warnings.first.locator("summary").click()
    assert warnings.first.locator("p").is_visible()


SEVEN = {
    "gpt-6.1-sol": FakeArm("gpt-6.1-sol"),
    "hybrid": FakeArm("gpt-6.1-sol", cost_usd=0.05, noise=0.55),
    "gpt-6-luna": FakeArm("gpt-6-luna", cost_usd=0.01, noise=0.6),
    "gpt-oss-20b": FakeArm("gpt-oss:20b", "ollama", 0.004, noise=0.8),
    "qwen3-8b": FakeArm("qwen3:8b", "ollama", 0.003, noise=1.0, lean=0.5),
    "single_call": FakeArm("gpt-6.1-sol", cost_usd=0.03, noise=0.9),
    "macd": FakeArm(rule="macd", cost_usd=0.0),
}


@pytest.fixture(scope="module")
def seven(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("seven") / "r1"
    return Path(render(make_tables(folder, arms=SEVEN, dates=sessions("2025-09-02", 12), repeats=3), 0))


def test_with_seven_arms_the_answer_has_under_350_words_beside_the_table(seven: Path, open_page: Open) -> None:
    browser = open_page(seven).page
    browser.evaluate("for (const e of document.querySelectorAll('#answer table, #answer select')) e.remove()")
    assert len(browser.locator("#answer").inner_text().split()) < 350


def test_seven_arms_fit_the_screen_without_scrolling_sideways(seven: Path, open_page: Open) -> None:
    browser = open_page(seven).page
    for width in (1440, 1280, 1024, 768, 390):
        browser.set_viewport_size({"width": width, "height": 900})
        assert browser.evaluate("document.documentElement.scrollWidth") <= width, width


OLD_WORDS = (
    "do not tell yet",
    "cannot tell",
    "decides usably",
    "are served within",
    "slowest 5 in 100",
    "gives its own rating again",
    "From +2 (Buy) to",
    "detectable from",
    "joins the arms that no other arm beats",
    "Beside them, without a model",
    "What would change this",
    "to be settled",
    "its own figure",
    "Money that bought nothing",
    "Caches that happen to be warm",
    "Hardware of one's own",
    "From how many decisions a month does local win",
    "uses the ratings as often",
    "a coin with the arm's habits",
    "asked again of",
    "mend:",
)
"""Phrases that readers stumbled over."""


def test_no_page_uses_a_phrase_that_readers_stumbled_over(page: Path, seven: Path) -> None:
    for file in (page, seven, next((page.parent / "cases").glob("*.html"))):
        text = file.read_text(encoding="utf-8")
        assert [phrase for phrase in OLD_WORDS if phrase.lower() in text.lower()] == [], file.name


def test_no_source_of_a_page_uses_such_a_phrase() -> None:
    folder = Path(__file__).parents[2] / "reports"
    sources = {file: file.read_text(encoding="utf-8") for file in [*folder.rglob("*.py"), *folder.rglob("*.html")]}
    assert [(phrase, file.name) for phrase in OLD_WORDS for file, text in sources.items() if phrase in text] == []


def test_private_words_are_explained_where_they_are_first_used(page: Path, open_page: Open) -> None:
    words = open_page(page).page.locator("#answer .words").inner_text()
    for term in ("Arm:", "Noise floor:", "Same rating:", "Opposite trade:", "Usable:", "Invented figures:", "Good enough:"):
        assert term in words
