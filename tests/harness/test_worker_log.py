"""What workers log: structured, without secrets, and never in a cell's way."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys

import pytest

from harness.workers.worker_log import JsonFormatter, PatientHandler, secrets_of, without_secrets
from tests.fixtures.runs import wait_for

FLOOD = """
import logging, sys
from harness.workers import worker_log
worker_log.start(as_json=True)
for number in range(20000):
    logging.getLogger("harness").warning("line %d %s", number, "x" * 200)
sys.stdout.write("through")
sys.stdout.flush()
"""


def record(message: str, **fields: object) -> logging.LogRecord:
    made = logging.LogRecord("harness.workers.serving", logging.INFO, __file__, 1, message, (), None)
    made.fields = fields
    return made


def test_a_line_is_one_json_object_with_its_fields() -> None:
    said = json.loads(JsonFormatter({}).format(record("cell ended", arm="gpt-5", status="ok")))

    assert (said["message"], said["arm"], said["status"], said["level"]) == ("cell ended", "gpt-5", "ok", "info")


def test_secrets_are_never_seen_wherever_they_come_from() -> None:
    secrets = secrets_of({"MY_API_KEY": "hunter22", "HOME": "/root", "SHORT_KEY": "a"})
    text = "hunter22 at redis://user:pw@host:1 with sk-abcdefgh123 and Bearer abc.def, /root stays"

    seen = without_secrets(text, secrets)

    assert "hunter22" not in seen
    assert ":pw@" not in seen
    assert "sk-abcdefgh123" not in seen
    assert "abc.def" not in seen
    assert "/root stays" in seen


def test_a_reader_that_stops_reading_holds_nobody() -> None:
    process = subprocess.Popen([sys.executable, "-c", FLOOD], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=os.getcwd())
    assert process.stdout is not None
    assert process.stderr is not None
    # Nobody reads stderr, whose pipe holds 64 kB of these 5 MB: without patience the process would hang here for ever.
    assert process.stdout.read(7) == b"through"
    process.kill()
    process.stderr.close()
    process.stdout.close()
    process.wait()


def test_lines_reach_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    handler = PatientHandler()
    handler.setFormatter(JsonFormatter({}))
    handler.emit(record("hello"))
    handler.flush()

    written = wait_for(lambda: capfd.readouterr().err, "the line")
    assert json.loads(written)["message"] == "hello"
