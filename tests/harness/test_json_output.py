"""`--json`: what each command prints has the schema that it names, and errors are objects too."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from harness import cli, json_output
from tests.agents import archives
from tests.fixtures.runs import DATES, ROOT, Lab

TEXT = (ROOT / "docs" / "json.md").read_text()
USAGE = "date,model,requests\n2012-06-15,hosted-1,1\n"


@pytest.fixture
def printed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """The object that a command prints in a folder, checked against the schema that it names."""
    monkeypatch.setenv("FAKE_KEY", "sk-fake")

    def call(folder: Path, *arguments: str, expect: int = 0) -> Any:
        monkeypatch.chdir(folder)
        monkeypatch.setattr("sys.argv", ["harness", *arguments, "--json"])
        capsys.readouterr()
        code = cli._run(cli.build())
        out, err = capsys.readouterr()
        assert code == expect, out + err
        return checked(out)

    return call


def checked(text: str) -> Any:
    value = json.loads(text)
    jsonschema.validate(value, json_output.schemas()[value["schema"]])
    return value


def printed_by_a_process(folder: Path, *arguments: str, expect: int, path: str = "") -> Any:
    ended = subprocess.run(
        [sys.executable, "-m", "harness", *arguments, "--json"],
        cwd=folder,
        env=os.environ | {"FAKE_KEY": "sk-fake", "PYTHONPATH": path or f"{ROOT}:{folder}"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert ended.returncode == expect, ended.stdout + ended.stderr
    return checked(ended.stdout)


def test_every_command_of_a_run_prints_an_object_of_its_schema(lab: Lab, printed: Callable[..., Any]) -> None:
    lab.experiment(gates={"min_usable_share": 0.5, "max_p95_service_s": 0.0001})

    assert printed(lab.folder, "plan", "lab.yaml")["schema"] == "plan/1"
    ended = printed_by_a_process(lab.folder, "run", "lab.yaml", "--yes", expect=4)

    assert (ended["schema"], ended["state"], ended["exit_code"]) == ("run/1", "done", 4)
    passed = {(gate["name"], gate["passed"]) for gate in ended["gates"]}
    assert passed == {("min_usable_share", True), ("max_p95_service_s", False)}
    assert ended["answer"]["rows"].keys() == {"paid", "own"}
    assert Path(lab.folder, ended["report"]).is_file()

    assert printed(lab.folder, "status", "lab")["schema"] == "status/1"
    assert [run["run_id"] for run in printed(lab.folder, "status")["runs"]] == [ended["run_id"]]
    assert printed(lab.folder, "report", "lab")["report"].endswith("report.html")
    changes = printed(lab.folder, "report", "lab", "lab")
    assert (changes["schema"], changes["after"]) == ("changes/1", ended["run_id"])
    assert printed(lab.folder, "plan", "lab.yaml", "--budget", "5")["schema"] == "plan-designs/1"
    assert printed(lab.folder, "reprice", "lab", "--prices", "prices.yaml")["schema"] == "repriced/1"
    assert printed(lab.folder, "retry", "lab")["schema"] == "control/1"
    assert printed(lab.folder, "roles", "suggest", "lab")["schema"] == "roles-suggest/1"
    (lab.folder / "usage.csv").write_text(USAGE)
    assert printed(lab.folder, "reconcile", "lab", "usage.csv", expect=4)["agrees"] is False


def test_commands_without_a_run_print_an_object_of_their_schema(tmp_path: Path, printed: Callable[..., Any]) -> None:
    assert printed(tmp_path, "init", "project")["schema"] == "files/1"
    shown = printed(tmp_path, "snapshot", "show", "AAPL", DATES[0])
    assert shown["schema"] == "snapshot/1"
    assert "prices" in {part["part"] for part in shown["parts"]}
    archive = archives.write(tmp_path / "archive", "prices", archives.bars())
    checked_archive = printed(tmp_path, "snapshot", "check", str(archive))
    assert checked_archive["schema"] == "archive/1"
    assert [table["name"] for table in checked_archive["tables"]] == ["prices"]
    assert printed(tmp_path, "doctor")["schema"] == "doctor/1"
    assert printed(tmp_path, "status") == {"schema": "status-list/1", "runs": []}


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("plan", "nothere.yaml"), "invalid_input"),
        (("run", "broken.yaml"), "invalid_input"),
        (("plan", "--nope"), "usage"),
        (("plan",), "usage"),
        (("pause", "nothere"), "invalid_input"),
    ],
)
def test_an_error_is_an_object_with_a_code_a_message_and_a_fix(
    tmp_path: Path, printed: Callable[..., Any], arguments: tuple[str, ...], code: str
) -> None:
    (tmp_path / "broken.yaml").write_text("name: x\nticker: AAPL\n")

    failed = printed(tmp_path, *arguments, expect=2)

    assert (failed["schema"], failed["error"]["code"], failed["exit_code"]) == ("error/1", code, 2)
    assert failed["error"]["message"]
    assert failed["error"]["fix"]


def test_a_foreign_package_is_an_error_with_its_code(tmp_path: Path) -> None:
    (tmp_path / "agents").mkdir()
    (tmp_path / "agents" / "__init__.py").write_text("")

    failed = printed_by_a_process(tmp_path, "status", expect=2, path=f"{tmp_path}:{ROOT}")

    assert failed["error"]["code"] == "foreign_package"


def test_the_page_names_every_schema_and_every_code_of_an_error() -> None:
    codes = json_output.schemas()["error/1"]["properties"]["error"]["properties"]["code"]["enum"]

    assert [name for name in (*json_output.schemas(), *codes) if f"`{name}`" not in TEXT] == []


def test_the_error_on_the_page_has_its_schema() -> None:
    for block in _json_blocks():
        jsonschema.validate(block, json_output.schemas()[block["schema"]])


def _json_blocks() -> Iterator[Any]:
    blocks = re.findall(r"```json\n(.*?)```", TEXT, re.DOTALL)
    assert blocks
    yield from map(json.loads, blocks)
