"""One form, requested from a model: typed, repaired, recovered, or the reason why not."""

from __future__ import annotations

import json
from typing import Any

import pytest

from agents import Answer, CallSite, Decision, Failure, Part, Pipeline, PromptTooLong, Request, Result, ToolCall
from agents.decisions.forms import DECISION, FORMS
from tests.agents.cell import prompt, run
from tests.fakes.scripted import OpenAdmission, Reply, fill, obedient

GOOD = {
    "summary": "Own a little more.",
    "thesis": "The trend holds.",
    "rating": "Overweight",
    "confidence": 60,
    "target_price": 220.5,
    "horizon": "6 weeks",
}


def decide_with(*replies: Reply, pipeline: Pipeline | None = None) -> tuple[Result, OpenAdmission]:
    """A single call whose model gives these answers, the last one again and again."""
    left = list(replies)

    def script(site: CallSite, request: Request) -> Reply:
        return left.pop(0) if len(left) > 1 else left[0]

    result, admission, _ = run(pipeline or Pipeline(depth="single_call"), script)
    return result, admission


def test_a_form_is_a_typed_decision_and_costs_one_call() -> None:
    result, admission = decide_with(json.dumps(GOOD))
    assert result.decision is not None
    assert (result.decision_status, result.decision.rating, result.decision.action) == ("typed", "Overweight", "BUY")
    assert (result.decision.confidence, result.decision.target_price, result.decision.horizon) == (0.6, 220.5, "6 weeks")
    assert "Own a little more." in result.decision.rationale
    assert len(admission.calls) == 1
    assert json.loads(result.parsed["portfolio_manager/0/primary/0"]) == GOOD


def test_a_broken_form_is_repaired_once_and_the_repair_request_names_the_problem() -> None:
    result, admission = decide_with('{"rating": "Accumulate"}', json.dumps(GOOD))
    assert result.decision_status == "repaired"
    assert [call.site.kind for call in admission.calls] == ["primary", "repair"]
    assert '"summary" is missing' in prompt(admission, "portfolio_manager", kind="repair")
    assert list(result.parsed) == ["portfolio_manager/0/repair/0"]


def test_the_repair_continues_the_prompt_so_that_its_prefix_is_cached() -> None:
    _, admission = decide_with("no form", json.dumps(GOOD))
    first, second = (call.request for call in admission.calls)
    assert second.parts[: len(first.parts)] == first.parts
    assert second.cache_key == first.cache_key
    assert second.schema == first.schema


def test_a_rating_in_prose_is_recovered_after_the_repair_failed() -> None:
    result, admission = decide_with("Rating: Sell")
    assert (result.decision_status, len(admission.calls)) == ("recovered", 2)
    assert result.decision is not None
    assert (result.decision.rating, result.decision.rationale) == ("Sell", "Rating: Sell")


