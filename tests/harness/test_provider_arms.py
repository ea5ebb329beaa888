"""An arm per provider in one experiment: each bill equals its server's ledger, cache writes and OpenRouter's bill included."""

from __future__ import annotations

import datetime as dt
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from agents import Call, CallSite, Model, Request, Timing, WorstCase
from agents.llms.openai_bodies import billed_usd
from agents.types import Answer
from domain.usage import Usage
from harness.checking import preflight
from harness.checking.resolved import resolve
from harness.errors import InvalidInput
from harness.experiment import spec
from harness.experiment.servers import ServerSpec
from harness.money import pricing
from harness.money.pricing import PriceTable, Tokens, public_usd
from tests.fakes.process import FakeModels
from tests.fixtures.runs import HOSTED, Lab

WHEN = dt.datetime(2026, 11, 27, tzinfo=dt.UTC)
MODELS: Mapping[str, dict[str, Any]] = {
    "sol": {"provider": "openai", "model": "gpt-6.1-sol", "server": "openai", "reasoning_effort": "low"},
    "claude": {"provider": "anthropic", "model": "claude-sonnet-4-5"},
    "gemini": {"provider": "google", "model": "gemini-2.5-flash"},
    "deployed": {"provider": "openai_compatible", "model": "acme-prod-7", "server": "azure", "priced_as": "gpt-6.1-terra"},
    "routed": {"provider": "openai_compatible", "model": "some/model", "server": "openrouter", "max_call_usd": 0.05},
    "own": {"provider": "ollama", "model": "llama3.1:8b"},
}
SERVERS = {"openai": "openai", "anthropic": "anthropic", "google": "google", "azure": "openai_compatible"}


def write(lab: Lab, fake: FakeModels) -> None:
    servers: dict[str, Any] = {
        name: {"provider": provider, "url": fake.url, "hosted": True, "api_key_env": "FAKE_KEY"}
        for name, provider in {**SERVERS, "openrouter": "openai_compatible"}.items()
    }
    servers["openai"]["cache_marks"] = servers["anthropic"]["cache_marks"] = True
    servers["ollama"] = {"provider": "ollama", "url": fake.url, "hosted": False}
    experiment = {
        "name": "lab",
        "tickers": ["AAPL"],
        "dates": ["2010-03-01"],
        "data": "demo",
        "models": dict(MODELS),
        "budget": {"run_usd": 10},
        "outcomes": {"horizons": [1]},
    }
    for name, value in (("lab.yaml", experiment), ("servers.yaml", servers)):
        (lab.folder / name).write_text(yaml.safe_dump(value, sort_keys=False))


def test_every_bill_equals_its_servers_ledger(lab: Lab) -> None:
    write(lab, lab.fake)
    names = [str(model["model"]) for model in MODELS.values()]
    cost = {"prompt_tokens": 900, "completion_tokens": 100, "total_tokens": 1000, "cost": 0.0123}
    routed = {
        "id": "gen-1",
        "model": "some/model",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hold."}, "finish_reason": "stop"}],
        "usage": cost,
    }
    rules = [{"model": "some/model", "do": {"raw": json.dumps(routed), "status": 200}}]
    lab.fake.control(models=names, defaults={"output_tokens": 400}, rules=rules)
    lab.run("--yes")
    calls, ledger = lab.rows("calls"), lab.fake.ledger()["models"]
    bills = {alias: [call for call in calls if call["arm"] == alias] for alias in MODELS}
    assert {call["outcome"] for call in calls} == {"answered"}
    for alias, priced in (
        ("sol", "gpt-6.1-sol"),
        ("claude", "claude-sonnet-4-5"),
        ("gemini", "gemini-2.5-flash"),
        ("deployed", "gpt-6.1-terra"),
    ):
        counted = ledger[MODELS[alias]["model"]]
        for name in ("input_tokens", "cached_tokens", "cache_write_tokens", "output_tokens"):
            assert sum(call[name] or 0 for call in bills[alias]) == counted[name], (alias, name)
        tokens = Tokens(
            counted["input_tokens"], counted["output_tokens"], counted["cached_tokens"], counted["cache_write_tokens"]
        )
        expected = public_usd(priced, pricing.seller_of(priced), None, "default", tokens, WHEN)
        assert sum(call["cost_usd"] for call in bills[alias]) == pytest.approx(expected), alias
    assert ledger["gpt-6.1-sol"]["cache_write_tokens"] > 0
    assert ledger["claude-sonnet-4-5"]["cache_write_tokens"] > 0
    assert {(call["cost_basis"], call["cost_usd"]) for call in bills["routed"]} == {("provider", 0.0123)}
    assert {call["cost_usd"] for call in bills["own"]} == {None}
    assert all(cell["cache_wait_s"] is not None for cell in lab.rows("cells"))


