"""python -m benchmarks.report_scale (after `make test`)

How the report grows: time, memory and size of the page at 1,000, 10,000 and 100,000 cells, and how soon it is usable.

Prints one JSON object. Each size runs in a process of its own, so that peak memory is its own.
"""

from __future__ import annotations

import argparse
import itertools
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
ARMS = 5
TICKERS = 20
BASE = 10_000
LIMITS = {"seconds": 60.0, "peak_mb": 1500.0, "page_mb": 5.0, "usable_s": 2.0}
"""What must hold at 10,000 cells."""


def main() -> None:
    arguments = _arguments()
    if arguments.measure:
        print(json.dumps(_measure(Path(arguments.measure), arguments.cases)))
        return
    folder = Path(arguments.keep or tempfile.mkdtemp(prefix="report-scale-"))
    sizes = [_size(folder / str(cells), cells, arguments.cases) for cells in arguments.cells]
    result = {"sizes": sizes, "growth": _growth(sizes), "limits_at_10000": LIMITS, "holds": _holds(sizes)}
    text = json.dumps(result, indent=2)
    print(text)
    if arguments.json:
        Path(arguments.json).write_text(text + "\n", encoding="utf-8")
    if not arguments.keep:
        shutil.rmtree(folder)
    sys.exit(0 if result["holds"] in (True, None) else 1)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--cases", type=int, default=200, help="case pages to write, timed apart")
    parser.add_argument("--json", help="also write the result here")
    parser.add_argument("--keep", help="folder for the runs, kept")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    return parser.parse_args()


def _size(folder: Path, cells: int, cases: int) -> dict[str, Any]:
    if not (folder / "cells.parquet").exists():
        _make(folder, cells)
    command = [sys.executable, "-m", "benchmarks.report_scale", "--measure", str(folder), "--cases", str(cases)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    measured: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return {"cells": cells, **measured, **_in_chromium(folder / "report.html")}


def _make(folder: Path, cells: int) -> None:
    """A run of five arms, two repeats, twelve calls a cell, with texts of 150 words; big ones are copies of 10,000 cells."""
    if cells > BASE:
        base = folder.parent / f"base-{BASE}"
        if not (base / "cells.parquet").exists():
            _make(base, BASE)
        _copies(base, folder, cells // BASE)
        return
    from tests.reports.synthetic import FakeArm, make_run, sessions

    local = {f"local-{n}": FakeArm(f"local:{n}b", "ollama", 0.02, 90.0, unparsed=0.05, failing=0.02) for n in (8, 20, 70)}
    arms = {"gpt-5": FakeArm(), **local, "hybrid": FakeArm("gpt-5", "openai", 0.1)}
    dates = sessions("2024-01-02", max(cells // (ARMS * TICKERS * 2), 1), every=2)
    make_run(folder, arms=arms, tickers=[f"T{n:02}" for n in range(TICKERS)], dates=dates, repeats=2, words=150)


def _copies(base: Path, folder: Path, times: int) -> None:
    """The tables of a run several times over, each time with other tickers."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    folder.mkdir(parents=True)
    for name in ("experiment.yaml", "manifest.json"):
        text = (base / name).read_text(encoding="utf-8")
        (folder / name).write_text(text.replace(f'"cells": {BASE}', f'"cells": {BASE * times}'), encoding="utf-8")
    shutil.copy(base / "messages.parquet", folder)
    for name in ("cells", "calls", "outcomes", "daily"):
        table = pq.read_table(base / f"{name}.parquet")
        with pq.ParquetWriter(folder / f"{name}.parquet", table.schema, compression="zstd") as writer:
            for copy in range(times):
                fresh = table
                for column in ("cell_id", "call_id", "case_id", "ticker"):
                    if column in fresh.schema.names:
                        at = fresh.schema.get_field_index(column)
                        prefixed = pc.binary_join_element_wise(pa.scalar(f"{chr(65 + copy)}"), fresh[column], "")
                        fresh = fresh.set_column(at, fresh.schema.field(at), prefixed)
                writer.write_table(fresh)


def _measure(folder: Path, cases: int) -> dict[str, Any]:
    """The page alone, then case pages; in this process, whose peak memory is told."""
    from reports.load import load, write_file
    from reports.page import render as case_pages
    from reports.page.page import Page
    from reports.page.render import page_html

    began, cpu_began = time.perf_counter(), time.process_time()
    page = Page(load(folder))
    write_file(page.run, "report.html", page_html(page))
    seconds, cpu_s = time.perf_counter() - began, time.process_time() - cpu_began
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    ids = [row.case_id for row in page.decisions.rows][:cases]
    began = time.perf_counter()
    case_pages.write_cases(page.run, ids)
    return {
        "calls": len(page.run.calls),
        "cases": len(page.decisions.rows),
        "seconds": round(seconds, 2),
        "cpu_s": round(cpu_s, 2),
        "peak_mb": round(peak_mb),
        "page_mb": round((folder / "report.html").stat().st_size / 1e6, 2),
        "case_pages": len(ids),
        "seconds_per_case_page": round((time.perf_counter() - began) / max(len(ids), 1), 4),
    }


def _in_chromium(page: Path) -> dict[str, Any]:
    """Seconds until the page answers a click on a filter, from the start of loading."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        return {"usable_s": None}
    executable = shutil.which("chromium") or shutil.which("chromium-browser")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=executable, args=["--no-sandbox", "--disable-gpu"])
        tab = browser.new_page(viewport={"width": 1440, "height": 900})
        began = time.perf_counter()
        tab.goto(page.resolve().as_uri(), timeout=120_000)
        loaded_s = time.perf_counter() - began
        tab.evaluate("document.querySelector('#grid th[data-sort=date] button').click(), document.body.offsetHeight")
        usable_s = time.perf_counter() - began
        browser.close()
    return {"loaded_s": round(loaded_s, 2), "usable_s": round(usable_s, 2)}


def _growth(sizes: list[dict[str, Any]]) -> list[dict[str, float]]:
    """Between neighbouring sizes: how many times time and memory grew for how many times the cells; CPU time is not
    disturbed by what else the machine does."""
    return [
        {
            "cells": round(after["cells"] / before["cells"], 2),
            "seconds": round(after["seconds"] / before["seconds"], 2),
            "cpu_s": round(after["cpu_s"] / before["cpu_s"], 2),
            "peak_mb": round(after["peak_mb"] / before["peak_mb"], 2),
            "page_mb": round(after["page_mb"] / before["page_mb"], 2),
        }
        for before, after in itertools.pairwise(sizes)
    ]


def _holds(sizes: list[dict[str, Any]]) -> bool | None:
    """Whether the limits hold at 10,000 cells; None when that size was not run."""
    found = next((size for size in sizes if size["cells"] == 10_000), None)
    return None if found is None else all(found[name] is None or found[name] <= limit for name, limit in LIMITS.items())


if __name__ == "__main__":
    main()
