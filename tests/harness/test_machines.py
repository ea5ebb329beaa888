"""Many machines: workers need Redis, the results and their models; a worker of another version sees nothing."""

from __future__ import annotations

import itertools
import json
import re
import signal
import threading
from dataclasses import replace
from pathlib import Path

import pytest
import redis

from harness.experiment import spec
from harness.queue import registry
from harness.queue.broker import queue_name
from harness.queue.registry import RunInfo
from tests.fixtures.runs import PATIENCE_S, Lab, wait_for


def announced(url: str) -> dict[str, RunInfo]:
    with redis.Redis.from_url(url) as client:
        return registry.active_runs(client)


def test_a_runner_enqueues_and_a_worker_started_elsewhere_does_the_work(lab: Lab, redis_url: str, tmp_path: Path) -> None:
    lab.experiment(dates=1)
    elsewhere = Lab(tmp_path / "elsewhere", lab.fake)
    elsewhere.folder.mkdir()
    runner = lab.start("run", "lab.yaml", "--broker", redis_url)
    wait_for(lambda: announced(redis_url), "the announcement")
    assert lab.paid()["calls"] == 0

    shared = ["--results", str(lab.folder / "results"), "--servers", str(lab.folder / "servers.yaml")]
    worker = elsewhere.start("worker", "--broker", redis_url, *shared, "--log-json", "--metrics-port", "0")
    output, _ = runner.communicate(timeout=PATIENCE_S)
    worker.send_signal(signal.SIGTERM)
    said, _ = worker.communicate(timeout=PATIENCE_S)

    assert runner.returncode == 0, output
    assert {cell["status"] for cell in lab.rows("cells")} == {"ok"}
    assert '"message": "cell ended"' in said
    assert "sk-fake" not in said
    assert announced(redis_url) == {}
    elsewhere.close()


def test_a_run_that_goes_on_at_once_after_its_runner_was_killed_is_announced_as_it_is_now(redis_url: str) -> None:
    before = RunInfo("run-1", "lab", {"budget": {"run_usd": 1}}, {}, {}, "code", experiment_dir="/gone")
    now = replace(before, terms={"budget": {"run_usd": 2}}, experiment_dir="/here")
    with redis.Redis.from_url(redis_url) as client:
        registry.announce(client, before)
        registry.announce(client, now)
    assert announced(redis_url) == {"run-1": now}


@pytest.mark.parametrize(("arms", "pools"), [(["paid"], {"hosted"}), (["paid", "own"], {"hosted", "local"})])
def test_only_workers_of_pools_that_some_cell_needs_look_for_messages(
    lab: Lab, redis_url: str, arms: list[str], pools: set[str]
) -> None:
    lab.experiment(arms={arm: {"all": arm} for arm in arms})
    with redis.Redis.from_url(redis_url) as client, client.monitor() as seen:
        worker = lab.start("worker", "--broker", redis_url)
        # The announcement speaks of the whole matrix: the run may go on with another --only while its announcement stands.
        runner = lab.start("run", "lab.yaml", "--broker", redis_url, "--yes", "--only", "arm=paid")
        output, _ = runner.communicate(timeout=PATIENCE_S)
        worker.send_signal(signal.SIGTERM)
        worker.communicate(timeout=PATIENCE_S)
        client.set("over", 1)
        commands = itertools.takewhile(lambda command: command != "SET over 1", (each["command"] for each in seen.listen()))
        fetched = {found for command in commands if (found := re.search(r" fetch .*? cells\.[^. ]+\.[^. ]+\.(\w+) ", command))}

    assert runner.returncode == 0, output
    assert {found[1] for found in fetched} == pools


def test_a_worker_without_the_servers_of_a_run_refuses_it_once_and_serves_the_others(
    lab: Lab, redis_url: str, tmp_path: Path
) -> None:
    terms = json.loads(json.dumps(spec.load(lab.experiment(dates=1)).resolved(), default=str))
    foreign = RunInfo("20260101-000000-aaaa", "lab", terms, {}, {}, registry.code_of({}))
    with redis.Redis.from_url(redis_url) as client:
        registry.announce(client, foreign)
        client.persist(registry.alive_key(foreign.run_id))
    elsewhere = Lab(tmp_path / "elsewhere", lab.fake)
    elsewhere.folder.mkdir()
    worker = elsewhere.start("worker", "--broker", redis_url, "--results", str(lab.folder / "results"))

    lab.run("--broker", redis_url)
    worker.send_signal(signal.SIGTERM)
    said, _ = worker.communicate(timeout=PATIENCE_S)

    assert {cell["status"] for cell in lab.rows("cells")} == {"ok"}
    assert f"run {foreign.run_id} cannot be served here" in said
    assert "server 'cloud'" in said
    assert "ended by" not in said, "no process died"
    elsewhere.close()


def test_a_worker_of_other_prompts_refuses_the_run_and_says_why(lab: Lab, redis_url: str) -> None:
    run = RunInfo("20260101-000000-aaaa", "lab", terms={}, pipelines={}, prices={}, code="0" * 64)
    with redis.Redis.from_url(redis_url) as client:
        registry.announce(client, run)
        told = json.loads(run.to_json()) | {"news_of_another_version": 1}
        client.hset(registry.KEY, run.run_id, json.dumps(told))
        client.persist(registry.alive_key(run.run_id))

    worker = lab.start("worker", "--broker", redis_url)
    too_late = threading.Timer(PATIENCE_S, worker.kill)
    too_late.start()
    assert worker.stdout is not None
    said = next((line for line in worker.stdout if "another version or other prompts" in line), "")
    too_late.cancel()

    assert run.run_id in said


def test_the_queue_of_another_version_has_another_name() -> None:
    ours, theirs = (queue_name("20260101-000000-aaaa", code, "hosted") for code in ("a" * 64, "b" * 64))

    assert ours != theirs
