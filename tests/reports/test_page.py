"""The page in a real Chromium: what it shows, filters, links, print, narrow screens, dark mode, accessibility."""

from __future__ import annotations

import csv
import shutil
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reports import tables
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


def test_the_page_says_that_dates_and_closes_are_those_of_new_york(page: Path) -> None:
    assert "Dates, opens and closes are those of the New York Stock Exchange" in page.read_text()


def test_the_page_names_the_arm_whose_latency_is_waiting_inside_its_server(tmp_path: Path) -> None:
    run = make_tables(tmp_path / "r1", arms=ARMS, tickers=("AAPL",), repeats=1)
    calls = pq.read_table(run / "calls.parquet").to_pylist()
    queueing = [call for call in calls if call["arm"] == "llama3.1-8b"]
    for call in queueing:
        call["server_queue_s"] = call["duration_s"] / 2
    pq.write_table(pa.Table.from_pylist(calls, schema=tables.CALLS), run / "calls.parquet")
    text = Path(render(run)).read_text()
    assert text.count("requests was waiting inside its server") == 1
    assert "of the time of llama3.1-8b's requests" in text


def test_filters_narrow_the_grid_and_live_in_the_address(page: Path, open_page: Open) -> None:
    browser = open_page(page).page
    rows = browser.locator("#grid tbody tr:visible")
    everything = rows.count()
    browser.fill("#f-search", "aapl")
    assert "search=aapl" in browser.evaluate("location.hash")
    assert rows.count() == everything // 2
    browser.select_option("#f-show", "split")
    assert "show=split" in browser.evaluate("location.hash")
    assert 0 < rows.count() < everything // 2
    assert browser.locator("#grid tbody tr:not(.split)").count() == 0
    again = open_page(page, "#" + browser.evaluate("location.hash")[1:]).page
    assert again.locator("#grid tbody tr:visible").count() == rows.count()
    assert again.locator("#f-search").input_value() == "aapl"
    assert again.locator("#f-count").inner_text() == f"{rows.count()} of {everything} cases"


def test_filters_leave_alone_what_other_parts_keep_in_the_address(page: Path, open_page: Open) -> None:
    browser = open_page(page, "#volume=5000").page
    browser.fill("#f-search", "MSFT")
    assert "volume=5000" in browser.evaluate("location.hash")
    browser.fill("#f-search", "")
    assert "volume=5000" in browser.evaluate("location.hash")
    assert "search" not in browser.evaluate("location.hash")


def test_the_filter_of_differences_reads_every_repeat(tmp_path: Path, open_page: Open) -> None:
    steady = {name: FakeArm(rating="Hold") for name in ("gpt-5", "local")}
    run = make_tables(tmp_path / "r1", arms=steady, tickers=("AAPL", "MSFT"), repeats=2)
    cells = pq.read_table(run / "cells.parquet").to_pylist()
    odd = next(cell for cell in cells if cell["repeat"] == 1 and cell["ticker"] == "MSFT")
    odd |= {"rating": "Buy", "action": "BUY", "score": 2}
    pq.write_table(pa.Table.from_pylist(cells, schema=tables.CELLS), run / "cells.parquet")
    browser = open_page(Path(render(run, 0)), "#show=differ").page
    assert browser.locator("#grid tbody tr").count() == 1
    assert browser.locator("#grid tbody tr").inner_text().startswith("MSFT")


def test_an_answer_filter_shows_cases_where_some_arm_ended_so(page: Path, open_page: Open) -> None:
    browser = open_page(page, "#answer=failed").page
    shown = browser.locator("#grid tbody tr:visible")
    assert shown.count() > 0
    assert all(row.locator("i[title$='failed']").count() for row in shown.all())


def test_the_grid_sorts_by_every_head_and_back(page: Path, open_page: Open) -> None:
    browser = open_page(page).page
    dates = browser.locator("#grid tbody td.date")
    browser.locator("#grid th[data-sort=date] button").click()
    assert dates.all_inner_texts() == sorted(dates.all_inner_texts())
    assert browser.locator("#grid th[data-sort=date]").get_attribute("aria-sort") == "ascending"
    browser.locator("#grid th[data-sort=date] button").click()
    assert dates.all_inner_texts() == sorted(dates.all_inner_texts(), reverse=True)
    spreads = browser.locator("#grid tbody td.spread")
    browser.locator("#grid th[data-sort=spread] button").click()
    assert [float(text) for text in spreads.all_inner_texts()] == sorted(map(float, spreads.all_inner_texts()), reverse=True)


