"""A custom pipeline: found by name, run with the same model client, and its result is checked."""

from __future__ import annotations

from pathlib import Path

import pytest

from agents import Pipeline, PipelineError, fingerprint
from tests.agents.cell import run

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_documented_example_runs_and_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    result, admission, _ = run(Pipeline(entry="experiments.own_pipeline:decide"))
    assert result.error is None
    assert result.decision_status == "typed"
    assert [call.site.role for call in admission.calls] == ["market_analyst", "portfolio_manager"]
    assert "portfolio_manager/0/primary/0" in result.parsed
    assert list(result.reports) == ["market_analyst", "portfolio_manager"]


def test_a_bare_decision_is_enough(here: Path) -> None:
    (here / "bare_own.py").write_text(
        "from agents import Decision\nasync def go(*_):\n    return Decision('Sell', 'because')\n"
    )
    result, _, _ = run(Pipeline(entry="bare_own:go"))
    assert (result.decision_status, result.stage_ratings) == ("typed", {"portfolio_manager": "Sell"})


@pytest.mark.parametrize(
    ("name", "body", "message"),
    [
        ("own_a", "def go(*_): return 1", "not an async function"),
        ("own_b", "async def stop(*_): return 1", "not an async function"),
        ("own_c", "async def go(*_): return 'Buy'", "returned str; return a Decision or a Result"),
        ("own_d", "from agents import Decision\nasync def go(*_): return Decision('Strong Buy')", "known: Buy, Overweight"),
        (
            "own_e",
            "from agents import Result\nasync def go(*_): return Result(None, 'fine')",
            "decision_status 'fine'; known: typed",
        ),
        ("own_f", "import nowhere_to_be_found\nasync def go(*_): pass", "cannot import"),
    ],
)
def test_an_invalid_custom_pipeline_is_an_error_that_names_the_problem(here: Path, name: str, body: str, message: str) -> None:
    (here / f"{name}.py").write_text(body)
    result, _, _ = run(Pipeline(entry=f"{name}:go"))
    assert isinstance(result.error, PipelineError)
    assert message in str(result.error)


def test_trouble_inside_it_is_the_cells_error(here: Path) -> None:
    (here / "own_g.py").write_text("async def go(*_): return 1 / 0")
    result, _, _ = run(Pipeline(entry="own_g:go"))
    assert isinstance(result.error, ZeroDivisionError)


@pytest.mark.parametrize("entry", ["nonsense", "a b:c", "module:", ":function", "os:1x"])
def test_a_malformed_entry_is_an_error_with_an_example(entry: str) -> None:
    with pytest.raises(PipelineError, match="write module:function"):
        fingerprint(Pipeline(entry=entry))


def test_the_fingerprint_follows_the_file(here: Path) -> None:
    (here / "own_h.py").write_text("async def go(*_): return 1")
    before = fingerprint(Pipeline(entry="own_h:go"))
    (here / "own_h.py").write_text("async def go(*_): return 2")
    assert fingerprint(Pipeline(entry="own_h:go")) != before
    with pytest.raises(PipelineError, match="no module 'own_nowhere' here"):
        fingerprint(Pipeline(entry="own_nowhere:go"))
