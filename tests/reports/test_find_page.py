"""The page of a search: its funnel, its intervals look by look, and verdicts that count the looks."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from reports import finding
from reports.answer import table
from reports.exports import to_csv
from reports.exports.decision import to_decision
from reports.exports.tabular import to_json
from reports.finding import Finding, SearchDesign
from reports.load import load
from reports.page import finding_wording, render
from reports.page.page import Page
from reports.roles.screening import Screened
from reports.stats import sequential
from reports.verdict import MARGINS, not_worse_test
from tests.fixtures.browser import Open
from tests.reports.synthetic import FakeArm, make_run, sessions

GATE = not_worse_test(dict.fromkeys(MARGINS, 0.4))
TICKERS = ("AAPL", "MSFT", "JPM")


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run in which one candidate is recommended, one is dropped at a look, and one never passed the screen."""
    days = sessions("2025-01-06", 12)
    arms = {
        "big": FakeArm(noise=0.2),
        "twin": FakeArm("small", "ollama", 0.02, noise=0.2),
        "far": FakeArm("odd", "ollama", 0.01, noise=4.0, unparsed=0.6),
        "hopeless": FakeArm("none", "ollama", 0.01, skip=tuple(f"{ticker}@{day}" for day in days for ticker in TICKERS)),
    }
    folder = make_run(
        tmp_path_factory.mktemp("search") / "r1", arms=arms, tickers=TICKERS, dates=days, repeats=3, text="It rose 12.5 %.",
        compare={"baseline": "big"},
    )  # fmt: skip
    order = sequential.shuffled(day.isoformat() for day in days)
    design = SearchDesign("big", ("twin", "far", "hopeless"), GATE, (), tuple(sequential.blocks(order, 2)), TICKERS, 3, 3)
    screened = {
        "twin": Screened(8, 96, 0.74, 0.75, 1.0, ()),
        "far": None,
        "hopeless": Screened(8, 96, 0.3, 0.75, 0.98, ()),
    }
    found = Finding(design, screened)
    while not found.is_over:
        found = finding.look_at(load(folder), found)
    (folder / finding.FILE).write_text(found.to_json())
    (folder / finding.RECOMMENDED).write_text("name: searched\narms: {big: {all: big}, twin: {all: twin}}\n")
    return folder


@pytest.fixture(scope="module")
def page(searched: Path) -> Path:
    return Path(render.render(str(searched), 0))


def test_a_finding_is_read_back_as_it_was_written(searched: Path) -> None:
    found = finding.read(load(searched))
    assert found is not None
    assert Finding.of(found.to_json()).to_json() == found.to_json()
    assert found.started == ("twin", "far")
    assert found.pick == "twin"
    assert found.state("far") == finding.STOPPED
    assert found.state("hopeless") == finding.SCREENED_OUT


def test_an_open_comparison_shows_what_settles_it(searched: Path) -> None:
    tight = not_worse_test(dict.fromkeys(MARGINS, 0.15))
    recorded = finding.read(load(searched))
    assert recorded is not None
    search = Finding(replace(recorded.design, gate=tight), recorded.screened)
    search = finding.look_at(load(searched), search)
    shown, needed = search.last("twin"), search.settling("twin")
    assert shown is not None
    assert needed is not None
    assert not shown.is_good
    tested = len(search.design.dates_until(1))
    assert needed.dates > tested
    assert needed.more_cases == (needed.dates - tested) * len(TICKERS)
    assert search.looks[-1].baseline_usd_per_decision is not None
    assert shown.usd_per_decision is not None
    per_case = 3 * search.looks[-1].baseline_usd_per_decision + 3 * shown.usd_per_decision
    assert needed.usd == pytest.approx(needed.more_cases * per_case)
    (sentence,) = [text for text in finding_wording.unsettled(search) if text.startswith("twin")]
    assert f"{needed.dates} dates x 3 tickers settle it with 80 % probability if it is like big" in sentence
    assert Finding.of(search.to_json()).settling("twin") == needed


