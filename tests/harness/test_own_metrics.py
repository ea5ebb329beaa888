"""Metrics of a user's own file: shown with a verdict, computed when the run ends, and never the end of a run."""

from __future__ import annotations

import re
import shutil
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import pytest
import yaml

from domain import user_code
from harness.errors import InvalidInput
from harness.experiment import spec
from reports.answer.findings import find
from reports.load import load
from reports.metrics import own, registry
from reports.page import render
from tests.fixtures.runs import ROOT, Lab
from tests.reports.synthetic import make_run, sessions

HEAD = "from reports.metrics.registry import metric\n\n\n"
DECLARED = '@metric("mine", group="your own", unit="score", better="higher")\ndef mine(facts):\n    '
HALF = "values = facts.cells['score'].astype(float)\n    return facts.by_case(values.where(facts.cells['ticker'] == 'AAPL'))\n"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return make_run(tmp_path / "run", tickers=("AAPL", "MSFT"), dates=sessions("2025-09-02", 3), repeats=2)


def kept(run: Path, body: str) -> str:
    """The title of the metric whose function has this body, on the page of a run."""
    (run / "mine.py").write_text(HEAD + DECLARED + body)
    (run / own.FILE).write_text(own.computed(load(run), ["mine.py"], run))
    render.render(run, 0)
    assert find(load(run)).row("mine")
    (title,) = {metric.title for metric in own.read(load(run))}
    assert title in re.sub("&#39;|&#34;", "'", (run / "report.html").read_text())
    return title


def test_a_metric_that_raises_says_so_in_its_row_with_file_and_line(run: Path) -> None:
    assert kept(run, "return 1 / 0\n") == "mine (failed: mine.py, line 6: ZeroDivisionError: division by zero)"


def test_a_metric_that_knows_half_of_the_cases_says_so(run: Path) -> None:
    assert kept(run, HALF) == "mine (known for 6 of 12 cases and arms)"
    assert find(load(run)).row("mine").values["gpt-5"].cases == 3


def test_a_metric_that_returns_nan_knows_no_case(run: Path) -> None:
    assert kept(run, "return facts.by_case(facts.cells['score'] * float('nan'))\n").endswith(
        "(known for 0 of 12 cases and arms)"
    )


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ("return 7\n", "returned int; return a frame of cases and arms"),
        ("return facts.by_case(facts.cells['score'] * 0 + 99)\n", "values are outside of -4 to 4"),
    ],
)
def test_a_metric_that_returns_no_table_of_its_unit_is_explained(run: Path, body: str, problem: str) -> None:
    assert problem in kept(run, body)


def test_a_report_executes_nothing_of_a_run_folder(run: Path) -> None:
    title = kept(run, "return facts.by_case(facts.cells['score'].astype(float))\n")
    (run / "mine.py").write_text("raise SystemExit(9)\n")

    render.render(run, 0)

    assert title == "mine"
    assert own.digests_of((run / own.FILE).read_text()).keys() == {"mine.py"}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("x = 1\nraise RuntimeError('no')\n", "mine.py, line 2: RuntimeError: no"),
        ("def broken(:\n", "mine.py, line 1: SyntaxError"),
        ("x = 1\n", "no function is decorated"),
        (HEAD + DECLARED.replace("def mine", "def cost") + "...\n", "the metric 'cost' exists already"),
        (HEAD + DECLARED.replace('"score"', '"furlongs"') + "...\n", "use usd, s, tokens"),
        (HEAD + DECLARED.replace('"mine", ', '"mine", kind="quantile", ') + "...\n", "use mean, share"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_before_anything_is_paid(tmp_path: Path, text: str, problem: str) -> None:
    before = dict(registry.METRICS)
    (tmp_path / "mine.py").write_text(text)
    plain = {"name": "x", "tickers": ["AAPL"], "dates": ["2012-06-15"], "data": "demo", "arms": {"macd": {"rule": "macd"}}}
    (tmp_path / "x.yaml").write_text(yaml.safe_dump(plain | {"metrics": ["mine.py"]}))

    with pytest.raises(InvalidInput, match=re.escape(problem)):
        spec.load(tmp_path / "x.yaml")

    assert before == registry.METRICS


def test_an_unknown_metric_or_file_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    shutil.copy(ROOT / "experiments" / "own_metrics.py", tmp_path)
    plain = {"name": "x", "tickers": ["AAPL"], "dates": ["2012-06-15"], "data": "demo", "arms": {"macd": {"rule": "macd"}}}
    for changes, problem in (
        ({"metrics": ["own_metrics.py"], "compare": {"metrics": {"bald": {}}}}, "unknown metric bald; known: api_cost, bold, "),
        ({"metrics": ["nothere.py"]}, "nothere.py: there is no such file"),
        ({"metrics": ["acme"]}, "neither a .py file nor an entry point"),
    ):
        (tmp_path / "x.yaml").write_text(yaml.safe_dump(plain | changes))
        with pytest.raises(InvalidInput, match=re.escape(problem)):
            spec.load(tmp_path / "x.yaml")


def test_an_entry_point_is_named_instead_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "acme_metrics.py").write_text(HEAD + DECLARED + "return facts.by_case(facts.cells['score'])\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    installed = EntryPoints([EntryPoint("acme", "acme_metrics", own.GROUP)])
    monkeypatch.setattr(user_code, "entry_points", lambda **wanted: installed.select(**wanted))

    before = dict(registry.METRICS)
    for _ in ("when the experiment is read", "when the run ends"):
        assert [metric.name for metric in own.declared(["acme"], tmp_path).metrics] == ["mine"]
    assert before == registry.METRICS


def test_the_example_gets_a_verdict_and_a_changed_file_is_computed_again_without_a_call(lab: Lab) -> None:
    shutil.copy(ROOT / "experiments" / "own_metrics.py", lab.folder)
    lab.experiment(dates=2, metrics=["own_metrics.py"], compare={"metrics": {"bold": {"margin": "10pp"}}})
    lab.run("--yes")
    asked = lab.paid()
    (run,) = lab.runs

    assert "bold decisions" in (run / "report.html").read_text()
    assert find(load(run)).verdict("bold", "own") is not None

    path = lab.folder / "own_metrics.py"
    path.write_text(path.read_text().replace("bold decisions", "very bold decisions"))
    lab.run("--yes")

    assert lab.runs == [run]
    assert "very bold decisions" in (run / "report.html").read_text()
    assert lab.paid() == asked


def test_the_page_shows_the_example_that_ships() -> None:
    shipped = (ROOT / "experiments" / "own_metrics.py").read_text().partition("import pandas")[2]

    assert "import pandas" + shipped in (ROOT / "docs" / "your-code.md").read_text()
