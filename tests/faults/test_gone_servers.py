"""A server that is gone for good, or refuses the account, or lost a model: its cells are left, others go on, exit code 3."""

from __future__ import annotations

import json
import socket
from collections import Counter
from typing import Any

import yaml

from tests.fakes.process import fake_server
from tests.fixtures.runs import Lab, wait_for

ONE_CALL: dict[str, Any] = {"pipeline": {"depth": "single_call"}, "budget": {"run_usd": 100}}


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def change_server(lab: Lab, name: str, **changes: Any) -> None:
    path = lab.folder / "servers.yaml"
    servers = yaml.safe_load(path.read_text())
    servers[name] |= changes
    path.write_text(yaml.safe_dump(servers))


def statuses(lab: Lab) -> Counter[tuple[str, str]]:
    return Counter((cell["arm"], cell["status"]) for cell in lab.rows("cells"))


def test_a_server_that_is_gone_stops_its_own_cells_only_and_the_same_command_continues(lab: Lab) -> None:
    port = free_port()
    lab.experiment(dates=4, slots=1, **ONE_CALL)
    with fake_server("--port", port, "--latency-s", "0.3") as box:
        box.control(models=["tiny"])
        change_server(lab, "box", url=f"{box.url}/v1", unreachable_after="3s")
        run = lab.start("run", "lab.yaml", "--yes")
        wait_for(lambda: box.ledger()["answered"] >= 1, "the first answer of the box")
    output, _ = run.communicate(timeout=120)

    assert run.returncode == 3, output
    cells = statuses(lab)
    assert cells["paid", "ok"] == 4
    assert set(cells) == {("paid", "ok"), ("own", "ok")}, "no cell failed"
    left = 4 - cells["own", "ok"]
    assert left > 0
    assert f"server box (http://127.0.0.1:{port}/v1) has answered no request for 3s (connection: " in output
    assert f"{left} cell{'s' if left > 1 else ''} left for later. fix: start it" in output
    assert output.rstrip().endswith("python -m harness run lab.yaml --yes")

    with fake_server("--port", port) as box:
        box.control(models=["tiny"])
        lab.run("--yes")
    assert statuses(lab) == {("paid", "ok"): 4, ("own", "ok"): 4}


def test_an_account_that_is_refused_is_asked_five_times_and_named_with_its_key(lab: Lab) -> None:
    lab.experiment(dates=6, slots=1, **ONE_CALL)
    lab.fake.control(rules=[{"model": "hosted-1", "do": {"status": 401, "error": "invalid key"}}])

    output = lab.run("--yes", expect=3)

    cells = statuses(lab)
    assert cells["own", "ok"] == 6
    assert 0 < cells["paid", "failed"] <= 5
    assert lab.fake.ledger()["models"].get("hosted-1", {}).get("calls", 5) <= 5
    assert "server cloud" in output
    assert "refused the last requests (auth: HTTP 401: invalid key)" in output
    assert "fix: check the key FAKE_KEY and the account" in output


def test_the_last_lines_name_what_failed_and_how_to_retry_it_and_plan_and_run_agree(lab: Lab) -> None:
    lab.experiment(dates=2, **ONE_CALL)
    lab.fake.control(rules=[{"model": "tiny", "do": {"status": 400, "error": "no such field"}}])

    output = lab.run("--yes")

    last_lines = output[output.index("2 cells failed:") :]
    assert "own: bad_request in portfolio_manager, 2 cells (AAPL@2012-06-15, AAPL@2012-06-18): " in last_lines
    retry, _, again = last_lines.rstrip().splitlines()[-1].strip().partition(" && ")
    assert (retry, again) == (f"python -m harness retry results/lab/{lab.runs[0].name}", "python -m harness run lab.yaml --yes")
    assert planned(lab) == 0
    assert "nothing left to do" in lab.run("--yes")

    lab.fake.control(rules=[])
    lab.harness(*retry.split()[3:])
    assert planned(lab) == 2
    lab.run("--yes")
    assert statuses(lab) == {("paid", "ok"): 2, ("own", "ok"): 2}


def planned(lab: Lab) -> int:
    plan = json.loads(lab.harness("plan", "lab.yaml", "--json"))
    return int(plan["to_run"])


def test_a_deleted_model_stops_only_the_cells_that_use_it_and_is_named_with_its_pull_command(lab: Lab) -> None:
    models = {name: {"provider": "ollama", "model": tag} for name, tag in (("big", "llama3.1:8b"), ("small", "qwen3:8b"))}
    lab.environment = {"OLLAMA_HOST": lab.fake.url}
    lab.experiment(dates=2, models=models, arms={"big": {"all": "big"}, "small": {"all": "small"}}, **ONE_CALL)
    lab.fake.control(defaults={"latency_s": 1.0})
    run = lab.start("run", "lab.yaml")
    wait_for(lambda: lab.fake.ledger(full=True)["requests"], "the first request")
    first = lab.fake.ledger(full=True)["requests"][0]["model"]
    deleted, kept = ("qwen3:8b", "big") if first == "llama3.1:8b" else ("llama3.1:8b", "small")
    lab.fake.control(ollama={"remove": [deleted]})
    output, _ = run.communicate(timeout=120)

    assert run.returncode == 3, output
    assert statuses(lab) == {(kept, "ok"): 2}
    assert f"model {deleted}: not_found: HTTP 404: model '{deleted}' not found" in output
    assert f"2 cells left for later. fix: `ollama pull {deleted}`" in output
