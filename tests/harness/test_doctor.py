"""Preflight and doctor: everything that is missing is said at once, with its fix, in seconds, and nothing is spent."""

from __future__ import annotations

import datetime as dt
import json
import os
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from harness.checking import data_check, preflight
from harness.checking.checks import Check
from harness.errors import InvalidInput
from harness.experiment import matrix, spec
from harness.experiment.cases import Data
from harness.storage.snapshots import CaseInputs, SnapshotLibrary, put_snapshot
from tests.fakes.process import FakeModels

ROOT = Path(__file__).parents[2]
TINY = """
name: tiny
tickers: [AAPL]
dates: [2012-06-15]
repeats: 1
data: demo
models: {tiny: {provider: llamacpp, model: smollm2-135m}}
"""


def look(tmp_path: Path, text: str = TINY, **options: Any) -> dict[str, Check]:
    path = tmp_path / "x.yaml"
    path.write_text(text)
    found = preflight.look(spec.load(path), experiment_dir=tmp_path, results=str(tmp_path / "results"), **options)
    return {check.name: check for check in found.checks}


def harness(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {key: value for key, value in os.environ.items() if key not in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "OLLAMA_HOST")}
    command = [sys.executable, "-m", "harness", *arguments]
    return subprocess.run(command, cwd=ROOT, env=clean | environment, capture_output=True, text=True, timeout=60, check=False)


def closed_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def test_without_key_and_ollama_everything_missing_is_listed() -> None:
    ended = harness("doctor", "experiments/gpt5_vs_llama.yaml", "--json", OLLAMA_HOST=f"127.0.0.1:{closed_port()}")
    assert ended.returncode == 2
    failed = {check["name"]: check for check in json.loads(ended.stdout)["checks"] if check["status"] == "fail"}
    assert {"key of openai", "server ollama"} <= set(failed)
    assert "ollama pull llama3.1:8b" in failed["server ollama"]["fix"]


def test_a_key_is_present_and_never_shown(tmp_path: Path) -> None:
    text = TINY.replace("{tiny: {provider: llamacpp, model: smollm2-135m}}", "{big: {provider: openai, model: gpt-5}}")
    (tmp_path / ".env").write_text("OPENAI_API_KEY=sk-very-secret\n")
    (tmp_path / "servers.yaml").write_text(
        f"openai: {{provider: openai, hosted: true, url: http://127.0.0.1:{closed_port()}/v1, api_key_env: OPENAI_API_KEY}}\n"
    )
    found = look(tmp_path, text)
    assert found["key of openai"].status == "ok"
    assert found["server openai"].status == "fail"
    assert "sk-very-secret" not in str(found)


