"""A run of known truth, one arm equal, one slightly worse, one far worse: the page says exactly that."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from reports.page.render import render
from tests.fixtures.browser import Open
from tests.reports.synthetic import FakeArm, make_run, sessions

ARMS = {
    "base": FakeArm("gpt-6.1-sol", noise=0.35),
    "equal": FakeArm("gpt-6-luna", cost_usd=0.02, noise=0.35),
    "slightly-worse": FakeArm("gpt-oss:20b", "ollama", 0.004, 80.0, noise=0.45),
    "far-worse": FakeArm("llama3.1:8b", "ollama", 0.002, 60.0, noise=1.5, lean=0.8, unparsed=0.1),
}
COMPARE = {
    "baseline": "base",
    "metrics": {name: {} for name in ("same_rating", "usable", "grounding")} | {"cost": {}, "excess_return_5": {}},
}
TEXTS = [*["The close of 118.38 fell 3.1 %."] * 7, "The close of 118.38 fell 9.7 %."]
"""One text in eight has a figure that is not in the prompts, in all arms alike."""


def make(folder: Path) -> Path:
    """84 cases, three repeats, default margins; the texts are alike, so nothing but the decisions differs."""
    dates = sessions("2026-03-02", 28, every=6)
    return make_run(folder, arms=ARMS, dates=dates, repeats=3, seed=8, text=TEXTS, compare=COMPARE)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("truth") / "r1"
    return Path(render(make(folder), 3))


def test_the_two_sentences_name_the_equal_arm_with_its_bound_and_its_price(page: Path, open_page: Open) -> None:
    answer = open_page(page).page.locator("#answer")
    decisions = answer.locator("#says-decisions").inner_text().replace("\u202f", " ")
    assert decisions.startswith("Decisions: equal agrees with base at most 6.3 points less often than base agrees with itself")
    assert ", and costs $20.12 instead of $2" in decisions
    assert "per 1,000 decisions; undecided: slightly-worse (at most 13.6 points less alike, $4.02)" in decisions
    assert "not good enough: far-worse (26 to 46 points less alike" in decisions
    assert answer.locator("#says-returns").inner_text().startswith("Returns: no gap shown:")


def test_each_arm_has_its_own_word(page: Path, open_page: Open) -> None:
    rows = open_page(page).page.locator("#answers tbody tr")
    words = {row.locator(".arm-name").inner_text().strip(): row.locator(".verdict").inner_text() for row in rows.all()}
    assert "Baseline" in words["base"]
    assert "Good enough" in words["equal"]
    assert "at most 6.3 points less alike" in words["equal"]
    assert "Undecided" in words["slightly-worse"]
    assert "Not good enough" in words["far-worse"]


def test_what_to_do_is_to_adopt_the_equal_arm(page: Path, open_page: Open) -> None:
    browser = open_page(page).page
    advice = browser.locator("#says-advice").inner_text()
    assert advice.startswith("Replace base by equal: it saves $2")
    assert advice.endswith("per 1,000 decisions and gives up at most 6.3 points of same rating.")
    config = browser.locator("#lineups pre").nth(1).inner_text()
    assert 'config["deep_think_llm"] = "gpt-6-luna"' in config
    assert 'config["quick_think_llm"] = "gpt-6-luna"' in config


def test_the_lean_of_the_far_arm_is_a_takeaway(page: Path, open_page: Open) -> None:
    lines = open_page(page).page.locator("#likeness .know li").all_inner_texts()
    assert 1 <= len(lines) <= 3
    assert any(line.startswith("far-worse leans to Buy.") for line in lines)


def test_every_row_holds_together(page: Path, open_page: Open) -> None:
    """Value, baseline and difference of a share are over the same cases: value minus baseline is the difference."""
    checked = 0
    for row in open_page(page).page.locator("#judged tbody tr").all():
        cells = [" ".join(cell.split()).replace("\u202f", " ") for cell in row.locator("td").all_inner_texts()]
        own, base, apart = cells[1], cells[2], cells[3].partition("[")[0].strip()
        if own.endswith("%") and base.endswith("%") and apart.endswith("pp"):
            gap = float(own[:-2]) - float(base[:-2])
            assert abs(gap - float(apart[:-3].replace("\u2212", "-"))) <= 1.1, row.inner_text()
            checked += 1
    assert checked >= 6


def test_figures_of_the_answer_and_of_the_returns_hold_together(page: Path, open_page: Open) -> None:
    browser = open_page(page).page
    answers = [
        [plain(cell) for cell in row.locator("td").all_inner_texts()] for row in browser.locator("#answers tbody tr").all()
    ]
    for row in answers[1:]:
        for at, digits in ((2, 0.11), (3, 0.11), (5, 0.11)):
            own, base, apart = first(row[at]), first(answers[0][at]), first(row[at].split("%")[1])
            assert own - base == pytest.approx(apart, abs=digits), row
    returns = [row.locator("td").all_inner_texts() for row in browser.locator("table.returns tbody tr").all()]
    for row in returns[1:]:
        own, base, apart = (first(plain(cell)) for cell in row[:3])
        assert own - base == pytest.approx(apart, abs=1.1), row
    assert len(answers) == len(returns) == 4


def plain(text: str) -> str:
    return " ".join(text.split()).replace("\u202f", " ").replace("\u2212", "-")


def first(text: str) -> float:
    """The first number of a cell."""
    found = re.search(r"[-+]?\d[\d.,]*", text)
    assert found, text
    return float(found[0].replace(",", ""))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone_and_complains_about_nothing(page: Path, open_page: Open, scheme: str) -> None:
    seen = open_page(page, width=390, scheme=scheme)
    assert seen.page.evaluate("document.documentElement.scrollWidth") <= 390
    wider = "[...document.querySelectorAll('table.returns td')].filter(td => td.scrollWidth > td.clientWidth + 1).length"
    assert seen.page.evaluate(wider) == 0, "an interval runs into the next column"
    assert seen.problems == []