def test_a_cap_reserves_the_declared_maximum_where_the_answer_is_the_bill(tmp_path: Path) -> None:
    router = ServerSpec("openrouter", "openai_compatible", url="https://openrouter.ai/api/v1", is_hosted=True)
    table = PriceTable(most_usd={"openrouter/some/model": 0.05})
    request = Request(Model("routed", "openai_compatible", "some/model", server="openrouter"), ())
    assert pricing.worst_case_usd(request, WorstCase(10_000, 1_000), router, table) == 0.05
    answer = Answer("Hold.", usage=Usage(100, None, None, 10), billed_usd=0.0007)
    call = Call("1", CallSite("trader"), request, Timing(WHEN.timestamp()), answer=answer)
    assert pricing.price(call, router, table) == pricing.Priced(0.0007, "provider", None, 0.0007)
    assert PriceTable.from_plain(table.to_plain()).most_usd == table.most_usd


@pytest.mark.parametrize(
    ("usage", "usd"),
    [
        ({"cost": 0.01}, 0.01),
        ({"cost": 0.001, "is_byok": True, "cost_details": {"upstream_inference_cost": 0.02}}, 0.021),
        ({"cost": 0.001, "is_byok": True}, None),
        ({"cost": -1}, None),
        ({"cost": "0.01"}, None),
        ({}, None),
    ],
)
def test_a_bill_in_an_answer_is_taken_only_where_it_is_whole(usage: dict[str, Any], usd: float | None) -> None:
    assert billed_usd(usage) == (None if usd is None else pytest.approx(usd))


def checked(folder: Path, models: Mapping[str, Any], servers: Mapping[str, Any], **more: Any) -> list[str]:
    experiment = {"name": "x", "tickers": ["AAPL"], "dates": ["2010-03-01"], "data": "demo", "models": dict(models), **more}
    (folder / "x.yaml").write_text(yaml.safe_dump(experiment))
    (folder / "servers.yaml").write_text(yaml.safe_dump(dict(servers)))
    looked = preflight.look(spec.load(folder / "x.yaml"), experiment_dir=folder, results=str(folder / "results"))
    return [f"{check.name}: {check.found}; {check.fix}" for check in looked.checks if check.status == "fail"]


def test_bad_input_is_named_with_its_fix(tmp_path: Path, fake_models: FakeModels) -> None:
    fake_models.control(models=["acme-prod-7", "gpt-6.1-sol"])
    azure = {"azure": {"provider": "openai_compatible", "url": fake_models.url, "hosted": True}}
    deployed = {"deployed": {"provider": "openai_compatible", "model": "acme-prod-7", "server": "azure"}}
    unpriced = "\n".join(checked(tmp_path, deployed, azure))
    assert "no price known for acme-prod-7" in unpriced
    assert "priced_as" in unpriced
    with pytest.raises(InvalidInput, match=r"models.deployed.priced_as: no public price of 'gpt-6.1-soll'"):
        resolve(load(tmp_path, {"deployed": deployed["deployed"] | {"priced_as": "gpt-6.1-soll"}}), tmp_path)
    sol = {"sol": {"provider": "openai_compatible", "model": "gpt-6.1-sol", "server": "azure"}}
    tools = "\n".join(checked(tmp_path, sol, azure, pipeline={"inputs": "tools"}))
    assert "gpt-6.1-sol calls tools only by OpenAI's Responses API, and azure is asked by Chat Completions" in tools
    assert "api: responses for azure in servers.yaml" in tools
    responses = {"azure": azure["azure"] | {"api": "responses"}}
    assert "calls tools only" not in "\n".join(checked(tmp_path, sol, responses, pipeline={"inputs": "tools"}))


def load(folder: Path, models: Mapping[str, Any]) -> spec.Experiment:
    experiment = {"name": "x", "tickers": ["AAPL"], "dates": ["2010-03-01"], "data": "demo", "models": dict(models)}
    (folder / "x.yaml").write_text(yaml.safe_dump(experiment))
    return spec.load(folder / "x.yaml")


def test_the_probability_of_the_decision_is_beside_its_confidence(lab: Lab) -> None:
    decision = {"summary": "s", "thesis": "t", "rating": "Hold", "confidence": 70, "target_price": 90, "horizon": "6 weeks"}
    before, after = json.dumps(decision).split("Hold")
    chances = [{"token": "Hold", "logprob": -0.5}, {"token": "Buy", "logprob": -1.5}]
    certain = {"logprob": 0.0, "top_logprobs": []}
    tokens = [
        {"token": before} | certain,
        {"token": "Hold", "logprob": -0.5, "top_logprobs": chances},
        {"token": after} | certain,
    ]
    lab.fake.control(rules=[{"do": {"text": json.dumps(decision), "logprobs": tokens}}])
    own = {"provider": "openai_compatible", "model": "tiny", "server": "box"}
    models = {"plain": own | {"model": HOSTED}, "own": own | {"rating_probability": True}}
    lab.experiment(models=models, pipeline={"depth": "single_call"}, prices=None, budget={}, allow_unpriced=True)
    lab.run("--yes")
    cells = {cell["arm"]: cell for cell in lab.rows("cells")}
    assert cells["own"]["confidence"] == 0.7
    assert cells["own"]["rating_probability"] == pytest.approx(1 / (1 + math.exp(-1.0)))
    assert cells["plain"]["rating_probability"] is None
