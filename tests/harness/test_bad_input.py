"""Bad input, tried as a user would: one clear message with the fix, exit code 2, no traceback, and nothing left behind."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from harness.checking import preflight
from harness.checking.data_check import unknown_tickers
from harness.errors import InvalidInput
from harness.experiment import servers, spec, yaml_file
from harness.experiment.cases import Data
from harness.money import invoice
from tests.fixtures.runs import Lab

GOOD = """
name: tiny
tickers: [AAPL]
dates: [2012-06-15]
repeats: 1
data: demo
models: {tiny: {provider: llamacpp, model: smollm2-135m}}
"""


def harness(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "harness", *arguments], cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize("text", ["name: a\x00b\n", "\x07", "name: \x1b[31m\n"])
def test_a_file_with_control_characters_is_no_fault_of_ours(tmp_path: Path, text: str) -> None:
    with pytest.raises(InvalidInput, match=r"character #x\w+ at position (?s:.*)without control characters"):
        yaml_file.parse(text, tmp_path / "x.yaml")


def test_an_unknown_ticker_is_said_before_anything_is_frozen(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(GOOD.replace("[AAPL]", "[AAPL, ZZZZ, YYYY]"))
    ended = harness(tmp_path, "run", "x.yaml", "--yes")
    assert ended.returncode == 2
    assert "no prices of 'ZZZZ', 'YYYY'; known: AAPL, FB, GOOG, IBM, MSFT" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not (tmp_path / "results" / "tiny").exists()


def test_wrong_tickers_dates_and_servers_are_all_in_one_list(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(GOOD.replace("AAPL", "ZZZZ").replace("06-15", "06-16").replace("smollm2-135m", "x, server: elsewhere"))
    with pytest.raises(InvalidInput) as caught:
        preflight.look(spec.load(path), experiment_dir=tmp_path, results=str(tmp_path)).require()
    assert {problem.where for problem in caught.value.problems} == {"tickers", "dates", "models.tiny.server"}
    assert all(problem.fix for problem in caught.value.problems)


def test_an_archive_s_tickers_are_known_from_one_column(tmp_path: Path) -> None:

    pq.write_table(pa.table({"ticker": ["AAPL", "MSFT", "AAPL"]}), tmp_path / "prices.parquet")
    asked = Data(prices="archive", archive=str(tmp_path))
    assert not list(unknown_tickers(asked, ["AAPL", "MSFT"]))
    (said,) = unknown_tickers(asked, ["AAPL", "IBM"])
    assert "'IBM'; known: AAPL, MSFT" in said.found


@pytest.fixture
def mute_redis() -> Iterator[str]:
    """Accepts every connection, and never says a word."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        one.listen(16)
        yield f"redis://127.0.0.1:{one.getsockname()[1]}/0"


def test_a_redis_that_never_answers_is_said_within_seconds(tmp_path: Path, mute_redis: str) -> None:
    (tmp_path / "x.yaml").write_text(GOOD)
    ended = harness(tmp_path, "run", "x.yaml", "--yes", "--broker", mute_redis)
    assert ended.returncode == 2
    assert "redis" in ended.stderr
    assert "leave --broker out" in ended.stderr


@pytest.mark.parametrize("command", ["status", "report"])
def test_a_run_that_is_not_there_is_named_with_those_that_are(tmp_path: Path, command: str) -> None:
    (tmp_path / "results" / "lab").mkdir(parents=True)
    ended = harness(tmp_path, command, "nope")
    assert ended.returncode == 2
    assert "no run 'nope'" in ended.stderr
    assert "known experiments: lab" in ended.stderr
    assert not (tmp_path / "results" / "nope").exists()


def test_a_key_that_a_server_quotes_in_its_error_stays_secret(lab: Lab) -> None:
    secret = "sk-test-SECRET1234567890abcdef"
    lab.environment = {"FAKE_KEY": secret}
    lab.experiment()
    lab.fake.rule(status=401, error=f"Incorrect API key provided: {secret}", error_code="invalid_api_key")

    said = lab.run("--yes", expect=None)

    assert "Incorrect API key provided: [key]" in said
    texts = {path: path.read_bytes() for path in lab.runs[-1].rglob("*") if path.is_file()}
    texts |= {path: str(pq.read_table(path).to_pylist()).encode() for path in texts if path.suffix == ".parquet"}
    assert {cell["error_type"] for cell in lab.rows("cells")} == {"auth"}
    assert [str(path) for path, text in texts.items() if b"SECRET" in text] == []
    assert "SECRET" not in said + lab.harness("status", "lab", "--json") + lab.harness("export", "lab", "--format", "csv")


