"""Sections of a user's own file: shown at the end of the page as text, and never the end of a run or of a page."""

from __future__ import annotations

import json
import re
import shutil
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import pytest
import yaml

from domain import user_code
from harness.errors import InvalidInput
from harness.experiment import spec
from harness.service import accepted_keys
from reports.load import load
from reports.page import own_sections, render
from tests.fixtures.runs import ROOT, Lab
from tests.reports.synthetic import make_run, sessions

HEAD = "import sys\nimport pandas as pd\nfrom reports.page.own_sections import section\n\n\n"
DECLARED = '@section("Mine")\ndef mine(facts):\n    '
PLAIN = {"name": "x", "tickers": ["AAPL"], "dates": ["2012-06-15"], "data": "demo", "arms": {"macd": {"rule": "macd"}}}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return make_run(tmp_path / "run", tickers=("AAPL",), dates=sessions("2025-09-02", 2))


def page_with(run: Path, body: str) -> str:
    """The last section of a page whose own section has this body."""
    (run / "mine.py").write_text(HEAD + DECLARED + body)
    (run / own_sections.FILE).write_text(own_sections.computed(load(run), ["mine.py"], run))
    render.render(run, 0)
    return (run / "report.html").read_text().partition('<section class="part" id="own"')[2]


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ("return 1 / 0\n", "mine.py, line 8: ZeroDivisionError: division by zero"),
        ("sys.exit(3)\n", "mine.py, line 8: SystemExit: 3"),
        ("return 7\n", "TypeError: &#39;Mine&#39; returned int; return a text, a DataFrame, or a list of them"),
        ("return None\n", "returned NoneType"),
        ("return ['x'] * 21\n", "returned 21 parts; the most is 20"),
        ("return pd.DataFrame([range(21)])\n", "a table of 21 columns; the most is 20"),
    ],
)
def test_a_section_that_fails_says_so_in_its_place_and_the_page_goes_on(run: Path, body: str, problem: str) -> None:
    shown = page_with(run, body)

    assert f"This section failed: {problem}" in shown or problem in shown
    assert "</html>" in shown


@pytest.mark.parametrize(
    "body",
    [
        "return '<script>alert(1)</script> [x](javascript:alert(1)) ![x](http://a.example/x.png)'\n",
        "return pd.DataFrame({'<script>a': ['<img src=x onerror=alert(1)>']})\n",
        "raise ValueError('<script>alert(1)</script>')\n",
        "return '\\ud800 \\x00 \\u202e {{ 7 * 7 }} {% raw %}'\n",
    ],
)
def test_what_a_section_returns_is_text_and_never_html(run: Path, body: str) -> None:
    shown = page_with(run, body).partition("</section>")[0]

    assert not re.search(r"<(script|img|a)\b", shown)
    assert "{{ 7 * 7 }}" in shown or "7 *" not in body


def test_texts_are_light_markdown_and_tables_name_what_is_unknown_or_left_out(run: Path) -> None:
    body = "return ['**bold**', pd.DataFrame({'n': [1234, *range(300)], 'x': [0.123456] + [float('nan')] * 300})]\n"
    shown = page_with(run, body).partition("</section>")[0]

    assert "<strong>bold</strong>" in shown
    assert "<td>1,234</td><td>0.123</td>" in shown
    assert '<span class="unknown">unknown</span>' in shown
    assert "101 more rows not shown" in shown
    assert f"From mine.py ({user_code.digest(run / 'mine.py')[:12]})" in shown


def test_what_a_section_prints_does_not_reach_stdout(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page_with(run, "print('noise')\n    return 'text'\n")

    assert "noise" not in capsys.readouterr().out


def test_a_report_executes_nothing_of_a_run_folder(run: Path) -> None:
    page_with(run, "return 'kept'\n")
    (run / "mine.py").write_text("raise SystemExit(9)\n")
    render.render(run, 0)

    assert "kept" in (run / "report.html").read_text()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("x = 1\nraise RuntimeError('no')\n", "mine.py, line 2: RuntimeError: no"),
        ("import sys\nsys.exit()\n", "mine.py, line 2: SystemExit"),
        ("def broken(:\n", "mine.py, line 1: SyntaxError"),
        ("x = 1\n", "no function is decorated with @section"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_before_anything_is_paid(tmp_path: Path, text: str, problem: str) -> None:
    (tmp_path / "mine.py").write_text(text)
    (tmp_path / "x.yaml").write_text(yaml.safe_dump(PLAIN | {"sections": ["mine.py"]}))

    with pytest.raises(InvalidInput, match=re.escape(problem)):
        spec.load(tmp_path / "x.yaml")


def test_an_entry_point_is_named_instead_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "acme_sections.py").write_text(HEAD + DECLARED + "return ''\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    installed = EntryPoints([EntryPoint("acme", "acme_sections", own_sections.GROUP)])
    monkeypatch.setattr(user_code, "entry_points", lambda **wanted: installed.select(**wanted))

    assert [own.title for own, _ in own_sections.declared(["acme"], tmp_path).sections] == ["Mine"]


def test_the_example_is_on_the_page_and_changes_nothing_that_was_asked(lab: Lab) -> None:
    shutil.copy(ROOT / "experiments" / "own_section.py", lab.folder)
    lab.experiment(dates=2)
    lab.run("--yes")
    asked = lab.paid()
    (run,) = lab.runs
    lab.experiment(dates=2, sections=["own_section.py"])
    lab.run("--yes")

    assert (lab.runs, lab.paid()) == ([run], asked)
    assert "Decisions by weekday" in (run / "report.html").read_text()

    path = lab.folder / "own_section.py"
    path.write_text(path.read_text().replace("Decisions by weekday", "Decisions by day"))
    lab.run("--yes")
    assert "Decisions by day" in (run / "report.html").read_text()

    lab.experiment(dates=2)
    lab.run("--yes")
    assert "Decisions by day" not in (run / "report.html").read_text()
    assert (lab.runs, lab.paid()) == ([run], asked)


def test_a_section_is_refused_over_http_unless_the_served_experiment_has_it() -> None:
    (problem,) = accepted_keys.problems({"sections": ["/etc/mine.py"]}, {"sections": ["mine.py"]})

    assert problem.where == "sections"
    assert accepted_keys.problems({"sections": ["mine.py"]}, {"sections": ["mine.py"]}) == []


def test_the_docs_show_the_example_that_ships() -> None:
    shipped = (ROOT / "experiments" / "own_section.py").read_text().partition("import pandas")[2]

    assert "import pandas" + shipped in (ROOT / "docs" / "your-code.md").read_text()


def test_the_kept_file_is_plain_json(run: Path) -> None:
    page_with(run, "return pd.DataFrame({'day': pd.to_datetime(['2025-01-02']), 'is': [True]}, index=['a'])\n")

    (kept,) = json.loads((run / own_sections.FILE).read_text())["sections"]
    assert kept["parts"][0]["rows"] == [["a", "2025-01-02 00:00:00", "True"]]
