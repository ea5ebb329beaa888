"""Two `run` commands at the same time: one executes the experiment, the other follows it and pays nothing."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from harness.storage import experiment_lock
from harness.storage.experiment_lock import FREE, UNLOCKED, WAITED
from harness.storage.folder import open_folder
from tests.fixtures.runs import PATIENCE_S, Lab, wait_for

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "testing-secret", "AWS_EC2_METADATA_DISABLED": "true"}


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """Host and port of an S3 server with the bucket `locks`."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    client = boto3.client(
        "s3",
        "us-east-1",
        endpoint_url=f"http://{host}:{port}",
        aws_access_key_id="test",
        aws_secret_access_key="testing-secret",
    )
    client.create_bucket(Bucket="locks")
    yield f"{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(endpoint: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    return f"s3://locks/{request.node.name}?endpoint_override={endpoint}&scheme=http"


class Screen:
    """What the lock reported."""

    def __init__(self) -> None:
        self.warnings: list[str] = []
        self.holders: list[str] = []
        self.has_waited = threading.Event()

    def wait(self, holder: str) -> None:
        self.holders.append(holder)
        self.has_waited.set()


def hold(url: str, screen: Screen) -> Any:
    return experiment_lock.experiment_lock(open_folder(url), "lab", screen.wait, screen.warnings.append)


def check_second_waits(url: str) -> None:
    first, second, states = Screen(), Screen(), []

    def follow() -> None:
        with hold(url, second) as state:
            states.append(state)

    with hold(url, first) as state:
        assert state == FREE
        thread = threading.Thread(target=follow)
        thread.start()
        assert second.has_waited.wait(PATIENCE_S)
        assert states == []
    thread.join(PATIENCE_S)
    assert states == [WAITED]
    assert second.holders[0].startswith("process ")
    assert (first.warnings, second.warnings) == ([], [])
    with hold(url, first) as state:
        assert state == FREE


def test_the_second_holder_waits_for_the_first_in_a_folder(tmp_path: Any) -> None:
    check_second_waits(str(tmp_path / "results"))


def test_the_second_holder_waits_for_the_first_on_s3(bucket: str) -> None:
    check_second_waits(bucket)


def test_the_lock_of_a_command_that_died_is_taken_over_on_s3(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(experiment_lock, "LEASE_S", 2.0)
    dead = experiment_lock._Object(
        experiment_lock._client(bucket), "locks", "test_the_lock_of_a_command_that_died_is_taken_over_on_s3/.lab.lock"
    )
    dead.take(lambda _: None)
    with hold(bucket, Screen()) as state:
        assert state == WAITED


def test_a_store_that_ignores_conditional_writes_is_reported(bucket: str) -> None:
    def ignore_conditions(params: dict[str, Any], **_: Any) -> None:
        params["headers"].pop("If-None-Match", None)

    client = experiment_lock._client(bucket)
    client.meta.events.register("before-call.s3.PutObject", ignore_conditions)
    lock = experiment_lock._Object(client, "locks", "ignoring/.lab.lock")
    assert lock.take(lambda _: None) == FREE
    assert not lock.is_conditional()


def test_a_store_without_a_client_for_conditional_writes_is_reported(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "boto3", None)
    screen = Screen()
    with hold(bucket, screen) as state:
        assert state == UNLOCKED
    assert "do not start this experiment twice at the same time" in screen.warnings[0]


def test_two_runs_started_together_pay_once_and_both_end_with_the_result(lab: Lab) -> None:
    lab.experiment(dates=1)
    both = [lab.start("run", "lab.yaml"), lab.start("run", "lab.yaml")]
    outputs = [process.communicate(timeout=PATIENCE_S)[0] for process in both]

    assert [process.returncode for process in both] == [0, 0], outputs
    assert len(lab.runs) == 1
    assert lab.paid()["answered"] == 2 * 12
    assert all("report: " in output for output in outputs)
    assert sum("following it" in output for output in outputs) == 1
    assert sum("nothing left to do" in output for output in outputs) == 1


def test_a_run_that_follows_a_stopped_one_ends_as_it_did(lab: Lab) -> None:
    lab.experiment(dates=2)
    lab.fake.control(defaults={"latency_s": 3.0})
    first = lab.start("run", "lab.yaml")
    wait_for(lambda: lab.paid()["calls"] > 2, "requests")
    second = lab.start("run", "lab.yaml")
    wait_for(lambda: (lab.folder / "results" / ".lab.lock").exists(), "the lock")
    assert second.stdout is not None
    assert "following it" in second.stdout.readline()
    first.send_signal(signal.SIGINT)

    output, _ = first.communicate(timeout=PATIENCE_S)
    followed, _ = second.communicate(timeout=PATIENCE_S)

    assert (first.returncode, second.returncode) == (3, 3), output + followed
    assert "stopped early: the same command continues" in followed
    assert len(lab.runs) == 1
