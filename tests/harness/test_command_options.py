"""Options of the command line: what several commands take is declared once."""

from __future__ import annotations

import inspect
from importlib import import_module
from typing import Any, get_type_hints

from tests.fixtures.runs import Lab
from tests.harness.finding_lab import search

OTHER_MEANING = {("plan", "budget"), ("plan", "margin"), ("find", "margin"), ("decide", "fresh")}
"""Options that ask for something else than the same word of the other commands."""


def test_an_option_of_run_find_plan_decide_and_serve_reads_the_same_in_each_of_them() -> None:
    meanings: dict[str, dict[str, Any]] = {}
    for command in ("run", "find", "plan", "decide", "serve"):
        function = getattr(import_module(f"harness.commands.{command}"), command)
        declared = get_type_hints(function, include_extras=True)
        for name, parameter in inspect.signature(function).parameters.items():
            if (command, name) not in OTHER_MEANING:
                meanings.setdefault(name, {})[command] = (declared[name], parameter.default)
    of_experiment_file = {command: meanings["experiment"].pop(command) for command in ("run", "find", "plan")}

    assert len(set(of_experiment_file.values())) == 1
    assert {name: uses for name, uses in meanings.items() if len(set(uses.values())) > 1} == {}
    assert set(meanings["folder"]) == {"run", "find", "plan"}


def test_a_search_takes_servers_and_keys_from_the_folder_that_is_given(lab: Lab) -> None:
    search(lab)
    elsewhere = lab.folder / "elsewhere"
    elsewhere.mkdir()
    (lab.folder / "lab.yaml").rename(elsewhere / "lab.yaml")
    arguments = ("find", "elsewhere/lab.yaml", "--yes", "--budget", "0.0001")

    assert "server" in lab.harness(*arguments, expect=2)
    assert "do not pay for the screen and one block" in lab.harness(*arguments, "--folder", ".", expect=2)
