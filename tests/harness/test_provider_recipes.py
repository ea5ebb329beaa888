"""Every recipe of docs/providers.md is read without an error, and a request by it is answered."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from agents import CallSite, Clients, Part, Request, ask
from harness.checking.resolved import resolve
from harness.experiment import matrix, spec
from tests.agents.admissions import OpenAdmission
from tests.fakes.process import FakeModels

PAGE = Path(__file__).resolve().parents[2] / "docs" / "providers.md"
SECTIONS = {
    text.partition("\n")[0]: dict(re.findall(r"```yaml\n# (\S+)\n(.*?)```", text, re.DOTALL))
    for text in PAGE.read_text().split("\n## ")[1:]
    if "```yaml" in text
}


def written(folder: Path, name: str, url: str = "") -> None:
    """The recipe as files; `url`: of the server instead of the one in the recipe."""
    blocks = SECTIONS[name]
    experiment: dict[str, Any] = yaml.safe_load(blocks["experiment.yaml"])
    servers: dict[str, Any] = yaml.safe_load(blocks.get("servers.yaml", "{}"))
    if url:
        named = {model["provider"]: {"provider": model["provider"]} for model in experiment["models"].values()}
        for server in (servers := servers or named).values():
            server |= {"url": url + ("/v1" if server["provider"] == "openai_compatible" else ""), "hosted": True}
            for price in ("usd_per_gpu_hour", "usd_per_cpu_hour"):
                server.pop(price, None)
    experiment |= {"name": "recipe", "tickers": ["AAPL"], "dates": ["2010-03-01"], "data": "demo"}
    (folder / "servers.yaml").write_text(yaml.safe_dump(servers))
    (folder / "x.yaml").write_text(yaml.safe_dump(experiment))


@pytest.mark.parametrize("name", SECTIONS)
def test_a_recipe_is_answered(name: str, tmp_path: Path, fake_models: FakeModels, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OLLAMA_HOST", raising=False)
    written(tmp_path, name)
    resolve(spec.load(tmp_path / "x.yaml"), tmp_path)
    written(tmp_path, name, fake_models.url)
    experiment = spec.load(tmp_path / "x.yaml")
    resolved, models = resolve(experiment, tmp_path), [matrix.model(experiment, alias) for alias in experiment.models]
    fake_models.control(ollama={"models": [{"name": model.name, "capabilities": ["thinking"]} for model in models]})
    admission = OpenAdmission()

    async def main() -> None:
        servers = {server: declared.as_agents_server() for server, declared in resolved.servers.items()}
        async with Clients(servers) as clients:
            for model in models:
                await ask(CallSite(model.alias), Request(model, (Part("user", "Is AAPL a buy?"),)), admission, clients)

    asyncio.run(main())
    assert [call.answer is not None for call in admission.calls] == [True] * len(models)


def test_the_page_has_a_recipe_for_everything_that_people_point_us_at() -> None:
    wanted = {"vLLM", "LM Studio", "llama-server", "Ollama cloud", "Azure", "LiteLLM", "OpenRouter"}
    assert wanted <= {name for name, blocks in SECTIONS.items() if {"servers.yaml", "experiment.yaml"} <= set(blocks)}
