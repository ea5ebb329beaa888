"""Hosted or self-hosted: one answer per server, which consent, caps, queue, slots and the plan all follow."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from domain.hosting import host_of, hosting_of, is_own_address, is_vendor_only
from domain.providers import PROVIDERS
from harness.errors import InvalidInput
from harness.experiment import servers, spec
from harness.experiment.servers import ServerSpec
from tests.fixtures.runs import Lab


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("http://127.0.0.1:8000/v1", "loopback"),
        ("http://localhost:4000", "loopback"),
        ("http://[::1]:8000/v1", "loopback"),
        ("http://0.0.0.0:11434", "loopback"),
        ("http://[::ffff:127.0.0.1]:80", "loopback"),
        ("http://10.1.2.3", "private"),
        ("http://172.31.0.1:8000", "private"),
        ("http://172.32.0.1:8000", "public"),
        ("http://192.168.1.20:11434", "private"),
        ("http://100.64.0.7", "private"),
        ("http://100.128.0.7", "public"),
        ("http://169.254.1.1", "private"),
        ("http://[fd12::1]:8000/v1", "private"),
        ("http://[fe80::1%25eth0]:8000", "private"),
        ("http://[2a00:1450::5]:8000/v1", "public"),
        ("http://gpu-box:11434", "single-label"),
        ("http://litellm.internal", "local domain"),
        ("http://NAS.local.:80", "local domain"),
        ("https://box.lan", "local domain"),
        ("https://openrouter.ai/api/v1", "public"),
        ("https://x.openai.azure.com", "public"),
        ("http://local", "single-label"),
    ],
)
def test_a_host_is_classified_by_its_text_alone(url: str, kind: str) -> None:
    assert host_of(url).kind == kind


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("gpt-5", True),
        ("gpt-5.4-mini", True),
        ("openai/gpt-6-luna", True),
        ("openrouter/anthropic/claude-opus-4", True),
        ("us.anthropic.claude-sonnet", True),
        ("models/gemini-3-pro", True),
        ("gpt-oss:120b", False),
        ("openai/gpt-oss-20b", False),
        ("gemma4:26b", False),
        ("llama3.1:8b", False),
        ("qwen3", False),
    ],
)
def test_only_models_without_open_weights_count_as_sold_by_their_vendor_alone(model: str, expected: bool) -> None:
    assert is_vendor_only(model) is expected


def load(
    folder: Path, server: Mapping[str, Any] | None, provider: str = "openai_compatible", model: str = "llama"
) -> ServerSpec:
    """The one server of an experiment whose model is served there; None: no servers.yaml at all."""
    name = "box" if server is not None else provider
    plain = {
        "name": "one",
        "tickers": ["AAPL"],
        "dates": ["2012-06-15"],
        "repeats": 1,
        "data": "demo",
        "models": {"m": {"provider": provider, "model": model, "server": name}},
    }
    (folder / "one.yaml").write_text(yaml.safe_dump(plain))
    if server is not None:
        (folder / "servers.yaml").write_text(yaml.safe_dump({"box": {"provider": provider, **server}}))
    return servers.load(None, spec.load(folder / "one.yaml"), folder)[name]


@pytest.mark.parametrize(
    ("provider", "server", "is_hosted", "why"),
    [
        ("openai_compatible", {"url": "https://openrouter.ai/api/v1"}, True, "openrouter.ai is a public address"),
        ("openai_compatible", {"url": "http://192.168.1.21:8000/v1", "api_key_env": "VLLM_KEY"}, False, "private address"),
        ("openai_compatible", {"url": "http://192.168.1.21:8000/v1", "hosted": True}, True, "hosted: true in servers.yaml"),
        ("openai_compatible", {"url": "https://pod.example.com/v1", "hosted": False}, False, "hosted: false in servers.yaml"),
        ("openai", {"url": "https://x.openai.azure.com/openai/v1"}, True, "x.openai.azure.com is a public address"),
        ("openai", {"url": "http://127.0.0.1:8000/v1"}, False, "127.0.0.1 is this machine"),
        ("openai", {"url": "https://api.openai.com/v1"}, True, "openai at its own address bills by token"),
        ("openai", {}, True, "openai at its own address bills by token"),
        ("ollama", {}, False, "ollama at its own address computes on this machine"),
        ("ollama", {"url": "http://gpu-box:11434"}, False, "gpu-box is a name without a domain"),
        ("ollama", {"url": "https://ollama.com"}, True, "ollama.com is a public address"),
        ("llamacpp", {}, False, "llamacpp at its own address computes on this machine"),
        ("openai_compatible", {"url": "http://[2a00:1450::5]:8000/v1"}, True, "2a00:1450::5 is a public address"),
    ],
)
def test_a_server_is_hosted_as_declared_else_at_its_vendor_else_by_its_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, provider: str, server: dict[str, Any], is_hosted: bool, why: str
) -> None:
    for name in ("OPENAI_BASE_URL", "OLLAMA_HOST"):
        monkeypatch.delenv(name, raising=False)
    spec_of_server = load(tmp_path, server, provider)
    assert spec_of_server.is_hosted is is_hosted
    assert why in spec_of_server.why


def test_the_address_in_the_environment_decides_like_any_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:4000/v1")
    assert not load(tmp_path, None, "openai").is_hosted
    monkeypatch.setenv("OPENAI_BASE_URL", "http://litellm:4000/v1")
    with pytest.raises(InvalidInput, match="only its vendor sells"):
        load(tmp_path, None, "openai", "gpt-5")
    monkeypatch.setenv("OLLAMA_HOST", "https://ollama.com")
    assert load(tmp_path, None, "ollama").is_hosted


@pytest.mark.parametrize(
    "url", ["http://litellm:4000/v1", "http://10.0.0.5:4000/v1", "http://litellm.internal/v1", "http://[fd00::5]/v1"]
)
def test_a_private_host_that_serves_what_only_a_vendor_sells_must_say_whether_it_bills(tmp_path: Path, url: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        load(tmp_path, {"url": url}, model="gpt-5-mini")
    assert "gpt-5-mini" in str(caught.value)
    assert "hosted: true}" in str(caught.value)
    assert "hosted: false}" in str(caught.value)
    for declared in (True, False):
        assert load(tmp_path, {"url": url, "hosted": declared}, model="gpt-5-mini").is_hosted is declared
    assert not load(tmp_path, {"url": url}, model="gpt-oss:20b").is_hosted


def test_what_may_surprise_is_said_with_the_class(tmp_path: Path) -> None:
    assert "only its vendor sells gpt-5" in load(tmp_path, {"url": "http://127.0.0.1:4000/v1"}, model="gpt-5").class_and_why
    assert "is a public address" in load(tmp_path, {"url": "https://pod.example.com/v1", "hosted": False}).class_and_why
    assert load(tmp_path, {"url": "http://127.0.0.1:4000/v1"}).warning == ""


@pytest.mark.parametrize(
    ("provider", "server", "message"),
    [
        ("openai", {"hosted": False}, "https://api.openai.com/v1 charges per token"),
        ("openai", {"url": "https://api.openai.com/v1", "hosted": False}, "charges per token"),
        (
            "openai_compatible",
            {"url": "https://pod.example.com/v1", "usd_per_gpu_hour": 1.2},
            "yet it has usd_per_gpu_hour",
        ),
        ("openai_compatible", {}, "needs an address"),
        ("openai_compatible", {"url": "http://[::1/v1"}, "url"),
        ("openai_compatible", {"url": "http://box:70000/v1"}, "url"),
        ("openai_compatible", {"url": "http://:8000/v1"}, "names no host"),
        ("ollma", {}, "known: anthropic, google, llamacpp, ollama, openai, openai_compatible"),
    ],
)
def test_a_server_that_contradicts_itself_is_refused(
    tmp_path: Path, provider: str, server: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        load(tmp_path, {"provider": provider, **server}, provider if provider in PROVIDERS else "openai")
    assert message in str(caught.value)


def gateway(lab: Lab, dates: int = 1, **changes: Any) -> None:
    """One arm at a gateway on loopback that bills, with eight slots."""
    lab.experiment(
        dates=dates,
        models={"gate": {"provider": "openai_compatible", "model": "house", "server": "gateway"}},
        **{"budget": {}, **changes},
    )
    server = {"provider": "openai_compatible", "url": f"{lab.fake.url}/v1", "hosted": True, "parallel": 8}
    (lab.folder / "servers.yaml").write_text(yaml.safe_dump({"gateway": server}))
    prices = {"version": "lab", "prices": [{"model": "house", "input": 1.0, "output": 10.0}]}
    (lab.folder / "prices.yaml").write_text(yaml.safe_dump(prices))
    lab.fake.control(models=["house"])


def most_at_a_time(calls: Iterable[Mapping[str, Any]]) -> int:
    """Requests that were out at the same moment, at most."""
    changes = [(call["started_at"].timestamp() + end * call["duration_s"], 1 - 2 * end) for call in calls for end in (0, 1)]
    out = most = 0
    for _, change in sorted(changes):
        out += change
        most = max(most, out)
    return most


def test_a_gateway_that_bills_is_not_run_without_consent_or_a_budget(lab: Lab) -> None:
    gateway(lab)
    output = lab.run(expect=2)
    assert "hosted models, without a budget" in output
    assert "gateway is hosted: hosted: true in servers.yaml" in output
    assert lab.paid()["calls"] == 0


def test_a_gateway_that_bills_is_capped_by_the_budget(lab: Lab) -> None:
    gateway(lab, budget={"run_usd": 0.000001})
    lab.run(expect=3)
    assert lab.paid()["calls"] == 0


def test_a_gateway_that_bills_is_asked_with_all_its_slots(lab: Lab) -> None:
    gateway(lab, dates=4, budget={"run_usd": 100})
    lab.fake.control(defaults={"latency_s": 0.3}, models=["house"])
    lab.run()
    assert most_at_a_time(lab.rows("calls")) == 8
    assert json.loads((lab.runs[0] / "manifest.json").read_text())["hardware"] == {}
    cells = lab.rows("cells")
    assert sum(cell["api_cost_usd"] for cell in cells) == pytest.approx(sum(call["cost_usd"] for call in lab.rows("calls")))
    assert all(cell["api_cost_usd"] > 0 for cell in cells)


def test_the_plan_prints_the_class_of_each_server_and_why(lab: Lab) -> None:
    gateway(lab)
    plain = json.loads(lab.harness("plan", "lab.yaml", "--json"))
    assert plain["servers"]["gateway"]["class"] == "hosted"
    assert plain["servers"]["gateway"]["why"] == "hosted: true in servers.yaml"
    assert plain["api_cost_usd"]["mid"] > 0


def test_the_example_file_has_each_class_as_it_says() -> None:
    parts = servers.read(Path(__file__).resolve().parents[2] / "experiments" / "servers.example.yaml", None, {}).parts
    classes = {name: hosting_of(PROVIDERS[part.provider], part.url, part.hosted).is_hosted for name, part in parts.items()}
    assert {name for name, is_hosted in classes.items() if is_hosted} == {"openai", "openrouter", "azure", "litellm"}
    assert {name for name, is_hosted in classes.items() if not is_hosted} == {"gpu-box", "vllm", "rented-gpu", "llamacpp"}


@pytest.mark.parametrize(
    ("url", "is_own"),
    [
        ("https://eu.api.openai.com/v1", True),
        ("https://API.openai.com/v1", True),
        ("https://api.openai.com.example.org/v1", False),
        ("https://notapi.openai.com/v1", False),
    ],
)
def test_a_regional_host_of_a_provider_is_its_own_address(url: str, is_own: bool) -> None:
    assert is_own_address(PROVIDERS["openai"], url) is is_own
