"""Parts are the truth: whole or not there, paid calls never overwritten, tables derived from them."""

from __future__ import annotations

import datetime as dt
import random
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from harness.errors import StoreError
from harness.storage.folder import open_folder
from harness.storage.rows import totals
from harness.storage.store import Store, files_of
from tests.harness.admissions import cell
from tests.harness.rows import call_row, message_row, receipt_row


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(open_folder(tmp_path))


def test_calls_stand_before_their_receipt(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    move = Path.replace

    def noted(self: Path, target: Path) -> Path:
        order.append(target.name)
        return move(self, target)

    monkeypatch.setattr(Path, "replace", noted)

    store.put(files_of("a", 1, [call_row("a", "1")], [message_row("hello")], receipt_row("a")))

    assert order == ["a.1.messages.parquet", "a.1.calls.parquet", "a.cell.parquet"]


def test_nothing_half_written_stays_when_the_disk_refuses(store: Store, tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "a.cell.parquet").mkdir()

    with pytest.raises(StoreError, match="run the same command again"):
        store.put(files_of("a", 1, [], [], receipt_row("a")))

    assert not list(tmp_path.rglob("*.tmp"))


def test_calls_of_a_version_that_left_out_attempts_without_files_are_read(store: Store) -> None:
    store.put(files_of("a", 3, [call_row("a", "1")], [], receipt_row("a") | {"attempts": 3}))
    assert [row["call_id"] for row in store.parts_of("a", "calls")] == ["1"]
    assert store.cells_with_calls() == {"a"}


def test_the_next_attempt_never_takes_a_number_that_has_paid_calls(store: Store) -> None:
    store.put(files_of("a", 1, [call_row("a", "1")], [], receipt_row("a")))

    assert store.next_attempt("a") == 2
    assert [call["call_id"] for call in store.earlier_calls("a", 2)] == ["1"]


def test_a_call_that_two_attempts_tell_of_is_one_call_in_the_tables(store: Store, tmp_path: Path) -> None:
    store.put(files_of("a", 1, [call_row("a", "1")], [message_row("hello")], receipt_row("a")))
    store.put(files_of("a", 2, [call_row("a", "1"), call_row("a", "2")], [message_row("hello")], receipt_row("a")))

    store.compact()

    assert pq.read_table(tmp_path / "calls.parquet")["call_id"].to_pylist() == ["1", "2"]
    assert pq.read_table(tmp_path / "messages.parquet").num_rows == 1
    assert pq.read_table(tmp_path / "cells.parquet").num_rows == 1


def test_tables_of_many_cells_have_every_call_and_each_message_once(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.storage.store._FILES_AT_A_TIME", 2)
    for name in "abcde":
        sent = [message_row("to all"), message_row(f"to {name}")]
        store.put(files_of(name, 1, [call_row(name, f"{name}1")], sent, receipt_row(name)))
        store.put(files_of(name, 2, [call_row(name, f"{name}1"), call_row(name, f"{name}2")], sent, receipt_row(name)))

    store.compact()

    calls, messages, cells = (pq.read_table(tmp_path / f"{name}.parquet") for name in ("calls", "messages", "cells"))
    assert calls["call_id"].to_pylist() == [f"{name}{number}" for name in "abcde" for number in (1, 2)]
    assert messages["text"].to_pylist() == ["to all", *(f"to {name}" for name in "abcde")]
    assert cells["cell_id"].to_pylist() == list("abcde")


def test_deriving_tables_takes_no_more_memory_for_more_cells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.storage.store._FILES_AT_A_TIME", 4)

    few, many = (_memory_of_tables(Store(open_folder(tmp_path / str(cells))), cells) for cells in (16, 64))

    assert many < 1.5 * few


def _memory_of_tables(store: Store, cells: int) -> int:
    """The most memory in bytes that Arrow holds while tables are derived from cells with texts of 256 kB."""
    for number in range(cells):
        name, text = f"c{number:02}", random.Random(number).randbytes(1 << 17).hex()
        store.put(files_of(name, 1, [call_row(name, name, response=text)], [message_row(text)], receipt_row(name)))
    default = pa.default_memory_pool()
    watched = pa.proxy_memory_pool(default)
    pa.set_memory_pool(watched)
    try:
        store.compact()
    finally:
        pa.set_memory_pool(default)
    return int(watched.max_memory())


def test_a_reopened_cell_has_no_receipt_and_keeps_its_calls(store: Store, tmp_path: Path) -> None:
    store.put(files_of("a", 1, [call_row("a", "1")], [], receipt_row("a", status="failed")))

    store.reopen("a")
    store.compact()

    assert store.receipts() == {}
    assert pq.read_table(tmp_path / "calls.parquet").num_rows == 1
    assert pq.read_table(tmp_path / "cells.parquet").num_rows == 0


def test_a_receipt_taken_over_keeps_its_run_and_gets_the_new_arm(store: Store, tmp_path: Path) -> None:
    old = Store(open_folder(tmp_path / "old"))
    old.put(files_of("a", 1, [call_row("a", "1", run_id="first")], [message_row("hello")], receipt_row("a", run_id="first")))
    renamed = replace(cell(), arm="renamed")

    store.copy_cell(old, "a", renamed)

    receipt = store.receipt(renamed.cell_id)
    assert receipt is not None
    assert (receipt["arm"], receipt["run_id"]) == ("renamed", "first")
    (call,) = store.earlier_calls(renamed.cell_id, 2)
    assert (call["arm"], call["run_id"], call["cell_id"]) == ("renamed", "first", renamed.cell_id)


def test_a_receipt_that_is_newer_than_the_tables_is_believed(store: Store) -> None:
    store.put(files_of("a", 1, [], [], receipt_row("a", status="failed")))
    store.compact()
    store.put(files_of("a", 2, [], [], receipt_row("a", status="ok")))

    assert store.receipts()["a"]["status"] == "ok"


def test_receipts_of_an_older_version_are_read_although_they_lack_a_column(store: Store, tmp_path: Path) -> None:
    store.put(files_of("a", 1, [], [], receipt_row("a")))
    store.put(files_of("b", 1, [], [], receipt_row("b")))
    store.compact()
    for path in (tmp_path / "cells.parquet", tmp_path / "parts" / "a.cell.parquet"):
        pq.write_table(pq.read_table(path).drop_columns(["kind"]), path)

    assert {cell_id: row["kind"] for cell_id, row in store.receipts().items()} == {"a": None, "b": None}
    store.compact()
    assert "kind" in pq.read_table(tmp_path / "cells.parquet").column_names


def test_one_unknown_price_makes_the_sum_unknown_and_a_refused_request_does_not() -> None:
    known = call_row("a", "1", cost_usd=0.5, cost_basis="api_price", input_tokens=10, output_tokens=5)
    refused = call_row("a", "2", outcome="failed", cost_usd=0.0, cost_basis="api_price")
    unknown = call_row("a", "3", cost_basis="unknown", input_tokens=1, output_tokens=1, server="gpu")

    assert totals([known, refused], {"box"})["cost_usd"] == 0.5
    assert totals([known, refused], {"box"})["input_tokens"] == 10
    mixed = totals([known, unknown], {"box"})
    assert (mixed["cost_usd"], mixed["api_cost_usd"], mixed["cost_basis"]) == (None, 0.5, "mixed")
    assert mixed["cached_tokens"] is None


def test_a_cell_without_calls_costs_nothing() -> None:
    assert totals([], set())["cost_usd"] == 0


def test_requests_that_a_local_server_answers_at_once_share_its_machine_time(store: Store) -> None:
    started = dt.datetime(2026, 11, 20, tzinfo=dt.UTC)
    store.write_manifest({"run_id": "now", "hardware": {"box": {"provider": "ollama", "slots": 4, "usd_per_gpu_hour": 3.6}}})
    for number in range(4):
        call = call_row(
            f"c{number}",
            str(number),
            run_id="now" if number else "before",
            server="box",
            started_at=started,
            duration_s=100.0,
            cost_usd=0.1,
            cost_basis="gpu_time",
        )
        receipt = receipt_row(f"c{number}", run_id="now", cost_usd=0.1, reused_usd=0.0)
        store.put(files_of(f"c{number}", 1, [call], [], receipt))

    store.compact()

    assert sum(row["cost_usd"] for row in store.rows_of("calls")) == pytest.approx(0.1), "100 seconds of a machine at $3.60/h"
    cells = {row["cell_id"]: (row["cost_usd"], row["reused_usd"]) for row in store.rows_of("cells")}
    assert cells == {"c0": pytest.approx((0.025, 0.025)), **{f"c{n}": pytest.approx((0.025, 0.0)) for n in (1, 2, 3)}}