def test_choosing_an_arm_hides_the_others_but_the_baseline_here_and_on_the_case_page(page: Path, open_page: Open) -> None:
    browser = open_page(page, "#arm=1").page
    heads = browser.locator("#grid thead th.of-arm:visible").all_inner_texts()
    assert [text.strip() for text in heads] == ["gpt-5", "llama3.1-8b"]
    browser.locator("#grid a.case").first.click()
    browser.wait_for_url("**/cases/*.html#arms=0,1")
    assert [text.split()[0] for text in browser.locator("#s-trader .pane:visible h3").all_inner_texts()] == [
        "gpt-5",
        "llama3.1-8b",
    ]


def test_the_confusion_matrix_is_of_the_chosen_arm(page: Path, open_page: Open) -> None:
    browser = open_page(page).page
    matrix = browser.locator("table.matrix:visible")
    assert "llama3.1-8b" in matrix.locator("thead").inner_text()
    browser.locator("#matrix-picker label", has_text="macd").click()
    assert matrix.count() == 1
    assert "macd" in matrix.locator("thead").inner_text()
    shares = [float(text) for text in matrix.locator("td").all_inner_texts()]
    assert sum(shares) == pytest.approx(100, abs=1.5)


def test_values_of_charts_reach_the_pointer_and_the_keyboard(page: Path, open_page: Open) -> None:
    browser = open_page(page).page
    tip = browser.locator(".tip")
    assert not tip.is_visible()
    browser.locator("svg.lean").first.hover()
    assert "notches" in tip.inner_text()
    assert "cases on" in tip.inner_text()
    chart = browser.locator(".plot.equity > svg")
    chart.focus()
    browser.keyboard.press("ArrowRight")
    first = tip.inner_text()
    browser.keyboard.press("ArrowRight")
    assert "random trades" in first
    assert tip.inner_text() != first
    browser.keyboard.press("Escape")
    assert not tip.is_visible()


def test_the_equity_curves_are_open_and_called_an_illustration(page: Path, open_page: Open) -> None:
    browser = open_page(page).page
    assert browser.locator(".plot.equity").is_visible()
    assert browser.locator(".stamp").inner_text() == "Illustration, not a result: random trades spread as widely"
    assert browser.locator(".plot.equity path.luck").count() == 1


def test_a_case_link_opens_its_page_and_leads_back(page: Path, open_page: Open) -> None:
    seen = open_page(page)
    seen.page.locator("#grid a.case").first.click()
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
    browser.locator("#grid a.case").first.click()
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
    assert browser.locator("table.grid tbody tr:visible").count() == 16
    assert not browser.locator("#filters").is_visible()


def test_every_link_within_the_page_has_a_target(page: Path, open_page: Open) -> None:
    browser = open_page(page).page
    targets = browser.locator('a[href^="#"]').evaluate_all("links => links.map(a => a.getAttribute('href').slice(1))")
    assert [name for name in targets if not browser.locator(f"[id='{name}']").count()] == []


def test_the_keyboard_reaches_and_works_the_filters(page: Path, open_page: Open) -> None:
    browser = open_page(page).page
    browser.locator("#f-search").focus()
    browser.keyboard.type("AAPL")
    assert "search=AAPL" in browser.evaluate("location.hash")
    browser.locator("#grid th[data-sort=ticker] button").focus()
    browser.keyboard.press("Enter")
    assert browser.locator("#grid th[data-sort=ticker]").get_attribute("aria-sort") == "ascending"


def test_a_long_grid_is_drawn_as_far_as_a_reader_asks_and_printed_whole(tmp_path: Path, open_page: Open) -> None:
    dates = sessions("2024-01-02", 70, every=5)
    run = make_tables(tmp_path / "r1", arms={"gpt-5": FakeArm()}, tickers=("AAPL", "MSFT", "JPM"), dates=dates)
    browser = open_page(Path(render(run, 0)), "#search=AAPL").page
    rows = browser.locator("#grid tbody tr")
    assert rows.count() == 25
    assert browser.locator("#f-count").inner_text() == "70 of 210 cases"
    browser.locator("#f-more").click()
    assert rows.count() == 70
    assert not browser.locator("#f-more").is_visible()
    browser.fill("#f-search", "")
    assert rows.count() == 25
    browser.pdf()
    assert rows.count() == 210


