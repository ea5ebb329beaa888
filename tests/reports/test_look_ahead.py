"""The look-ahead check: a clean run passes, a planted leak is found and named."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import agents
from agents import Pipeline, Snapshot
from agents.inputs.datum import News
from harness.cells import Cell
from harness.storage.folder import open_folder
from harness.storage.outcomes import write_outcomes
from reports import tables
from reports.load import Run, load
from reports.trust import future_values, look_ahead, read_figures

DAY = dt.date(2000, 6, 20)
LATER = dt.date(2000, 10, 2)
DEMO = {"prices": "demo"}


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def run(
    folder: Path,
    prompts: list[str],
    answer: str = "Hold.",
    days: tuple[dt.date, ...] = (DAY,),
    news: tuple[News, ...] = (),
) -> Run:
    """A run over demo cases, with this news, whose first one reads these prompts."""
    desk = agents.open_sources(DEMO)
    snapshots = [replace(agents.freeze_case("AAPL", day, desk), news=news) for day in days]
    (folder / "snapshots").mkdir(parents=True)
    for snapshot in snapshots:
        (folder / "snapshots" / f"{snapshot.sha256}.json").write_bytes(snapshot.to_bytes())
    cells = [{"cell_id": s.case_id, "case_id": s.case_id, "arm": "one", "ticker": "AAPL", "date": s.date} for s in snapshots]
    _write(folder, "cells", [cell | {"snapshot_sha256": s.sha256} for cell, s in zip(cells, snapshots, strict=True)])
    ids = [sha(text) for text in prompts]
    call = {"cell_id": snapshots[0].case_id, "call_id": "1", "role": "trader", "message_ids": ids, "response": answer}
    _write(folder, "calls", [call])
    _write(folder, "messages", [{"message_id": sha(text), "role": "user", "text": text} for text in prompts])
    matrix = [Cell("t", "one", "AAPL", day, 0, {}, Pipeline(), DEMO, "print") for day in days]
    write_outcomes(matrix, open_folder(folder), (5,), "SPY", folder)
    (folder / "experiment.yaml").write_text("name: t\n")
    return load(folder)


def _write(folder: Path, name: str, rows: list[dict[str, Any]]) -> None:
    schema = tables.TABLES[name]
    whole = [{column: row.get(column) for column in schema.names} for row in rows]
    pq.write_table(pa.Table.from_pylist(whole, schema=schema), folder / f"{name}.parquet")


def demo(day: dt.date = DAY) -> Snapshot:
    return agents.freeze_case("AAPL", day, agents.open_sources(DEMO))


def shown(snapshot: Snapshot) -> list[str]:
    names = ("market", "sentiment", "news", "fundamentals")
    return [agents.instrument(snapshot), *(agents.view(snapshot, name) for name in names)]


def test_what_the_analysts_are_shown_is_certified_clean(tmp_path: Path) -> None:
    found = look_ahead.check(run(tmp_path, shown(demo())))
    assert found.status == "clean", found.hits
    assert found.leaks == ()
    assert found.shown == ()
    assert found.data > 80
    assert "were available at or before their decision" in found.sentence


def test_the_adjusted_price_of_2000_that_a_vendor_shows_today_is_found_and_named(tmp_path: Path) -> None:
    found = look_ahead.check(run(tmp_path, [*shown(demo()), "AAPL closed at 3.253 on 2000-06-20."]))
    assert found.status == "suspect"
    assert [hit.figure for hit in found.shown] == ["3.253"]
    assert "close of 2000-06-20, adjusted by all actions" in str(found.shown[0])
    assert found.expected < 0.05, "chance does not explain it"


def test_the_split_adjusted_price_from_before_the_split_is_found(tmp_path: Path) -> None:
    found = look_ahead.check(run(tmp_path, ["The last close was 50.625."]))
    assert [hit.what for hit in found.shown] == ["close of 2000-06-20, adjusted by later splits"]


def test_a_52_week_low_from_the_future_is_found(tmp_path: Path) -> None:
    low = min(b.low for b in agents.open_sources(DEMO)["prices"].prices("AAPL", DAY, _utc(2001, 6, 20)).bars)
    found = look_ahead.check(run(tmp_path, [*shown(demo()), f"52-week low: {low:.2f}, so 1,{low * 10:.0f}.5 is far"]))
    assert f"{low:.2f}" in [hit.figure for hit in found.shown]
    assert any(hit.what.startswith("low of ") and hit.known_at > "2000-06-20" for hit in found.shown)


def test_what_a_model_wrote_itself_is_listed_apart_and_accuses_nobody(tmp_path: Path) -> None:
    found = look_ahead.check(run(tmp_path, [*shown(demo()), "The bull said: target 50.625"], answer="I see 50.625 ahead"))
    assert [hit.said_by_model for hit in found.hits] == [True]
    assert found.status == "clean"


def test_a_planted_datum_from_the_future_is_named_by_provenance(tmp_path: Path) -> None:
    loaded = run(tmp_path, shown(demo()))
    path = next((tmp_path / "snapshots").glob("*.json"))
    raw = json.loads(path.read_bytes())
    raw["parts"]["news"]["rows"].append(["company", "Apple splits two for one", "", "wire", "2000-06-21T13:00:00Z"])
    path.write_text(json.dumps(raw))
    found = look_ahead.check(loaded)
    assert found.status == "leak"
    assert "Apple splits two for one became available at 2000-06-21T13:00:00Z" in str(found.leaks[0])
    assert len(found.altered) == 1


def test_a_figure_of_the_future_in_a_news_text_has_a_table_of_its_own(tmp_path: Path) -> None:
    later = agents.open_sources(DEMO)["prices"].prices("AAPL", DAY, _utc(2000, 7, 20)).bars
    ninth = [bar for bar in later if bar.date > DAY][8]
    title = f"Apple at {ninth.close:.3f} after {ninth.volume:,.0f} shares changed hands"

    news = (News("company", title, "", "wire", _utc(2000, 6, 19)),)
    checked = look_ahead.check(run(tmp_path, shown(demo()), days=(DAY, LATER), news=news))

    assert checked.status == "suspect"
    assert [hit.what for hit in checked.text_hits] == [f"close of {ninth.date}", f"volume of {ninth.date}"]
    assert checked.text_hits[0].title == title
    assert checked.text_expected < 0.3
    assert "and 2 of these equal a later price, volume or statement" in checked.sentence
    assert checked.shown == ()


def test_a_clean_result_says_what_it_covers(tmp_path: Path) -> None:
    news = (News("company", "Apple sells 4,321 more boxes in 1999", "", "wire", _utc(2000, 6, 19)),)
    checked = look_ahead.check(run(tmp_path, shown(demo()), news=news))

    assert (checked.status, checked.text_figures, checked.text_hits) == ("clean", 1, ())
    assert "This covers figures of four or more digits" in checked.sentence


def test_a_datum_without_a_time_is_a_leak() -> None:
    raw = json.loads(demo().to_bytes())
    raw["parts"]["prices"]["rows"][0][-1] = None
    assert [leak.available_at for leak in look_ahead.late_data(raw)] == ["None"]


def test_a_statement_that_a_later_case_saw_first_is_found(tmp_path: Path) -> None:
    early = json.loads(demo().to_bytes())
    late = json.loads(demo(LATER).to_bytes())
    row = ["income_statement", "revenues", "2000", "Q3", "2000-04-02", "2000-07-01", 1825e6, "USD", "2000-08-11T20:00:00Z"]
    late["parts"]["filings"]["rows"] = [row]
    history = future_values.TickerHistory()
    history.add(late)
    values = future_values.later_values(early, history)
    figure = next(future_values.numbers_in("revenues of 1.825B"))
    assert values.near(figure) == future_values.LaterValue(
        1825e6, "revenues of the period to 2000-07-01", "2000-08-11T20:00:00Z"
    )


def test_values_of_later_cases_are_those_that_reading_every_later_snapshot_gives() -> None:
    snapshots = _random_snapshots(random.Random(7))
    history = future_values.TickerHistory()
    for snapshot in snapshots:
        history.add(snapshot)
    for snapshot in snapshots:
        later = [other for other in snapshots if other["date"] > snapshot["date"]]
        volumes = {row[0]: row[1] for other in later for row in other["parts"]["prices"]["rows"] if row[0] > snapshot["date"]}
        facts = {tuple(row) for other in later for row in other["parts"]["filings"]["rows"]}
        expected = {(volumes[date], f"volume of {date}", date) for date in sorted(volumes)[: future_values.NEXT]}
        expected |= {
            (value, f"{item} of the period to {end}", at) for item, end, value, at in facts if at > snapshot["decision_time"]
        }
        assert future_values.later_values(snapshot, history, volumes=True).sorted == sorted(expected)
        assert {value.what for value in future_values.later_values(snapshot, history).sorted}.isdisjoint(
            f"volume of {date}" for date in volumes
        )


def test_a_history_does_not_grow_with_snapshots_that_repeat_its_values() -> None:
    first, *others = sorted(_random_snapshots(random.Random(7)), key=lambda snapshot: str(snapshot["date"]))
    history = future_values.TickerHistory()
    for number in range(100):
        parts = first["parts"] | {"prices": others[number % len(others)]["parts"]["prices"]}
        history.add(first | {"date": f"2001-01-01 {number:02}", "parts": parts})
    assert len(history.facts) == len(first["parts"]["filings"]["rows"])
    assert max(len(volumes) for volumes in history.volumes.values()) == 1


def test_the_result_does_not_depend_on_the_size_of_the_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = run(tmp_path, [*shown(demo()), "AAPL closed at 3.253 on 2000-06-20."], days=(DAY, LATER))
    in_one_piece = look_ahead.check(loaded)
    monkeypatch.setattr(read_figures, "CELLS_AT_A_TIME", 1)
    assert look_ahead.check(loaded) == in_one_piece
    assert [hit.figure for hit in in_one_piece.hits] == ["3.253"]


def test_later_prices_of_another_date_of_the_run_are_not_leaks_for_it(tmp_path: Path) -> None:
    snapshot = demo(LATER)
    found = look_ahead.check(run(tmp_path, shown(demo()), days=(DAY, LATER)))
    assert found.status == "clean"
    assert found.snapshots == 2
    assert snapshot.last.date == LATER


def test_a_run_without_its_snapshots_passes_no_check(tmp_path: Path) -> None:
    loaded = run(tmp_path, shown(demo()))
    next((tmp_path / "snapshots").glob("*.json")).unlink()
    assert look_ahead.check(loaded).status == "not_checked"


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("on 2000-06-20 at 20:00 UTC in 2013, 60 sessions, 12.3 %", []),
        ("close 101.25, revenue 95.36B, volume 1,234,567, margin 47.12 %", [101.25, 95.36e9, 1234567.0, 0.4712]),
        ("0.001234 and 5000 and 5012", [0.001234, 5012.0]),
    ],
)
def test_only_figures_of_four_or_more_digits_count(text: str, values: list[float]) -> None:
    assert [figure.value for figure in future_values.numbers_in(text)] == pytest.approx(values)


def test_chance_is_the_share_of_neighbouring_figures_that_would_hit() -> None:
    values = future_values.SortedValues(
        sorted(future_values.LaterValue(100 + place / 100, "x", "") for place in range(0, 200, 2))
    )
    figure = next(future_values.numbers_in("100.37"))
    assert values.chance(figure) == pytest.approx(100 / 2007, rel=0.01)


def _random_snapshots(choices: random.Random) -> list[dict[str, Any]]:
    """Snapshots of 12 dates in any order, some twice, which disagree on volumes and hold some values too early."""
    days = [f"2000-06-{day:02}" for day in range(1, 29)]
    facts: list[list[Any]] = [["revenues", "2000-03-31", choices.randrange(1000, 1010), f"{day}T13:00:00Z"] for day in days]
    snapshots = []
    for date in choices.choices(days[:12], k=24):
        prices = [
            [day, float(choices.choice([5000, 5000, 5000, 6000]))] for day in days if day <= date or choices.random() < 0.1
        ]
        known_facts = [fact for fact in facts if choices.random() < (0.7 if fact[3] < date else 0.1)]
        parts = {
            "prices": {"columns": ["date", "volume"], "rows": prices},
            "filings": {"columns": ["item", "period_end", "value", "available_at"], "rows": known_facts},
        }
        snapshots.append({"date": date, "decision_time": f"{date}T20:00:00Z", "parts": parts})
    return snapshots


def _utc(year: int, month: int, day: int) -> dt.datetime:
    return dt.datetime(year, month, day, tzinfo=dt.UTC)