def test_a_fresh_run_says_what_it_costs_although_earlier_ones_have_its_cells(lab: Lab) -> None:
    lab.experiment()
    lab.run()
    said = lab.run("--fresh")
    assert "2 in the matrix, 2 to run with 24 calls" in said
    assert "are there from earlier runs" not in said
    last = [line for line in said.splitlines() if line.startswith("2 of 2 cells")][-1]
    used = sum(cell["input_tokens"] + cell["output_tokens"] for cell in lab.rows("cells"))
    assert f"24 calls | {used:,} tokens" in last


@pytest.mark.parametrize("text", ["a,b\n1,2\n", ""])
def test_an_export_of_usage_without_the_columns_says_which_are_known(tmp_path: Path, text: str) -> None:
    path = tmp_path / "usage.csv"
    path.write_text(text)
    with pytest.raises(InvalidInput, match=r"no column for day, model; there are: .*\n.*day as .*; model as "):
        invoice.reconcile("results", "nope", path)
    with pytest.raises(InvalidInput, match="Is a directory"):
        invoice.reconcile("results", "nope", tmp_path)


HIDING = """
import os
from importlib.machinery import PathFinder

found = PathFinder.find_spec
hidden = os.environ["HIDE"].split(",")
PathFinder.find_spec = classmethod(lambda cls, name, *more: None if name.split(".")[0] in hidden else found(name, *more))
"""


def test_packages_that_are_not_installed_are_named_with_the_command_that_installs_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text(HIDING)
    (tmp_path / "x.yaml").write_text(GOOD)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setenv("HIDE", "xllamacpp,bokeh_sampledata")
    ended = harness(tmp_path, "run", "x.yaml", "--yes")
    assert ended.returncode == 2
    assert "No module named 'xllamacpp'" in ended.stderr
    assert "pip install 'tradingagents-harness[tiny]'" in ended.stderr
    assert not (tmp_path / "results" / "tiny").exists()


def test_prices_of_yahoo_without_their_package_are_refused_with_the_command_that_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text(HIDING)
    (tmp_path / "x.yaml").write_text(GOOD.replace("data: demo", "data: yfinance"))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setenv("HIDE", "yfinance")
    ended = harness(tmp_path, "run", "x.yaml", "--yes")
    assert ended.returncode == 2
    assert "the package yfinance is not installed" in ended.stderr
    assert "pip install 'tradingagents-harness[yahoo]'" in ended.stderr


def test_half_a_surrogate_pair_in_a_decision_ends_as_a_readable_receipt(lab: Lab) -> None:
    lab.experiment(arms={"own": {"all": "own"}})
    form = {"summary": "half \ud83d pair", "thesis": "t", "rating": "Hold", "confidence": 62, "target_price": 600.0}
    answer = {"text": json.dumps(form | {"horizon": "4 weeks"})}
    lab.fake.control(rules=[{"do": answer, "contains": '"target_price"'}])

    lab.run("--yes")

    (row,) = lab.rows("cells")
    assert (row["decision_status"], row["rationale"]) == ("typed", "half ? pair\n\nt")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_an_env_file_is_read_as_powershell_and_editors_write_it(tmp_path: Path, encoding: str) -> None:
    (tmp_path / ".env").write_bytes("# Schl\u00fcssel\r\nLAB_KEY=sk-\u00fc1\r\n".encode(encoding))

    assert servers.read_environment(tmp_path)["LAB_KEY"] == "sk-\u00fc1"


def test_a_comment_in_latin_1_keeps_no_env_file_from_being_read(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes("# Schl\u00fcssel\nLAB_KEY=sk-1\n".encode("latin-1"))

    assert servers.read_environment(tmp_path)["LAB_KEY"] == "sk-1"


@pytest.mark.parametrize("raw", ["LAB_KEY=\u00fc\n".encode("latin-1"), "LAB_KEY=a\n".encode("utf-16-le"), b"\xff\xfeL"])
def test_an_env_file_in_another_encoding_is_named_with_the_fix(tmp_path: Path, raw: bytes) -> None:
    (tmp_path / ".env").write_bytes(raw)
    (tmp_path / "x.yaml").write_text(GOOD)

    ended = harness(tmp_path, "plan", "x.yaml")

    assert ended.returncode == 2, ended.stderr
    assert str(tmp_path / ".env") in ended.stderr or ".env" in ended.stderr
    assert "save the file as UTF-8" in ended.stderr


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
def test_the_encoding_of_the_output_fails_no_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoding: str) -> None:
    (tmp_path / "x.yaml").write_text(GOOD)
    monkeypatch.setenv("PYTHONIOENCODING", f"{encoding}:strict")

    for command in (("--help",), ("plan", "x.yaml"), ("schema",), ("plan", "\u4e70\u2026.yaml")):
        ended = subprocess.run(
            [sys.executable, "-m", "harness", *command], cwd=tmp_path, capture_output=True, timeout=60, check=False
        )
        assert ended.returncode == (2 if "x.yaml" not in command and len(command) > 1 else 0), ended.stderr
        assert b"internal error" not in ended.stderr
    assert b"\\u4e70" in ended.stderr
