"""Who may do what: tokens, other people's jobs, limits, callbacks, and what is written down about it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.service.auth import READ, SUBMIT
from tests.service.in_process import BODY, Desk, client


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def test_a_token_does_what_its_scope_says_and_sees_its_own_jobs(desk: Desk, tmp_path: Path) -> None:
    with client(*desk, tmp_path) as (http, service):
        alice, bob = (service.tokens.create(name, frozenset({SUBMIT})) for name in ("alice", "bob"))
        reader = service.tokens.create("reader", frozenset({READ}))
        assert http.post("/jobs", json=BODY).status_code == 401
        assert http.post("/jobs", json=BODY, headers=bearer("guess")).status_code == 401
        assert http.post("/jobs", json=BODY, headers=bearer(reader)).status_code == 403
        job = http.post("/jobs", json=BODY, headers=bearer(alice)).json()["job_id"]
        assert http.get(f"/jobs/{job}", headers=bearer(alice)).status_code == 200
        assert http.get(f"/jobs/{job}", headers=bearer(bob)).status_code == 404, "another token's job does not exist"
        assert http.get(f"/jobs/{job}/result", headers=bearer(bob)).status_code == 404
        assert http.delete(f"/jobs/{job}", headers=bearer(bob)).status_code == 404
        assert http.get("/jobs", headers=bearer(bob)).json()["total"] == 0
        assert http.get("/jobs", headers=bearer(reader)).json()["total"] == 1
        assert http.delete(f"/jobs/{job}", headers=bearer(reader)).status_code == 403
        assert http.delete(f"/jobs/{job}", headers=bearer(alice)).json()["status"] == "cancelled"
        service.tokens.revoke("alice")
        assert http.get("/jobs", headers=bearer(alice)).status_code == 401
        lines = [json.loads(line) for line in (tmp_path / "audit.jsonl").read_text().splitlines()]
        assert [(line["caller"], line["action"]) for line in lines] == [("alice", "submit"), ("alice", "stop")]
        for path in tmp_path.rglob("*"):
            if path.is_file():
                content = path.read_bytes()
                assert not any(secret.encode() in content for secret in (alice, bob, reader)), f"{path} holds a token"


def test_no_answer_holds_a_key_of_a_model_server(desk: Desk, tmp_path: Path) -> None:
    with client(*desk, tmp_path, host="127.0.0.1") as (http, _):
        bodies = [http.get(path).text for path in ("/openapi.json", "/jobs", "/health")]
        bodies.append(http.post("/jobs", json=BODY | {"config": {"backend_url": "http://x"}}).text)
        assert not any("sk-fake" in body for body in bodies)


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/latest/meta-data",
        "http://localhost:6379/",
        "http://10.0.0.1/",
        "http://[::1]/",
        "https://hooks.example.org.evil.example/",
        "https://user:pass@hooks.example.org/",
        "file:///etc/passwd",
        "gopher://hooks.example.org/",
    ],
)
def test_a_callback_goes_to_listed_hosts_only(desk: Desk, tmp_path: Path, url: str) -> None:
    with client(*desk, tmp_path, host="127.0.0.1", callbacks=("hooks.example.org",)) as (http, service):
        answer = http.post("/jobs", json=BODY | {"callback_url": url})
        assert answer.status_code == 422, answer.text
        assert service.jobs.counts()["pending"] == 0
        assert http.post("/jobs", json=BODY | {"callback_url": "https://hooks.example.org/x"}).status_code == 202


def test_submissions_and_open_jobs_are_limited(desk: Desk, tmp_path: Path) -> None:
    with client(*desk, tmp_path, host="127.0.0.1", most_open=3) as (http, _):
        statuses = [http.post("/jobs", json=BODY | {"fresh": True}).status_code for _ in range(4)]
        assert statuses == [202, 202, 202, 429]
    with client(*desk, tmp_path / "slow", host="127.0.0.1", rate_per_s=0.5) as (http, _):
        answers = [http.post("/jobs", json=BODY) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [202, 202, 429]
        assert int(answers[-1].headers["retry-after"]) >= 1
        assert answers[-1].json()["error"]["code"] == "rate_limited"


@pytest.mark.parametrize("said", [{"origin": "https://evil.example"}, {"sec-fetch-site": "cross-site"}, {"origin": "null"}])
@pytest.mark.parametrize("path", ["/jobs", "/experiments", "/plans"])
def test_a_foreign_page_submits_nothing(desk: Desk, tmp_path: Path, path: str, said: dict[str, str]) -> None:
    with client(*desk, tmp_path, host="127.0.0.1") as (http, service):
        answer = http.post(path, content=json.dumps(BODY), headers={"content-type": "application/json", **said})
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "other_origin")
        assert sum(service.jobs.counts(None).values()) == 0


@pytest.mark.parametrize("path", ["/experiments", "/plans"])
def test_an_experiment_says_that_it_is_json_or_yaml(desk: Desk, tmp_path: Path, path: str) -> None:
    with client(*desk, tmp_path, host="127.0.0.1") as (http, _):
        assert http.post(path, content="name: x", headers={"content-type": "text/plain"}).status_code == 415


def test_a_foreign_page_gets_nothing(desk: Desk, tmp_path: Path) -> None:
    with client(*desk, tmp_path, host="127.0.0.1") as (http, _):
        answer = http.get("/jobs", headers={"origin": "https://evil.example"})
        assert not [name for name in answer.headers if name.startswith("access-control")]
        assert http.get("/jobs", headers={"host": "evil.example"}).status_code == 400
        preflight = http.options("/jobs", headers={"origin": "https://evil.example", "access-control-request-method": "POST"})
        assert preflight.status_code == 405
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in answer.headers["content-security-policy"]
