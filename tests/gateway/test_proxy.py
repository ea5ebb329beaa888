"""The proxy meters programs that run elsewhere: cases by header, path or silence, and a cap of the month."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
import redis
import yaml

from harness.service.months import Bill, bill_key, current_month
from tests.fixtures.runs import HOSTED, PATIENCE_S, ROOT, Lab, wait_for

BULL = [{"role": "user", "content": "You are a Bull Analyst. Speak."}]


@pytest.fixture
def proxied(lab: Lab) -> Lab:
    lab.experiment()
    paid = {"provider": "openai", "model": HOSTED, "server": "cloud", "reasoning_effort": "low"}
    own = {"provider": "openai_compatible", "model": "tiny", "server": "box"}
    (lab.folder / "models.yaml").write_text(yaml.safe_dump({"models": {"paid": paid, "own": own}}))
    return lab


def start(lab: Lab, *arguments: str) -> tuple[subprocess.Popen[str], str]:
    """A proxy with both models; its process and the address of its token."""
    fixed = ["--name", "lab", "--models", "models.yaml", "--model", "deep=paid", "--model", "quick=own"]
    process = lab.start("proxy", *fixed, "--prices", "prices.yaml", "--port", "0", "--token", "secret", *arguments)
    assert process.stdout is not None
    lines: list[str] = []
    while not lines or not lines[-1].startswith("results: "):
        lines.append(process.stdout.readline().strip())
        assert lines[-1], lines
    assert lines[0].startswith("OPENAI_BASE_URL=http://127.0.0.1:"), lines
    assert lines[4:6] == [f"deep: {HOSTED} at {lab.fake.url}/v1 (hosted)", f"quick: tiny at {lab.fake.url}/v1 (self-hosted)"]
    return process, lines[0].removeprefix("OPENAI_BASE_URL=").removesuffix("/v1")


def ask(address: str, model: str = "quick", **headers: str) -> httpx.Response:
    body: dict[str, Any] = {"model": model, "messages": BULL}
    return httpx.post(f"{address}/v1/chat/completions", json=body, headers={"x-case": "", **headers}, timeout=30)


def stop(process: subprocess.Popen[str]) -> str:
    """What it printed after its address."""
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, output
    return output


def test_calls_of_any_program_become_cases_with_costs_and_roles(proxied: Lab) -> None:
    process, address = start(proxied, "--monthly-usd", "5", "--silence", "1s")
    assert ask(address, **{"x-case": "AAPL@2026-11-02"}).status_code == 200
    assert ask(f"{address}/MSFT@2026-11-03", "deep").status_code == 200
    assert ask(address).status_code == 200
    assert ask(address, "gpt-anything").status_code == 200
    assert ask(address.replace("secret", "guess")).status_code == 401
    stop(process)
    proxied.harness("report", "lab")
    cells = {row["ticker"]: row for row in proxied.rows("cells")}
    assert {(row["case_id"], row["llm_calls"]) for row in cells.values() if "@2026-11-0" in row["case_id"]} == {
        ("AAPL@2026-11-02", 1),
        ("MSFT@2026-11-03", 1),
    }
    assert cells["LAB"]["llm_calls"] == 2, "calls without a label are one case until a silence"
    calls = proxied.rows("calls")
    assert {row["role"] for row in calls} == {"bull"}
    assert [row["server"] for row in calls].count("cloud") == 1
    assert json.loads(cells["MSFT"]["program"])["calls"] == 1


def test_the_command_of_the_compose_file_serves_under_its_name_in_the_network(lab: Lab) -> None:
    text = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", (ROOT / "docker-compose.gpu.yml").read_text())
    service = yaml.safe_load(text)["services"]["proxy"]
    assert service["ports"] == ["127.0.0.1:8091:8091"]
    lab.fake.control(models=["gpt-6.1-sol", "qwen3:8b"])
    secrets = {"HARNESS_PROXY_TOKEN": "secret", "HARNESS_PROXY_MONTHLY_USD": "5", "OPENAI_API_KEY": "sk-fake"}
    assert set(secrets) <= set(service["environment"])
    lab.environment = {**secrets, "OPENAI_BASE_URL": f"{lab.fake.url}/v1", "OLLAMA_HOST": lab.fake.url}
    process = lab.start(*service["command"], "--port", "0")
    assert process.stdout is not None
    line = process.stdout.readline().strip()
    assert re.fullmatch(r"OPENAI_BASE_URL=http://proxy:\d+/c/secret/v1", line), line + process.stdout.read()
    address = line.removeprefix("OPENAI_BASE_URL=").removesuffix("/v1").replace("proxy", "127.0.0.1")
    for model in ("quick", "deep"):
        assert ask(address, model, host="proxy:8091").json()["choices"][0]["message"]["content"]
    assert ask(address, host="evil.example").status_code == 403
    stop(process)
    assert {call["model"] for call in lab.fake.ledger(full=True)["requests"]} == {"gpt-6.1-sol", "qwen3:8b"}


def test_a_hosted_model_needs_a_cap_and_the_cap_holds(proxied: Lab) -> None:
    fixed = ["--name", "lab", "--models", "models.yaml", "--model", "all=paid"]
    assert "no price known for hosted-1" in proxied.harness("proxy", *fixed, "--monthly-usd", "5", expect=2)
    assert "pass --monthly-usd" in proxied.harness("proxy", *fixed, "--prices", "prices.yaml", expect=2)
    assert "write --silence 10m" in proxied.harness("proxy", *fixed, "--silence", "soon", expect=2)
    gone = ["--prices", "prices.yaml", "--monthly-usd", "5", "--broker", "redis://127.0.0.1:9/0", "--port", "0"]
    assert "Redis does not answer" in proxied.harness("proxy", *fixed, *gone, expect=2)
    assert "no name of a results folder" in proxied.harness("proxy", "--name", "a/b", *fixed[2:], expect=2)
    process, address = start(proxied, "--monthly-usd", "0.0405")
    assert ask(address, "deep").status_code == 200
    refused = [ask(address, "deep") for _ in range(3)]
    assert {answer.status_code for answer in refused} == {429}
    assert {answer.headers["x-should-retry"] for answer in refused} == {"false"}
    error = refused[0].json()["error"]
    assert error["code"] == "insufficient_quota"
    assert "of 0.0405 USD, and the next call may cost more than is left; start the proxy with a higher --monthly-usd" in str(
        error
    )
    assert ask(address, "quick").status_code == 200, "a self-hosted model costs nothing"
    assert proxied.paid()["calls"] == 2
    output = stop(process)
    assert output.count("calls to hosted models are refused") == 1
    assert "reused" not in proxied.harness("status", "lab").partition("of 1 cells")[2].partition("\n")[0]
    process, address = start(proxied, "--monthly-usd", "5")
    assert ask(address, "deep").status_code == 200, "the higher cap counts from the next start on"
    stop(process)


def test_a_call_in_flight_is_answered_before_the_proxy_stops_and_a_killed_one_leaves_its_calls_in_the_report(
    proxied: Lab,
) -> None:
    process, address = start(proxied, "--monthly-usd", "5")
    proxied.fake.control(defaults={"latency_s": 2.0})
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(ask, f"{address}/AAPL@2026-11-02", "deep")
        wait_for(lambda: proxied.paid()["calls"] == 1, "the call at the server")
        stop(process)
        assert waiting.result().status_code == 200
    proxied.fake.control(defaults={"latency_s": 0.0})
    process, address = start(proxied, "--monthly-usd", "5", "--silence", "1h")
    assert ask(f"{address}/MSFT@2026-11-03", "deep").status_code == 200
    process.kill()
    process.wait(30)
    process, address = start(proxied, "--monthly-usd", "5", "--silence", "1h")
    assert ask(f"{address}/MSFT@2026-11-03", "deep").status_code == 200
    assert proxied.paid()["calls"] == 2, "the same request of the same case was paid for"
    stop(process)
    proxied.harness("report", "lab")
    assert {(row["case_id"], row["llm_calls"], row["status"]) for row in proxied.rows("cells")} == {
        ("AAPL@2026-11-02", 1, "ok"),
        ("MSFT@2026-11-03", 1, "ok"),
    }


def test_with_a_broker_its_calls_count_to_the_month_of_the_service(proxied: Lab, redis_url: str) -> None:
    process, address = start(proxied, "--monthly-usd", "5", "--broker", redis_url)
    assert ask(address, "deep").status_code == 200
    with redis.Redis.from_url(redis_url) as client:
        month = current_month()
        ledger: dict[bytes, bytes] = client.hgetall(bill_key(month))
    assert 0 < Bill.of(month, 5.0, ledger).spent_usd < 1
    stop(process)
