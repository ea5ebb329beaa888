"""Experiments that wait, that failed before their run began, and whose state the disk refuses; /ready and /metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import redis
from fastapi.testclient import TestClient

from harness.service import experiment_runner
from harness.service.auth import READ, SUBMIT
from harness.service.experiment_runner import MOST_REFUSALS, ExperimentRunner
from harness.service.service import Service, trouble_key
from harness.service.submissions import FAILED, SubmittedExperiment, SubmittedExperiments, UnstoredStates
from tests.fakes.process import FakeModels
from tests.fixtures.runs import HOSTED, wait_for
from tests.service.in_process import Desk, client, refusing_disk

OWN_FORM = {"sec-fetch-site": "same-origin"}
HOSTILE = "<script>alert(1)</script>"


@pytest.fixture
def opened(desk: Desk, tmp_path: Path) -> Iterator[tuple[TestClient, Service]]:
    with client(*desk, tmp_path, host="127.0.0.1") as opened:
        yield opened


def submitted(service: Service, name: str = "bad") -> SubmittedExperiment:
    """An experiment that `run` refuses at once."""
    return service.experiments.create(name=name, owner="local", text="name: bad\n", content="", key=None)


@pytest.fixture
def runner(opened: tuple[TestClient, Service]) -> Iterator[ExperimentRunner]:
    _, service = opened
    with redis.Redis.from_url(service.broker) as connection:
        unstored = UnstoredStates(connection, service.experiment.name)
        unstored.clear()
        runner = ExperimentRunner(service.options, SubmittedExperiments(service.folder), service.broker, unstored, pace_s=0.001)
        yield runner
        runner.close()
        unstored.clear()


def step_until(runner: ExperimentRunner, condition: Callable[[], object], what: str) -> None:
    def look() -> object:
        runner.step()
        return condition()

    wait_for(look, what)


def test_a_state_that_the_disk_refuses_is_tried_a_few_times_and_then_a_person_decides(
    opened: tuple[TestClient, Service], runner: ExperimentRunner, caplog: pytest.LogCaptureFixture
) -> None:
    http, service = opened
    address = f"/experiments/{submitted(service).experiment_id}"
    with refusing_disk():
        runner.step()
        waiting = http.get(address).json()
        assert (waiting["state"], waiting["reason"]) == (
            "queued",
            "its state cannot be stored: File too large; it is tried again",
        )
        step_until(runner, lambda: http.get(address).json()["state"] == FAILED, "the last try")
        ready = http.get("/ready")
        assert http.post(f"{address}/resume").status_code == 507

    assert len([record for record in caplog.records if "cannot be stored" in record.message]) == MOST_REFUSALS
    refused = http.get(address).json()
    assert "free space on the disk or make its folder writable, then resume it" in refused["reason"]
    assert refused["words"].startswith("its state cannot be stored: File too large")
    assert ready.status_code == 503
    assert "File too large; free space" in ready.json()["parts"]["experiments"]["reason"]
    before = len(caplog.records)
    for _ in range(20):
        runner.step()
    assert len(caplog.records) == before, "nothing is tried again before a person resumes it"

    assert http.post(f"{address}/resume").json()["state"] == "queued"
    step_until(runner, lambda: http.get(address).json()["state"] == FAILED, "its end")
    ended = http.get(address).json()
    assert ended["exit_code"] == 2
    assert ended["reason"].startswith("the experiment"), ended["reason"]


def test_an_end_that_the_disk_refuses_is_kept_and_the_experiment_is_not_started_again(
    opened: tuple[TestClient, Service], runner: ExperimentRunner, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", experiment_runner.__name__)
    http, service = opened
    address = f"/experiments/{submitted(service).experiment_id}"
    runner.step()
    (process,) = runner._processes.values()
    process.wait()
    with refusing_disk():
        for _ in range(3):
            step_until(runner, lambda: "is tried again" in caplog.text, "a refusal")
            assert (http.get(address).json()["state"], http.get(address).json()["exit_code"]) == (FAILED, 2)
            caplog.clear()

    step_until(runner, lambda: not runner._refusals, "a disk that takes it")
    assert SubmittedExperiments(service.folder).all()[0].now.exit_code == 2, "it is on disk"
    assert not [record for record in caplog.records if record.message.endswith("started")]


def test_one_experiment_that_is_refused_does_not_keep_the_others_waiting(
    opened: tuple[TestClient, Service], runner: ExperimentRunner
) -> None:
    http, service = opened
    refused, good = submitted(service, "refused"), submitted(service, "good")
    refused.log.mkdir()
    step_until(runner, lambda: http.get(f"/experiments/{good.experiment_id}").json()["exit_code"] == 2, "the other's end")
    assert "Is a directory" in http.get(f"/experiments/{refused.experiment_id}").json()["reason"]


def test_ready_says_why_the_dispatcher_waits(opened: tuple[TestClient, Service]) -> None:
    http, service = opened
    with redis.Redis.from_url(service.broker) as connection:
        connection.set(trouble_key(service.experiment.name), "cannot write jobs.sqlite: disk full", px=60_000)
        try:
            answer = http.get("/ready")
        finally:
            connection.delete(trouble_key(service.experiment.name))
    assert answer.status_code == 503
    assert answer.json()["parts"]["dispatcher"] == {"ready": False, "reason": "cannot write jobs.sqlite: disk full"}


def test_the_page_shows_what_waits_and_what_failed_with_its_reason_escaped(opened: tuple[TestClient, Service]) -> None:
    http, service = opened
    waiting, failed, done = (submitted(service, name) for name in ("waiting", "failed", "done"))
    words = f"1 problem:\nmodel paid: no model {HOSTILE}\n    fix: name one\u202e that is served"
    failed.record(state=FAILED, exit_code=2, ended_at="2999-01-01T00:00:00+00:00", words=words)
    done.record(state="done", exit_code=0, ended_at="2999-01-01T00:00:00+00:00", run_id="20990101-000000-abcd")

    home = http.get("/").text
    assert "waits for its turn" in home
    assert "model paid: no model &lt;script&gt;" in home
    assert HOSTILE not in home
    assert "\u202e" not in home
    assert f"/page/experiments/{done.experiment_id}" not in home, "its run shows it"
    page = http.get(f"/page/experiments/{failed.experiment_id}").text
    assert HOSTILE not in page
    assert "Run it again" in page
    assert "name: bad" in page, "the experiment itself"
    assert "Stop this experiment" in http.get(f"/page/experiments/{waiting.experiment_id}").text
    assert http.get(f"/page/experiments/{waiting.experiment_id}/live").headers.get("x-ended") is None

    resume = f"/page/experiments/{failed.experiment_id}/resume"
    assert http.post(resume, headers={"sec-fetch-site": "cross-site"}).status_code == 403
    assert http.post(resume, headers=OWN_FORM, follow_redirects=False).status_code == 303
    assert http.get(f"/experiments/{failed.experiment_id}").json()["state"] == "queued"
    http.post(f"/page/experiments/{waiting.experiment_id}/stop", headers=OWN_FORM)
    stopped = service.experiments.get(waiting.experiment_id)
    assert stopped is not None
    assert stopped.is_to_stop


def test_a_token_sees_its_own_experiments_and_metrics_are_for_the_operator(desk: Desk, tmp_path: Path) -> None:
    options, resolved = desk
    with client(replace(options), resolved, tmp_path) as (http, service):
        tokens = {name: service.tokens.create(name, frozenset({scope})) for name, scope in (("alice", SUBMIT), ("ops", READ))}
        headers = {name: {"authorization": f"Bearer {token}"} for name, token in tokens.items()}
        experiment = service.experiments.create(name="hers", owner="bob", text="name: hers\n", content="", key=None)
        http.post("/jobs", json={"ticker": "AAPL", "date": "2012-06-15"}, headers=headers["alice"])

        for path in (f"/page/experiments/{experiment.experiment_id}", f"/page/experiments/{experiment.experiment_id}/live"):
            assert http.get(path, headers=headers["alice"]).status_code == 404
            assert http.get(path, headers=headers["ops"]).status_code == 200
        assert "hers" not in http.get("/", headers=headers["alice"]).text
        assert "Run it again" not in http.get(f"/page/experiments/{experiment.experiment_id}", headers=headers["ops"]).text

        assert http.get("/metrics").status_code == 401
        refused = http.get("/metrics", headers=headers["alice"])
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "forbidden")
        figures = http.get("/metrics", headers=headers["ops"]).text
        assert 'harness_jobs{experiment="lab",status="pending",token="alice"} 1.0' in figures
        assert 'harness_jobs{experiment="lab",status="pending",token="ops"} 0.0' in figures
        assert not any(token in figures for token in tokens.values())


def test_a_server_that_has_no_such_model_is_named_with_its_reason(
    desk: Desk, tmp_path: Path, fake_models_process: FakeModels
) -> None:
    fake_models_process.control(models=["another"])
    with client(*desk, tmp_path, host="127.0.0.1") as (http, _):
        answer = http.get("/ready")
    fake_models_process.control(models=[HOSTED, "tiny"])

    assert answer.status_code == 503
    parts = answer.json()["parts"]
    assert not parts["server box"]["ready"]
    assert "tiny" in parts["server box"]["reason"]
    assert parts["redis"]["ready"]