def test_a_redis_url_that_answers_nothing_is_named_without_its_password(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        url = f"redis://:hunter2@127.0.0.1:{deaf.getsockname()[1]}/0"
        check = look(tmp_path, broker=url)["redis"]
    assert check.status == "fail"
    assert "does not answer" in check.found
    assert "hunter2" not in str(check)


def test_a_results_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("")
    check = {one.name: one for one in preflight.look(None, results=str(path / "results")).checks}["results"]
    assert check.status == "fail"
    assert "--results" in check.fix


def test_an_unknown_price_fails_unless_the_experiment_allows_it(tmp_path: Path) -> None:
    (tmp_path / "servers.yaml").write_text(
        f"openai: {{provider: openai, hosted: true, url: http://127.0.0.1:{closed_port()}/v1}}\n"
    )
    text = TINY.replace("{tiny: {provider: llamacpp, model: smollm2-135m}}", "{odd: {provider: openai, model: gpt-99}}")
    refused = look(tmp_path, text)["price of odd"]
    assert refused.status == "fail"
    assert "allow_unpriced" in refused.fix
    assert look(tmp_path, text + "allow_unpriced: true\n")["price of odd"].status == "warn"
    (tmp_path / "prices.yaml").write_text("[{model: gpt-99, input: 1, output: 2}]")
    assert look(tmp_path, text + "prices: prices.yaml\n")["price of odd"].status == "ok"


def test_local_hardware_without_a_price_is_a_warning_and_never_free(tmp_path: Path) -> None:
    silent = look(tmp_path)["price of tiny"]
    assert silent.status == "warn"
    assert "never 0" in silent.found
    assert look(tmp_path, TINY + "local_cost: {usd_per_cpu_hour: 0.05}\n")["price of tiny"].status == "ok"


def test_the_price_hint_for_ollama_names_both_kinds_of_hardware(tmp_path: Path) -> None:
    (tmp_path / "servers.yaml").write_text(f"ollama: {{provider: ollama, url: http://127.0.0.1:{closed_port()}}}\n")
    text = TINY.replace("{provider: llamacpp, model: smollm2-135m}", "{provider: ollama, model: tiny}")
    assert "usd_per_gpu_hour (or usd_per_cpu_hour)" in look(tmp_path, text)["price of tiny"].fix


def test_a_server_that_no_model_uses_is_reported_when_its_provider_is_used(tmp_path: Path) -> None:
    port = closed_port()
    (tmp_path / "servers.yaml").write_text(f"gpu-box: {{provider: ollama, url: http://127.0.0.1:{port}, parallel: 4}}\n")
    text = TINY.replace("{provider: llamacpp, model: smollm2-135m}", "{provider: ollama, model: tiny}")
    unused = look(tmp_path, text)["server gpu-box"]
    assert (unused.status, unused.fix.partition(",")[0]) == ("warn", "write `server: gpu-box` in the model")
    named = look(tmp_path, text.replace("model: tiny", "model: tiny, server: gpu-box"))["server gpu-box"]
    assert named.status == "fail", "it is used, and nothing answers at that port"
    assert "server gpu-box" not in look(tmp_path), "no model uses this provider"


def test_a_bad_address_in_the_environment_does_not_matter_to_models_that_do_not_use_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OLLAMA_HOST", "http://[")
    assert all(check.status != "fail" for check in look(tmp_path).values())


def test_a_missing_model_file_says_how_to_install_it(tmp_path: Path) -> None:
    found = look(tmp_path, TINY.replace("smollm2-135m", "smollm9-1b"))
    assert any(check.status == "fail" and "smollm2-135m" in check.found + check.fix for check in found.values())


def test_bad_dates_servers_and_sources_are_all_in_the_list(tmp_path: Path) -> None:
    text = TINY.replace("2012-06-15", "2012-06-16").replace("data: demo", "data: {prices: archive, archive: nowhere}")
    found = look(tmp_path, text.replace("model: smollm2-135m", "model: smollm2-135m, server: elsewhere"))
    assert {name for name, check in found.items() if check.status == "fail"} == {
        "dates",
        "source archive",
        "models.tiny.server",
    }


def test_a_case_counts_as_frozen_only_with_the_same_sources_and_settings(tmp_path: Path) -> None:
    text = TINY.replace("data: demo", "data: {prices: demo, filings: edgar}")
    (tmp_path / "x.yaml").write_text(text)
    data = matrix.data_of(spec.load(tmp_path / "x.yaml"))
    library = SnapshotLibrary(tmp_path / "snapshots")
    case = CaseInputs("AAPL", dt.date(2012, 6, 15), data)
    put_snapshot(library.folder, "frozen", b"{}")
    library._note(library._keys(case)[1][0], case, "frozen")

    assert "contact of edgar" not in look(tmp_path, text, snapshots=library.folder)
    other = text.replace("filings: edgar", "filings: edgar, mask: true")
    assert look(tmp_path, other, snapshots=library.folder)["contact of edgar"].status == "fail"
    other_case = text.replace("[AAPL]", "[AAPL, IBM]")
    assert look(tmp_path, other_case, snapshots=library.folder)["contact of edgar"].status == "fail"
    (library.folder / "frozen.json").unlink()
    assert look(tmp_path, text, snapshots=library.folder)["contact of edgar"].status == "fail"


def test_sources_out_of_reach_do_not_matter_once_every_case_is_frozen() -> None:
    found = {check.name: check.status for check in data_check.source_checks(Data(prices="yfinance"), is_frozen=True)}
    assert found["source yfinance"] != "fail"
    asked = {check.name: check.status for check in data_check.source_checks(Data(prices="demo", filings="edgar"))}
    assert asked["contact of edgar"] == "fail"


def test_what_failed_is_raised_as_one_list(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(TINY.replace("2012-06-15", "2012-06-16").replace("data: demo", "data: {prices: archive, archive: nowhere}"))
    with pytest.raises(InvalidInput) as caught:
        preflight.look(spec.load(path), experiment_dir=tmp_path, results=str(tmp_path)).require()
    assert len(caught.value.problems) == 2


def test_help_is_quick_and_imports_nothing_heavy() -> None:
    heavy = "{'pandas', 'langgraph', 'pydantic'}"
    code = f"import sys; from harness import cli; cli.build(); print(sorted({heavy} & set(sys.modules)))"
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    assert ended.stdout.strip() == "[]"


def test_a_run_with_problems_reports_them_before_it_imports_what_only_runs_need(tmp_path: Path) -> None:
    heavy = {"langchain_core", "langchain_openai", "langchain_ollama", "langgraph", "openai", "ollama", "xllamacpp"}
    heavy |= {"dramatiq", "redis", "scipy", "statsmodels", "arch", "yfinance", "stockstats", "aiohttp"}
    code = (
        "import sys; from harness import cli\n"
        f"sys.argv = ['harness', 'run', 'experiments/gpt5_vs_llama.yaml', '--results', {str(tmp_path)!r}]\n"
        f"ended = cli._run(cli.build()); print(ended, sorted({heavy} & set(sys.modules)))"
    )
    clean = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "OLLAMA_HOST": f"127.0.0.1:{closed_port()}"}
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, env=clean)
    assert ended.stdout.split(maxsplit=1) == ["2", "[]\n"], ended.stdout + ended.stderr
    assert "OPENAI_API_KEY is not set" in ended.stderr
    assert "`ollama pull llama3.1:8b`" in ended.stderr
    assert list(tmp_path.glob("gpt5*")) == []


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["schema", "--nonsense"], 2, "No such option"),
        (["doctor", "missing.yaml"], 2, "there is no such file"),
        (["nonsense"], 2, "No such command"),
        (["--version"], 0, "0.1.0"),
        (["status", "--results", "no-such-folder"], 0, "no runs in no-such-folder yet: python -m harness run"),
    ],
)
def test_the_command_line_ends_with_its_code_and_no_traceback(arguments: list[str], code: int, said: str) -> None:
    ended = harness(*arguments)
    assert ended.returncode == code
    assert said in ended.stdout + ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(("share", "said"), [(0.0, "all of it computes on the CPU"), (0.75, "25% of it computes on the CPU")])
