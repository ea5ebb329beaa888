"""How long freezing takes and what it needs: 20 tickers x 40 dates of an archive, then the same again for a second run.

    python benchmarks/snapshots.py [ARCHIVE]      an archive of prices, news and filings; the demo source without one

Prints one JSON object."""

from __future__ import annotations

import datetime as dt
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

# In place of this folder, whose statistics.py would hide the standard one.
sys.path[0] = str(Path(__file__).resolve().parents[1])

FIRST = dt.date(2025, 4, 1)
TICKERS, DATES = 20, 40
ARCHIVE = {"prices": "archive", "filings": "archive", "news": "archive", "mask": False, "decision_time": "close"}
DEMO = {"prices": "demo", "mask": False, "decision_time": "close"}


def cells(archive: str | None) -> list[Any]:
    """The cases: the first tickers of the archive that have prices on all dates."""
    import agents
    from agents import Model, Pipeline
    from harness.cells import Cell

    data = ARCHIVE if archive else DEMO
    first = FIRST if archive else dt.date(2012, 6, 1)
    days = agents.sessions_between(first, first + dt.timedelta(days=90))[:DATES]
    source = agents.open_sources(data, archive)["prices"]
    whole = [ticker for ticker in source.tickers() if source.prices(ticker, days[-1], agents.close_of(days[-1])).bars][:TICKERS]
    lineup = {"portfolio_manager": Model("one", "llamacpp", "one")}
    return [Cell("benchmark", "one", ticker, day, 0, lineup, Pipeline(), data, "") for ticker in whole for day in days]


def measure(root: str, run: str, archive: str | None) -> dict[str, Any]:
    """Freeze all cases into one run, in this process."""
    from harness.storage.folder import open_folder
    from harness.storage.freeze import freeze_cells

    started = time.perf_counter()
    wanted = cells(archive)
    names = freeze_cells(wanted, open_folder(Path(root) / run), Path(root) / "snapshots", archive)
    return {
        "cases": len(names),
        "seconds": round(time.perf_counter() - started, 2),
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }


def main(archive: str | None) -> None:
    with tempfile.TemporaryDirectory() as root:
        runs = [_apart(root, name, archive) for name in ("first", "second")]
        files = list((Path(root) / "snapshots").glob("*.json"))
        size = sum(path.stat().st_size for path in files)
    first, second = runs
    print(json.dumps({"freeze": first, "read_back": second, "snapshots": len(files), "megabytes": round(size / 1e6, 1)}))


def _apart(root: str, run: str, archive: str | None) -> dict[str, Any]:
    """Each run in a process of its own, as it is in life."""
    command = [sys.executable, __file__, "--one", root, run, *([archive] if archive else [])]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return dict(json.loads(done.stdout))


def _default() -> str | None:
    path = os.environ.get("DJIA_2025") or str(Path(__file__).parents[2] / "shared" / "data" / "djia-2025")
    return path if Path(path).is_dir() else None


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(measure(sys.argv[2], sys.argv[3], sys.argv[4] if len(sys.argv) > 4 else None)))
    else:
        main(sys.argv[1] if len(sys.argv) > 1 else _default())
