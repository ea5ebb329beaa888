"""Snapshots: the same bytes for everyone, and nothing from after the decision."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
from pathlib import Path

import pytest

import agents
from agents import LookAhead, NoSuchCase, Snapshot, SnapshotError
from agents.inputs.datum import Fact, News
from tests.agents import archives
from tests.agents.archives import utc

DAY = dt.date(2012, 6, 20)


@pytest.fixture(scope="module")
def demo() -> Snapshot:
    return agents.freeze_case("AAPL", DAY, agents.open_sources({"prices": "demo"}))


def test_a_snapshot_read_back_is_the_same_to_the_byte(demo: Snapshot) -> None:
    again = Snapshot.from_bytes(demo.to_bytes())
    assert again == demo
    assert again.sha256 == demo.sha256


def test_freezing_twice_gives_the_same_hash(demo: Snapshot) -> None:
    assert agents.freeze_case("AAPL", DAY, agents.open_sources({"prices": "demo"})).sha256 == demo.sha256


def test_bytes_that_are_no_snapshot_are_refused() -> None:
    for raw in (b"", b"[]", b"{}", b'{"format": 99}'):
        with pytest.raises(SnapshotError):
            Snapshot.from_bytes(raw)


@pytest.mark.parametrize(
    ("part", "datum", "named"),
    [
        ("news", News("company", "Tomorrow's headline", "", "wire", utc("2012-06-20T20:00:01")), "Tomorrow's headline"),
        (
            "filings",
            Fact("income_statement", "revenues", "2012", "Q3", None, DAY, 1.0, "USD", utc("2012-07-24T20:30:00")),
            "revenues",
        ),
    ],
)
def test_a_datum_from_after_the_decision_is_refused_by_name(demo: Snapshot, part: str, datum: object, named: str) -> None:
    with pytest.raises(LookAhead, match=named) as refused:
        dataclasses.replace(demo, **{part: (datum,)})  # type: ignore[arg-type]
    assert "2012-06-20T20:00:00Z" in str(refused.value)


def test_a_future_bar_smuggled_into_the_bytes_is_refused(demo: Snapshot) -> None:
    raw = json.loads(demo.to_bytes())
    raw["parts"]["prices"]["rows"].append(["2012-06-21", 585.44, 588.22, 577.44, 577.67, 11655400.0, "2012-06-21T20:00:00Z"])
    with pytest.raises(LookAhead, match="2012-06-21"):
        Snapshot.from_bytes(json.dumps(raw).encode())


def test_every_datum_carries_its_time(demo: Snapshot) -> None:
    moments = [datum.available_at for _, datum in demo.data()]
    assert len(moments) > 250
    assert all(moment.tzinfo is not None and moment <= demo.decision_time for moment in moments)


def test_prices_stand_as_they_traded_not_as_they_were_adjusted_later() -> None:
    snapshot = agents.freeze_case("AAPL", dt.date(2000, 6, 20), agents.open_sources({"prices": "demo"}))
    assert snapshot.last.close == 101.25
    text = agents.view(snapshot, "market")
    assert "101.25" in text
    assert " 3.25" not in text
    assert "50.62" not in text, "the split of 2000-06-21 was not in force yet"


def test_a_known_split_is_undone_and_stated() -> None:
    snapshot = agents.freeze_case("AAPL", dt.date(2000, 6, 26), agents.open_sources({"prices": "demo"}))
    assert [split.ratio for split in snapshot.splits] == [2.0]
    text = agents.view(snapshot, "market")
    assert "a split lies among them" in text
    returns = {reading.name: reading.value for reading in snapshot.returns}
    assert returns["return_5"] is not None
    assert -0.2 < returns["return_5"] < 0.2, "a split is no loss"


def test_a_date_without_a_session_is_refused() -> None:
    with pytest.raises(NoSuchCase, match="Saturday"):
        agents.freeze_case("AAPL", dt.date(2012, 6, 23), agents.open_sources({"prices": "demo"}))


def test_an_unknown_ticker_is_refused_with_the_known_ones() -> None:
    with pytest.raises(NoSuchCase, match="AAPL, FB, GOOG, IBM, MSFT"):
        agents.freeze_case("NOPE", DAY, agents.open_sources({"prices": "demo"}))


def test_a_date_before_the_first_or_long_after_the_last_bar_is_refused() -> None:
    desk = agents.open_sources({"prices": "demo"})
    with pytest.raises(NoSuchCase, match="no prices"):
        agents.freeze_case("FB", dt.date(2010, 6, 21), desk)
    with pytest.raises(NoSuchCase, match="last bar is 2013-03-01"):
        agents.freeze_case("AAPL", dt.date(2013, 6, 20), desk)


def test_an_unknown_source_is_refused_with_the_known_ones() -> None:
    with pytest.raises(SnapshotError, match="archive, demo, edgar, yfinance"):
        agents.open_sources({"prices": "bloomberg"})


def test_indicators_are_unknown_with_the_reason_until_their_window_is_full() -> None:
    snapshot = agents.freeze_case("FB", dt.date(2012, 7, 20), agents.open_sources({"prices": "demo"}))
    found = {reading.name: reading for reading in snapshot.indicators}
    assert len(found) == 12
    assert found["close_50_sma"].value is None
    assert found["close_50_sma"].reason == "needs 50 sessions, has 44"
    assert found["close_200_sma"].reason == "needs 200 sessions, has 44"
    assert found["rsi"].value is not None
    assert "close_200_sma: unknown, needs 200 sessions, has 44" in agents.view(snapshot, "market")


def test_a_window_with_a_missing_session_is_not_full(tmp_path: Path) -> None:
    rows = [row for row in archives.bars() if row["date"] != dt.date(2025, 6, 5)]
    archives.write(tmp_path, "prices", rows)
    snapshot = agents.freeze_case("ABC", dt.date(2025, 6, 16), agents.open_sources({"prices": "archive"}, str(tmp_path)))
    found = {reading.name: reading for reading in snapshot.indicators}
    assert found["close_10_ema"].value is None
    assert "1 missing" in str(found["close_10_ema"].reason)
    assert "misses 1 of" in agents.view(snapshot, "market")


def test_indicators_are_the_ones_of_their_formulas(tmp_path: Path) -> None:
    archives.write(tmp_path, "prices", archives.bars())
    day = dt.date(2025, 6, 16)
    snapshot = agents.freeze_case("ABC", day, agents.open_sources({"prices": "archive"}, str(tmp_path)))
    closes = [bar.close for bar in snapshot.prices]
    found = {reading.name: reading.value for reading in snapshot.indicators}
    assert found["close_50_sma"] == pytest.approx(sum(closes[-50:]) / 50)
    assert found["close_200_sma"] == pytest.approx(sum(closes[-200:]) / 200)
    assert found["boll"] == pytest.approx(sum(closes[-20:]) / 20)
    assert found["rsi"] == pytest.approx(100.0)
    returns = {reading.name: reading.value for reading in snapshot.returns}
    assert returns["return_5"] == pytest.approx(1.001**5 - 1, rel=1e-3)
    assert returns["return_250"] == pytest.approx(1.001**250 - 1, rel=1e-3)


def test_a_decision_at_the_open_does_not_see_the_days_bar(tmp_path: Path) -> None:
    archives.write(tmp_path, "prices", archives.bars())
    data = {"prices": "archive", "decision_time": "open"}
    snapshot = agents.freeze_case("ABC", dt.date(2025, 6, 16), agents.open_sources(data, str(tmp_path)), data)
    assert snapshot.last.date == dt.date(2025, 6, 13)
    assert snapshot.decision_time == utc("2025-06-16T13:30:00")
    assert "last bar: 2025-06-13" in agents.instrument(snapshot)


def test_a_half_day_closes_early() -> None:
    assert agents.decision_time(dt.date(2025, 7, 3)) == utc("2025-07-03T17:00:00")


def test_sessions_are_the_exchanges() -> None:
    assert not agents.is_session(dt.date(2025, 1, 9)), "the exchange mourned a president"
    assert agents.next_session(dt.date(2025, 7, 3)) == dt.date(2025, 7, 7)
    assert agents.next_session(dt.date(2025, 7, 5)) == dt.date(2025, 7, 7)
    assert agents.previous_session(dt.date(2025, 7, 5)) == dt.date(2025, 7, 3)
    assert agents.previous_session(dt.date(2025, 7, 7)) == dt.date(2025, 7, 3)
    assert len(agents.sessions_between(dt.date(2025, 1, 1), dt.date(2025, 12, 31))) == 250


def test_prompts_state_what_the_demo_source_lacks(demo: Snapshot) -> None:
    for analyst, said in (("news", "has no news"), ("sentiment", "has no social"), ("fundamentals", "has no company filings")):
        assert said in agents.view(demo, analyst)
