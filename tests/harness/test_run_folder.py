"""Which folder a run goes into."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from harness.storage import run_folder
from harness.storage.folder import open_folder
from harness.storage.store import RECEIPT

OPENED = "20261127-101500-1a2b"


def opened(results: Path, name: str = OPENED) -> Path:
    """What a command leaves that was killed before it started a cell."""
    folder = results / "few" / name
    (folder / "redis").mkdir(parents=True)
    return folder


def resolved(results: Path, *, fresh: bool = False) -> run_folder.RunFolder:
    return run_folder.resolve(open_folder(str(results)), "few", (), {}, fresh=fresh)


def receipt(folder: Path, run_id: str) -> None:
    (folder / "parts").mkdir()
    row = pa.table({"cell_id": ["c1"], "run_id": [run_id], "status": ["ok"]})
    pq.write_table(row, folder / "parts" / f"c1{RECEIPT}")


def test_a_new_run_takes_the_folder_of_a_command_that_was_killed_before_it_started_a_cell(tmp_path: Path) -> None:
    opened(tmp_path, "20261126-101500-0000")
    opened(tmp_path)
    for fresh in (False, True):
        run = resolved(tmp_path, fresh=fresh)
        assert (run.run_id, run.is_new) == (OPENED, True)


def test_results_of_earlier_runs_may_be_in_it_but_none_of_its_own(tmp_path: Path) -> None:
    folder = opened(tmp_path)
    receipt(folder, "20261101-000000-abcd")
    assert resolved(tmp_path).run_id == OPENED
    (folder / "parts" / f"c1{RECEIPT}").unlink()
    (folder / "parts").rmdir()
    receipt(folder, OPENED)
    assert resolved(tmp_path).run_id != OPENED


def test_other_folders_are_left_alone(tmp_path: Path) -> None:
    opened(tmp_path, "notes")
    (opened(tmp_path) / "manifest.json").write_text("{}")
    assert resolved(tmp_path).run_id not in ("notes", OPENED)


def test_the_latest_run_is_one_of_run_and_not_the_month_of_a_service(tmp_path: Path) -> None:
    for name in ("20260102-000000-aaaa", "20260103-000000-bbbb", "x-2026-01", "x-2026-02"):
        (tmp_path / "x" / name).mkdir(parents=True)
        (tmp_path / "x" / name / "manifest.json").write_text("{}")

    ids = [run.run_id for run in run_folder.runs(open_folder(str(tmp_path)), "x")]

    assert ids == ["20260103-000000-bbbb", "20260102-000000-aaaa", "x-2026-02", "x-2026-01"]
    assert run_folder.find(str(tmp_path), "x").run_id == "20260103-000000-bbbb"