def test_paper_shows_every_fold_and_the_screen_closes_them_again(page: Path, open_page: Open) -> None:
    browser = open_page(page).page
    closed = browser.locator("details:not([open])").count()
    assert closed > 0
    browser.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert browser.locator("details:not([open])").count() == 0
    browser.evaluate("dispatchEvent(new Event('afterprint'))")
    assert browser.locator("details:not([open])").count() == closed


def test_seven_arms_and_three_repeats_fit_the_screen_and_take_two_lines_on_a_phone(tmp_path: Path, open_page: Open) -> None:
    arms = {f"some-model-{n}b": FakeArm(noise=0.3 * n) for n in range(1, 8)}
    file = Path(render(make_tables(tmp_path / "r1", arms=arms, tickers=("AAPL",), repeats=3), 0))
    wide = open_page(file).page
    assert wide.locator("#grid").evaluate("table => table.parentElement.scrollWidth <= table.parentElement.clientWidth")
    assert wide.locator("#grid tbody tr").first.locator("i.key").count() == 21
    narrow = open_page(file, width=390).page
    row = narrow.locator("#grid tbody tr").first.bounding_box()
    assert row is not None
    assert row["height"] < 66
    assert narrow.evaluate("document.documentElement.scrollWidth") <= 390


def _downloaded(browser: Any, table: str) -> list[list[str]]:
    with browser.expect_download() as download:
        browser.locator(f"button.csv[aria-label='download CSV: {table}']").click()
    text = Path(download.value.path()).read_text(encoding="utf-8-sig")
    return list(csv.reader(text.splitlines()))


def test_every_table_can_be_downloaded_and_the_grid_as_filtered(page: Path, open_page: Open) -> None:
    seen = open_page(page, "#search=AAPL")
    tables_of_page = seen.page.locator("main .scroll > table").count()
    assert seen.page.locator("button.csv").count() >= tables_of_page > 5
    rows = _downloaded(seen.page, "decisions")
    assert rows[0] == ["ticker", "date", *ARMS, "excess return", "spread"]
    assert {row[0] for row in rows[1:]} == {"AAPL"}
    assert set(" / ".join(row[2] for row in rows[1:]).split(" / ")) <= {"Buy", "Overweight", "Hold", "Underweight", "Sell"}
    assert [url for url in seen.requests if not url.startswith("blob:")] == [page.as_uri()]
    assert seen.problems == []


def test_a_downloaded_table_keeps_values_under_their_heads(page: Path, open_page: Open) -> None:
    rows = _downloaded(open_page(page).page, "Tokens, time and cost by role and arm")
    assert rows[0][:2] == ["role", "gpt-5"]
    assert rows[1][:2] == ["", "tokens in / out"]
    assert {len(row) for row in rows} == {len(rows[0])}


def test_a_downloaded_table_runs_nothing_in_a_spreadsheet(tmp_path: Path, open_page: Open) -> None:
    attack = "=HYPERLINK(1)"
    arms = {"gpt-5": FakeArm(), attack: FakeArm("m", "openai", 0.1)}
    browser = open_page(Path(render(make_tables(tmp_path / "r1", arms=arms, repeats=2), 0))).page
    rows = _downloaded(browser, "ratings-by-arm")
    assert any(row[0] == f"'{attack}" for row in rows)
    assert not any(field.startswith(("=", "@")) for row in rows for field in row)


def test_ratings_differ_in_lightness_in_light_dark_and_print(page: Path, open_page: Open) -> None:
    for scheme, media in (("light", "screen"), ("dark", "screen"), ("dark", "print")):
        browser = open_page(page, scheme=scheme).page
        browser.emulate_media(media=media)
        keys = browser.locator("#decisions .keys .key").evaluate_all(
            "keys => keys.slice(0, 5).map(key => getComputedStyle(key).backgroundColor.match(/\\d+/g).slice(0, 3).map(Number))"
        )
        lights = sorted(_lightness(key) for key in keys)
        assert min(brighter - darker for darker, brighter in pairwise(lights)) > 5, (scheme, media, lights)


def _lightness(rgb: list[int]) -> float:
    """CIE L*, 0 to 100."""
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in (c / 255 for c in rgb)]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return 116 * luminance ** (1 / 3) - 16 if luminance > 0.008856 else 903.3 * luminance
