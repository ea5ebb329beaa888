"""A data source of a user's own file: its hash is part of the snapshot, and its errors name file and line."""

from __future__ import annotations

import datetime as dt
import re
import shutil
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from typing import Any

import pytest
import yaml

import agents
from agents.sources import own
from domain import user_code
from harness.errors import InvalidInput
from harness.experiment import matrix, spec
from harness.storage.folder import open_folder
from harness.storage.snapshots import freeze_cells
from tests.fixtures.runs import ROOT, Lab

SHIPPED = ROOT / "experiments" / "own_source.py"
HEAD = "from agents.sources import PriceHistory, Source\n\n\nclass Mine(Source):\n"
PRICES = "    def prices(self, ticker, first, until):\n        "


def experiment(folder: Path, data: Any) -> spec.Experiment:
    plain = {"name": "x", "tickers": ["AAPL"], "dates": ["2012-06-15"], "arms": {"macd": {"rule": "macd"}}}
    (folder / "x.yaml").write_text(yaml.safe_dump(plain | {"data": data, "repeats": 1}))
    return spec.load(folder / "x.yaml")


def frozen(folder: Path, text: str) -> dict[str, str]:
    """The snapshots of an experiment whose source is this text."""
    (folder / "mine.py").write_text(text)
    cells = matrix.expand(experiment(folder, "mine.py"))
    return freeze_cells(cells, open_folder(folder / "run"), folder / "shared")


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ("return 1 / 0\n", "mine.py, line 6: ZeroDivisionError: division by zero"),
        ("return [1]\n", "mine.py, prices: returned list; return PriceHistory"),
        ("return PriceHistory((1,))\n", "mine.py, prices: every bar must be a Bar with a date"),
    ],
)
def test_an_error_of_a_source_is_a_problem_of_the_case_with_file_and_line(tmp_path: Path, body: str, problem: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        frozen(tmp_path, HEAD + PRICES + body)
    (named,) = refused.value.problems
    assert (named.where, named.fix) == ("AAPL@2012-06-15", "correct the file, and run again; see docs/your-code.md")
    assert named.what.startswith(problem)


def test_a_source_that_cannot_be_opened_names_file_and_line(tmp_path: Path) -> None:
    text = HEAD + "    def __init__(self, settings):\n        raise KeyError('token')\n\n" + PRICES + "...\n"
    with pytest.raises(InvalidInput, match=r"mine\.py, line 6: KeyError: 'token'"):
        frozen(tmp_path, text)


def test_a_row_from_after_the_decision_is_refused(tmp_path: Path) -> None:
    late = SHIPPED.read_text().replace("1e6, close_of(day)", "1e6, close_of(day) + dt.timedelta(days=9)")
    with pytest.raises(InvalidInput, match="AAPL@2012-06-15"):
        frozen(tmp_path, late)


@pytest.mark.parametrize(
    ("text", "data", "problem"),
    [
        ("x = 1\nraise RuntimeError('no')\n", "mine.py", "mine.py, line 2: RuntimeError: no"),
        ("x = 1\n", "mine.py", "one class derived from agents.sources.Source is expected; it has none"),
        (HEAD + PRICES + "...\n", {"prices": "demo", "news": "mine.py"}, "mine.py: Mine has no news; define its method news"),
        (HEAD + PRICES + "...\n", "mine.py@0123456789ab", "mine.py has changed: its hash is"),
        (HEAD + PRICES + "...\n", "nothere.py", "nothere.py: there is no such file"),
        (HEAD + PRICES + "...\n", "acme", "unknown source 'acme'"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_before_anything_is_paid(
    tmp_path: Path, text: str, data: Any, problem: str
) -> None:
    (tmp_path / "mine.py").write_text(text)
    with pytest.raises(InvalidInput, match=re.escape(problem)):
        experiment(tmp_path, data)


def test_another_file_makes_another_snapshot_and_another_run(tmp_path: Path) -> None:
    shutil.copy(SHIPPED, tmp_path / "mine.py")
    first, before = experiment(tmp_path, "mine.py"), frozen(tmp_path, SHIPPED.read_text())
    assert frozen(tmp_path, SHIPPED.read_text()) == before

    changed = frozen(tmp_path, SHIPPED.read_text() + "# a comment\n")
    second = experiment(tmp_path, "mine.py")

    assert changed != before
    assert first.asked != second.asked
    assert spec.load(tmp_path / "x.yaml").data.prices == second.data.prices
    (name,) = changed.values()
    snapshot = agents.Snapshot.from_bytes((tmp_path / "run" / "snapshots" / f"{name}.json").read_bytes())
    assert snapshot.sources["prices"] == second.data.prices
    assert second.data.prices.startswith("mine.py@")


def test_an_entry_point_is_named_instead_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(SHIPPED, tmp_path / "acme_source.py")
    monkeypatch.syspath_prepend(str(tmp_path))
    installed = EntryPoints([EntryPoint("acme", "acme_source", own.GROUP)])
    for module in (user_code, own):
        monkeypatch.setattr(module, "entry_points", lambda **wanted: installed.select(**wanted))

    data = matrix.data_of(experiment(tmp_path, {"prices": "acme"}))

    assert data["prices"].startswith("acme@")
    bars = agents.freeze_case("AAPL", dt.date(2012, 6, 15), agents.open_sources(data), data).prices
    assert bars[1].close - bars[0].close == 1


def test_a_run_reads_the_source_where_it_was_started_and_its_workers_need_no_file(lab: Lab) -> None:
    loads = "import os\nwith open(__file__ + '.loads', 'a') as log:\n    log.write(f'{os.getpid()}\\n')\n"
    (lab.folder / "own_source.py").write_text(SHIPPED.read_text() + loads)
    lab.experiment(data={"prices": "own_source.py"}, models={"own": {"provider": "openai_compatible", "model": "tiny",
                                                                    "server": "box"}})  # fmt: skip
    lab.run("--yes")

    assert {row["status"] for row in lab.rows("cells")} == {"ok"}
    assert {row["status"] for row in lab.rows("outcomes")} == {"known"}
    assert len(set((lab.folder / "own_source.py.loads").read_text().split())) == 1, "only the process of `run` loads it"


def test_the_page_shows_the_example_that_ships() -> None:
    shipped = SHIPPED.read_text().partition("import datetime")[2]
    assert "import datetime" + shipped in (ROOT / "docs" / "your-code.md").read_text()
