"""What a usable decision costs is one number: on the page, in every export, in sentences, gates and break-even."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from reports import load
from reports.answer import table
from reports.answer.findings import find
from reports.answer.gates import check
from reports.exports import export
from reports.load import Run
from reports.page.money_view import EconomicsView
from reports.page.page import Page
from reports.page.render import page_html
from tests.reports.synthetic import FakeArm, make_tables, sessions

ARMS = {
    # Unequal repeats and failures: a mean over cases would be another number than the totals.
    "gpt-5": FakeArm(failing=0.3, repeats=3, skip=["AAPL@2025-09-02"]),
    "local": FakeArm("llama3.1:8b", "ollama", 0.02, 90.0, unparsed=0.4),
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    gates = {"gates": {"max_usd_per_usable_decision": 0.3}}
    folder = tmp_path_factory.mktemp("run") / "r1"
    return load(make_tables(folder, arms=ARMS, dates=sessions("2025-09-02", 6), experiment=gates))


@pytest.fixture(scope="module")
def by_hand(run: Run) -> dict[str, float]:
    """Dollars of all cells divided by the cells with a usable decision."""
    cells = run.cells.groupby("arm")
    return {str(arm): float(mine["cost_usd"].sum() / mine["rating"].notna().sum()) for arm, mine in cells}


def test_every_number_comes_from_the_one_definition(run: Run, by_hand: dict[str, float]) -> None:
    found = find(run)
    told = {
        "endpoint": {arm: one.value for arm, one in found.row("cost").values.items()},
        "economics": EconomicsView(run).usd_per_usable,
        "gate": {str(gate.arm): gate.value for gate in check(run, found)},
        "json": {arm: one["value"] for arm, one in _json_row(run)["arms"].items()},
        "csv": {row["arm"]: float(row["value"]) for row in _csv_rows(run) if row["endpoint"] == "cost"},
    }
    assert told == dict.fromkeys(told, pytest.approx(by_hand))


def test_page_and_markdown_write_that_number(run: Run, by_hand: dict[str, float]) -> None:
    html = page_html(Page(run))
    markdown = export(run.path, "md").replace("\\", "")
    for arm, usd in by_hand.items():
        said = table.usd(usd * 1000)
        row = html.partition(f'data-k="{arm}"')[2].partition("</tr>")[0]
        assert f">{said}</b>" in row
        assert said in next(line for line in markdown.splitlines() if line.startswith(f"| {arm} |"))


def test_the_comparison_is_the_ratio_of_both_numbers_where_the_cases_are_the_same(tmp_path: Path) -> None:
    arms = {"a": FakeArm(repeats=2), "b": FakeArm(cost_usd=0.02, unparsed=0.4)}
    row = find(load(make_tables(tmp_path / "r", arms=arms))).row("cost")
    assert row.comparisons["b"].estimate.value == pytest.approx(row.values["b"].value / row.values["a"].value)


def test_a_cell_of_unknown_cost_is_left_out_above_and_below_the_line(tmp_path: Path) -> None:
    run = load(make_tables(tmp_path / "r", arms={"a": FakeArm(cost_usd=0.2)}, repeats=2))
    cells = run.cells
    cells.loc[cells.index[0], "cost_usd"] = None
    known = cells["cost_usd"].dropna()
    assert find(run).row("cost").values["a"].value == pytest.approx(known.sum() / len(known))
    assert "1 of unknown cost" in page_html(Page(run))


def _json_row(run: Run) -> dict[str, dict[str, dict[str, float]]]:
    rows = json.loads(export(run.path, "json"))["endpoints"]
    return next(row for row in rows if row["name"] == "cost")


def _csv_rows(run: Run) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(export(run.path, "csv", "endpoints"))))
