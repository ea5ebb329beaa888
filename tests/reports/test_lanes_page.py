"""The page of a run whose answers were asked for in several lanes: what each cost, and times that are not compared."""

from __future__ import annotations

import html
import re
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reports import load, tables
from reports.page.render import render
from reports.roles import pairs
from tests.reports.replayed import add_replay
from tests.reports.synthetic import FakeArm, make_run

LANES = {"quick": "now", "late": "batch", "changed": "batch"}
LATER = "its answers were fetched later"


def change_calls(run: Path, **columns: pd.Series) -> None:
    calls = pq.read_table(run / "calls.parquet").to_pandas().assign(**columns)
    table = pa.Table.from_pandas(calls, schema=tables.CALLS, preserve_index=False)
    pq.write_table(table, run / "calls.parquet")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A baseline in lane now, an arm in batch, and an arm that began in batch and went on in now."""
    folder = make_run(tmp_path_factory.mktemp("lanes") / "run", arms={name: FakeArm() for name in LANES})
    calls = pq.read_table(folder / "calls.parquet").to_pandas()
    lanes = calls["arm"].map(LANES)
    lanes = lanes.where((calls["arm"] != "changed") | (calls.index % 2 == 0), "now")
    lost = calls.index == calls.index[calls["arm"] == "late"][0]
    change_calls(
        folder,
        lane=lanes,
        outcome=calls["outcome"].where(~lost, "failed"),
        error_type=calls["error_type"].where(~lost, "uncertain"),
        cost_usd=calls["cost_usd"].where(~lost, 0.25),
    )
    render(folder)
    return folder


def text(file: Path) -> str:
    body = re.sub(r"<(script|style).*?</\1>", "", file.read_text(encoding="utf-8"), flags=re.DOTALL)
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", body)))


def test_the_lane_of_each_arm_is_shown_with_its_cost(run: Path) -> None:
    used = text(run / "report.html").partition("What each arm used")[2].partition("Tokens per decision")[0]
    assert re.search(r"quick [^$]*\$\S+ \S.*? now late", used)
    assert re.search(r"late .*? batch changed", used)
    assert re.search(r"batch: \d+ requests, \$\S+; +now: \d+ requests, \$\S+", used)


def test_times_of_lanes_that_answer_later_are_not_shown_beside_those_of_now(run: Path) -> None:
    page = text(run / "report.html")
    assert f"late: no time is shown, since {LATER} (lane batch)." in page
    assert f"{LATER} (lane batch)" in page.partition("Median time")[2].partition("Arm:")[0]
    clock = page.partition("One decision on the clock")[2].partition("Money without a result")[0]
    assert "quick" in clock
    assert "late" not in clock


def test_a_request_that_may_have_been_billed_is_named_with_its_worst_case(run: Path) -> None:
    page = text(run / "report.html")
    assert (
        "late: 1 request may have been billed without an answer (uncertain); counted in the cost at the worst case, $0.25"
        in page
    )
    cases = [text(file) for file in (run / "cases").glob("*.html")]
    assert sum(case.count("(worst case)") for case in cases) == 1


def test_each_request_says_its_lane(run: Path) -> None:
    case = text(next((run / "cases").glob("*.html")))
    assert "lane batch, fetched after" in case
    assert "lane now" not in case
    decided = case.partition("What each arm decided")[2].partition("Why, in the words")[0]
    assert "or its answers were fetched later" in decided


def test_a_run_in_lane_now_has_no_word_about_lanes(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", arms={"a": FakeArm(), "b": FakeArm()})
    render(folder)
    assert "Lane:" not in text(folder / "report.html")


def test_the_time_of_a_replay_in_another_lane_is_not_compared(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", arms={"a": FakeArm()})
    add_replay(folder, "a", "later", lambda call: {"lane": "batch"})
    add_replay(folder, "a", "cheaper", lambda call: {"lane": "flex"})
    add_replay(folder, "a", "same", lambda call: {})
    run = load(folder)
    of_target = {target: next(iter(pairs.pairs(run, f"a > {target}"))) for target in ("later", "cheaper", "same")}
    assert of_target["later"].target.seconds is None
    assert {target: pair.is_same_lane for target, pair in of_target.items()} == {
        "later": False,
        "cheaper": False,
        "same": True,
    }
