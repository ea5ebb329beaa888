"""Results on an object store: the same promises as on a disk, against a real S3 server."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from harness.errors import StoreError
from harness.storage.folder import Folder, open_folder
from harness.storage.store import Store, files_of
from tests.fakes.process import FakeModels
from tests.fixtures.deferred_desk import CELLS, Desk, statuses
from tests.fixtures.runs import Lab
from tests.harness.rows import receipt_row

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "testing-secret", "AWS_EC2_METADATA_DISABLED": "true"}


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """The address of a bucket."""
    server_module = pytest.importorskip("moto.server", reason="moto is not installed")
    from pyarrow import fs

    server = server_module.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"{host}:{port}"
    client = fs.S3FileSystem(
        access_key="test", secret_key="testing-secret", endpoint_override=endpoint, scheme="http", allow_bucket_creation=True
    )
    client.create_dir("results-of-tests")
    yield f"s3://results-of-tests/here?endpoint_override={quote(endpoint)}&scheme=http"
    server.stop()


@pytest.fixture
def url(s3: str, monkeypatch: pytest.MonkeyPatch) -> str:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    return s3


def test_a_file_is_written_listed_read_and_removed(url: str) -> None:
    folder = open_folder(url).at("plain")

    folder.write("one.txt", b"1")
    folder.at("inner").write("two.txt", b"2")

    assert folder.read("one.txt") == b"1"
    assert folder.read_if_there("none.txt") is None
    assert set(folder.files()) == {"one.txt"}
    assert folder.folders() == ["inner"]
    folder.delete("one.txt")
    folder.delete("one.txt")
    assert not folder.exists("one.txt")
    assert folder.local is None


def test_a_receipt_is_found_again_and_tables_are_derived(url: str) -> None:
    store = Store(open_folder(url).at("lab/run"))

    store.put(files_of("cell-a", 1, [], [], receipt_row("cell-a", status="ok")))
    store.put(files_of("cell-b", 1, [], [], receipt_row("cell-b", status="failed")))
    store.compact()

    assert {key: row["status"] for key, row in store.receipts().items()} == {"cell-a": "ok", "cell-b": "failed"}
    store.reopen("cell-b")
    assert set(store.receipts()) == {"cell-a"}


def test_a_whole_run_lives_on_an_object_store(lab: Lab, url: str) -> None:
    lab.environment |= CREDENTIALS | {"HOME": str(lab.folder)}
    lab.experiment(dates=1)

    lab.run("--results", url)
    told = json.loads(lab.harness("status", "lab", "--json", "--results", url))
    again = lab.run("--results", url)

    assert told["state"] == "done"
    assert told["cells"]["ended"] == 2
    assert "nothing left to do" in again
    assert lab.paid()["calls"] == 24
    assert not (lab.folder / "results").exists()
    assert not list(Path(lab.folder).rglob("*.parquet"))


class ReplacedAtEachOpening:
    """The bucket's file system; after each opening another process replaces the object, as long as it has contents left."""

    def __init__(self, folder: Folder, name: str, contents: Iterable[bytes]) -> None:
        self._folder, self._name, self._contents = folder, name, iter(contents)

    def open_input_stream(self, path: str) -> Any:
        stream = self._folder.filesystem.open_input_stream(path)
        if (content := next(self._contents, None)) is not None:
            self._folder.write(self._name, content)
        return stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._folder.filesystem, name)


def test_a_file_that_is_replaced_while_it_is_read_is_never_read_in_part(url: str) -> None:
    folder = open_folder(url).at("replaced")
    folder.write("one.txt", b"short")
    twice: Any = ReplacedAtEachOpening(folder, "one.txt", [b"a longer text", b"x", b"the longest text of all"])
    assert replace(folder, filesystem=twice).read("one.txt") == b"the longest text of all"

    for_ever: Any = ReplacedAtEachOpening(folder, "one.txt", (number * b"x" for number in itertools.count(30)))
    with pytest.raises(StoreError, match=r"one\.txt is replaced again and again"):
        replace(folder, filesystem=for_ever).read("one.txt")


def test_deferred_calls_are_kept_on_an_object_store_and_fetched_by_a_new_process(url: str, fake_models: FakeModels) -> None:
    fake_models.control(later={"ready_s": 1.0})
    desk = Desk(f"{url.partition('?')[0]}/deferring?{url.partition('?')[2]}", fake_models)
    names = desk.suspend()
    with desk.coordinator(names):
        desk.until(desk.handles, "a handle")
    assert statuses(desk.answered(names)) == 2 * CELLS * [200]
    assert desk.truth()["later"]["submitted_twice"] == 0
    assert not list(desk.mailbox.submissions())
    for name in names:
        desk.mailbox.remove(name)
    assert not desk.mailbox.is_used()
    assert [outcome for name in names for outcome in desk.mailbox.outcomes(name)] == []
