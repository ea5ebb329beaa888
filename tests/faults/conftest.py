"""Seeds: each scenario runs at one in the everyday suite, at more with `pytest tests/faults --seeds 20`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from harness.queue.private_redis import private_redis, redis_binary
from tests.fakes.process import FakeModels
from tests.faults.stage import Stage, stage


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--seeds", type=int, default=1, help="how many seeds each fault scenario runs at")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "chance" in metafunc.fixturenames:
        metafunc.parametrize("chance", range(metafunc.config.getoption("--seeds", 1)), indirect=True)


@pytest.fixture
def chance(request: pytest.FixtureRequest) -> Random:
    """When and whom it hits, repeatable by seed."""
    return Random(f"{request.node.originalname}{request.param}")


@pytest.fixture
def on_stage(tmp_path: Path, fake_models: FakeModels) -> Iterator[Stage]:
    """An empty stage with a fake model server that takes 0.1 s for an answer."""
    if redis_binary() is None:
        pytest.skip("no redis-server here")
    fake_models.control(defaults={"latency_s": 0.1})
    with stage(tmp_path, fake_models) as set_up:
        yield set_up


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[str]:
    """A Redis that is not the run's own."""
    with private_redis(tmp_path / "broker") as url:
        yield url
