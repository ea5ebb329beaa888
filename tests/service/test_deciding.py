"""One decision without a server, and by the running service of the same results."""

from __future__ import annotations

import json
from collections.abc import Callable

import jsonschema

from harness import json_output
from tests.fixtures.runs import CALLS_PER_CELL, Lab
from tests.service.conftest import Served


def test_decide_prints_one_decision_and_pays_once(lab: Lab) -> None:
    lab.experiment(budget={"month_usd": 5})
    text = lab.harness("decide", "AAPL", "2012-06-15", "--experiment", "lab.yaml")
    assert "AAPL 2012-06-15: " in text
    assert "by paid, 12 calls" in text
    assert lab.paid()["answered"] == CALLS_PER_CELL
    again = json.loads(lab.harness("decide", "AAPL", "2012-06-15", "--experiment", "lab.yaml", "--arm", "paid", "--json"))
    jsonschema.validate(again, json_output.schemas()["decision/1"])
    assert again["decision"] in ("BUY", "SELL", "HOLD")
    assert lab.paid()["answered"] == CALLS_PER_CELL


def test_decide_names_what_is_wrong(lab: Lab) -> None:
    lab.experiment(budget={"run_usd": 5})
    assert "add budget: {month_usd: N}" in lab.harness("decide", "AAPL", "2012-06-15", "--experiment", "lab.yaml", expect=2)
    lab.experiment(budget={"month_usd": 5})
    text = lab.harness("decide", "AAPL", "2012-06-16", "--experiment", "lab.yaml", "--arm", "paid", expect=2)
    assert "not a session" in text
    assert "served: paid" in lab.harness("decide", "AAPL", "2012-06-15", "--experiment", "lab.yaml", "--arm", "x", expect=2)


def test_the_cap_of_the_month_holds_and_says_so(serve: Callable[..., Served], lab: Lab) -> None:
    lab.experiment(dates=2, budget={"month_usd": 0.05})
    service = serve()
    jobs = [service.submit(ticker) for ticker in ("AAPL", "IBM", "MSFT")]
    ended = [service.ended(job["job_id"]) for job in jobs]
    failed = [job for job in ended if job["status"] == "failed"]
    assert failed
    assert all("budget of the month" in job["error"] for job in failed)
    assert all(job["cause"]["code"] in ("over_budget", "cap_month") for job in failed)
    assert service.submit("AAPL", arm="own")["arm"] == "own"
