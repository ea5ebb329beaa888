"""Run folders made by version 0.1.0 stay usable: nothing in them is frozen, asked or paid for again."""

from __future__ import annotations

import datetime as dt
import json
import shutil
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

import agents
from harness.cells import digest_of
from harness.storage.snapshots import CaseInputs, SnapshotLibrary
from tests.agents import archives
from tests.fakes.process import FakeModels
from tests.fixtures import version_0_1_0
from tests.fixtures.runs import ROOT, Lab

CELLS_OF_UNFINISHED = 6
CALLS_PER_CELL = 12
JOURNALLED = 36


@pytest.fixture
def old(tmp_path: Path, fake_models: FakeModels) -> Iterator[Lab]:
    lab = version_0_1_0.unpack(tmp_path, fake_models)
    yield lab
    lab.close()


def run_folder(lab: Lab, experiment: str) -> Path:
    (folder,) = (lab.folder / "results" / experiment).iterdir()
    return folder


def test_a_finished_run_continues_without_a_call(old: Lab) -> None:
    snapshots = sorted((old.folder / "snapshots").iterdir())

    said = old.harness("run", "finished.yaml", "--yes")

    assert "13 of 13 cells" in said, "today's parser reads the recorded answers again, in a run of its own"
    assert old.paid()["calls"] == 0, "its replay and judge use recorded answers too"
    assert sorted((old.folder / "snapshots").iterdir()) == snapshots
    newest = max((old.folder / "results" / "finished").iterdir())
    assert (newest / "report.html").exists()
    rows = pq.read_table(newest / "cells.parquet").to_pylist()
    assert {row["status"] for row in rows} == {"ok"}
    assert {row["kind"] for row in rows} == {"pipeline", "replay", "judge"}


def test_an_unfinished_run_asks_only_for_what_its_journal_lacks(old: Lab) -> None:
    old.harness("run", "unfinished.yaml", "--yes")

    assert old.paid()["calls"] == CELLS_OF_UNFINISHED * CALLS_PER_CELL - JOURNALLED


def test_a_finished_run_renders_and_is_priced_again(old: Lab) -> None:
    folder = run_folder(old, "finished")

    old.harness("report", str(folder))
    priced = old.harness("reprice", str(folder))

    assert "gpt-5-mini" in (folder / "report.html").read_text()
    assert "gpt-5" in priced
    assert old.paid()["calls"] == 0


def test_recorded_prompts_are_replayed_to_another_model_and_only_that_is_paid(old: Lab) -> None:
    options = ("--experiment", "finished.yaml", "--yes", "--from", "gpt-5", "--noise-floor", "1")

    old.harness("replay", "finished", *options, "--to", "gpt-5-mini", "--roles", "trader", "--limit", "1")

    calls = old.paid()["calls"]
    assert calls == 2 + 4, "the trader of both repeats, and the judge's two orders of each"
    old.harness("replay", "finished", *options, "--to", "tiny", "--to", "gpt-5")
    assert old.paid()["calls"] == calls, "what 0.1.0 replayed and judged is found"


def test_another_lane_uses_what_was_recorded(old: Lab) -> None:
    for name in ("finished", "unfinished"):
        path = old.folder / f"{name}.yaml"
        path.write_text(path.read_text().replace("lane: flex", "lane: now"))

    old.harness("run", "unfinished.yaml", "--yes")

    assert old.paid()["calls"] == CELLS_OF_UNFINISHED * CALLS_PER_CELL - JOURNALLED
    plain = yaml.safe_load((old.folder / "finished.yaml").read_text())
    del plain["replay"], plain["judge"]
    (old.folder / "finished.yaml").write_text(yaml.safe_dump(plain))
    said = old.harness("run", "finished.yaml", "--yes")
    assert "reused from earlier runs: 0 ended cells, 124 answers to other cells" in said
    assert old.paid()["calls"] == CELLS_OF_UNFINISHED * CALLS_PER_CELL - JOURNALLED


def test_an_edited_role_makes_new_cells_of_the_arms_that_use_it(old: Lab) -> None:
    edit(old.folder, "agents/roles/trader.md", "\n---\n", "\n---\nBe brief. ")
    path = old.folder / "unfinished.yaml"
    plain = yaml.safe_load(path.read_text()) | {"dates": ["2012-06-15"], "arms": {"tiny": {"all": "tiny"}}}
    path.write_text(yaml.safe_dump(plain))

    old.harness("run", "unfinished.yaml", "--yes")

    assert old.paid()["calls"] == CALLS_PER_CELL


def test_a_new_parser_reads_the_recorded_answers_and_pays_only_for_the_repairs_it_asks_for(old: Lab) -> None:
    edit(old.folder, "agents/pipeline/identity.py", "PARSER_VERSION = 2", "PARSER_VERSION = 3")
    read = "value, problem = form.read(ladder.decode(answer.text))"
    stricter = f'{read}\n        value = None if form.name == "decision" and site.kind == "primary" else value'
    edit(old.folder, "agents/decisions/reading.py", read, stricter)
    path = old.folder / "finished.yaml"
    plain = yaml.safe_load(path.read_text()) | {"arms": {"tiny": {"all": "tiny"}, "gpt-5": {"all": "gpt-5"}}}
    del plain["replay"], plain["judge"]
    path.write_text(yaml.safe_dump(plain))

    old.harness("run", "finished.yaml", "--yes")

    cells = 4
    assert old.paid()["calls"] == cells, "one repair each; all other answers are recorded"
    newest = max((old.folder / "results" / "finished").iterdir())
    rows = pq.read_table(newest / "cells.parquet").to_pylist()
    assert [(row["status"], row["decision_status"], row["llm_calls"]) for row in rows] == [
        ("ok", "repaired", CALLS_PER_CELL + 1)
    ] * cells


def test_a_snapshot_of_an_archive_is_found_by_the_key_of_0_1_0(tmp_path: Path) -> None:
    archive = str(archives.write(tmp_path / "archive", "prices", archives.bars()))
    data = {"prices": "archive", "mask": False, "decision_time": "close"}
    case = CaseInputs("ABC", dt.date(2025, 6, 16), data)
    desk = agents.open_sources(data, archive)
    raw = agents.freeze_case(case.ticker, case.date, desk, data).to_bytes().replace(b'"name":null', b'"name":"Kept"')
    name, recipe = sha256(raw).hexdigest(), "ddba4dd5da197c49d6e33641e588accf8bec2714c4f78266c150a472f5626305"
    made_from = digest_of([data, desk.fingerprint(), recipe])
    key = sha256(f"ABC@2025-06-16 {made_from}".encode()).hexdigest()
    (tmp_path / f"{name}.json").write_bytes(raw)
    (tmp_path / "index.jsonl").write_text(json.dumps({"key": key, "case": "ABC@2025-06-16", "sha256": name}) + "\n")

    assert SnapshotLibrary(tmp_path, archive).get(case) == (name, raw)


def edit(folder: Path, file: str, old: str, new: str) -> None:
    """Put a copy of our packages where the lab's commands find it first, with one more edit."""
    for package in ("agents", "domain", "harness", "reports"):
        if not (folder / package).exists():
            shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    text = (folder / file).read_text()
    assert old in text
    (folder / file).write_text(text.replace(old, new, 1))
