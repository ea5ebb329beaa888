"""The whole pipeline with a scripted lineup: who speaks when, what each one sees, what comes of trouble."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections import Counter

import pytest

from agents import (
    Answer,
    CallSite,
    Halt,
    Model,
    ModelCallError,
    Pipeline,
    PipelineError,
    Request,
    deep_roles,
    fingerprint,
    role_names,
    role_turns,
)
from agents.pipeline import flow
from agents.pipeline.roles import all_roles
from domain.ratings import RATINGS
from tests.agents.cell import prompt, run, snapshot
from tests.fakes.scripted import MODEL, OpenAdmission, Reply, lineup, obedient

ANALYSTS = ("market_analyst", "sentiment_analyst", "news_analyst", "fundamentals_analyst")


DEBATERS = [role.name for role in all_roles().values() if role.is_debater]


@pytest.mark.parametrize(("depth", "rounds"), [("shallow", 1), ("medium", 3), ("deep", 5)])
def test_the_depth_determines_how_often_debaters_speak(depth: str, rounds: int) -> None:
    result, admission, _ = run(Pipeline(depth=depth))
    turns = Counter(call.site.role for call in admission.calls)
    assert turns == {role: rounds if role in DEBATERS else 1 for role in role_names()} == role_turns(Pipeline(depth=depth))
    assert (result.decision_status, result.error) == ("typed", None)


def test_a_single_call_decides_alone() -> None:
    result, admission, _ = run(Pipeline(depth="single_call"))
    assert (len(admission.calls), result.decision_status, result.error) == (1, "typed", None)


def test_reports_stand_in_the_order_of_the_flow() -> None:
    result, _, _ = run(Pipeline(depth="medium"))
    debate = [f"{role}/{round}" for round in (1, 2, 3) for role in ("bull", "bear")]
    risk = [f"{role}/{round}" for round in (1, 2, 3) for role in DEBATERS if role not in ("bull", "bear")]
    assert list(result.reports) == [*ANALYSTS, *debate, "research_manager", "trader", *risk, "portfolio_manager"]


def test_analysts_work_side_by_side_and_everybody_else_in_turn() -> None:
    _, _, clients = run(delay_s=lambda site: 0.05)
    assert clients.peak == 4
    _, admission, clients = run(Pipeline(analysts=("market",)), delay_s=lambda site: 0.01)
    assert (clients.peak, len(admission.calls)) == (1, len(role_names()) - 3)


def test_only_the_selected_analysts_speak_and_only_their_material_is_shown() -> None:
    result, admission, _ = run(Pipeline(analysts=("news", "fundamentals")))
    assert list(result.reports)[:2] == ["news_analyst", "fundamentals_analyst"]
    shown = prompt(admission, "news_analyst")
    assert "# Material: news" in shown
    assert "Material: market" not in shown
    assert "rsi" not in shown


def test_each_role_sees_what_its_users_expect() -> None:
    _, admission, _ = run(Pipeline(depth="medium"))
    for role in ("bull", "bear"):
        assert all(
            f"# {title}" in prompt(admission, role, 3)
            for title in ("Market analyst", "Sentiment analyst", "News analyst", "Fundamentals analyst")
        )
    assert "bear in round 2" in prompt(admission, "bull", 3)
    assert all(
        text in prompt(admission, "research_manager") for text in ("bull in round 3", "bear in round 3", "# Market analyst")
    )
    assert all(text in prompt(admission, "trader") for text in ("# Research manager", "# Market analyst"))
    for role in ("aggressive", "conservative", "neutral"):
        seen = prompt(admission, role, 2)
        assert all(text in seen for text in ("# Trader", "# Research manager", "# News analyst", "neutral in round 1"))
    last = prompt(admission, "portfolio_manager")
    assert all(text in last for text in ("# Trader", "# Research manager", "neutral in round 3", "# Fundamentals analyst"))


def test_the_first_prompt_of_a_debate_states_that_the_debate_is_empty() -> None:
    _, admission, _ = run()
    for role in ("bull", "aggressive"):
        assert "Nobody has spoken yet" in prompt(admission, role, 1)
        assert "You open the debate" in prompt(admission, role, 1)
    for role in ("bear", "conservative"):
        assert "Nobody has spoken yet" not in prompt(admission, role, 1)


def test_every_stage_leaves_its_rating() -> None:
    result, _, _ = run()
    assert list(result.stage_ratings) == ["research_manager", "trader", "portfolio_manager"]
    assert set(result.stage_ratings.values()) <= set(RATINGS)


def test_a_typed_plan_reaches_later_roles_as_text_and_the_tables_as_json() -> None:
    result, admission, _ = run()
    assert "Rating: Overweight" in result.reports["research_manager"]
    assert json.loads(result.parsed["research_manager/0/primary/0"])["rating"] == "Overweight"
    assert result.reports["research_manager"] in prompt(admission, "trader")


def test_each_role_asks_its_own_model() -> None:
    deep = Model("deep", "scripted", "deep-1", server="script")
    models = {**lineup(), **dict.fromkeys(deep_roles(), deep)}
    _, admission, _ = run(models=models)
    asked = {call.site.role: call.request.model for call in admission.calls}
    assert {role for role, model in asked.items() if model == deep} == {"research_manager", "portfolio_manager"}
    assert asked["bull"] == MODEL


def test_histories_are_capped_in_the_prompt_and_whole_in_the_reports() -> None:
    long = "The margin rose to 31 percent in the quarter. " * 60

    def script(site: CallSite, request: Request) -> Reply:
        return obedient(site, request) if request.schema else f"{site.role} {site.round}: {long}"

    result, admission, _ = run(Pipeline(depth="deep"), script)
    assert result.reports["bull/1"].count("margin") == 60
    seen = prompt(admission, "bear", 5)
    assert "statements are left out here" in seen
    assert "bull 1:" not in seen
    assert "bull 5:" in seen


def test_a_report_of_200_kb_is_cut_with_an_announcement_and_kept_whole() -> None:
    def script(site: CallSite, request: Request) -> Reply:
        return "word " * 40_000 if site.role == "news_analyst" else obedient(site, request)

    result, admission, _ = run(script=script)
    assert len(result.reports["news_analyst"]) == 200_000
    assert "[cut here:" in prompt(admission, "bull", 1)
    assert len(prompt(admission, "bull", 1)) < 40_000


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (Answer("The trend is", truncated=True, finish_reason="length"), "cut off before its end"),
        (Answer("I must decline.", finish_reason="refused"), "declined to answer"),
        (Answer(""), "answered nothing"),
    ],
)
def test_a_broken_report_is_announced_as_such_to_later_roles(answer: Answer, told: str) -> None:
    def script(site: CallSite, request: Request) -> Reply:
        return answer if site.role == "market_analyst" else obedient(site, request)

    result, admission, _ = run(script=script)
    assert result.decision_status == "typed"
    assert all(told in prompt(admission, role, round) for role, round in (("bull", 1), ("trader", 0), ("portfolio_manager", 0)))
    assert result.reports["market_analyst"] == answer.text


def test_an_unparsed_plan_leaves_no_rating_and_the_flow_goes_on() -> None:
    def script(site: CallSite, request: Request) -> Reply:
        return "Perhaps." if site.role == "research_manager" else obedient(site, request)

    result, admission, _ = run(script=script)
    assert result.stage_ratings["research_manager"] is None
    assert "not in the required form" in prompt(admission, "trader")
    assert result.decision_status == "typed"
    assert len(admission.calls) == 13


def test_a_failing_analyst_never_cancels_its_paid_siblings() -> None:
    def script(site: CallSite, request: Request) -> Reply:
        return RuntimeError("boom") if site.role == "market_analyst" else obedient(site, request)

    result, admission, _ = run(script=script, delay_s=lambda site: 0.0 if site.role == "market_analyst" else 0.1)
    assert isinstance(result.error, ModelCallError)
    assert (result.decision, result.decision_status) == (None, "missing")
    assert {call.site.role for call in admission.calls if call.answer} == set(ANALYSTS) - {"market_analyst"}
    assert set(result.reports) == set(ANALYSTS) - {"market_analyst"}
    assert admission.discarded == []


def test_a_later_failure_keeps_the_earlier_reports() -> None:
    def script(site: CallSite, request: Request) -> Reply:
        return RuntimeError("boom") if site.role == "trader" else obedient(site, request)

    result, _, _ = run(script=script)
    assert isinstance(result.error, ModelCallError)
    assert list(result.reports)[-1] == "research_manager"
    assert result.stage_ratings == {"research_manager": "Overweight"}


@pytest.mark.parametrize("role", ["market_analyst", "trader"])
def test_a_halt_ends_the_cell_wherever_it_strikes(role: str) -> None:
    admission = OpenAdmission(halt_at=lambda site: Halt("stop") if site.role == role else None)
    with pytest.raises(Halt):
        run(admission=admission)


def test_a_halted_analyst_leaves_its_siblings_to_finish() -> None:
    admission = OpenAdmission(halt_at=lambda site: Halt("stop") if site.role == "market_analyst" else None)
    with pytest.raises(Halt):
        run(admission=admission, delay_s=lambda site: 0.05)
    assert len([call for call in admission.calls if call.answer]) == 3


@pytest.mark.parametrize("steps", range(1, 10))
def test_a_cell_that_goes_on_after_some_steps_asks_and_decides_what_it_did_before(steps: int) -> None:
    pipeline = Pipeline()
    first_steps = flow.steps(pipeline)[:steps]
    result, admission, _ = run(pipeline, answered={(turn.role.name, turn.round) for step in first_steps for turn in step})
    whole, asked, _ = run(pipeline)
    assert result == whole
    assert [prompt(admission, turn.role.name, turn.round) for turn in flow.turns(pipeline)] == [
        prompt(asked, turn.role.name, turn.round) for turn in flow.turns(pipeline)
    ]
    assert len(admission.calls) == 12


@pytest.mark.parametrize("is_answered", [False, True])
def test_an_error_in_an_answered_step_is_the_error_of_the_cell(is_answered: bool) -> None:
    def script(site: CallSite, request: Request) -> Reply:
        return RuntimeError("boom") if site.role == "news_analyst" else obedient(site, request)

    result, _, _ = run(script=script, answered={(name, 0) for name in ANALYSTS} if is_answered else ())
    assert isinstance(result.error, ModelCallError)
    assert [name for name, text in result.reports.items() if text] == [name for name in ANALYSTS if name != "news_analyst"]


def test_cancelling_a_cell_cancels_its_requests() -> None:
    from agents import Context, decide
    from tests.fakes.scripted import ScriptedClients

    async def go() -> OpenAdmission:
        admission = OpenAdmission()
        clients = ScriptedClients(admission, obedient, lambda site: 30.0)
        ctx = Context(lineup(), Pipeline(), admission, clients, snapshot())  # type: ignore[arg-type]
        task = asyncio.create_task(decide(ctx))
        while len(admission.admitted) < len(ANALYSTS):
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return admission

    admission = asyncio.run(go())
    assert {site.role for site in admission.discarded} == set(ANALYSTS)


def test_what_was_paid_before_is_not_asked_again() -> None:
    _, first, _ = run()
    paid = {call.site.key: call.answer for call in first.calls if call.answer and call.site.role != "portfolio_manager"}
    result, second, _ = run(admission=OpenAdmission(journal=paid))
    assert [call.site.role for call in second.calls] == ["portfolio_manager"]
    assert result.decision_status == "typed"


@pytest.mark.parametrize(
    ("pipeline", "message"),
    [
        (
            Pipeline(analysts=("guru",)),
            "unknown analyst 'guru' in pipeline.analysts; known: fundamentals, market, news, sentiment",
        ),
        (Pipeline(analysts=()), "pipeline.analysts is empty"),
        (Pipeline(analysts=("market", "market")), "names one twice"),
        (Pipeline(depth="abyss"), "unknown depth 'abyss' in pipeline; known: shallow, medium, deep, single_call"),
        (Pipeline(inputs="telepathy"), "unknown inputs 'telepathy' in pipeline; known: prefetch, tools"),
        (Pipeline(rule="astrology"), "unknown rule 'astrology'; known: always_hold, macd, kdj_rsi, zmr, sma"),
    ],
)
def test_a_wrong_pipeline_is_named_with_what_is_known(pipeline: Pipeline, message: str) -> None:
    result, admission, _ = run(pipeline)
    assert isinstance(result.error, PipelineError)
    assert message in str(result.error)
    assert admission.calls == []


def test_a_lineup_without_a_role_is_an_error_that_names_the_role() -> None:
    models = {role: MODEL for role in role_names() if role != "bear"}
    result, _, _ = run(models=models)
    assert "no model for role 'bear'" in str(result.error)


def test_the_fingerprint_follows_the_prompts() -> None:
    assert fingerprint(Pipeline()) == fingerprint(Pipeline())
    assert fingerprint(Pipeline(analysts=("market",))) != fingerprint(Pipeline())
    assert len({fingerprint(Pipeline(depth=depth)) for depth in ("shallow", "single_call")}) == 2
    assert fingerprint(Pipeline(rule="macd")) != fingerprint(Pipeline())
    assert len(fingerprint()) == 64


def test_tracing_variables_of_the_environment_send_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANGSMITH_TRACING", "true")
    monkeypatch.setenv("LANGSMITH_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("LANGSMITH_API_KEY", "x")
    result, _, _ = run()
    assert result.decision_status == "typed"


def test_the_face_is_light() -> None:
    heavy = "langgraph", "langchain_core", "pandas", "jinja2", "openai"
    code = f"import agents, sys; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
