"""A custom pipeline: found by name, run with the same model client, and its result is checked."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from agents import CallSite, ModelCallError, Pipeline, PipelineError, Request, check_entry, fingerprint, fingerprint_0_1_0
from tests.agents.cell import run
from tests.fakes.scripted import Reply

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


def test_the_pipeline_and_the_test_in_the_documentation_run(here: Path) -> None:
    text = (REPOSITORY / "docs" / "own-pipeline.md").read_text()
    pipeline, check = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (here / "my_pipeline.py").write_text(pipeline)
    (here / "test_my_pipeline.py").write_text(check)

    result, admission, _ = run(Pipeline(entry="my_pipeline:decide"))
    assert (result.error, result.decision_status) == (None, "typed")
    assert [call.site.role for call in admission.calls] == ["market_analyst", "portfolio_manager"]
    assert "market_analyst in round 0 says" in result.reports["market_analyst"]
    assert result.stage_ratings == {"portfolio_manager": "Overweight"}

    environment = {"PYTHONPATH": str(REPOSITORY), "PATH": ""}
    subprocess.run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"], cwd=here, env=environment, check=True)


OF_0_1_0 = """
from agents import Result

async def decide(snapshot, lineup, pipeline, gate, clients):
    return Result(None, "missing")
"""


def test_an_entry_with_the_arguments_of_0_1_0_is_refused_with_the_new_signature(here: Path) -> None:
    (here / "own_old.py").write_text(OF_0_1_0)
    message = r"takes snapshot, lineup, pipeline, gate, clients, as in version 0.1.0; .* async def decide\(ctx: Context\)"
    with pytest.raises(PipelineError, match=message):
        check_entry("own_old:decide")
    result, admission, _ = run(Pipeline(entry="own_old:decide"))
    assert re.search(message, str(result.error))
    assert not admission.admitted


def test_the_file_of_0_1_0_keeps_its_identity(here: Path) -> None:
    (here / "own_old.py").write_text(OF_0_1_0)
    assert fingerprint_0_1_0(Pipeline(entry="own_old:decide")) is not None


def test_a_role_is_asked_once_in_each_round(here: Path) -> None:
    (here / "own_twice.py").write_text(
        "async def go(ctx):\n    for number in (1, 2, 2):\n        await ctx.ask('bull', 'Speak.', round=number)\n"
    )
    result, admission, _ = run(Pipeline(entry="own_twice:go"))
    assert "bull was already asked at round 2, index 0" in str(result.error)
    assert len(admission.calls) == 2
    assert list(result.reports) == ["bull/1", "bull/2"], "what was said before the error is kept"


def test_a_prompt_that_does_not_describe_its_form_is_refused(here: Path) -> None:
    (here / "own_silent.py").write_text(
        "from agents import DECISION\nasync def go(ctx):\n    return await ctx.ask('trader', 'Decide.', form=DECISION)\n"
    )
    result, admission, _ = run(Pipeline(entry="own_silent:go"))
    assert "the prompt of trader does not describe its form; add form.say() to it" in str(result.error)
    assert not admission.admitted


def test_a_call_that_fails_cancels_no_call_that_is_paid_for(here: Path) -> None:
    (here / "own_pair.py").write_text(
        "async def go(ctx):\n    return await ctx.gather(ctx.ask('bull', 'Speak.'), ctx.ask('bear', 'Speak.'))\n"
    )

    def script(site: CallSite, request: Request) -> Reply:
        return RuntimeError("broken") if site.role == "bull" else "No."

    result, admission, _ = run(Pipeline(entry="own_pair:go"), script, delay_s=lambda site: 0.05 * (site.role == "bear"))
    assert isinstance(result.error, ModelCallError)
    assert [call.site.role for call in admission.calls if call.answer] == ["bear"]
    assert not admission.discarded


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
        ("own_c", "async def go(*_): return 'Buy'", "returned str; return a Reading of DECISION, a Decision or a Result"),
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
