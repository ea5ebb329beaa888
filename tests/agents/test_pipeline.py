"""The whole pipeline with a scripted lineup: who speaks when, what each one sees, what comes of trouble."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys

import pytest

from agents import (
    Answer,
    Halt,
    Model,
    ModelCallError,
    Pipeline,
    PipelineError,
    Place,
    Request,
    deep_roles,
    fingerprint,
    role_names,
)
from domain.ratings import RATINGS
from tests.agents.cell import prompt, run, snapshot
from tests.fakes.scripted import MODEL, OpenGate, Reply, lineup, obedient

ANALYSTS = ("market_analyst", "sentiment_analyst", "news_analyst", "fundamentals_analyst")


@pytest.mark.parametrize(("depth", "calls"), [("shallow", 12), ("medium", 22), ("deep", 32), ("single_call", 1)])
def test_the_depth_says_how_many_calls_a_case_takes(depth: str, calls: int) -> None:
    result, gate, _ = run(Pipeline(depth=depth))
    assert (len(gate.calls), result.decision_status, result.error) == (calls, "typed", None)


def test_reports_stand_in_the_order_of_the_flow() -> None:
    result, _, _ = run(Pipeline(depth="medium"))
    debate = [f"{role}/{round}" for round in (1, 2, 3) for role in ("bull", "bear")]
    risk = [f"{role}/{round}" for round in (1, 2, 3) for role in ("aggressive", "conservative", "neutral")]
    assert list(result.reports) == [*ANALYSTS, *debate, "research_manager", "trader", *risk, "portfolio_manager"]


def test_analysts_work_side_by_side_and_everybody_else_in_turn() -> None:
    _, _, clients = run(delay_s=lambda place: 0.05)
    assert clients.peak == 4
    _, gate, clients = run(Pipeline(analysts=("market",)), delay_s=lambda place: 0.01)
    assert (clients.peak, len(gate.calls)) == (1, 9)


def test_only_the_selected_analysts_speak_and_only_their_material_is_shown() -> None:
    result, gate, _ = run(Pipeline(analysts=("news", "fundamentals")))
    assert list(result.reports)[:2] == ["news_analyst", "fundamentals_analyst"]
    shown = prompt(gate, "news_analyst")
    assert "# Material: news" in shown
    assert "Material: market" not in shown
    assert "rsi" not in shown


def test_each_role_sees_what_its_users_expect() -> None:
    _, gate, _ = run(Pipeline(depth="medium"))
    for role in ("bull", "bear"):
        assert all(
            f"# {title}" in prompt(gate, role, 3)
            for title in ("Market analyst", "Sentiment analyst", "News analyst", "Fundamentals analyst")
        )
    assert "bear in round 2" in prompt(gate, "bull", 3)
    assert all(text in prompt(gate, "research_manager") for text in ("bull in round 3", "bear in round 3", "# Market analyst"))
    assert all(text in prompt(gate, "trader") for text in ("# Research manager", "# Market analyst"))
    for role in ("aggressive", "conservative", "neutral"):
        seen = prompt(gate, role, 2)
        assert all(text in seen for text in ("# Trader", "# Research manager", "# News analyst", "neutral in round 1"))
    last = prompt(gate, "portfolio_manager")
    assert all(text in last for text in ("# Trader", "# Research manager", "neutral in round 3", "# Fundamentals analyst"))


def test_the_first_speaker_is_told_that_nobody_has_spoken() -> None:
    _, gate, _ = run()
    for role in ("bull", "aggressive"):
        assert "Nobody has spoken yet" in prompt(gate, role, 1)
        assert "You open the debate" in prompt(gate, role, 1)
    for role in ("bear", "conservative"):
        assert "Nobody has spoken yet" not in prompt(gate, role, 1)


def test_every_stage_leaves_its_rating() -> None:
    result, _, _ = run()
    assert list(result.stage_ratings) == ["research_manager", "trader", "portfolio_manager"]
    assert set(result.stage_ratings.values()) <= set(RATINGS)


def test_a_typed_plan_reaches_later_roles_as_text_and_the_tables_as_json() -> None:
    result, gate, _ = run()
    assert "Rating: Overweight" in result.reports["research_manager"]
    assert json.loads(result.parsed["research_manager/0/primary/0"])["rating"] == "Overweight"
    assert result.reports["research_manager"] in prompt(gate, "trader")


def test_each_role_asks_its_own_model() -> None:
    deep = Model("deep", "scripted", "deep-1", server="script")
    models = {**lineup(), **dict.fromkeys(deep_roles(), deep)}
    _, gate, _ = run(models=models)
    asked = {call.place.role: call.request.model for call in gate.calls}
    assert {role for role, model in asked.items() if model == deep} == {"research_manager", "portfolio_manager"}
    assert asked["bull"] == MODEL


def test_histories_are_capped_in_the_prompt_and_whole_in_the_reports() -> None:
    long = "The margin rose to 31 percent in the quarter. " * 60

    def script(place: Place, request: Request) -> Reply:
        return obedient(place, request) if request.schema else f"{place.role} {place.round}: {long}"

    result, gate, _ = run(Pipeline(depth="deep"), script)
    assert result.reports["bull/1"].count("margin") == 60
    seen = prompt(gate, "bear", 5)
    assert "statements are left out here" in seen
    assert "bull 1:" not in seen
    assert "bull 5:" in seen


def test_a_report_of_200_kb_is_cut_with_an_announcement_and_kept_whole() -> None:
    def script(place: Place, request: Request) -> Reply:
        return "word " * 40_000 if place.role == "news_analyst" else obedient(place, request)

    result, gate, _ = run(script=script)
    assert len(result.reports["news_analyst"]) == 200_000
    assert "[cut here:" in prompt(gate, "bull", 1)
    assert len(prompt(gate, "bull", 1)) < 40_000


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (Answer("The trend is", truncated=True, finish_reason="length"), "cut off before its end"),
        (Answer("I must decline.", finish_reason="refused"), "declined to answer"),
        (Answer(""), "answered nothing"),
    ],
)
def test_a_broken_report_is_announced_as_such_to_later_roles(answer: Answer, told: str) -> None:
    def script(place: Place, request: Request) -> Reply:
        return answer if place.role == "market_analyst" else obedient(place, request)

    result, gate, _ = run(script=script)
    assert result.decision_status == "typed"
    assert all(told in prompt(gate, role, round) for role, round in (("bull", 1), ("trader", 0), ("portfolio_manager", 0)))
    assert result.reports["market_analyst"] == answer.text


def test_an_unparsed_plan_leaves_no_rating_and_the_flow_goes_on() -> None:
    def script(place: Place, request: Request) -> Reply:
        return "Perhaps." if place.role == "research_manager" else obedient(place, request)

    result, gate, _ = run(script=script)
    assert result.stage_ratings["research_manager"] is None
    assert "not in the required form" in prompt(gate, "trader")
    assert result.decision_status == "typed"
    assert len(gate.calls) == 13


def test_a_failing_analyst_never_cancels_its_paid_siblings() -> None:
    def script(place: Place, request: Request) -> Reply:
        return RuntimeError("boom") if place.role == "market_analyst" else obedient(place, request)

    result, gate, _ = run(script=script, delay_s=lambda place: 0.0 if place.role == "market_analyst" else 0.1)
    assert isinstance(result.error, ModelCallError)
    assert (result.decision, result.decision_status) == (None, "missing")
    assert {call.place.role for call in gate.calls if call.answer} == set(ANALYSTS) - {"market_analyst"}
    assert set(result.reports) == set(ANALYSTS) - {"market_analyst"}
    assert gate.discarded == []


def test_a_failure_later_keeps_what_was_said() -> None:
    def script(place: Place, request: Request) -> Reply:
        return RuntimeError("boom") if place.role == "trader" else obedient(place, request)

    result, _, _ = run(script=script)
    assert isinstance(result.error, ModelCallError)
    assert list(result.reports)[-1] == "research_manager"
    assert result.stage_ratings == {"research_manager": "Overweight"}


@pytest.mark.parametrize("role", ["market_analyst", "trader"])
def test_a_halt_ends_the_cell_wherever_it_strikes(role: str) -> None:
    gate = OpenGate(halt_at=lambda place: Halt("stop") if place.role == role else None)
    with pytest.raises(Halt):
        run(gate=gate)


def test_a_halted_analyst_leaves_its_siblings_to_finish() -> None:
    gate = OpenGate(halt_at=lambda place: Halt("stop") if place.role == "market_analyst" else None)
    with pytest.raises(Halt):
        run(gate=gate, delay_s=lambda place: 0.05)
    assert len([call for call in gate.calls if call.answer]) == 3


def test_cancelling_a_cell_cancels_its_requests() -> None:
    from agents import decide
    from tests.fakes.scripted import ScriptedClients

    async def go() -> OpenGate:
        gate = OpenGate()
        clients = ScriptedClients(gate, obedient, lambda place: 30.0)
        task = asyncio.create_task(decide(snapshot(), lineup(), Pipeline(), gate, clients))  # type: ignore[arg-type]
        while len(gate.admitted) < len(ANALYSTS):
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return gate

    gate = asyncio.run(go())
    assert {place.role for place in gate.discarded} == set(ANALYSTS)


def test_what_was_paid_before_is_not_asked_again() -> None:
    _, first, _ = run()
    paid = {call.place.key: call.answer for call in first.calls if call.answer and call.place.role != "portfolio_manager"}
    result, second, _ = run(gate=OpenGate(journal=paid))
    assert [call.place.role for call in second.calls] == ["portfolio_manager"]
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
    result, gate, _ = run(pipeline)
    assert isinstance(result.error, PipelineError)
    assert message in str(result.error)
    assert gate.calls == []


def test_a_lineup_without_a_role_says_which() -> None:
    models = {role: MODEL for role in role_names() if role != "bear"}
    result, _, _ = run(models=models)
    assert "no model for role 'bear'" in str(result.error)


def test_the_fingerprint_follows_what_the_models_are_told() -> None:
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