@pytest.mark.parametrize(
    ("reply", "status", "calls"),
    [
        ("", "missing", 2),
        ("  \n", "missing", 2),
        ("我认为应该卖出。", "unparsed", 2),
        ("<html><body><h1>502</h1></body></html>", "unparsed", 2),
        ("x" * 200_000, "unparsed", 2),
        ('{"summary": "s", "rating": "Se', "unparsed", 2),
        (json.dumps(GOOD | {"rating": "Strong Buy"}), "unparsed", 2),
        (Answer(json.dumps(GOOD), truncated=True), "truncated", 1),
        (Answer(json.dumps(GOOD), finish_reason="length"), "truncated", 1),
        (Answer("", finish_reason="length", truncated=True), "truncated", 1),
        (Answer("No.", finish_reason="refused"), "refused", 1),
        (Answer(json.dumps(GOOD), finish_reason="content_filter"), "refused", 1),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_broken_answer_is_an_outcome_and_never_a_rating(reply: Reply, status: str, calls: int) -> None:
    result, admission = decide_with(reply)
    assert (result.decision, result.decision_status, result.error) == (None, status, None)
    assert len(admission.calls) == calls
    assert result.stage_ratings == {"portfolio_manager": None}


def test_nan_and_infinity_are_refused_by_the_first_rung_and_dropped_by_the_third() -> None:
    result, admission = decide_with(
        '{"summary": "s", "thesis": "t", "rating": "Buy", "confidence": NaN, "target_price": Infinity}'
    )
    assert (result.decision_status, len(admission.calls)) == ("recovered", 2)
    assert result.decision is not None
    assert (result.decision.confidence, result.decision.target_price) == (None, None)


def test_a_repair_that_does_not_fit_the_context_leaves_the_first_text_to_be_read() -> None:
    admission = OpenAdmission(halt_at=lambda site: PromptTooLong("too long") if site.kind == "repair" else None)
    result, _, _ = run(Pipeline(depth="single_call"), lambda site, request: "Rating: Hold", admission=admission)
    assert (result.decision_status, result.error) == ("recovered", None)


def test_a_huge_broken_answer_is_not_sent_back_whole() -> None:
    _, admission = decide_with("x" * 200_000, json.dumps(GOOD))
    assert len(prompt(admission, "portfolio_manager", kind="repair")) < 50_000


def test_a_form_bound_to_a_small_cap_can_end_within_it() -> None:
    for form in FORMS.values():
        texts = [kind["maxLength"] for kind in form.schema(150)["properties"].values() if "maxLength" in kind]
        assert sum(texts) <= 2 * 150
        assert form.schema(150)["required"] == [field.name for field in form.fields]


def test_schemas_are_flat_and_strict() -> None:
    for form in FORMS.values():
        schema = form.schema()
        assert schema["additionalProperties"] is False
        assert all(kind["type"] != "object" for kind in schema["properties"].values())


def test_the_schema_is_sent_and_described_in_the_prompt() -> None:
    _, admission, _ = run()
    for role, form in (
        ("sentiment_analyst", "sentiment"),
        ("research_manager", "plan"),
        ("trader", "proposal"),
        ("portfolio_manager", "decision"),
    ):
        assert admission.asked(role)[0].schema == FORMS[form].schema()
        assert all(f'"{field.name}"' in prompt(admission, role) for field in FORMS[form].fields)


def test_confidence_of_a_typed_decision_is_a_share() -> None:
    value: dict[str, Any] = json.loads(fill(DECISION.schema()))
    result, _ = decide_with(json.dumps(value | {"confidence": 100}))
    assert result.decision is not None
    assert result.decision.confidence == 1.0


def test_lone_surrogates_reach_no_table() -> None:
    def script(site: CallSite, request: Request) -> Reply:
        return "bad \ud800 text" if request.schema is None else obedient(site, request)

    result, _, _ = run(script=script)
    assert result.error is None
    "".join(result.reports.values()).encode()


HALF_PAIR = json.dumps(GOOD | {"summary": "half \ud83d pair"})


@pytest.mark.parametrize("answer", [HALF_PAIR, f"My answer: {HALF_PAIR}"], ids=["typed", "recovered"])
def test_half_a_surrogate_pair_spelled_in_ascii_reaches_no_table(answer: str) -> None:
    result, _ = decide_with(answer)

    assert result.decision is not None
    assert result.decision.rationale == "half ? pair\n\nThe trend holds."
    "".join(result.parsed.values()).encode()


def test_half_a_surrogate_pair_in_the_arguments_of_a_tool_reaches_no_prompt() -> None:
    tools = Pipeline(inputs="tools", analysts=("market",))
    call = ToolCall("call_\ud83d", "get_indicator", '{"name": "rsi \\ud83d"}')

    def script(site: CallSite, request: Request) -> Reply:
        if site.role != "market_analyst":
            return obedient(site, request)
        return Answer("", tool_calls=(call,), finish_reason="tool_calls") if site.index == 0 and request.tools else "Even."

    result, admission, _ = run(tools, script)

    assert result.error is None
    assert all(part.text.encode() and part.message_id for call in admission.calls for part in call.request.parts if part.text)
    assert result.tool_skill.bad_arguments == 1


def test_text_of_a_custom_pipeline_and_of_a_failure_is_valid_utf8() -> None:
    result = Result(
        Decision("Hold", "half \ud83d"), "typed", reports={"trader": "\ud83d"}, parsed={"trader/0/primary/0": '"\ude00"'}
    )

    assert result.decision is not None
    assert (result.decision.rationale, result.reports["trader"], *result.parsed.values()) == ("half ?", "?", '"?"')
    assert Failure("bad_request", "no \ud83d", "Odd").message == "no ?"
    assert Part("user", "a replayed \ud83d prompt").text == "a replayed ? prompt"
