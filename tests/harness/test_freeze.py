"""Freezing a run's cases: each once, reused by later runs, the same bytes for every arm."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import agents
from agents import Model, Pipeline
from harness.cells import Cell
from harness.errors import InvalidInput
from harness.storage.folder import Folder, open_folder
from harness.storage.snapshots import freeze_cells
from tests.agents import archives
from tests.fixtures.runs import DATES, Lab

DAYS = (dt.date(2012, 6, 20), dt.date(2012, 7, 20))
DEMO = {"prices": "demo", "mask": False, "decision_time": "close"}


def cell(ticker: str = "AAPL", date: dt.date = DAYS[0], arm: str = "one", data: dict[str, Any] | None = None) -> Cell:
    lineup = {role: Model(arm, "llamacpp", arm) for role in agents.role_names()}
    return Cell("test", arm, ticker, date, 0, lineup, Pipeline(), data or DEMO, "print")


def run(tmp_path: Path, name: str = "run") -> Folder:
    return open_folder(tmp_path / name)


def test_each_case_is_frozen_once_for_all_arms(tmp_path: Path) -> None:
    cells = [cell(ticker, day, arm) for ticker in ("AAPL", "IBM") for day in DAYS for arm in ("one", "two", "three")]
    said: list[tuple[int, int]] = []
    names = freeze_cells(cells, run(tmp_path), tmp_path / "shared", progress=lambda done, total: said.append((done, total)))
    assert set(names) == {f"{ticker}@{day}" for ticker in ("AAPL", "IBM") for day in DAYS}
    assert len(list((tmp_path / "run" / "snapshots").glob("*.json"))) == 4
    assert said[-1] == (4, 4)


def test_two_runs_and_all_arms_feed_byte_equal_prompts(tmp_path: Path) -> None:
    cells = [cell(arm=arm) for arm in ("one", "two")]
    prompts = set()
    for number in (1, 2):
        folder = run(tmp_path, f"run{number}")
        names = freeze_cells(cells, folder, tmp_path / "shared")
        for each in cells:
            frozen = replace(each, snapshot_sha256=names[each.case_id])
            snapshot = agents.Snapshot.from_bytes(
                (tmp_path / f"run{number}" / "snapshots" / f"{frozen.snapshot_sha256}.json").read_bytes()
            )
            planned = agents.prompts_of(snapshot, frozen.pipeline)
            texts = [part.text for prompt in planned for part in prompt.parts if "analyst" in prompt.site.role]
            assert texts
            prompts.add(tuple(texts))
    assert len(prompts) == 1


def test_a_later_run_reads_what_an_earlier_one_froze(tmp_path: Path) -> None:
    names = freeze_cells([cell()], run(tmp_path, "one"), tmp_path / "shared")
    stored = tmp_path / "shared" / f"{names['AAPL@2012-06-20']}.json"
    before = stored.stat().st_mtime_ns
    assert freeze_cells([cell()], run(tmp_path, "two"), tmp_path / "shared") == names
    assert stored.stat().st_mtime_ns == before
    assert (tmp_path / "two" / "snapshots" / stored.name).read_bytes() == stored.read_bytes()


def test_an_altered_or_lost_snapshot_is_frozen_again(tmp_path: Path) -> None:
    names = freeze_cells([cell()], run(tmp_path, "one"), tmp_path / "shared")
    stored = tmp_path / "shared" / f"{names['AAPL@2012-06-20']}.json"
    stored.write_bytes(b"garbage")
    assert freeze_cells([cell()], run(tmp_path, "two"), tmp_path / "shared") == names
    assert stored.read_bytes() != b"garbage"


def test_a_torn_index_costs_a_new_freeze_and_nothing_else(tmp_path: Path) -> None:
    names = freeze_cells([cell()], run(tmp_path, "one"), tmp_path / "shared")
    index = tmp_path / "shared" / "index.jsonl"
    index.write_text(index.read_text()[:-20])
    assert freeze_cells([cell()], run(tmp_path, "two"), tmp_path / "shared") == names


def test_a_new_archive_makes_new_snapshots_and_an_untouched_one_does_not(tmp_path: Path) -> None:
    folder = archives.write(tmp_path / "archive", "prices", archives.bars())
    one = cell("ABC", dt.date(2025, 6, 16), data={"prices": "archive", "mask": False, "decision_time": "close"})
    first = freeze_cells([one], run(tmp_path, "one"), tmp_path / "shared", str(folder))
    assert freeze_cells([one], run(tmp_path, "two"), tmp_path / "shared", str(folder)) == first
    archives.write(folder, "prices", archives.bars(start=200.0))
    assert freeze_cells([one], run(tmp_path, "three"), tmp_path / "shared", str(folder)) != first


def test_later_data_of_an_archive_change_no_earlier_snapshot(tmp_path: Path) -> None:
    folder = archives.write(tmp_path / "archive", "prices", archives.bars(last=dt.date(2025, 6, 16)))
    one = cell("ABC", dt.date(2025, 6, 16), data={"prices": "archive", "mask": False, "decision_time": "close"})
    first = freeze_cells([one], run(tmp_path, "one"), tmp_path / "shared", str(folder))
    archives.write(folder, "prices", archives.bars())
    assert freeze_cells([one], run(tmp_path, "two"), tmp_path / "shared", str(folder)) == first


def test_all_cases_that_cannot_be_are_named_at_once(tmp_path: Path) -> None:
    cells = [cell("NOPE"), cell(), cell("FB", dt.date(2011, 6, 20)), cell("ALSO")]
    with pytest.raises(InvalidInput) as refused:
        freeze_cells(cells, run(tmp_path), tmp_path / "shared")
    assert [problem.where for problem in refused.value.problems] == ["NOPE@2012-06-20", "FB@2011-06-20", "ALSO@2012-06-20"]


def test_a_broken_archive_stops_before_any_cell(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="there is no archive at"):
        freeze_cells([cell(data={"prices": "archive"})], run(tmp_path), tmp_path / "shared", str(tmp_path / "nowhere"))


def test_the_index_says_what_each_snapshot_is(tmp_path: Path) -> None:
    names = freeze_cells([cell()], run(tmp_path), tmp_path / "shared")
    entry = json.loads((tmp_path / "shared" / "index.jsonl").read_text())
    assert entry["case"] == "AAPL@2012-06-20"
    assert entry["sha256"] == names["AAPL@2012-06-20"]


def test_skip_unavailable_leaves_out_the_cases_that_cannot_be_frozen_and_names_them(lab: Lab) -> None:
    """FB was listed in 2012."""
    file = lab.experiment(tickers=["AAPL", "FB"], pipeline={"depth": "single_call"})
    file.write_text(file.read_text().replace(DATES[0], "2011-06-20"))
    assert "FB@2011-06-20" in lab.run(expect=2)

    file.write_text(file.read_text() + "cases: {skip_unavailable: true}\n")
    output = lab.run()

    assert "FB@2011-06-20: " in output
    assert "1 case was left out (cases.skip_unavailable): FB@2011-06-20" in output
    assert {(cell["case_id"], cell["status"]) for cell in lab.rows("cells")} == {("AAPL@2011-06-20", "ok")}
    again = lab.run()
    assert "nothing left to do" in again
    assert "1 case was left out (cases.skip_unavailable): FB@2011-06-20" in again
