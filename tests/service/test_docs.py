"""The curl lines for jobs in docs/service.md work as they stand there."""

from __future__ import annotations

import json
import re
import shlex
import subprocess

from tests.fixtures.runs import ROOT
from tests.service.conftest import Served

ADDRESS = "http://127.0.0.1:8123"


def test_every_curl_line_for_jobs_answers(served: Served) -> None:
    text = (ROOT / "docs" / "service.md").read_text()
    lines = [
        line for line in re.findall(r"^\$ (curl .*)$", text, flags=re.MULTILINE) if "/jobs" in line and "$TOKEN" not in line
    ]
    assert len(lines) >= 4
    job_id = ""
    for line in lines:
        words = shlex.split(line.replace(ADDRESS, served.url).replace("/JOB", f"/{job_id}"))
        if line.endswith("/result"):
            served.ended(job_id)
        answer = json.loads(
            subprocess.run([words[0], "--fail", *words[1:]], capture_output=True, check=True, timeout=60).stdout
        )
        job_id = answer["job_id"]
        if line.endswith("/result"):
            assert answer["decision"] in ("BUY", "SELL", "HOLD")
