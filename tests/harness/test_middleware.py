"""What the middleware of a worker does with a message, on a real queue."""

from __future__ import annotations

import socket
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import dramatiq
import pytest
import redis
from dramatiq import Middleware

from harness.queue import in_flight
from harness.queue.broker import Broker, Requeue, backlog, delayed, make_broker, send, serve_queue, waiting
from harness.workers.middleware import DeathCount, GracefulShutdown, MaximumAge, Pause, Requeues
from tests.fixtures.runs import Lab, wait_for

QUEUE = "cells.run1.code.hosted"


@contextmanager
def serving(url: str, *middleware: Middleware, handle: Callable[[str, str], None]) -> Iterator[Broker]:
    """A worker that reads the queue, with one cell on it."""
    broker = make_broker(url, middleware)
    worker = dramatiq.Worker(broker, worker_threads=1, worker_timeout=50)
    worker.start()
    try:
        send(broker, QUEUE, "run1", "cell1", "{}")
        serve_queue(broker, QUEUE, handle)
        yield broker
    finally:
        worker.stop()
        broker.client.connection_pool.disconnect()


def refuse(run_id: str, text: str) -> None:
    raise AssertionError("the cell must not run")


@pytest.fixture
def age() -> MaximumAge:
    return MaximumAge(cells=1)


def test_a_cell_of_a_run_that_is_not_served_waits_and_does_not_run(redis_url: str, age: MaximumAge) -> None:
    with serving(redis_url, age, Pause({}), handle=refuse) as broker:
        wait_for(lambda: waiting(broker, delayed(QUEUE)) == 1, "the delayed cell")
        assert not age.is_reached


def test_a_worker_that_shuts_down_puts_its_cells_back(redis_url: str, age: MaximumAge) -> None:
    shutdown = GracefulShutdown({})
    shutdown.request()
    with serving(redis_url, age, shutdown, handle=refuse) as broker:
        wait_for(lambda: waiting(broker, QUEUE) == 1, "the cell")
    assert backlog(broker, QUEUE) == 1
    assert not age.is_reached


def test_a_cell_whose_process_died_goes_to_the_queue_of_those_that_run_alone(redis_url: str, age: MaximumAge) -> None:
    with redis.Redis.from_url(redis_url) as client:
        entry = in_flight.new_entry("host/1-dead", "run1/host:1:dead", "arm", alone=False)
        client.hset(in_flight.running_key("run1"), "cell1", entry)
        assert in_flight.bury(client, "run1", "host/1-dead") == 1
        assert in_flight.running(client, "run1") == {}
        assert in_flight.bury(client, "run1", "host/1-dead") == 0, "a death counts once"
    with serving(redis_url, age, DeathCount(alone=False), handle=refuse) as broker:
        wait_for(lambda: backlog(broker, f"{QUEUE}.alone") == 1, "the cell on the other queue")
        wait_for(lambda: waiting(broker, QUEUE) == 0, "an empty queue")
    assert not age.is_reached


def test_a_cell_that_is_not_done_goes_back_and_only_one_that_has_ended_counts(redis_url: str, age: MaximumAge) -> None:
    attempts = []

    def handle(run_id: str, text: str) -> None:
        attempts.append(run_id)
        if len(attempts) == 1:
            assert not age.is_reached
            raise Requeue(QUEUE)

    with serving(redis_url, age, Requeues(), handle=handle) as broker:
        wait_for(lambda: len(attempts) == 2, "the second attempt")
        wait_for(lambda: waiting(broker, QUEUE) == 0, "an empty queue")
    assert attempts == ["run1", "run1"]
    assert not age.is_reached, "it may be suspended"
    age.ended()
    assert age.is_reached


def test_a_worker_answers_prometheus_about_its_cells(lab: Lab, redis_url: str) -> None:
    own = {"provider": "openai_compatible", "model": "tiny", "server": "box"}
    lab.experiment(dates=2, models={"own": own})
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    worker = lab.start("worker", "--broker", redis_url, "--queues", "local", "--metrics-port", str(port))

    lab.run("--broker", redis_url)

    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    worker.terminate()
    worker.communicate(timeout=30)
    assert 'harness_cells_total{arm="own",experiment="lab",status="ok"} 2.0' in lines
    assert 'harness_calls_total{arm="own",experiment="lab"} 24.0' in lines
    assert "harness_active_cells 0.0" in lines
