"""python -m benchmarks.time_left (after `make test`)

How good the time left is while a run goes on: two hosted arms of different speed and a slow self-hosted one, against the fake
server. `status` is asked every second, as another shell would. As JSON: after each share of the calls what it said, what
was true (until the last cell ended), and the factor between the two; `worst_factor` from a tenth of the calls on.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from agents import Pipeline, role_turns
from tests.fakes.process import FakeModels, fake_server

ROOT = Path(__file__).resolve().parents[1]
SECONDS = {"quick-1": 1.0, "thorough-1": 3.0, "own-1": 2.0}
"""Model -> seconds of one answer; "own-1" answers two requests at a time."""
SHARES = (0.1, 0.2, 0.3, 0.5, 0.7, 0.9)
DAYS = ["2012-06-15", "2012-06-18", "2012-06-19", "2012-06-20", "2012-06-21", "2012-06-22"]


@dataclass(frozen=True)
class Look:
    """What `status` said at one moment."""

    at: float
    share: float
    """Of the calls."""
    left_s: float | None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dates", type=int, default=6, help=f"at most {len(DAYS)}")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="time-left-") as name, fake_server() as models:
        folder = Path(name)
        _describe(folder, models, asked.dates)
        looks, ended_at = _watch(folder, asked.dates * len(SECONDS) * sum(role_turns(Pipeline()).values()))
    known = [(look, ended_at - look.at) for look in looks if look.left_s is not None and look.at < ended_at]
    rows = [_row(*next(pair for pair in known if pair[0].share >= share)) for share in SHARES if known[-1][0].share >= share]
    whole_s = ended_at - looks[0].at
    # Of the last seconds any factor is possible, and no reader cares.
    judged = [_row(look, true_s)["factor"] for look, true_s in known if look.share >= SHARES[0] and true_s > 0.05 * whole_s]
    print(json.dumps({"whole_s": round(whole_s), "looks": len(looks), "rows": rows, "worst_factor": max(judged)}, indent=2))


def _row(look: Look, true_s: float) -> dict[str, float]:
    said_s = max(look.left_s or 0.0, 0.1)
    factor = round(max(said_s / true_s, true_s / said_s), 2)
    return {"share_of_calls": round(look.share, 2), "said_s": round(said_s, 1), "true_s": round(true_s, 1), "factor": factor}


def _describe(folder: Path, models: FakeModels, dates: int) -> None:
    cloud = {"provider": "openai", "model": "", "server": "cloud", "reasoning_effort": "low"}
    lineups = {"quick": cloud | {"model": "quick-1"}, "thorough": cloud | {"model": "thorough-1"}}
    lineups["own"] = {"provider": "openai_compatible", "model": "own-1", "server": "box"}
    experiment = {"name": "lab", "tickers": ["AAPL"], "dates": DAYS[:dates], "repeats": 1, "data": "demo", "models": lineups}
    experiment |= {"prices": "prices.yaml", "outcomes": {"horizons": [1]}}
    servers = {
        "cloud": {"provider": "openai", "url": f"{models.url}/v1", "hosted": True, "parallel": 16},
        "box": {"provider": "openai_compatible", "url": f"{models.url}/v1", "parallel": 2},
    }
    prices = {"version": "benchmark", "prices": [{"model": name, "input": 1.0, "output": 10.0} for name in SECONDS]}
    for name, value in (("lab.yaml", experiment), ("servers.yaml", servers), ("prices.yaml", prices)):
        (folder / name).write_text(yaml.safe_dump(value, sort_keys=False))
    rules = [{"model": name, "do": {"latency_s": seconds}} for name, seconds in SECONDS.items()]
    models.control(models=list(SECONDS), rules=rules)


def _watch(folder: Path, calls: int) -> tuple[list[Look], float]:
    """Looks at the run until it ends, and when its last cell had ended."""
    command = [sys.executable, "-m", "harness", "run", "lab.yaml", "--yes"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    looks: list[Look] = []
    with (folder / "output").open("w") as output:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=output, stderr=output)
        ended_at = 0.0
        while process.poll() is None and not ended_at:
            if (seen := _look(folder)) is not None:
                progress = seen.progress
                ended_at = time.monotonic() if progress.wanted and progress.ended >= progress.wanted else 0.0
                if progress.calls and not ended_at:
                    looks.append(Look(time.monotonic(), progress.calls / calls, progress.left_s))
            time.sleep(1.0 if not ended_at else 0.0)
        if process.wait():
            sys.exit((folder / "output").read_text())
    return looks, ended_at or time.monotonic()


def _look(folder: Path) -> Any:
    """The status of the run; None before it has begun."""
    from harness.errors import HarnessError
    from harness.runs import status
    from harness.storage import run_folder

    with contextlib.suppress(HarnessError):
        return status.read_status(run_folder.find(str(folder / "results"), "lab"))
    return None


if __name__ == "__main__":
    main()