def test_how_much_of_a_local_model_computes_on_the_cpu_is_said(
    fake_models: FakeModels, tmp_path: Path, share: float, said: str
) -> None:
    fake_models.control(ollama={"vram_share": share})
    urllib.request.urlopen(f"{fake_models.url}/api/generate", json.dumps({"model": "llama3.1:8b"}).encode(), timeout=5).close()
    (tmp_path / "servers.yaml").write_text(f"ollama: {{provider: ollama, url: '{fake_models.url}'}}")
    text = TINY.replace("{provider: llamacpp, model: smollm2-135m}", '{provider: ollama, model: "llama3.1:8b", num_ctx: 4096}')
    warned = look(tmp_path, text, servers_file=tmp_path / "servers.yaml")["model tiny"]
    assert (warned.status, warned.found.startswith(said)) == ("warn", True)


TWO_MODELS = TINY.replace(
    "{tiny: {provider: llamacpp, model: smollm2-135m}}",
    '{big: {provider: ollama, model: "llama3.1:8b"}, small: {provider: ollama, model: "qwen3:8b"}}\n'
    "arms: {hybrid: {deep: big, quick: small}, one: {all: big}}",
)


def test_an_arm_of_two_models_on_one_ollama_is_warned_of_until_they_are_loaded_together(
    fake_models: FakeModels, tmp_path: Path
) -> None:
    (tmp_path / "servers.yaml").write_text(f"ollama: {{provider: ollama, url: '{fake_models.url}'}}")
    found = look(tmp_path, TWO_MODELS)
    assert found["models of arm hybrid"].status == "warn"
    assert "OLLAMA_MAX_LOADED_MODELS of at least 2" in found["models of arm hybrid"].fix
    assert "models of arm one" not in found
    for name in ("llama3.1:8b", "qwen3:8b"):
        body = json.dumps({"model": name}).encode()
        urllib.request.urlopen(f"{fake_models.url}/api/generate", body, timeout=5).close()
    assert "models of arm hybrid" not in look(tmp_path, TWO_MODELS)


def test_an_arm_of_two_models_is_not_warned_of_where_the_environment_allows_both(
    fake_models: FakeModels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "servers.yaml").write_text(f"ollama: {{provider: ollama, url: '{fake_models.url}'}}")
    monkeypatch.setenv("OLLAMA_MAX_LOADED_MODELS", "2")
    assert "models of arm hybrid" not in look(tmp_path, TWO_MODELS)
    monkeypatch.setenv("OLLAMA_MAX_LOADED_MODELS", "1")
    assert "models of arm hybrid" in look(tmp_path, TWO_MODELS)


