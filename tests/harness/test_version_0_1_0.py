"""Run folders made by version 0.1.0 stay usable: nothing in them is frozen, asked or paid for again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.process import FakeModels
from tests.fixtures import version_0_1_0
from tests.fixtures.runs import Lab

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


def test_a_finished_run_continues_without_a_call_and_is_done(old: Lab) -> None:
    snapshots = sorted((old.folder / "snapshots").iterdir())

    said = old.harness("run", "finished.yaml", "--yes")

    assert "nothing left to do" in said
    assert "0 to do" in said, "its replay and judge are done too"
    assert old.paid()["calls"] == 0
    assert sorted((old.folder / "snapshots").iterdir()) == snapshots
    assert (run_folder(old, "finished") / "report.html").exists()


def test_an_unfinished_run_asks_only_for_what_its_journal_lacks(old: Lab) -> None:
    old.harness("run", "unfinished.yaml", "--yes")

    assert old.paid()["calls"] == CELLS_OF_UNFINISHED * CALLS_PER_CELL - JOURNALLED
