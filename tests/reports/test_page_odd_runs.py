"""Runs that are small, broken or strange still give a page that is honest about them."""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Mapping, Sequence
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from reports.page.render import render
from tests.reports.synthetic import FakeArm, make_run, sessions

TWO = {"gpt-5": FakeArm(), "local": FakeArm("llama3.1:8b", "ollama", 0.02)}
DAYS = sessions("2025-09-02", 3)
ODD: Mapping[str, Mapping[str, Any]] = {
    "one date": {"arms": TWO, "dates": DAYS[:1]},
    "one ticker": {"arms": TWO, "tickers": ("AAPL",), "dates": DAYS},
    "one case": {"arms": TWO, "tickers": ("AAPL",), "dates": DAYS[:1]},
    "one repeat": {"arms": TWO, "dates": DAYS, "repeats": 1},
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


ONE_DATE = "cases of one date count as one, so nothing can be judged"
NO_FLOOR = "How often gpt-5 agrees with itself is not known, since no case has two usable decisions of it: set repeats: 3."
SAID: Mapping[str, Sequence[str]] = {
    "one date": (
        f"3 cases on 1 date: {ONE_DATE}",
        "This matrix carries no conclusion: 3 cases on 1 date",
        "on too little for an interval",
    ),
    "one ticker": ("1 ticker × 3 dates = 3 cases", "points worse", "3 cases on only 3 dates"),
    "one case": (f"1 case on 1 date: {ONE_DATE}", "This matrix carries no conclusion: 1 case on 1 date"),
    "one arm": (
        "What do the arms decide, and what does it cost?",
        NO_FLOOR,
        "there is nothing to draw.",
        "per usable decision 95 % interval $",
        "gpt-5: not drawn, since the noise floor was not measured",
    ),
    "one repeat": (
        NO_FLOOR,
        "only the cost is drawn, since the noise floor was not measured",
        "not repeated",
    ),
    "only a rule": ("macd (9 of 9 decisions usable)", "not drawn: a rule without a model"),
    "every cell of an arm failed": (
        "1 of 2 arms costs less per usable decision than gpt-5",
        "broken: 9 of 9 cells have no usable decision; they count against it, never as Hold.",
        "no decision was usable",
        "broken: not drawn, since the cost is unknown",
    ),
    "every cell of every arm failed": (
        "gpt-5, local: not drawn, since the cost is unknown",
        "gpt-5 decides usably in 0 % of cases",
    ),
    "all Hold": (
        "gives its own rating again in 100 % of repeats",
        "local gives it in 100 %",
    ),
    "outcomes pending": (
        "Outcomes over 1 session: 9 pending, of 9 cases.",
        "Outcomes over 20 sessions: 9 pending, of 9 cases.",
    ),
    "no outcomes": ("no outcomes were recorded",),
    "arms with different cases": (
        "The arms have different cases: 6 of 9 are common to all; pairs use the cases of both arms.",
        "not run",
    ),
    "an arm that never ran": ("No cell of this arm has ended.", "0 of 9 are common to all"),
    "zero cost": ("local: costs $0.00 per usable decision, gpt-5 $0.00", "so it shows time"),
    "unknown costs": (
        "the cost of 9 of 9 cells is unknown; unknown is never counted as $0.",
        "more cases if it is equal, cost unknown",
    ),
    "no cell": ("No cell of this arm has ended.", "No cell has ended yet."),
}
"""What a reader is told of each odd run."""
NEVER: Mapping[str, Sequence[str]] = {
    "one date": ("see the test", 'class="pill good"', 'class="pill bad"'),
    "one case": ("see the test", 'class="pill good"', 'class="pill bad"'),
    "every cell of an arm failed": ("broken: costs", "Hold ×"),
    "outcomes pending": ("windows that do not overlap:",),
    "no outcomes": ("windows that do not overlap:", "What happened afterwards"),
    "zero cost": ("% less", "% more"),
}
"""What must not be said of it."""


@pytest.mark.parametrize("name", ODD)
def test_a_page_is_honest_about_a_run_with(name: str, tmp_path: Path) -> None:
    html = Path(render(make_run(tmp_path / "r1", words=6, **ODD[name]), 1)).read_text(encoding="utf-8")
    words = unescape(re.sub(r"<(script|style).*?</\1>|<[^>]+>", "", html, flags=re.S)).replace("\u202f", " ")
    said = " ".join(words.split())
    assert [one for one in SAID[name] if one not in said] == []
    assert [one for one in NEVER.get(name, ()) if one in said or one in html] == []
    assert not re.search(r"\b(?:nan|None|NaT|inf|undefined)\b", said)


def test_unknown_costs_are_never_a_zero(tmp_path: Path) -> None:
    page = Path(render(make_run(tmp_path / "r1", **ODD["unknown costs"]), 0)).read_text(encoding="utf-8")
    shown = re.sub(r'<section class="part" id="differences".*?</section>', "", page, flags=re.S)
    assert "$0.00" not in shown
    assert "a local model has no price until the experiment gives local_cost" in page


def test_an_unfinished_run_is_marked_interim_and_gets_no_verdict(tmp_path: Path) -> None:
    arms = {**TWO, "late": FakeArm(skip=tuple(f"{t}@{DAYS[2]}" for t in ("AAPL", "MSFT", "JPM")))}
    run = make_run(tmp_path / "r1", arms=arms, dates=DAYS, state="running", expected_cells=27)
    page = Path(render(run, 1)).read_text(encoding="utf-8")
    assert "Interim page." in page
    assert "6 of 9 cases are complete" in page
    assert not re.search(r'class="pill (?:good|bad)">(?:better|worse|equivalent|not worse)', page)
    grid = json.loads(page.partition('id="grid-data">')[2].partition("</script>")[0])
    assert len(grid["rows"]) == 6


def test_an_unfinished_run_without_a_whole_case_counts_none(tmp_path: Path) -> None:
    arms = {**TWO, "late": FakeArm(skip=("AAPL@2025-09-02",))}
    one: dict[str, Any] = {"tickers": ("AAPL",), "dates": [dt.date(2025, 9, 2)]}
    run = make_run(tmp_path / "r1", arms=arms, state="running", expected_cells=3, **one)
    page = Path(render(run, 0)).read_text(encoding="utf-8")
    assert "no case is whole yet" in page
    assert "0 tickers" not in page


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
