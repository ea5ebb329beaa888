"""Runs that are small, broken or strange still give a page that is honest about them."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from reports.render import render
from tests.reports.synthetic import FakeArm, make_run, sessions

TWO = {"gpt-5": FakeArm(), "local": FakeArm("llama3.1:8b", "ollama", 0.02)}
DAYS = sessions("2025-09-02", 3)
ODD: Mapping[str, Mapping[str, Any]] = {
    "one date": {"arms": TWO, "dates": DAYS[:1]},
    "one ticker": {"arms": TWO, "tickers": ("AAPL",), "dates": DAYS},
    "one case": {"arms": TWO, "tickers": ("AAPL",), "dates": DAYS[:1]},
    "one arm": {"arms": {"gpt-5": FakeArm()}, "dates": DAYS},
    "only a rule": {"arms": {"macd": FakeArm(rule="macd", cost_usd=0.0)}, "dates": DAYS},
    "every cell of an arm failed": {"arms": {**TWO, "broken": FakeArm("x", "ollama", failing=1.0)}, "dates": DAYS},
    "every cell of every arm failed": {"arms": {n: FakeArm(failing=1.0) for n in ("gpt-5", "local")}, "dates": DAYS},
    "all Hold": {"arms": {n: FakeArm(rating="Hold") for n in ("gpt-5", "local")}, "dates": DAYS, "repeats": 2},
    "outcomes pending": {"arms": TWO, "dates": DAYS, "outcomes": "pending"},
    "no outcomes": {"arms": TWO, "dates": DAYS, "outcomes": "absent"},
    "arms with different cases": {"arms": {**TWO, "few": FakeArm(skip=tuple(f"AAPL@{d}" for d in DAYS))}, "dates": DAYS},
    "an arm that never ran": {
        "arms": {**TWO, "absent": FakeArm(skip=tuple(f"{t}@{d}" for t in ("AAPL", "MSFT", "JPM") for d in DAYS))},
        "dates": DAYS,
    },
    "zero cost": {"arms": {n: FakeArm(cost_usd=0.0) for n in ("gpt-5", "local")}, "dates": DAYS},
    "unknown costs": {"arms": {n: FakeArm("m", "ollama", None) for n in ("gpt-5", "local")}, "dates": DAYS},
    "no cell": {"arms": {"gpt-5": FakeArm(skip=tuple(f"AAPL@{d}" for d in DAYS))}, "tickers": ("AAPL",), "dates": DAYS},
}


@pytest.mark.parametrize("name", ODD)
def test_a_page_comes_out_of_a_run_with(name: str, tmp_path: Path) -> None:
    page = Path(render(make_run(tmp_path / "r1", **ODD[name]), 1)).read_text(encoding="utf-8")
    words = re.sub(r"<(script|style).*?</\1>|<[^>]+>", " ", page, flags=re.S)
    assert not re.search(r"\b(?:nan|None|NaT|inf|undefined)\b", words)


def test_unknown_costs_are_never_a_zero(tmp_path: Path) -> None:
    page = Path(render(make_run(tmp_path / "r1", **ODD["unknown costs"]), 0)).read_text(encoding="utf-8")
    shown = page.partition('id="differences"')[0] + page.partition('id="money"')[2]
    assert "$0.00" not in shown
    assert "a local model has no price until the experiment gives local_cost" in page


def test_an_unfinished_run_is_marked_interim_and_gets_no_verdict(tmp_path: Path) -> None:
    arms = {**TWO, "late": FakeArm(skip=tuple(f"{t}@{DAYS[2]}" for t in ("AAPL", "MSFT", "JPM")))}
    run = make_run(tmp_path / "r1", arms=arms, dates=DAYS, state="running", expected_cells=27)
    page = Path(render(run, 1)).read_text(encoding="utf-8")
    assert "Interim page." in page
    assert "6 of 9 cases are whole" in page
    assert not re.search(r'class="pill (?:good|bad)">(?:better|worse|equivalent|not worse)', page)
    assert page.count('<a class="case"') + page.count("<tr data-t") + page.count('<tr class="dif" data-t') >= 6


def test_a_run_whose_arms_saw_different_inputs_says_so(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    run = make_run(tmp_path / "r1", arms=TWO, tickers=("AAPL",), dates=[dt.date(2025, 9, 2)])
    cells = pq.read_table(run / "cells.parquet")
    at = cells.schema.get_field_index("snapshot_sha256")
    pq.write_table(cells.set_column(at, cells.schema.field(at), pa.array(["a" * 64, "b" * 64])), run / "cells.parquet")
    page = Path(render(run)).read_text(encoding="utf-8")
    assert "in 1 case the arms did not see the same bytes" in page
    assert "did not see the same bytes" in (run / "cases" / "AAPL@2025-09-02.html").read_text(encoding="utf-8")
