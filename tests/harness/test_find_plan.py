"""What `plan` says about a search and about its time limit, in words and as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import jsonschema
import pytest

from harness import cli, json_output
from tests.fixtures.runs import Lab
from tests.harness.finding_lab import offer_background_lanes, search

Plan = Callable[..., str]


@pytest.fixture
def plan(lab: Lab, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Plan:
    """The output of `plan` for a search in four blocks of three dates."""
    search(lab, days=14, find={"blocks": 4})
    offer_background_lanes(lab)
    monkeypatch.chdir(lab.folder)
    monkeypatch.setenv("FAKE_KEY", "sk-fake")

    def printed(*options: str) -> str:
        monkeypatch.setattr("sys.argv", ["harness", "plan", "lab.yaml", *options])
        capsys.readouterr()
        code = cli._run(cli.build())
        out, err = capsys.readouterr()
        assert code == 0, out + err
        return out

    return printed


def searched(plan: Plan, *options: str) -> Any:
    value = json.loads(plan(*options, "--json"))
    jsonschema.validate(value, json_output.schemas()["plan/1"])
    return value["find"]


def about_the_search(plan: Plan, *options: str) -> str:
    _, _, text = plan(*options).partition("as a search")
    return " ".join(text.split())


def test_a_plan_says_which_lane_and_blocks_of_a_search_end_in_time_and_what_the_limit_costs(plan: Plan) -> None:
    text = about_the_search(plan, "--within", "30h")
    assert "in time: lane background_8h, 2 blocks of 6 dates instead of 4 of 3; nine of ten searches end within" in text
    assert "(limit: 30 h 0 min)" in text
    assert "price of the time limit: the chance to recommend one, if all are equal, is" in text

    found = searched(plan, "--within", "30h")
    in_time = found["in_time"]
    assert (in_time["fits"], in_time["lane"]) == (True, "background_8h")
    assert (in_time["blocks"], in_time["dates_of_block"]) == (2, 6)
    assert 0 < in_time["time_s"] <= 30 * 3600
    assert 0 <= in_time["picked"] <= 1


def test_a_plan_with_enough_time_keeps_the_blocks_and_names_no_price(plan: Plan) -> None:
    text = about_the_search(plan, "--by", "2100-01-01T08:00")
    assert "in time: lane background_8h, 4 blocks of 3 dates; nine of ten searches end within" in text
    assert "price of the time limit" not in text


def test_a_plan_says_that_a_search_does_not_end_in_time_and_how_long_the_shortest_takes(plan: Plan) -> None:
    text = about_the_search(plan, "--within", "1s")
    assert "in time: no, 1.0 s is too short for the screen and 2 blocks: the shortest search (lane now, 2 blocks" in text
    assert "or test fewer candidates, tickers or dates" in text
    assert searched(plan, "--within", "1s")["in_time"]["fits"] is False


def test_a_plan_without_a_limit_or_for_what_cannot_be_searched_says_nothing_of_time(plan: Plan, lab: Lab) -> None:
    assert searched(plan)["in_time"] is None
    assert "in time" not in about_the_search(plan)
    search(lab, arms={"paid": {"all": "paid"}})
    assert json.loads(plan("--within", "30h", "--json"))["find"] is None
