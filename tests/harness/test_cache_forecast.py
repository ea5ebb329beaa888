"""Prompt caches in the harness: what cells share, what a plan forecasts, and the worked example of docs/costs.md."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks import cache_costs, prompt_tokens
from harness.cells import Cell
from harness.checking.resolved import resolve
from harness.experiment import matrix, spec
from harness.experiment.shared_prompts import CELLS_AT_ONCE, with_sharing
from harness.planning import plan as planning
from harness.planning import plan_text

REPOSITORY = Path(__file__).resolve().parents[2]
TEXT = """
name: cached
tickers: [AAPL]
dates: [2010-03-01]
data: demo
models: {sol: {provider: openai, model: gpt-6.1-sol}, luna: {provider: openai, model: gpt-5-mini}}
"""


def cells_of(folder: Path, text: str = TEXT) -> list[Cell]:
    (folder / "x.yaml").write_text(text)
    return with_sharing(matrix.expand(spec.load(folder / "x.yaml")))


def test_a_plan_knows_what_is_read_and_written_before_the_run(tmp_path: Path) -> None:
    cells = cells_of(tmp_path)
    resolved = resolve(spec.load(tmp_path / "x.yaml"), tmp_path)
    plan = planning.make(resolved, cells, planning.Where(str(tmp_path / "results"), tmp_path / "snapshots"))
    sol, luna = plan.arms["sol"], plan.arms["luna"]
    assert 0.5 < sol.cached_tokens / sol.input_tokens < 0.8
    assert 0.1 < sol.cache_write_tokens / sol.input_tokens < 0.4
    assert (luna.cached_tokens, luna.cache_write_tokens) == (0.0, 0.0)
    assert plan.to_plain()["arms"]["sol"]["cache_write_tokens"] == round(sol.cache_write_tokens)
    lines = [line for line in plan_text.input_lines(plan) if "prompt cache" in line]
    assert len(lines) == 1
    assert lines[0].startswith("sol: of ")


def test_repeats_far_enough_apart_share_prompts_and_neighbours_do_not(tmp_path: Path) -> None:
    many = TEXT.replace("[AAPL]", "[AAPL, IBM]").replace(
        "[2010-03-01]", "{from: 2010-01-04, to: 2010-06-30, every_sessions: 5}"
    )
    cells = cells_of(tmp_path, many + "repeats: 2\n")
    first, last = cells[0], cells[-1]
    assert len(cells) > 2 * CELLS_AT_ONCE
    assert (first.sharing.before, set(first.sharing.after.values())) == ({}, {1})
    assert (set(last.sharing.before.values()), last.sharing.after) == ({1}, {})
    assert not cells_of(tmp_path, TEXT + "repeats: 3\n")[0].sharing.after
    assert Cell.from_json(first.to_json()) == first


def test_who_goes_first_changes_no_identity_and_no_run(tmp_path: Path) -> None:
    first = TEXT + "pipeline: {first_request_first: true}\n"
    before, after = cells_of(tmp_path), cells_of(tmp_path, first)
    assert [cell.cell_id for cell in before] == [cell.cell_id for cell in after]
    assert {cell.sharing.first_request_first for cell in after} == {True}
    (tmp_path / "y.yaml").write_text(TEXT)
    assert spec.load(tmp_path / "x.yaml").asked == spec.load(tmp_path / "y.yaml").asked


def test_the_worked_example_of_the_docs_is_what_the_harness_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DJIA_2025", "/no/archive")
    case = prompt_tokens.snapshots()[0]
    script = prompt_tokens._talkative(case, 1.0)
    total, read, written = cache_costs.tokens(case, script)
    usd = cache_costs.input_usd(case, script, 1)
    page = (REPOSITORY / "docs" / "costs.md").read_text()
    rows = dict(re.findall(r"^\| \**([^|*]+?)\** \| ([^|]*\|[^|]*\|[^|]*) \|$", page, re.MULTILINE))
    figures = {
        name: re.sub(r"[* ]", "", rows[name]).split("|")
        for name in rows
        if name.startswith(("read", "written", "neither", "all,"))
    }
    assert [figures[name][0] for name in ("read from the cache", "written to the cache", "neither")] == [
        f"{count:,}" for count in (read, written, total - read - written)
    ]
    shown = {name: figures[name][2] for name in figures if name.startswith("all,")}
    assert list(shown.values()) == [f"{usd[way]:.4f}" for way in ("ours", "without_a_cache", "as_today")]
