"""Feeding: a bounded window in the matrix's order, whatever its size, and nothing lost between queue and hand."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Iterator

import pytest
import redis
from dramatiq.brokers.redis import RedisBroker

from agents import Model, Pipeline
from harness.cells import Cell
from harness.queue.broker import NAMESPACE, make_broker, purge, waiting
from harness.queue.feed import Feed
from harness.queue.registry import RunInfo

RUN = RunInfo("20260101-000000-aaaa", "lab", terms={}, pipelines={}, prices={}, code="f" * 64, hosted=("openai",))
HOSTED = "cells.20260101-000000-aaaa.ffffffffffff.hosted"
LOCAL = "cells.20260101-000000-aaaa.ffffffffffff.local"


def cell(number: int, provider: str = "openai") -> Cell:
    model = Model("m", provider, "gpt-5", {}, provider)
    date = dt.date(2012, 1, 1) + dt.timedelta(days=number)
    return Cell("lab", "arm", "AAPL", date, 0, {"trader": model}, Pipeline(), {}, "f")


@pytest.fixture
def broker(redis_url: str) -> Iterator[RedisBroker]:
    made = make_broker(redis_url)
    yield made
    made.client.close()


def test_redis_stays_small_however_many_cells_there_are(broker: RedisBroker, redis_url: str) -> None:
    first = cell(0)
    cells = {str(number): first for number in range(20_000)}
    feed = Feed(broker, RUN, cells)

    feed.fill()

    assert waiting(broker, HOSTED) == feed.out == 512
    assert feed.left == 20_000
    with redis.Redis.from_url(redis_url) as client:
        assert client.info("memory")["used_memory"] < 16 * 2**20


def test_the_window_moves_on_as_cells_end_and_pools_do_not_hold_each_other_up(broker: RedisBroker) -> None:
    cells = {f"h{number}": cell(number) for number in range(5)} | {f"l{number}": cell(number, "ollama") for number in range(3)}
    feed = Feed(broker, RUN, cells, window=2)
    feed.fill()
    assert (waiting(broker, HOSTED), waiting(broker, LOCAL)) == (2, 2)

    feed.ended("h0")
    feed.fill()

    assert (waiting(broker, HOSTED), waiting(broker, LOCAL)) == (3, 2)
    assert feed.left == 7


def test_cells_leave_in_the_order_of_the_matrix(broker: RedisBroker) -> None:
    feed = Feed(broker, RUN, {str(number): cell(number) for number in range(9)})
    feed.fill()

    queued = broker.client.lrange(f"{NAMESPACE}:{HOSTED}", 0, -1)
    texts = [str(message) for message in broker.client.hmget(f"{NAMESPACE}:{HOSTED}.msgs", queued)]
    days = [text.split("2012-01-0")[1][0] for text in texts]

    assert days == [str(number + 1) for number in range(9)]


def test_what_is_on_no_queue_and_in_no_hand_is_fed_again(broker: RedisBroker) -> None:
    feed = Feed(broker, RUN, {"a": cell(1), "b": cell(2)})
    feed.fill()
    assert feed.resend_lost() == 0
    purge(broker, HOSTED)

    assert feed.resend_lost() == 2
    assert waiting(broker, HOSTED) == 2


def test_a_cell_survives_its_journey_as_a_message() -> None:
    there = cell(1)

    assert Cell.from_json(there.to_json()) == there
    assert dataclasses.asdict(RunInfo.from_json(RUN.to_json())) == dataclasses.asdict(RUN)
