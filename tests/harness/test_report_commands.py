"""`report` and `export`: how runs are named, what is written, and what the messages say."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from harness.commands.export import export
from harness.commands.report import report
from harness.errors import InvalidInput
from tests.reports.synthetic import FakeArm, make_run, sessions

ARMS = {"gpt-5": FakeArm(), "local": FakeArm("llama3.1:8b", "ollama", None)}


@pytest.fixture
def results(tmp_path: Path) -> str:
    for run_id in ("20260101-000000-aaaa", "20260201-000000-bbbb"):
        make_run(tmp_path / "results" / "synthetic" / run_id, arms=ARMS, tickers=("AAPL",), dates=sessions("2025-09-02", 2))
    return str(tmp_path / "results")


def test_an_experiments_name_means_its_latest_run(results: str, capsys: pytest.CaptureFixture[str]) -> None:
    report("synthetic", results=results, cases="1")
    page = Path(capsys.readouterr().out.strip())
    assert page == Path(results, "synthetic", "20260201-000000-bbbb", "report.html")
    assert len(list((page.parent / "cases").glob("*.html"))) == 1


def test_two_runs_tell_what_changed(results: str, capsys: pytest.CaptureFixture[str]) -> None:
    report("synthetic/20260101-000000-aaaa", "synthetic", results=results)
    out = capsys.readouterr().out
    assert out.startswith("synthetic: 20260201-000000-bbbb against 20260101-000000-aaaa\n2 cases are in both runs")
    assert Path(out.splitlines()[-1]).is_file()


def test_an_unknown_run_and_a_wrong_option_are_named_with_the_mend(results: str) -> None:
    with pytest.raises(InvalidInput, match="known experiments: synthetic"):
        report("nothere", results=results)
    with pytest.raises(InvalidInput, match="give a number, all, or none"):
        report("synthetic", results=results, cases="some")
    with pytest.raises(InvalidInput, match="known: csv, json, junit, md, decision"):
        export("synthetic", format="xlsx", results=results)


def test_a_folder_without_an_experiment_is_said_to_be_none(results: str) -> None:
    Path(results, "synthetic", "20260201-000000-bbbb", "experiment.yaml").unlink()
    with pytest.raises(InvalidInput, match="no run here"):
        report("synthetic", results=results)


def test_an_export_goes_to_a_file_or_to_the_terminal(results: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    export("synthetic", results=results)
    assert json.loads(capsys.readouterr().out)["baseline"] == "gpt-5"
    export("synthetic", format="md", output=tmp_path / "comment.md", results=results)
    assert "**Decisions:**" in (tmp_path / "comment.md").read_text()


def test_a_zip_holds_the_page_and_its_cases_and_is_the_same_twice(results: str, tmp_path: Path) -> None:
    files = [tmp_path / "first.zip", tmp_path / "second.zip"]
    for file in files:
        export("synthetic", format="zip", output=file, results=results)
    with zipfile.ZipFile(files[0]) as packed:
        names = packed.namelist()
        page = packed.read("20260201-000000-bbbb/report.html").decode()
    assert [name for name in names if name.endswith(".html")] == [
        "20260201-000000-bbbb/report.html",
        "20260201-000000-bbbb/cases/AAPL@2025-09-02.html",
        "20260201-000000-bbbb/cases/AAPL@2025-10-01.html",
    ]
    assert "20260201-000000-bbbb/cases/here.svg" in names
    assert "Every decision" in page
    assert files[0].read_bytes() == files[1].read_bytes()
