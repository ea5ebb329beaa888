"""Whole runs against an Ollama server that changes meanwhile."""

from __future__ import annotations

import json
import re
from collections import Counter
from hashlib import sha256
from typing import Any

import pytest

from tests.fixtures.runs import Lab, wait_for

LOCAL: dict[str, Any] = {
    "models": {"own": {"provider": "ollama", "model": "llama3.1:8b"}},
    "arms": {"own": {"all": "own"}},
    "pipeline": {"depth": "single_call"},
}


@pytest.fixture
def ollama_lab(lab: Lab) -> Lab:
    lab.environment = {"OLLAMA_HOST": lab.fake.url}
    lab.experiment(dates=2, **LOCAL)
    return lab


def test_going_on_under_another_version_of_the_server_is_reported(ollama_lab: Lab) -> None:
    ollama_lab.run("--limit", "1")
    ollama_lab.fake.control(ollama={"version": "0.32.15"})
    output = " ".join(ollama_lab.run().split())
    assert "server ollama is version 0.32.15 now and was 0.17.0 for earlier cells of this run" in output
    (run,) = ollama_lab.runs
    assert json.loads((run / "manifest.json").read_text())["server_versions"] == {"ollama": ["0.17.0", "0.32.15"]}


def test_a_model_replaced_in_mid_run_stops_its_arm_by_name_and_leaves_no_row_with_a_wrong_digest(ollama_lab: Lab) -> None:
    ollama_lab.fake.control(defaults={"load_s": 0.1, "latency_s": 2.0})
    run = ollama_lab.start("run", "lab.yaml")
    wait_for(lambda: ollama_lab.fake.ledger(full=True)["requests"], "the first request")
    ollama_lab.fake.control(ollama={"models": [{"name": "llama3.1:8b", "weights": "gemma"}]})
    output, _ = run.communicate(timeout=180)
    assert run.returncode == 3
    assert len(ollama_lab.runs) == 1
    (answered,) = ollama_lab.rows("cells")
    assert answered["status"] == "ok"
    assert output.count("is another model than the one of this run") == 2, "once as it happened, once at the end"
    assert "1 cell left for later. fix: put the old one back under that name" in output
    assert [call["outcome"] for call in ollama_lab.rows("calls")] == ["answered"]


def test_a_model_replaced_within_a_cell_is_found_without_a_load_that_takes_time(ollama_lab: Lab) -> None:
    ollama_lab.experiment(**LOCAL | {"pipeline": {"analysts": ["market"]}})
    ollama_lab.fake.control(defaults={"latency_s": 1.0})
    run = ollama_lab.start("run", "lab.yaml")
    wait_for(lambda: ollama_lab.fake.ledger(full=True)["requests"], "the first request")
    ollama_lab.fake.control(ollama={"models": [{"name": "llama3.1:8b", "weights": "gemma"}]})
    output, _ = run.communicate(timeout=180)
    assert run.returncode == 3
    old, new = (sha256(weights.encode()).hexdigest()[:12] for weights in ("llama3.1:8b", "gemma"))
    assert f"its digest is {new}, not {old}" in " ".join(output.split())
    (path,) = ollama_lab.runs
    assert not list((path / "parts").glob("*.cell.parquet")), "the cell is not recorded under the old digest"


def test_a_server_that_queues_and_models_that_take_turns_in_its_memory_are_named(ollama_lab: Lab) -> None:
    """Seen on 0.32.15 with OLLAMA_MAX_LOADED_MODELS=1: a load at each change of role."""
    models = {"big": {"provider": "ollama", "model": "llama3.1:8b"}, "small": {"provider": "ollama", "model": "qwen3:8b"}}
    ollama_lab.experiment(
        **LOCAL
        | {"models": models, "arms": {"hybrid": {"deep": "big", "quick": "small"}}, "pipeline": {"analysts": ["market"]}}
    )
    ollama_lab.fake.control(ollama={"most_loaded": 1, "load_s": 0.6}, defaults={"latency_s": 3.9})
    output = " ".join(ollama_lab.run().split())
    assert re.search(r"arm hybrid: [34] of \d+ calls loaded a model on server ollama", output), output[-3000:]
    assert "Set OLLAMA_MAX_LOADED_MODELS to at least 2" in output
    assert "models of arm hybrid: its roles ask llama3.1:8b and qwen3:8b on server ollama" in output, "before the run"
    assert output.count("calls loaded a model") == 2, "after the first cell, and with all calls at the end"
    assert "server ollama queues: in" in output
    assert "OLLAMA_NUM_PARALLEL" in output
    for call in ollama_lab.rows("calls"):
        assert call["server_queue_s"] == pytest.approx(call["ttft_s"] - call["load_s"] - call["prefill_s"])
        assert call["server_queue_s"] > 2.0


def test_a_server_that_answers_in_time_is_not_warned_about(ollama_lab: Lab) -> None:
    output = ollama_lab.run()
    assert "queues" not in output
    assert "loaded a model" not in output
    assert {call["server_queue_s"] for call in ollama_lab.rows("calls")} == {0.0}


def test_cells_of_another_version_are_reused_only_if_the_user_accepts_that(ollama_lab: Lab) -> None:
    ollama_lab.run()
    assert {call["server_version"] for call in ollama_lab.rows("calls")} == {"0.17.0"}
    ollama_lab.fake.control(ollama={"version": "0.32.15"})

    ollama_lab.experiment(dates=3, **LOCAL)
    output = ollama_lab.run("--accept-server-change")
    assert "reused from earlier runs: 2 ended cells" in output
    assert Counter(call["server_version"] for call in ollama_lab.rows("calls")) == {"0.17.0": 2, "0.32.15": 1}

    ollama_lab.experiment(dates=4, **LOCAL)
    process = ollama_lab.start("plan", "lab.yaml", "--json")
    planned = json.loads(process.communicate(timeout=60)[0])
    assert (planned["reused"]["cells"], planned["to_run"]) == (1, 3), "as the run that follows"
    assert "not reused: 2 cells of earlier runs" in str(planned["preflight"])
    output = " ".join(ollama_lab.run().split())
    assert "not reused: 2 cells of earlier runs, which another version of their server answered (now ollama 0.32.15)" in output
    assert "reused from earlier runs: 1 ended cells" in output
    assert {call["server_version"] for call in ollama_lab.rows("calls")} == {"0.32.15"}
