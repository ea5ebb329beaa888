"""Exports: what other tools get is whole, typed, and safe to open."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from reports import exports as exporting
from reports.exports.documents import COMMENT_LIMIT
from tests.reports.synthetic import FakeArm, make_run, sessions

ARMS = {"gpt-5": FakeArm(), "local|arm": FakeArm("tiny", "ollama", None, failing=0.4)}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("run") / "r1"
    gates = {"gates": {"min_usable_share": 0.9, "max_usd_per_usable_decision": 0.5}}
    return str(
        make_run(folder, arms=ARMS, dates=sessions("2025-09-02", 3), experiment=gates, text="=cmd|' /C calc'!A0 @all \x00")
    )


def test_csv_has_a_row_per_cell_with_empty_fields_for_the_unknown(run: str) -> None:
    rows = list(csv.DictReader(io.StringIO(exporting.export(run, "csv"))))
    assert len(rows) == 18
    local = [row for row in rows if row["arm"] == "local|arm"]
    assert {row["cost_usd"] for row in local} == {""}
    assert {row["llm_calls"] for row in rows if row["arm"] == "gpt-5"} == {"12"}


def test_csv_never_lets_a_model_write_a_formula(run: str) -> None:
    rows = csv.DictReader(io.StringIO(exporting.export(run, "csv")))
    assert all(row["rationale"].startswith("'=") for row in rows)


def test_json_holds_endpoints_verdicts_and_gates_with_null_for_the_unknown(run: str) -> None:
    told = json.loads(exporting.export(run, "json"))
    cost = next(one for one in told["endpoints"] if one["name"] == "cost")
    assert cost["arms"]["local|arm"]["value"] is None
    assert cost["arms"]["gpt-5"]["low"] < cost["arms"]["gpt-5"]["value"] < cost["arms"]["gpt-5"]["high"]
    assert cost["comparisons"]["local|arm"]["verdict"]["word"] == "undecided"
    assert {(g["name"], g["arm"]): g["passed"] for g in told["gates"]}["min_usable_share", "local|arm"] is False


def test_a_gate_that_cannot_be_measured_has_not_passed(run: str) -> None:
    gates = json.loads(exporting.export(run, "json"))["gates"]
    unpriced = next(g for g in gates if g["name"] == "max_usd_per_usable_decision" and g["arm"] == "local|arm")
    assert unpriced["value"] is None
    assert unpriced["passed"] is False


def test_a_gate_without_a_figure_says_which_reason_it_is(tmp_path: Path) -> None:
    """An arm without one usable decision is no arm without a price."""
    arms = {"gpt-5": FakeArm(), "mute": FakeArm("gpt-5-mini", failing=1.0)}
    gates = {"gates": {"max_usd_per_usable_decision": 0.5}}
    made = make_run(tmp_path / "r1", arms=arms, dates=sessions("2025-09-02", 3), experiment=gates, texts=False)
    mute = next(line for line in exporting.export(str(made), "md").splitlines() if "mute" in line and "FAILED" in line)
    assert "no decision of this arm can be counted" in mute
    assert "price" not in mute


def test_junit_counts_cells_without_a_usable_decision_as_failures(run: str) -> None:
    root = ET.fromstring(exporting.export(run, "junit"))
    suites = {suite.get("name"): suite for suite in root}
    assert suites["gpt-5"].get("failures") == "0"
    assert int(suites["local|arm"].get("failures", "0")) == len(suites["local|arm"].findall("testcase/failure")) > 0
    assert suites["gates"].findall("testcase/failure")


def test_markdown_fits_a_comment_and_cannot_be_broken_by_a_name(run: str) -> None:
    text = exporting.export(run, "md")
    assert len(text) < COMMENT_LIMIT
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert len({line.replace("\\|", "").count("|") for line in table}) == 1
    assert "### Before you rely on it" in text
    assert "**Decisions:**" in text
    assert "### Gates" in text


def test_an_unknown_format_or_table_is_named_with_the_known_ones(run: str) -> None:
    with pytest.raises(exporting.UnknownExport, match="known: csv, json, junit, md, decision"):
        exporting.export(run, "xlsx")
    with pytest.raises(exporting.UnknownExport, match="known: cells, calls, messages, outcomes, daily, endpoints"):
        exporting.export(run, "csv", "secrets")


def test_an_empty_run_exports_too(tmp_path: Path) -> None:
    empty = str(
        make_run(
            tmp_path / "r1",
            arms={"gpt-5": FakeArm(skip=("AAPL@2025-09-02",))},
            tickers=("AAPL",),
            dates=sessions("2025-09-02", 1),
        )
    )
    for format in ("csv", "json", "junit", "md", "decision"):
        assert exporting.export(empty, format)


def test_a_decision_is_one_page_with_saving_bound_and_dates(tmp_path: Path) -> None:
    arms = {"base": FakeArm("gpt-5", noise=0.0), "cheap|one": FakeArm("gpt-6-luna", cost_usd=0.02, noise=0.0)}
    margins = {name: {"margin": 0.10} for name in ("same_rating", "usable", "grounding")}
    compare = {"baseline": "base", "metrics": margins | {"cost": {}}}
    dates = sessions("2026-06-01", 20, every=5)
    run = make_run(tmp_path / "r1", arms=arms, dates=dates, repeats=2, compare=compare, text="The close of 118.38 fell.")
    text = exporting.export(str(run), "decision")
    assert "**Adopt:** cheap\\|one" in text
    assert "a month at 1,000 decisions" in text
    assert "**May lose:**" in text
    assert "**Valid until:** 2026-12-11: gpt-5 is shut down by OpenAI" in text
    assert "**Check again:** 2026-11-11" in text
    assert "deep_think_llm" in text
    assert len(text.splitlines()) < 60


def test_an_unfinished_run_has_no_decision(tmp_path: Path) -> None:
    assert "no decision yet" in exporting.export(str(make_run(tmp_path / "r1", state="running", words=6)), "decision")
