"""The page in a real Chromium: what it shows, filters, links, print, narrow screens, dark mode, accessibility."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from reports.page.render import render
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


def test_the_page_answers_first_and_complains_about_nothing(page: Path, open_page: Open) -> None:
    seen = open_page(page)
    first_screen = seen.page.locator("#answer").inner_text()
    assert "Is there much of a difference between gpt-5" in first_screen
    assert "per usable decision" in first_screen
    assert "Takeaways" in first_screen
    brief = seen.page.locator(".brief li")
    assert brief.count() == 2
    assert all(box["y"] + box["height"] < 900 for line in brief.all() if (box := line.bounding_box()))
    assert (seen.page.locator("svg.chart").first.bounding_box() or {"y": 900})["y"] < 450
    assert seen.page.locator("svg.chart").count() >= 1
    assert seen.problems == []
    assert [url for url in seen.requests if url != page.as_uri()] == []


def test_an_unknown_cost_is_called_unknown_with_its_reason_and_never_zero(page: Path, open_page: Open) -> None:
    card = open_page(page).page.locator(".arm", has_text="small").inner_text()
    assert "unknown" in card
    assert "a local model has no price until the experiment gives local_cost" in card
    assert "$0" not in card.replace("$0.2", "")


def test_a_card_says_where_its_models_answered(page: Path, open_page: Open) -> None:
    heads = [" ".join(head.split()) for head in open_page(page).page.locator(".arm h3").all_inner_texts()]
    assert heads == ["gpt-5 hosted, baseline", "llama3.1-8b local", "small local"]


def test_filters_narrow_the_grid_and_live_in_the_address(page: Path, open_page: Open) -> None:
    browser = open_page(page).page
    rows = browser.locator("#grid tbody tr:visible")
    everything = rows.count()
    browser.select_option("#f-ticker", "AAPL")
    assert "ticker=AAPL" in browser.url
    assert rows.count() == everything // 2
    browser.click("#f-differs")
    assert "differs=1" in browser.url
    assert browser.locator("#grid tbody tr:visible:not(.dif)").count() == 0
    again = open_page(page, "#" + browser.url.partition("#")[2]).page
    assert again.locator("#grid tbody tr:visible").count() == rows.count()
    assert again.locator("#f-ticker").input_value() == "AAPL"


def test_a_status_filter_shows_cases_where_some_arm_ended_so(page: Path, open_page: Open) -> None:
    browser = open_page(page, "#status=failed").page
    shown = browser.locator("#grid tbody tr:visible")
    assert shown.count() > 0
    assert all("failed" in text for text in shown.all_inner_texts())


def test_choosing_an_arm_hides_the_others_but_the_baseline(page: Path, open_page: Open) -> None:
    browser = open_page(page, "#arm=1").page
    heads = browser.locator("#grid thead th:visible").all_inner_texts()
    assert [text.strip() for text in heads if text.strip() in ARMS] == ["gpt-5", "llama3.1-8b"]


def test_a_case_link_opens_its_page_and_leads_back(page: Path, open_page: Open) -> None:
    seen = open_page(page)
    seen.page.locator("a.case").first.click()
    seen.page.wait_for_url("**/cases/*.html")
    assert seen.page.locator("h1").inner_text().startswith("AAPL")
    seen.page.locator("nav a").first.click()
    seen.page.wait_for_url("**/report.html*")
    assert seen.problems == []


def test_alone_as_an_attachment_the_links_say_that_the_case_pages_are_missing(
    page: Path, open_page: Open, tmp_path: Path
) -> None:
    alone = shutil.copy(page, tmp_path / "attachment.html")
    browser = open_page(Path(alone)).page
    browser.locator("a.case").first.click()
    note = browser.locator("#cases-note.banner")
    note.wait_for()
    assert "case pages are missing" in note.inner_text()
    assert browser.url.startswith(Path(alone).as_uri())
    assert browser.locator("a.case.gone").count() > 0


def test_nothing_sticks_out_of_the_window(page: Path, open_page: Open) -> None:
    for file in (page, next((page.parent / "cases").glob("*.html"))):
        browser = open_page(file).page
        for width in (1440, 1024, 768, 390):
            browser.set_viewport_size({"width": width, "height": 900})
            assert browser.evaluate("document.documentElement.scrollWidth") <= width


def test_on_a_phone_every_verdict_is_seen_without_scrolling_sideways(page: Path, open_page: Open) -> None:
    pills = open_page(page, width=390).page.locator("#differences .forests .pill").all()
    assert pills
    assert all(box["x"] + box["width"] <= 390 for pill in pills if (box := pill.bounding_box()))


def test_on_a_phone_a_wide_table_keeps_its_first_column_in_sight(page: Path, open_page: Open) -> None:
    browser = open_page(page, width=390).page
    table = browser.get_by_role("region", name="Tokens, time and cost by role and arm")
    table.evaluate("box => { box.scrollLeft = 10000 }")
    first = table.locator("tbody th").first.bounding_box()
    arms = [box["x"] for head in table.locator("thead th[colspan] .arm-name").all() if (box := head.bounding_box())]
    assert table.evaluate("box => box.scrollLeft") > 100
    assert first is not None
    assert 0 <= first["x"] < 30
    assert max(arms) < 390


def test_dark_mode_follows_the_reader(page: Path, open_page: Open) -> None:
    paper = "getComputedStyle(document.body).backgroundColor"
    assert open_page(page).page.evaluate(paper) == "rgb(255, 255, 255)"
    assert open_page(page, scheme="dark").page.evaluate(paper) != "rgb(255, 255, 255)"


@pytest.mark.parametrize(("width", "scheme"), [(1440, "light"), (390, "dark")])
def test_axe_finds_no_serious_violation(page: Path, open_page: Open, width: int, scheme: str) -> None:
    from axe_playwright_python.sync_playwright import Axe

    for file in (page, next((page.parent / "cases").glob("*.html"))):
        # Running axe needs scripts of the test itself, which the page's own policy forbids.
        seen = open_page(file, width=width, scheme=scheme, bypass_csp=True).page
        found = Axe().run(seen, options={"resultTypes": ["violations"]}).response["violations"]
        serious = [
            (v["id"], [n["html"][:120] for n in v["nodes"][:3]]) for v in found if v["impact"] in ("serious", "critical")
        ]
        assert serious == []


def test_print_leaves_out_what_only_a_screen_can_use(page: Path, open_page: Open) -> None:
    browser = open_page(page, scheme="dark").page
    browser.emulate_media(media="print")
    assert not browser.locator("nav.top").is_visible()
    assert not browser.locator("#filters").is_visible()
    assert browser.evaluate("getComputedStyle(document.body).backgroundColor") in ("rgb(255, 255, 255)", "rgba(0, 0, 0, 0)")
    assert len(browser.pdf()) > 20_000


def test_without_scripts_the_whole_page_is_there(page: Path, open_page: Open) -> None:
    browser = open_page(page, java_script_enabled=False).page
    assert browser.locator("#grid tbody tr:visible").count() == 16
    assert not browser.locator("#filters").is_visible()


def test_every_link_within_the_page_has_a_target(page: Path, open_page: Open) -> None:
    browser = open_page(page).page
    targets = browser.locator('a[href^="#"]').evaluate_all("links => links.map(a => a.getAttribute('href').slice(1))")
    assert [name for name in targets if not browser.locator(f"[id='{name}']").count()] == []


def test_the_keyboard_reaches_and_works_the_filters(page: Path, open_page: Open) -> None:
    browser = open_page(page).page
    browser.locator("#f-differs").focus()
    browser.keyboard.press("Enter")
    assert browser.locator("#f-differs").get_attribute("aria-pressed") == "true"
    assert "differs=1" in browser.url


def test_a_long_grid_is_laid_out_late_and_still_filtered_and_printed_whole(tmp_path: Path, open_page: Open) -> None:
    dates = sessions("2024-01-02", 70, every=5)
    run = make_tables(tmp_path / "r1", arms={"gpt-5": FakeArm()}, tickers=("AAPL", "MSFT", "JPM"), dates=dates)
    browser = open_page(Path(render(run, 0)), "#ticker=AAPL").page
    wrapper = "getComputedStyle(document.getElementById('grid').parentElement).contentVisibility"
    assert browser.evaluate(wrapper) == "auto"
    assert browser.locator("#grid tbody tr:visible").count() == 70
    browser.emulate_media(media="print")
    assert browser.evaluate(wrapper) == "visible"