@pytest.mark.parametrize(
    ("arms", "name", "said"),
    [
        ("{mixed: {deep: long, quick: short}}", "models of arm mixed", "loads it again at every change of role"),
        ("{a: {all: long}, b: {all: short}}", "models of arms a, b", "loads it again at every change of arm"),
    ],
)
def test_one_model_with_two_context_sizes_is_warned_of_before_the_run(
    fake_models: FakeModels, tmp_path: Path, arms: str, name: str, said: str
) -> None:
    (tmp_path / "servers.yaml").write_text(f"ollama: {{provider: ollama, url: '{fake_models.url}'}}")
    text = TINY.replace(
        "{tiny: {provider: llamacpp, model: smollm2-135m}}",
        '{long: {provider: ollama, model: "llama3.1:8b"}, short: {provider: ollama, model: "llama3.1:8b", num_ctx: 4096}}\n'
        f"arms: {arms}",
    )
    warned = look(tmp_path, text)[name]
    assert warned.status == "warn"
    assert warned.found.startswith("llama3.1:8b on server ollama is asked with num_ctx 4096 (")
    assert said in warned.found
    assert warned.fix == "write the same num_ctx for it everywhere, for example 8192"
    same = text.replace(", num_ctx: 4096", ", temperature: 0.1")
    assert not [check for check in look(tmp_path, same) if check.startswith("models of arm")]


def test_a_host_name_that_does_not_resolve_is_reported_by_name(tmp_path: Path) -> None:
    server = "{provider: openai_compatible, url: 'http://no-such-host.invalid/v1', hosted: true}"
    (tmp_path / "servers.yaml").write_text(f"gone: {server}\n")
    models = "{tiny: {provider: openai_compatible, model: house, server: gone}}"
    text = TINY.replace("{tiny: {provider: llamacpp, model: smollm2-135m}}", models)
    found = look(tmp_path, text)
    assert found["class of gone"].found == "hosted: hosted: true in servers.yaml"
    assert "the host name 'no-such-host.invalid' does not resolve" in found["server gone"].found
    assert "correct the url of 'gone' in servers.yaml" in found["server gone"].fix


BEHIND_V1 = TINY.replace(
    "{tiny: {provider: llamacpp, model: smollm2-135m}}",
    "{small: {provider: openai_compatible, server: box, model: fake-model}}\npipeline: {depth: single_call}",
)


def test_doctor_recognises_ollama_behind_v1_and_names_its_provider(tmp_path: Path, fake_models: FakeModels) -> None:
    fake_models.control(ollama={"answers_at_root": True})
    (tmp_path / "servers.yaml").write_text(f"box: {{provider: openai_compatible, url: {fake_models.url}/v1}}\n")
    check = look(tmp_path, BEHIND_V1)["provider of box"]
    assert check.status == "warn"
    assert "provider: ollama" in str(check.fix)
    assert f"url: {fake_models.url}" in str(check.fix)
    fake_models.control(ollama={"answers_at_root": False})
    assert "provider of box" not in look(tmp_path, BEHIND_V1)


def test_doctor_compares_the_context_of_a_llama_server_with_the_planned_prompts(
    tmp_path: Path, fake_models: FakeModels
) -> None:
    fake_models.control(n_ctx=1024)
    (tmp_path / "x.yaml").write_text(BEHIND_V1)
    (tmp_path / "servers.yaml").write_text(f"box: {{provider: openai_compatible, url: {fake_models.url}/v1}}\n")
    ended = harness("doctor", str(tmp_path / "x.yaml"), "--json", "--results", str(tmp_path / "results"))
    checks_by_name = {check["name"]: check for check in json.loads(ended.stdout)["checks"]}
    assert checks_by_name["context of small"]["status"] == "warn"
    assert "do not fit 1,024 tokens" in checks_by_name["context of small"]["found"]
    assert "larger context" in checks_by_name["context of small"]["fix"]


def test_doctor_names_the_version_of_vllm(tmp_path: Path, fake_models: FakeModels) -> None:
    fake_models.control(owned_by="vllm")
    (tmp_path / "servers.yaml").write_text(f"box: {{provider: openai_compatible, url: {fake_models.url}/v1}}\n")
    check = look(tmp_path, BEHIND_V1)["server box"]
    assert (check.status, check.found) == ("ok", f"{fake_models.url}/v1 answers, vLLM 0.32.0; 8 at a time")
