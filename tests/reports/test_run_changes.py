"""What changed between two runs is said, and what did not change is said too."""

from __future__ import annotations

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
    for title in ("Verdicts", "Figures", "Models as they answered", "Prices", "Prompts and flow", "Terms of the experiment"):
        assert _group(found, title).changes == ()
    assert "The same models answered" in run_changes.as_text(found)


def test_another_model_shows_in_models_terms_and_decisions(tmp_path: Path) -> None:
    found = run_changes.between(_run(tmp_path / "a", "llama3.1:8b"), _run(tmp_path / "b", "llama3.2:3b", seed=2))
    assert {change.what for change in _group(found, "Models as they answered").changes} == {
        "local, llama3.1:8b",
        "local, llama3.2:3b",
    }
    assert any("llama3.2:3b" in change.after for change in _group(found, "Terms of the experiment").changes)
    assert any("have another rating" in change.after for change in _group(found, "Decisions").changes)


def test_the_page_of_changes_leads_back_to_the_report(tmp_path: Path, open_page: Open) -> None:
    first, second = _run(tmp_path / "a", "llama3.1:8b"), _run(tmp_path / "b", "<script>alert(1)</script>", seed=2)
    render(second, 0)
    page = render_changes(second, run_changes.between(first, second))
    seen = open_page(Path(page))
    assert "What changed since a?" in seen.page.locator("h1").inner_text()
    assert seen.problems == []
    seen.page.locator("nav a").click()
    seen.page.wait_for_url("**/report.html")
