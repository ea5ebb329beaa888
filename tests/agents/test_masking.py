"""Masked snapshots: who and when is neutered, what the figures say to each other stays."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest

import agents
from agents.inputs.masking import neuter
from tests.agents import archives
from tests.agents.test_sources_archive import filed, frozen, news


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    archives.write(tmp_path, "prices", archives.bars())
    rows = [
        filed("2025-03-29", 111e6, "2025-05-02T10:00:00"),
        filed("2025-03-29", 30e6, "2025-05-02T10:00:00", "net_income_loss"),
    ]
    archives.write(tmp_path, "fundamentals", rows)
    return archives.write(tmp_path, "news", [news("2025-06-12T12:00:00", "ABC jumps on June 12, 2025 (NYSE: ABC)")])


def test_no_view_of_a_masked_case_tells_ticker_or_date(folder: Path) -> None:
    snapshot = frozen(folder, mask=True)
    texts = [
        agents.instrument(snapshot),
        *(agents.view(snapshot, name) for name in ("market", "sentiment", "news", "fundamentals")),
    ]
    for text in texts:
        assert "ABC" not in text
        assert "2025" not in text
        assert "2024" not in text
    assert snapshot.masked


def test_the_last_close_is_100_and_returns_stay(folder: Path) -> None:
    plain, masked = frozen(folder), frozen(folder, mask=True)
    assert masked.last.close == pytest.approx(100)
    assert [reading.value for reading in masked.returns] == [reading.value for reading in plain.returns]
    rsi = {snapshot.masked: next(r.value for r in snapshot.indicators if r.name == "rsi") for snapshot in (plain, masked)}
    assert rsi[True] == rsi[False]


def test_ratios_stay_and_money_is_rescaled(folder: Path) -> None:
    plain, masked = (agents.view(frozen(folder, mask=mask), "fundamentals") for mask in (False, True))
    assert "net margin: 27.0 %" in plain
    assert "net margin: 27.0 %" in masked
    assert "111.00M" not in masked
    assert "revenues: 100.00" in masked


def test_a_masked_snapshot_is_another_snapshot(folder: Path) -> None:
    assert frozen(folder, mask=True).sha256 != frozen(folder).sha256


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("Apple's iPhone, AAPL and $AAPL", "ASSET's ASSET, ASSET and ASSET"),
        ("Pineapple and AAPLX stay", "Pineapple and AAPLX stay"),
        ("On May 15, 2025 and 2025-05-15 and in Q2 2025", "On [date] and [date] and in [date]"),
        ("It may rise 5 percent; 1500 units", "It may rise 5 percent; 1500 units"),
    ],
)
def test_texts_lose_names_and_dates_and_nothing_else(text: str, hidden: str) -> None:
    assert neuter("AAPL", "Apple Inc.")(text) == hidden


def test_the_demo_works_masked() -> None:
    data = {"prices": "demo", "mask": True}
    snapshot = agents.freeze_case("AAPL", dt.date(2012, 6, 20), agents.open_sources(data), data)
    assert "day 0: open 100.42" in agents.view(snapshot, "market")
