"""python -m benchmarks.snapshots (after `make demo`)

How long freezing takes and what it needs: 20 tickers x 40 dates of an archive, then the same again for a second run.

Prints one JSON object.
"""

from __future__ import annotations

import argparse
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

ROOT = Path(__file__).resolve().parents[1]
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
    from harness.storage.snapshots import freeze_cells

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
    command = [sys.executable, "-m", "benchmarks.snapshots", *([archive] if archive else []), "--one", root, run]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT)
    return dict(json.loads(done.stdout))


def _default() -> str | None:
    path = os.environ.get("DJIA_2025") or str(ROOT.parent / "shared" / "data" / "djia-2025")
    return str(Path(path).resolve()) if Path(path).is_dir() else None


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "archive", nargs="?", default=_default(), help="prices, news and filings (default: $DJIA_2025, or demo data)"
    )
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        root, run = options.one
        print(json.dumps(measure(root, run, options.archive)))
    else:
        main(options.archive)
