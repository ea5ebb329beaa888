"""The results folder is full, or cannot be written, for a while."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path
from random import Random

import pytest

from tests.faults.stage import Promise, Stage, read_ledger
from tests.fixtures.runs import CALLS_PER_CELL

FULL = """
set -e
mount -t tmpfs -o size=3g none results
( while [ ! -e break ]; do sleep 0.05; done
  until mount -o remount,size=$(( $(df --output=used -k results | tail -1) + 16 ))k results; do sleep 0.01; done
  while [ ! -e heal ]; do sleep 0.1; done
  mount -o remount,size=3g results ) &
"$@" && code=0 || code=$?
wait
rm -rf kept && cp -a results kept
exit $code
"""
READ_ONLY = """
set -e
mount --bind results results
( while [ ! -e break ]; do sleep 0.05; done
  cd results/fault/*/; mkdir -p parts; mount --bind parts parts; mount -o remount,bind,ro parts
  while [ ! -e ../../../heal ]; do sleep 0.1; done
  mount -o remount,bind,rw parts ) &
"$@" && code=0 || code=$?
wait
exit $code
"""


@pytest.fixture(autouse=True)
def _can_mount() -> None:
    if subprocess.run(["unshare", "-Urm", "true"], capture_output=True, check=False).returncode:
        pytest.skip("mounting in a namespace of one's own is not allowed here")


@pytest.mark.parametrize("script", [FULL, READ_ONLY], ids=["full", "read-only"])
def test_results_that_cannot_be_written_for_a_while(on_stage: Stage, broker: str, chance: Random, script: str) -> None:
    """Cells wait with their answers in the journal; nothing is paid twice, no torn file stays."""
    on_stage.models.control(defaults={"latency_s": 0.4})
    on_stage.describe(dates=2)
    (on_stage.folder / "results").mkdir()
    runner = on_stage.start("--broker", broker, "--workers", "1", prefix=["unshare", "-Urm", "sh", "-c", script, "sh"])
    on_stage.answered(chance.randint(1, 6))
    (on_stage.folder / "break").touch()
    on_stage.answered(6 * CALLS_PER_CELL)
    time.sleep(chance.uniform(1, 3))
    (on_stage.folder / "heal").touch()
    on_stage.end(runner)
    if (kept := on_stage.folder / "kept").exists():
        _show(kept, on_stage.folder / "results")
    assert max(cell["attempts"] for cell in on_stage.table("cells")) > 1, "nothing broke"
    Promise(6, cut_off=0).check(on_stage, read_ledger(broker))


def _show(kept: Path, results: Path) -> None:
    """What stood on the disk that only the run could see."""
    results.rmdir()
    kept.rename(results)
