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
from tests.fixtures.browser import Open
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
    "40 arms": {"arms": {f"arm-{n:02}": FakeArm(cost_usd=0.01 * n + 0.01) for n in range(40)}, "dates": DAYS},
    "names of 60 characters": {
        "arms": {f"a-model-with-a-name-that-is-exactly-sixty-characters-long-0{n}": FakeArm() for n in range(2)},
        "dates": DAYS,
    },
    "no texts, so no grounding": {"arms": TWO, "dates": DAYS, "texts": False, "repeats": 2},
    "no cell": {"arms": {"gpt-5": FakeArm(skip=tuple(f"AAPL@{d}" for d in DAYS))}, "tickers": ("AAPL",), "dates": DAYS},
}


ASKED_ONCE = "gpt-5 was asked once per case, so how often it agrees with itself is not known; set repeats: 3"
SAID: Mapping[str, Sequence[str]] = {
    "one date": (
        "3 cases on 1 date: nothing can be judged.",
        ASKED_ONCE,
        "Returns: not measured: too few dates",
        "Returns are not compared: an interval needs more than one date.",
    ),
    "one ticker": ("1 ticker × 3 dates = 3 cases", "points worse", "Only 3 dates (3 cases):"),
    "one case": ("1 case on 1 date: nothing can be judged.", ASKED_ONCE),
    "one arm": (
        "What do the arms decide, and what does it cost?",
        "one arm alone has nothing to be compared with",
        "there is nothing to draw.",
        "gpt-5: not drawn, since the same rating was not measured",
    ),
    "one repeat": (ASKED_ONCE, "no repeats to compare with", "Undecided", "needs repeats"),
    "only a rule": ("one rule, no model", "9 of 9", "there is nothing to draw."),
    "every cell of an arm failed": (
        "9 of 9 decisions of broken could not be used.",
        "no decision was usable",
        "broken (no usable decision)",
        "broken: not drawn, since the cost is unknown",
    ),
    "every cell of every arm failed": (
        "gpt-5, local: not drawn",
        "0 of 9",
        "9 of 9 decisions of gpt-5 and 9 of 9 decisions of local",
        "No decision of gpt-5 could be used: find out why its runs failed",
    ),
    "no texts, so no grounding": ("no figure that could be traced", "Undecided"),
    "all Hold": (
        "a decision of local earned the same as one of gpt-5 in every case.",
        "gpt-5 and local decided Hold in every case.",
        "Their agreement follows from that",
    ),
    "outcomes pending": ("Some returns are not known yet.", "After 1 session: 9 pending of 9;", "20 sessions: 9 pending of 9."),
    "no outcomes": ("no outcomes were recorded",),
    "arms with different cases": ("The arms have different cases: 6 of 9 are common to all.", "few has 6"),
    "an arm that never ran": ("no case of this arm has ended", "0 of 9 are common to all"),
    "zero cost": ("so it shows time", "$0.00", "gpt-5 costs nothing"),
    "unknown costs": ("The cost of 9 of 9 of gpt-5 and 9 of 9 of local is unknown,", "unknown is never counted as $0."),
    "no cell": ("No decision has ended yet.", "no case is complete yet"),
    "40 arms": ("9 cases", "40 arms", "36 more"),
    "names of 60 characters": ("a-model-with-a-name-that-is-exactly-sixty-characters-long-01",),
}
"""What a reader is told of each odd run."""
NEVER: Mapping[str, Sequence[str]] = {
    "one date": ('<b class="good">', '<b class="bad">'),
    "one case": ('<b class="good">', '<b class="bad">'),
    "one arm": ("Keep gpt-5", "Replace", "gpt-5 on the same cases"),
    "one repeat": ('class="forest"', "Vertical bars"),
    "every cell of every arm failed": ("managers_stay", "Keep gpt-5", "had every decision been traded"),
    "all Hold": ("0.00 % less",),
    "every cell of an arm failed": ("broken (at most", "Hold ×"),
    "outcomes pending": ("no gap shown",),
    "no outcomes": ("no gap shown", "What happened afterwards"),
    "zero cost": ("100 % $", "the cost of one of the two is unknown"),
}
"""What must not be said of it."""


@pytest.mark.parametrize("name", ODD)
def test_a_page_is_honest_about_a_run_with(name: str, tmp_path: Path, open_page: Open) -> None:
    page = Path(render(make_run(tmp_path / "r1", words=6, **ODD[name]), 1))
    html = page.read_text(encoding="utf-8")
    words = unescape(re.sub(r"<(script|style).*?</\1>|<[^>]+>", "", html, flags=re.S)).replace("\u202f", " ")
    said = " ".join(words.split())
    assert [one for one in SAID[name] if one not in said] == []
    assert [one for one in NEVER.get(name, ()) if one in said or one in html] == []
    assert not re.search(r"\b(?:nan|None|NaT|inf|undefined)\b|\b1 (?:dates|cases|windows|arms)\b", said)
    seen = open_page(page, width=390)
    seen.page.evaluate("document.querySelectorAll('details').forEach(box => { box.open = true })")
    assert seen.page.evaluate("document.documentElement.scrollWidth") <= 390
    assert seen.problems == []


def test_unknown_costs_are_never_a_zero(tmp_path: Path) -> None:
    page = Path(render(make_run(tmp_path / "r1", **ODD["unknown costs"]), 0)).read_text(encoding="utf-8")
    shown = re.sub(r'<section class="part" id="measures".*?</section>', "", page, flags=re.S)
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
    assert "no case is complete yet" in page
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
