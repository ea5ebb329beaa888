"""`doctor --live`: one sentence per model, with what to report where something is other than documented."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.checking import live
from harness.checking.checks import Check
from harness.checking.resolved import resolve
from harness.experiment import spec
from tests.fakes.process import FakeModels

SOL = {"provider": "openai", "model": "gpt-6.1-sol"}
ANSWER = '{"rating": "Hold", "reason": "Nothing moved."}'


def checks(folder: Path, models: dict[str, Any], servers: dict[str, Any]) -> dict[str, Check]:
    experiment = {"name": "x", "tickers": ["AAPL"], "dates": ["2010-03-01"], "data": "demo", "models": models}
    (folder / "x.yaml").write_text(yaml.safe_dump(experiment))
    (folder / "servers.yaml").write_text(yaml.safe_dump(servers))
    resolved = resolve(spec.load(folder / "x.yaml"), folder)
    return {check.name: check for check in live.look(resolved, live.asked_models(resolved))}


def cloud(fake: FakeModels, **more: Any) -> dict[str, Any]:
    hosted = {"provider": "openai", "url": fake.url + "/v1", "hosted": True, "api": "responses", "cache_marks": True}
    return {"openai": hosted | more}


def test_a_hosted_model_as_documented_is_one_sentence(tmp_path: Path, fake_models: FakeModels) -> None:
    check = checks(tmp_path, {"sol": SOL}, cloud(fake_models))["live sol"]
    ledger = fake_models.ledger()
    assert (check.status, check.fix) == ("ok", "")
    assert check.found.startswith("gpt-6.1-sol: answers, schema ok, flex ok, ")
    assert f"{ledger['cached_tokens']:,} of " in check.found
    assert "tokens read from the cache on the second call, tier default, $0.0" in check.found
    assert ledger["calls"] == 2
    assert ledger["cached_tokens"] > 1024
    assert ledger["input_tokens"] < 2 * max(live.PROMPTS) * 1.3


def test_what_differs_from_the_documentation_says_what_to_report(tmp_path: Path, fake_models: FakeModels) -> None:
    fake_models.rule(text="I would hold.", cached_tokens=0, service_tier="default")
    check = checks(tmp_path, {"sol": SOL}, cloud(fake_models))["live sol"]
    assert check.status == "warn"
    assert "schema not followed, flex served as default, 0 of " in check.found
    assert "a marked prefix was not read" in check.fix
    assert "To report it: this line, request ids req_" in check.fix


def test_a_busy_flex_lane_and_refused_marks_are_told_apart(tmp_path: Path, fake_models: FakeModels) -> None:
    busy = {"status": 429, "error": "Resource unavailable", "error_code": "resource_unavailable"}
    fake_models.control(rules=[{"do": {"text": ANSWER}, "times": 1}, {"do": busy}])
    check = checks(tmp_path, {"sol": SOL}, cloud(fake_models))["live sol"]
    assert (check.status, "flex busy now" in check.found) == ("ok", True)
    refusal = {"status": 400, "error": "Unknown parameter: 'prompt_cache_options'."}
    fake_models.control(rules=[{"do": refusal, "times": 1}, {"do": {"text": ANSWER, "cached_tokens": 0}}])
    check = checks(tmp_path, {"sol": SOL}, cloud(fake_models))["live sol"]
    assert "the breakpoint was refused" in check.fix
    assert "cache_marks: false" in check.fix


def test_a_key_that_may_not_use_the_model_is_named(tmp_path: Path, fake_models: FakeModels) -> None:
    fake_models.rule(status=403, error="Project has no access to model gpt-6.1-sol")
    check = checks(tmp_path, {"sol": SOL}, cloud(fake_models))["live sol"]
    assert (check.status, "no access to model" in check.found) == ("fail", True)
    assert check.fix.startswith("the key may not use gpt-6.1-sol: enable the model")


def test_no_model_costs_more_than_its_limit(tmp_path: Path, fake_models: FakeModels) -> None:
    fake_models.rule(text=ANSWER)
    dear, unpriced = {"provider": "openai", "model": "gpt-6-astra"}, {"provider": "openai", "model": "nosuch-1"}
    found = checks(tmp_path, {"dear": dear, "unpriced": unpriced}, cloud(fake_models))
    assert found["live unpriced"].found.endswith("not asked")
    assert "$0.0" in found["live dear"].found
    assert fake_models.ledger(full=True)["calls"] == 2


@pytest.mark.parametrize(("vram", "device"), [(1.0, "on GPU"), (0.0, "on CPU")])
def test_a_local_server_shows_context_speed_and_device(
    tmp_path: Path, fake_models: FakeModels, monkeypatch: pytest.MonkeyPatch, vram: float, device: str
) -> None:
    monkeypatch.delenv("OLLAMA_HOST", raising=False)
    fake_models.control(
        defaults={"text": ANSWER, "token_s": 0.01}, ollama={"models": [{"name": "llama3.1:8b"}], "vram_share": vram}
    )
    models = {"own": {"provider": "ollama", "model": "llama3.1:8b"}}
    check = checks(tmp_path, models, {"ollama": {"provider": "ollama", "url": fake_models.url}})["live own"]
    assert check.status == "ok"
    assert "context kept" in check.found
    assert "tokens/s" in check.found
    assert check.found.endswith(device)
