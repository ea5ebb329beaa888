"""Wide and old runs in a real Chromium: many arms, long names, folders of version 0.1.0. Nothing sticks out or complains."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from reports.page.render import render
from tests.fixtures.browser import Open
from tests.fixtures.version_0_1_0 import ARCHIVE
from tests.reports.synthetic import FakeArm, make_run, sessions

DAYS = sessions("2025-09-02", 3)


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty arms whose names have 60 characters without a space."""
    arms = {f"{n:02}-{'x' * 57}": FakeArm(noise=0.05 * n, failing=0.2 if n == 7 else 0.0) for n in range(40)}
    return Path(render(make_run(tmp_path_factory.mktemp("run") / "r1", arms=arms, tickers=("AAPL",), dates=DAYS, words=6), 1))


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The pages of all runs that version 0.1.0 left."""
    folder = tmp_path_factory.mktemp("old")
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, filter="data")
    runs = sorted(file.parent for file in folder.glob("results/*/*/cells.parquet"))
    return [Path(render(run)) for run in runs]


@pytest.mark.parametrize("width", [1440, 390])
def test_forty_arms_with_long_names_stay_inside_the_window(width: int, wide: Path, open_page: Open) -> None:
    cases = sorted((wide.parent / "cases").glob("*.html"))
    assert cases
    for file in (wide, *cases):
        seen = open_page(file, width=width)
        seen.page.evaluate("document.querySelectorAll('details').forEach(box => { box.open = true })")
        assert seen.page.evaluate("document.documentElement.scrollWidth") <= width
        assert seen.problems == []


def test_forty_arms_can_be_picked_one_by_one(wide: Path, open_page: Open) -> None:
    browser = open_page(wide).page
    browser.select_option("#f-arm", "39")
    assert browser.locator("#grid thead th.of-arm:visible").count() == 2
    browser.locator("#matrix-picker input[value='39']").check(force=True)
    assert "39-xxx" in browser.locator("table.matrix:visible thead").inner_text()


def test_pages_of_version_0_1_0_open_without_a_complaint(old: list[Path], open_page: Open) -> None:
    assert old
    for page in old:
        for file in (page, *sorted((page.parent / "cases").glob("*.html"))[:1]):
            seen = open_page(file, width=390)
            assert seen.page.evaluate("document.documentElement.scrollWidth") <= 390
            assert seen.problems == []
            assert seen.requests == [file.resolve().as_uri()]
