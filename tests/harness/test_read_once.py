"""What a command reads of a project is read once: two reads could see two versions of the same file."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.fixtures.runs import PATIENCE_S, Lab

WATCH = """
import os, sys
log = os.open(os.environ["OPENED_FILES"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)

def watch(event, arguments):
    if event == "open" and isinstance(arguments[0], (str, bytes, os.PathLike)):
        os.write(log, f"{os.getpid()} {os.fspath(arguments[0])}\\n".encode())

sys.addaudithook(watch)
"""
FILES = ("lab.yaml", "servers.yaml", "prices.yaml", ".env")


@pytest.fixture
def watched(lab: Lab) -> Lab:
    """A lab in which every process logs the files that it opens."""
    (lab.folder / "sitecustomize.py").write_text(WATCH)
    (lab.folder / ".env").write_text("SEC_CONTACT=me@example.com\n")
    lab.environment = {"OPENED_FILES": str(lab.folder / "opened")}
    return lab


def opened(lab: Lab, *arguments: str) -> Counter[str]:
    """How often a command opens each file of the project; its workers are commands of their own."""
    process = lab.start(*arguments)
    output, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, output
    lines = [line.partition(" ") for line in (lab.folder / "opened").read_text(errors="replace").splitlines()]
    names = [Path(name).name for pid, _, name in lines if pid == str(process.pid)]
    return Counter(name for name in names if name in FILES)


def test_run_plan_and_replay_read_the_experiment_and_what_surrounds_it_once(watched: Lab) -> None:
    watched.experiment()
    surroundings = {"servers.yaml": 1, "prices.yaml": 1, ".env": 1}

    assert opened(watched, "plan", "lab.yaml") == surroundings | {"lab.yaml": 1}
    assert opened(watched, "run", "lab.yaml", "--yes") == surroundings | {"lab.yaml": 1}
    # The experiment comes from the folder of the run.
    own_to_paid = ("--from", "own", "--to", "paid", "--noise-floor", "1")
    assert opened(watched, "replay", "lab", "--experiment", "lab.yaml", "--yes", *own_to_paid) == surroundings
