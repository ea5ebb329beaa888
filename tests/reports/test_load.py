from __future__ import annotations

import json
from pathlib import Path

import pytest

from reports import NoRun, load
from reports.settings import margin
from tests.reports.synthetic import FakeArm, make_run


def test_a_run_gives_frames_and_its_declared_terms(tmp_path: Path) -> None:
    run = load(make_run(tmp_path / "r1"))
    assert len(run.cells) == 2 * 3 * 8
    assert len(run.calls) == 12 * len(run.cells)
    assert run.baseline == "gpt-5"
    assert run.settings.margins["usable"] == 0.1
    assert run.arms == ("gpt-5", "llama3.1-8b")


def test_texts_are_read_only_when_they_are_asked_for(tmp_path: Path) -> None:
    run = load(make_run(tmp_path / "r1"))
    assert "response" not in run.calls
    assert "reports" not in run.cells
    assert run.table("calls", ["call_id", "response"])["response"].notna().all()


def test_margins_are_read_in_points_percent_and_basis_points() -> None:
    assert [margin(text) for text in ("2pp", "5%", "20bp", 0.1, None)] == pytest.approx([0.02, 0.05, 0.002, 0.1, None])
    with pytest.raises(ValueError, match="is no margin"):
        margin("much")


def test_a_folder_without_a_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(NoRun, match=r"experiment\.yaml is missing"):
        load(tmp_path)


def test_missing_tables_are_empty_frames_with_their_columns(tmp_path: Path) -> None:
    run = load(make_run(tmp_path / "r1", outcomes="absent", texts=False))
    assert run.outcomes.empty
    assert "excess" in run.outcomes
    assert run.daily.empty
    assert run.messages.empty


def test_an_unfinished_run_shows_only_cases_that_every_arm_has_ended(tmp_path: Path) -> None:
    arms = {"a": FakeArm(), "b": FakeArm(skip=["AAPL@2025-09-02"])}
    run = load(make_run(tmp_path / "r1", arms=arms, state="running"))
    assert run.is_interim
    assert "AAPL@2025-09-02" not in set(run.measured_cells["case_id"])
    assert run.measured_cells.groupby("case_id")["arm"].nunique().eq(2).all()


def test_a_run_with_fewer_receipts_than_cells_is_interim(tmp_path: Path) -> None:
    assert load(make_run(tmp_path / "r1", expected_cells=1000)).is_interim
    assert not load(make_run(tmp_path / "r2")).is_interim


def test_a_run_of_an_older_version_lacks_columns_and_still_loads(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    folder = make_run(tmp_path / "r1")
    table = pq.read_table(folder / "cells.parquet").drop_columns(["confidence", "masked"])
    pq.write_table(table, folder / "cells.parquet")
    assert load(folder).cells["confidence"].isna().all()


def test_a_run_without_a_manifest_or_arms_still_loads(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "r1", experiment={"arms": None})
    (folder / "manifest.json").unlink()
    run = load(str(folder))
    assert run.arms == ("gpt-5", "llama3.1-8b")
    assert json.dumps(run.manifest) == "{}"


def test_a_run_in_a_bucket_loads_like_one_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from moto.server import ThreadedMotoServer
    from pyarrow import fs

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    local = load(make_run(tmp_path / "r1"))
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        address = f"s3://bucket/results/r1?scheme=http&endpoint_override={host}:{port}&allow_bucket_creation=true"
        system, path = fs.FileSystem.from_uri(address)
        system.create_dir("bucket")
        fs.copy_files(local.path, path, destination_filesystem=system)
        remote = load(address)
        assert remote.cells["cell_id"].tolist() == local.cells["cell_id"].tolist()
        assert remote.manifest == local.manifest
        assert remote.settings == local.settings
        assert len(remote.messages) == len(local.messages)
    finally:
        server.stop()
