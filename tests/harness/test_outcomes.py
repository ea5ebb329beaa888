"""Outcomes: filled at the next open, adjusted for what happened between, pending while it has not happened."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from agents import Pipeline
from harness.cells import Cell
from harness.storage.folder import open_folder
from harness.storage.outcomes import write_outcomes
from reports import tables
from tests.agents import archives

DAY = dt.date(2025, 6, 2)
LONG_AFTER = dt.datetime(2026, 1, 5, tzinfo=dt.UTC)


def outcomes(
    tmp_path: Path,
    tickers: tuple[str, ...] = ("ABC",),
    now: dt.datetime = LONG_AFTER,
    benchmark: str = "SPY",
    day: dt.date = DAY,
) -> dict[tuple[str, int], dict[str, Any]]:
    data = {"prices": "archive", "decision_time": "close"}
    cells = [Cell("test", arm, "ABC", day, 0, {}, Pipeline(), data, "print") for arm in ("one", "two")]
    run = open_folder(tmp_path / "run")
    write_outcomes(cells, run, (1, 5, 20), benchmark, tmp_path / "shared", str(tmp_path / "archive"), now)
    rows = pq.read_table(tmp_path / "run" / "outcomes.parquet").to_pylist()
    return {(row["case_id"].split("@")[0], row["horizon"]): row for row in rows}


def prices(tmp_path: Path, **steps: float) -> Path:
    rows = [row for ticker, step in steps.items() for row in archives.bars(ticker, step=step)]
    return archives.write(tmp_path / "archive", "prices", rows)


def test_the_fill_is_at_the_next_open_and_the_exit_at_an_open(tmp_path: Path) -> None:
    prices(tmp_path, ABC=0.001, SPY=0.0)
    row = outcomes(tmp_path)["ABC", 5]
    assert row["entry_at"] == dt.date(2025, 6, 3)
    assert row["exit_at"] == dt.date(2025, 6, 10)
    assert row["return"] == pytest.approx(1.001**5 - 1, rel=1e-3)
    assert row["status"] == "known"


def test_excess_is_measured_against_the_benchmark(tmp_path: Path) -> None:
    prices(tmp_path, ABC=0.002, SPY=0.001)
    row = outcomes(tmp_path)["ABC", 20]
    assert row["benchmark"] == "SPY"
    assert row["excess"] == pytest.approx(1.002**20 - 1.001**20, rel=1e-2)


def test_without_the_benchmark_the_equal_weight_universe_is_named(tmp_path: Path) -> None:
    prices(tmp_path, ABC=0.002, XYZ=0.0)
    row = outcomes(tmp_path)["ABC", 20]
    assert row["benchmark"] == "equal weight of 2 tickers"
    assert row["excess"] == pytest.approx((1.002**20 - 1) / 2, rel=1e-2)


def test_a_single_ticker_has_nothing_to_be_measured_against(tmp_path: Path) -> None:
    prices(tmp_path, ABC=0.002)
    row = outcomes(tmp_path)["ABC", 5]
    assert row["status"] == "known"
    assert row["benchmark"] is None
    assert row["excess"] is None


def test_a_benchmark_that_ends_early_is_replaced_for_all_cases(tmp_path: Path) -> None:
    rows = [*archives.bars("ABC"), *archives.bars("XYZ", step=0.0), *archives.bars("SPY", last=dt.date(2025, 6, 12))]
    archives.write(tmp_path / "archive", "prices", rows)
    found = outcomes(tmp_path)
    assert {row["benchmark"] for row in found.values()} == {"equal weight of 2 tickers"}


def test_the_future_is_pending_until_its_session_has_closed(tmp_path: Path) -> None:
    prices(tmp_path, ABC=0.001, SPY=0.0)
    found = outcomes(tmp_path, now=dt.datetime(2025, 6, 5, 12, tzinfo=dt.UTC))
    assert [found["ABC", horizon]["status"] for horizon in (1, 5, 20)] == ["known", "pending", "pending"]
    assert found["ABC", 5]["return"] is None
    days = pq.read_table(tmp_path / "run" / "daily.parquet").column("date").to_pylist()
    assert max(days) == dt.date(2025, 6, 4)


def test_what_happened_but_the_source_lacks_is_missing(tmp_path: Path) -> None:
    prices(tmp_path, ABC=0.001, SPY=0.0)
    found = outcomes(tmp_path, day=dt.date(2025, 6, 30))
    assert [found["ABC", horizon]["status"] for horizon in (1, 5, 20)] == ["known", "missing", "missing"]


def test_splits_and_dividends_between_entry_and_exit_are_no_losses(tmp_path: Path) -> None:
    rows = archives.bars("ABC", step=0.0)
    for row in rows:
        if row["date"] >= dt.date(2025, 6, 5):
            row |= {name: row[name] / 2 for name in ("open", "high", "low", "close")}
    folder = archives.write(tmp_path / "archive", "prices", [*rows, *archives.bars("SPY", step=0.0)])
    archives.write(folder, "splits", [{"ticker": "ABC", "ex_date": dt.date(2025, 6, 5), "ratio": 2.0}])
    archives.write(folder, "dividends", [{"ticker": "ABC", "ex_date": dt.date(2025, 6, 6), "amount": 0.5}])
    row = outcomes(tmp_path)["ABC", 5]
    assert row["return"] == pytest.approx(0.01), "two shares at half the price, and two dividends of 0.50 on 100"
    day = next(d for d in pq.read_table(tmp_path / "run" / "daily.parquet").to_pylist() if d["date"] == dt.date(2025, 6, 5))
    assert day["split"] == 2.0


def test_the_tables_follow_their_schemas(tmp_path: Path) -> None:
    prices(tmp_path, ABC=0.001, SPY=0.0)
    outcomes(tmp_path)
    for name in ("outcomes", "daily"):
        assert pq.read_schema(tmp_path / "run" / f"{name}.parquet").names == tables.TABLES[name].names


def test_the_demo_has_outcomes_too(tmp_path: Path) -> None:
    cell = Cell("test", "one", "AAPL", dt.date(2012, 6, 20), 0, {}, Pipeline(), {"prices": "demo"}, "print")
    write_outcomes([cell], open_folder(tmp_path), (5,), "SPY", tmp_path)
    row = pq.read_table(tmp_path / "outcomes.parquet").to_pylist()[0]
    assert row["entry"] == 585.44
    assert row["benchmark"] == "equal weight of 5 tickers"
