"""From POST to decision, for the former service's clients and for ours, and what a running service says of itself."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import uuid

import pytest
from prometheus_client.parser import text_string_to_metric_families

from harness.service.callbacks import signature
from tests.fixtures.runs import CALLS_PER_CELL, ROOT, wait_for
from tests.service.conftest import Receiver, Served

ADDRESS = "http://127.0.0.1:8123"
"""Of the service in docs/service.md."""

OLD_STATE = {
    "company_of_interest",
    "trade_date",
    "market_report",
    "sentiment_report",
    "news_report",
    "fundamentals_report",
    "investment_debate_state",
    "investment_plan",
    "trader_investment_plan",
    "risk_debate_state",
    "final_trade_decision",
}


def test_a_job_is_accepted_at_once_and_ends_with_a_decision(served: Served) -> None:
    job = served.submit("MSFT", "2012-06-20")
    assert job["status"] in ("pending", "running")
    assert uuid.UUID(job["job_id"])
    ended = served.ended(job["job_id"])
    assert (ended["status"], ended["error"], ended["retry_count"]) == ("completed", None, 0)
    assert ended["created_at"] <= ended["started_at"] <= ended["completed_at"]
    assert ended["created_at"].endswith("+00:00")
    assert sum(role["done"] for role in ended["progress"].values()) == CALLS_PER_CELL
    result = served.result(job["job_id"])
    assert result["decision"] in ("BUY", "SELL", "HOLD")
    assert result["rating"] in ("Buy", "Overweight", "Hold", "Underweight", "Sell")
    assert set(result["final_state"]) >= OLD_STATE
    assert set(result["reports"]) == {"market", "sentiment", "news", "fundamentals"}
    assert all(result["reports"].values())
    assert result["final_state"]["investment_debate_state"]["count"] == 2
    assert result["cost_usd"] > 0
    assert result["tokens"]["input"] > result["tokens"]["output"] > 0
    assert result["llm_calls"] == CALLS_PER_CELL
    assert result["latency_s"] > 0


def test_the_same_question_is_paid_once_and_fresh_asks_again(served: Served) -> None:
    first = served.result(served.submit("IBM")["job_id"])
    paid = served.lab.paid()["answered"]
    again = served.submit("ibm")
    assert served.ended(again["job_id"])["reused"] is True
    assert served.result(again["job_id"])["rationale"] == first["rationale"]
    assert served.lab.paid()["answered"] == paid
    fresh = served.ended(served.submit("IBM", fresh=True)["job_id"])
    assert fresh["cell_id"] != served.job(again["job_id"])["cell_id"]
    assert served.lab.paid()["answered"] == paid + CALLS_PER_CELL


def test_an_idempotency_key_makes_a_repeated_post_the_same_job(served: Served) -> None:
    key = {"idempotency-key": "order-17"}
    body = {"ticker": "MSFT", "date": "2012-06-15", "fresh": True}
    jobs = {served.http.post("/jobs", json=body, headers=key).json()["job_id"] for _ in range(3)}
    assert len(jobs) == 1
    other = served.http.post("/jobs", json=body | {"date": "2012-06-18"}, headers=key)
    assert (other.status_code, other.json()["error"]["code"]) == (409, "key_reused")


def test_a_partial_config_changes_only_what_it_names(served: Served) -> None:
    job = served.submit("GOOG", config={"max_debate_rounds": 1, "llm_provider": "openai"})
    assert (job["arm"], job["notes"]) == ("paid", [])
    assert served.submit("GOOG", config={"llm_provider": "openai_compatible"})["arm"] == "own"
    deeper = served.submit("GOOG", config={"max_debate_rounds": 2, "selected_analysts": ["market", "social"]})
    assert "medium" in deeper["notes"][0]
    progress = served.ended(deeper["job_id"])["progress"]
    assert progress["bull"]["total"] == 3
    assert {"market_analyst", "sentiment_analyst"} <= set(progress)
    assert "news_analyst" not in progress
    mixed = served.submit("GOOG", config={"deep_think_llm": "tiny"})
    served.ended(mixed["job_id"])
    assert mixed["arm"] not in ("paid", "own"), "a lineup of its own must not share a row of the report with an arm"


@pytest.mark.parametrize(
    ("config", "word"),
    [
        ({"backend_url": "http://127.0.0.1:9/v1"}, "backend_url"),
        ({"deep_think_llm": "gpt-9"}, "gpt-9"),
        ({"llm_provider": "google"}, "google"),
    ],
)
def test_what_is_not_served_gets_422_with_what_is(served: Served, config: dict[str, str], word: str) -> None:
    answer = served.http.post("/jobs", json={"ticker": "AAPL", "date": "2012-06-15", "config": config})
    assert answer.status_code == 422
    error = answer.json()["error"]
    assert (error["code"], word in error["message"], "hosted-1" in error["message"]) == ("not_served", True, True)


def test_the_result_of_an_open_job_is_409_with_the_same_fields(served: Served) -> None:
    done = served.result(served.submit("AAPL", "2012-06-18")["job_id"])
    served.lab.fake.rule(latency_s=2.0)
    try:
        job = served.submit("AAPL", "2012-06-18", fresh=True)
        answer = served.http.get(f"/jobs/{job['job_id']}/result")
        assert answer.status_code == 409
        assert set(answer.json()) == set(done)
        assert answer.json()["decision"] is None
        stopped = served.http.delete(f"/jobs/{job['job_id']}")
        assert stopped.json()["status"] == "cancelled"
        assert served.job(job["job_id"])["status"] == "cancelled"
        assert served.http.delete(f"/jobs/{job['job_id']}").json()["status"] == "deleted"
        assert served.http.get(f"/jobs/{job['job_id']}").status_code == 404
    finally:
        served.lab.fake.control(rules=[])


def test_a_list_is_filtered_and_paged(served: Served) -> None:
    for day in ("2012-06-15", "2012-06-18", "2012-06-19"):
        served.submit("FB", day)
    first = served.http.get("/jobs", params={"ticker": "fb", "limit": 2}).json()
    assert (first["total"], len(first["jobs"])) == (3, 2)
    second = served.http.get("/jobs", params={"ticker": "FB", "limit": 2, "cursor": first["next_cursor"]}).json()
    assert (len(second["jobs"]), second["next_cursor"]) == (1, None)
    days = [job["date"] for job in (*first["jobs"], *second["jobs"])]
    assert days == ["2012-06-19", "2012-06-18", "2012-06-15"], "the newest first"


def test_the_month_is_a_run_that_report_and_export_read(served: Served) -> None:
    served.ended(served.submit()["job_id"])
    (month,) = [run for run in served.lab.runs if (run / "manifest.json").exists()]
    output = served.lab.harness("report", f"lab/{month.name}")
    assert (month / "report.html").exists(), output
    assert (month / "cells.parquet").exists()


def test_a_running_service_decides_for_decide(served: Served) -> None:
    served.lab.harness("decide", "IBM", "2012-06-19", "--experiment", "lab.yaml", "--arm", "own")
    (job,) = served.http.get("/jobs", params={"ticker": "IBM", "date": "2012-06-19"}).json()["jobs"]
    assert (job["ticker"], job["arm"], job["status"]) == ("IBM", "own", "completed")


@pytest.mark.parametrize("is_answered", [False, True])
def test_the_end_of_a_job_is_posted_and_signed(served: Served, receiver: Receiver, is_answered: bool) -> None:
    if is_answered:
        served.ended(served.submit("AAPL", "2012-06-22")["job_id"])
    job = served.submit("AAPL", "2012-06-22", callback_url=f"{receiver.url}/n8n")
    assert (job["status"] == "completed") == is_answered
    wait_for(lambda: receiver.received, "a callback")
    headers, body = receiver.received[0]
    content = json.loads(body)
    assert (content["job_id"], content["status"]) == (job["job_id"], "completed")
    secret = (served.lab.folder / "results" / ".service" / "callback.secret").read_bytes()
    assert headers["x-harness-signature"] == signature(secret, headers["x-harness-timestamp"], body)
    wait_for(lambda: served.job(job["job_id"])["callback"] == "sent", "a record of the callback")
    assert len(receiver.received) == 1


def test_every_part_is_ready(served: Served) -> None:
    answer = served.http.get("/ready")

    assert answer.status_code == 200
    assert set(answer.json()["parts"]) == {"redis", "storage", "dispatcher", "experiments", "server box", "server cloud"}


def test_metrics_count_jobs_and_the_bill(served: Served) -> None:
    served.ended(served.submit(arm="paid", date="2012-06-22")["job_id"])
    # The bill is asked for once a second at most, so what the job cost may not be in it yet.
    wait_for(lambda: _samples(served)["harness_month_usd", "spent"], "the bill of the job")
    samples = _samples(served)

    assert samples["harness_jobs", "completed"] == served.http.get("/jobs?status=completed").json()["total"]
    assert samples["harness_month_usd", "cap"] == 50
    assert samples["harness_ready", "redis"] == 1


def _samples(served: Served) -> dict[tuple[str, str | None], float]:
    return {
        (sample.name, sample.labels.get("status") or sample.labels.get("kind") or sample.labels.get("part")): sample.value
        for family in text_string_to_metric_families(served.http.get("/metrics").text)
        for sample in family.samples
    }


def test_every_curl_line_for_jobs_in_the_documentation_answers(served: Served) -> None:
    text = (ROOT / "docs" / "service.md").read_text()
    lines = [
        line for line in re.findall(r"^\$ (curl .*)$", text, flags=re.MULTILINE) if "/jobs" in line and "$TOKEN" not in line
    ]
    assert len(lines) >= 4
    job_id = ""
    for line in lines:
        words = shlex.split(line.replace(ADDRESS, served.url).replace("/JOB", f"/{job_id}"))
        if line.endswith("/result"):
            served.ended(job_id)
        answer = json.loads(
            subprocess.run([words[0], "--fail", *words[1:]], capture_output=True, check=True, timeout=60).stdout
        )
        job_id = answer["job_id"]
        if line.endswith("/result"):
            assert answer["decision"] in ("BUY", "SELL", "HOLD")
