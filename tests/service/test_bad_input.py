"""Whatever is sent, the answer is one clear error, and no 5xx but the documented ones."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.service.in_process import BODY, Desk, client

EXAMPLES = int(os.environ.get("HARNESS_FUZZ", "150"))
"""Fuzzed bodies; HARNESS_FUZZ=10000 for a long look."""
JSON = {"content-type": "application/json"}


@pytest.mark.parametrize(
    ("raw", "statuses"),
    [
        (b"", {422}),
        (b"{", {422}),
        (b"null", {422}),
        (b"[]", {422}),
        (b'{"ticker": "AAPL"}', {422}),
        (b'{"ticker": "ZZZZ", "date": "2012-06-15"}', {422}),
        (b'{"ticker": "AAPL", "date": "2012-06-16"}', {422}),
        (b'{"ticker": "AAPL", "date": "2999-01-04"}', {422}),
        (b'{"ticker": "AAPL", "date": "0000-00-00"}', {422}),
        (b'{"ticker": "AAPL", "date": "1492-10-12"}', {422}),
        (b'{"ticker": "../../etc", "date": "2012-06-15"}', {422}),
        (b'{"ticker": "A\'; DROP TABLE jobs;--", "date": "2012-06-15"}', {422}),
        (b'{"ticker": "\\ud800", "date": "2012-06-15"}', {400, 422}),
        (b'{"ticker": "AAPL\\u0000", "date": "2012-06-15"}', {422}),
        (b'{"ticker": "AA\xff\xfePL", "date": "2012-06-15"}', {400, 422}),
        (b'{"ticker": "AAPL", "date": "2012-06-15", "fresh": ' + b"9" * 5000 + b"}", {400, 422}),
        (b'{"ticker": "AAPL", "date": "2012-06-15", "config": {"max_debate_rounds": 1e999}}', {422}),
        (b'{"ticker": "AAPL", "date": "2012-06-15", "config": {"max_debate_rounds": 6}}', {422}),
        (b'{"ticker": "AAPL", "date": "2012-06-15", "arm": "nobody"}', {422}),
        (b'{"ticker": "AAPL", "date": "2012-06-15", "arm": "paid", "model": "own"}', {422}),
        (b'{"ticker": "AAPL", "date": "2012-06-15", "lineup": {"king": "own"}}', {422}),
        (b'{"ticker": "AAPL", "date": "2012-06-15", "lineup": {"deep": "own"}}', {422}),
        (b'{"ticker": "AAPL", "date": "2012-06-15", "pipeline": "rm -rf /"}', {422}),
        (b'{"ticker": "AAPL", "date": "2012-06-15", "pipeline": {"command": ["sh"]}}', {422}),
        (b"[" * 100_000, {400, 422}),
        (b'{"ticker": "' + b"A" * 10_000_000 + b'", "date": "2012-06-15"}', {413}),
    ],
)
def test_a_bad_body_gets_one_clear_error(desk: Desk, tmp_path: Path, raw: bytes, statuses: set[int]) -> None:
    with client(*desk, tmp_path, host="127.0.0.1") as (http, service):
        answer = http.post("/jobs", content=raw, headers=JSON)
        assert answer.status_code in statuses, answer.text[:500]
        error = answer.json()["error"]
        assert error["code"]
        assert error["message"]
        assert len(answer.content) < 5000, "the input is not repeated"
        assert sum(service.jobs.counts().values()) == 0


@pytest.mark.parametrize("job_id", ["..%2f..%2fetc%2fpasswd", "1 OR 1=1", "%00", "x" * 300, "0" * 36, "%ff%fe", "💥"])
def test_an_id_is_never_a_path_or_a_query(desk: Desk, tmp_path: Path, job_id: str) -> None:
    with client(*desk, tmp_path, host="127.0.0.1") as (http, _):
        http.post("/jobs", json=BODY)
        for path in (f"/jobs/{job_id}", f"/jobs/{job_id}/result"):
            answer = http.get(path)
            assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")
        assert http.delete(f"/jobs/{job_id}").status_code == 404
        assert http.get("/jobs").json()["total"] == 1


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=1000000", "cursor=-1", "cursor=99999999999999999999", "status=dead", "date=x"]
)
def test_a_bad_filter_gets_422(desk: Desk, tmp_path: Path, query: str) -> None:
    with client(*desk, tmp_path, host="127.0.0.1") as (http, _):
        assert http.get(f"/jobs?{query}").status_code == 422


def test_without_redis_nothing_is_stored_and_the_client_may_try_again(desk: Desk, tmp_path: Path) -> None:
    with client(*desk, tmp_path, host="127.0.0.1", broker="unix:///nowhere.sock") as (http, service):
        answer = http.post("/jobs", json=BODY)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
        assert answer.json()["error"]["code"] == "unavailable"
        assert sum(service.jobs.counts().values()) == 0
        assert http.get("/health").status_code == 503
        assert http.get("/jobs").status_code == 200, "what is on disk can be read"


def test_a_full_redis_takes_no_job(desk: Desk, tmp_path: Path, redis_url: str) -> None:
    with client(*desk, tmp_path, host="127.0.0.1") as (http, service), redis.Redis.from_url(redis_url) as server:
        server.config_set("maxmemory", 1)
        try:
            answer = http.post("/jobs", json=BODY)
        finally:
            server.config_set("maxmemory", 0)
        assert answer.status_code == 503
        assert "memory" in answer.json()["error"]["message"]
        assert sum(service.jobs.counts().values()) == 0
        assert http.post("/jobs", json=BODY).status_code == 202


def test_a_full_disk_is_507_and_stores_nothing(desk: Desk, tmp_path: Path) -> None:
    with client(*desk, tmp_path, host="127.0.0.1") as (http, service):
        writer = service.jobs._connection
        writer.execute(f"PRAGMA max_page_count = {writer.execute('PRAGMA page_count').fetchone()[0]}")
        answers = [http.post("/jobs", json=BODY | {"fresh": True}) for _ in range(3)]
        assert answers[-1].status_code == 507
        assert answers[-1].json()["error"]["code"] == "storage_full"
        accepted = sum(answer.status_code == 202 for answer in answers)
        writer.execute("PRAGMA max_page_count = 1073741823")
        assert service.jobs.counts()["pending"] == accepted
        assert http.post("/jobs", json=BODY | {"fresh": True}).status_code == 202


TEXT = st.text(max_size=40)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
KEYS = ("ticker", "date", "arm", "model", "lineup", "pipeline", "config", "callback_url", "fresh")
BODIES = st.fixed_dictionaries({}, optional=dict.fromkeys(KEYS, ANYTHING)).map(lambda part: BODY | part) | ANYTHING


@pytest.mark.timeout(240 if EXAMPLES <= 1000 else 3600)
def test_no_fuzzed_body_gets_a_server_error(desk: Desk, tmp_path: Path) -> None:
    with client(*desk, tmp_path, host="127.0.0.1", most_open=10**9) as (http, _):

        @settings(
            max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), database=None, derandomize=True
        )
        @given(BODIES, st.sampled_from([None, "key", "\x01", "k" * 300]))
        def fuzz(body: Any, key: str | None) -> None:
            headers = JSON | ({"idempotency-key": key} if key else {})
            answer = http.post("/jobs", content=json.dumps(body).encode(), headers=headers)
            assert answer.status_code in (202, 400, 409, 422), (body, answer.text)
            if answer.status_code != 202:
                assert answer.json()["error"]["message"]

        fuzz()
