"""What changed between two runs is said, and what did not change is said too."""

from __future__ import annotations

import json
from pathlib import Path

from reports.answer import run_changes
from reports.page.render import render, render_changes
from tests.fixtures.browser import Open
from tests.reports.synthetic import FakeArm, make_tables, sessions

DAYS = sessions("2025-09-02", 3)


def _run(folder: Path, model: str, seed: int = 1) -> str:
    arms = {"gpt-5": FakeArm(), "local": FakeArm(model, "ollama", 0.02)}
    return str(make_tables(folder, arms=arms, dates=DAYS, seed=seed))


def _group(found: run_changes.Changes, title: str) -> run_changes.Group:
    return next(group for group in found.groups if group.title == title)


def test_the_same_run_twice_has_changed_in_nothing_but_its_name(tmp_path: Path) -> None:
    found = run_changes.between(_run(tmp_path / "a", "llama3.1:8b"), _run(tmp_path / "b", "llama3.1:8b"))
    assert [group.title for group in found.groups if group.changes] == []
    assert found.summary.startswith("9 cases are in both runs (9 before, 9 after); no verdict changed; the same: ")
    assert all(line.difference.startswith("0 ") and line.p == 1.0 for line in found.paired if line.title != "same answers")


def test_another_model_shows_in_models_and_settings(tmp_path: Path) -> None:
    found = run_changes.between(_run(tmp_path / "a", "llama3.1:8b"), _run(tmp_path / "b", "llama3.2:3b", seed=2))
    assert _group(found, "Models as they answered").changes == (run_changes.Change("local", "llama3.1:8b", "llama3.2:3b"),)
    assert any("llama3.2:3b" in change.after for change in _group(found, "Settings of the experiment").changes)
    assert "different: models as they answered, settings of the experiment" in found.summary


def test_differences_are_paired_over_the_common_cases_and_tested(tmp_path: Path) -> None:
    days = sessions("2025-09-02", 16)
    cheap, dear = (FakeArm("llama3.1:8b", "ollama", cost) for cost in (0.01, 0.02))
    first = make_tables(tmp_path / "a", arms={"gpt-5": FakeArm(), "local": dear}, dates=days[:14])
    second = make_tables(tmp_path / "b", arms={"gpt-5": FakeArm(), "local": cheap}, dates=days[2:], seed=2)
    found = run_changes.between(str(first), str(second))
    cost = next(line for line in found.paired if (line.arm, line.title[:4]) == ("local", "cost"))
    assert found.summary.startswith("36 cases are in both runs (42 before, 42 after)")
    assert cost.cases == 36
    assert cost.p < 0.001
    assert -55 < float(cost.difference.split()[0].replace("−", "-")) < -45
    dates = next(change for change in _group(found, "Settings of the experiment").changes if change.what == "dates")
    assert dates.before.startswith("12 in both and 2025-09-02")


def test_runs_without_a_common_case_say_so(tmp_path: Path) -> None:
    one, two = (
        make_tables(tmp_path / ticker, arms={"gpt-5": FakeArm()}, tickers=(ticker,), dates=DAYS) for ticker in ("A", "B")
    )
    found = run_changes.between(str(one), str(two))
    assert found.paired == ()
    assert "No case is in both runs" in run_changes.as_text(found)


def test_hashes_are_listed_only_when_asked_for(tmp_path: Path) -> None:
    first, second = _run(tmp_path / "a", "llama3.1:8b"), _run(tmp_path / "b", "llama3.1:8b")
    for folder, sha in ((first, "a" * 64), (second, "b" * 64)):
        manifest = Path(folder) / "manifest.json"
        manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"snapshots": {"AAPL@2025-09-02": sha}}))
    found = run_changes.between(first, second)
    assert "b" * 64 not in run_changes.as_text(found)
    assert "1 more line on figures of each run, versions and hashes: --full" in run_changes.as_text(found)
    assert "b" * 64 in run_changes.as_text(found, is_full=True)


def test_the_page_of_changes_leads_back_to_the_report(tmp_path: Path, open_page: Open) -> None:
    first, second = _run(tmp_path / "a", "llama3.1:8b"), _run(tmp_path / "b", "<script>alert(1)</script>", seed=2)
    render(second, 0)
    page = render_changes(second, run_changes.between(first, second))
    seen = open_page(Path(page))
    assert "What changed since a?" in seen.page.locator("h1").inner_text()
    assert seen.page.locator("h2").first.inner_text() == "Differences over the common cases"
    unchanged = seen.page.locator("section:has(#g-same) li").all_inner_texts()
    assert "The same price tables were used." in unchanged
    narrow = open_page(Path(page), width=390).page
    assert narrow.evaluate("document.documentElement.scrollWidth") <= 390
    gaps = narrow.locator(".paired td[data-l='difference']")
    rights = gaps.evaluate_all("cells => cells.map(cell => cell.getBoundingClientRect().right)")
    assert rights
    assert max(rights) <= 390
    assert seen.problems == []
    seen.page.locator("nav a").click()
    seen.page.wait_for_url("**/report.html")
