"""An archive on an object store, read and grown over the real S3 client against a server on loopback."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path

import pyarrow.fs as fs
import pytest
from moto.server import ThreadedMotoServer

import agents
from harness.storage.folder import open_folder
from harness.storage.snapshots import freeze_cells
from tests.agents import archives
from tests.agents.archives import utc
from tests.harness.test_freeze import cell

DATA = {"prices": "archive", "news": "archive", "mask": False, "decision_time": "close"}


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Options of an address in an empty bucket."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"?scheme=http&endpoint_override={host}:{port}&allow_bucket_creation=true"
    server.stop()


def test_an_archive_and_a_run_may_live_in_a_bucket(bucket: str, tmp_path: Path) -> None:
    local = archives.write(tmp_path / "archive", "prices", archives.bars())
    address = f"s3://bucket/archive{bucket}"
    system, path = fs.FileSystem.from_uri(address)
    system.create_dir("bucket")
    fs.copy_files(str(local), path, destination_filesystem=system)
    row = {"ticker": "ABC", "published_at": utc("2025-06-16T12:00:00"), "title": "Grown", "summary": "", "source": "wire"}
    assert agents.grow(address, {"news": [row]}) == {"news": 1}
    assert agents.grow(address, {"news": [row]}) == {"news": 0}

    run = open_folder(f"s3://bucket/results/run{bucket}")
    one = cell("ABC", dt.date(2025, 6, 16), data=DATA)
    name = freeze_cells([one], run, tmp_path / "shared", address)[one.case_id]
    snapshot = agents.Snapshot.from_bytes(run.at("snapshots").read(f"{name}.json"))
    assert [item.title for item in snapshot.news] == ["Grown"]
    assert agents.check_archive(address).tables[0].rows == len(archives.bars())


def test_a_missing_bucket_is_reported_in_one_sentence(bucket: str) -> None:
    with pytest.raises(agents.SnapshotError, match="s3://nowhere"):
        agents.check_archive(f"s3://nowhere/archive{bucket}")