def test_the_words_of_the_page_count_the_looks(searched: Path) -> None:
    page = Page(load(searched))
    assert page.findings is not None
    good = page.findings.good_enough
    assert page.findings.pick is not None
    assert page.findings.pick.arm == "twin"
    assert good["twin"].word == "good enough"
    assert good["far"].word != "good enough"
    levels = {verdict.level for verdict in good["twin"].verdicts.values()}
    assert levels <= {sequential.look_levels(level, 2)[look] for level in GATE.levels for look in (0, 1)}
    for arm, shown in good.items():
        assert all(page.findings.verdict(name, arm) == one for name, one in shown.verdicts.items())
    assert page.search is not None
    assert [len(stage.arms) for stage in page.search.funnel] == [3, 2, 1, 1, 1]


def test_exports_have_the_verdicts_of_the_page(searched: Path) -> None:
    run = load(searched)
    page = Page(run)
    assert page.findings is not None
    exported = {line["arm"]: line["in_short"] for line in json.loads(to_json(run))["answer"]["table"]}
    assert exported == {line.arm: asdict(line.word) for line in table.lines(run, page.findings)}
    assert "twin" in to_decision(run).split("**Adopt:**")[1].splitlines()[0]
    rows = {
        row["arm"]: row for row in csv.DictReader(io.StringIO(to_csv(run, "endpoints"))) if row["endpoint"] == "same_rating"
    }
    same_rating = page.findings.good_enough["twin"].verdicts["same_rating"]
    assert rows["twin"]["verdict"] == same_rating.word


def test_the_section_of_a_search_in_a_browser(page: Path, open_page: Open) -> None:
    opened = open_page(page)
    section = opened.page.locator("#search")
    text = section.inner_text()
    assert "The cheapest arm that is good enough against big is twin" in text
    assert "gives the recorded stance 45 points less often" in text
    assert "Stopped: too far below a margin" in text
    assert section.locator("svg.looks").count() == 6
    assert "arms: {big: {all: big}, twin: {all: twin}}" in section.locator("pre.yaml").inner_text()
    assert not re.search(r"[^\w-]-\d|[+\u2212]0\.0\b", text), "a hyphen for a minus sign, or a sign before zero"
    section.locator("svg.looks [data-tip]").first.hover()
    assert re.match(r"look 1: .+ points \[.+ to .+\]", opened.page.locator(".tip").inner_text())
    assert opened.problems == []


def test_the_answer_agrees_with_the_search(page: Path, open_page: Open) -> None:
    """Margins are those of the search, and a candidate that the screen dropped is neither undecided nor judged."""
    browser = open_page(page).page
    assert "lose less than 40 points of same rating" in browser.locator("dl.words").inner_text()
    assert "dropped by the screen: hopeless" in browser.locator("#says-decisions").inner_text()
    row = browser.locator("#answers tbody tr", has_text="hopeless")
    assert "dropped by the screen" in row.locator(".verdict").inner_text()
    judged = browser.locator("#judged tbody").inner_text()
    assert "hopeless" not in judged
    assert "margin 40 pp" in judged
    assert "0 of 36 are common" not in browser.locator("#warnings").inner_text()


@pytest.mark.parametrize("width", [1440, 1024])
def test_the_navigation_shows_every_section(page: Path, open_page: Open, width: int) -> None:
    browser = open_page(page, width=width).page
    links = browser.locator("nav.top a").evaluate_all("links => links.map(link => link.getBoundingClientRect().right)")
    assert len(links) >= 12
    assert max(links) <= width
    browser.locator("nav.top a", has_text="Trust").click()
    heading, bar = browser.locator("#h-trust").bounding_box(), browser.locator("nav.top").bounding_box()
    assert heading is not None
    assert bar is not None
    assert heading["y"] >= bar["y"] + bar["height"], "the navigation covers the heading that it leads to"


def test_on_a_phone_the_navigation_follows_the_reader(page: Path, open_page: Open) -> None:
    browser = open_page(page, width=390).page
    browser.evaluate("document.getElementById('trust').scrollIntoView()")
    browser.wait_for_function("document.querySelector('nav.top a[href=\"#trust\"]').ariaCurrent === 'true'")
    here = browser.locator("nav.top a[href='#trust']").bounding_box()
    assert here is not None
    assert here["x"] >= 0
    assert here["x"] + here["width"] <= 390


def test_a_run_without_a_search_has_no_such_section(tmp_path: Path) -> None:
    page = Page(load(make_run(tmp_path / "plain")))
    assert page.search is None
    assert 'id="search"' not in render.page_html(page)
