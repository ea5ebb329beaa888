"""Inputs by tools: the same snapshot, asked for piece by piece, and every misstep counted."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from agents import Answer, CallSite, Pipeline, Request, ToolCall, ToolSkill, Unsupported
from agents.pipeline.tools import spec, toolkit
from tests.agents.cell import prompt, run, snapshot
from tests.fakes.scripted import Reply, Script, obedient

TOOLS = Pipeline(inputs="tools", analysts=("market",))


def calling(*calls: tuple[str, str], then: str = "The close stands at 208.99.") -> Script:
    """The market analyst makes these calls in one answer, then reports."""
    asked = tuple(ToolCall(f"call_{at}", name, arguments) for at, (name, arguments) in enumerate(calls))

    def script(site: CallSite, request: Request) -> Reply:
        if site.role != "market_analyst":
            return obedient(site, request)
        return Answer("", tool_calls=asked, finish_reason="tool_calls") if site.index == 0 and request.tools else then

    return script


def test_every_tool_round_of_an_analyst_is_admitted_and_recorded() -> None:
    result, admission, _ = run(TOOLS, calling(("get_prices", '{"sessions": 3}'), ("get_indicator", '{"name": "rsi"}')))
    assert result.error is None
    assert result.reports["market_analyst"] == "The close stands at 208.99."
    assert result.tool_skill == ToolSkill(calls=2, valid=2)
    rounds = [call for call in admission.calls if call.site.kind == "tool_round"]
    assert [call.site.key for call in rounds] == ["market_analyst/0/tool_round/0", "market_analyst/0/tool_round/1"]
    answered = [part for part in rounds[1].request.parts if part.role == "tool"]
    assert [part.tool_call_id for part in answered] == ["call_0", "call_1"]
    assert "2010-03-01 205.75" in answered[0].text
    assert "2010-02-24" not in answered[0].text
    assert "rsi" in answered[1].text


def test_the_material_itself_is_not_shown() -> None:
    _, admission, _ = run(TOOLS, calling(("get_prices", "{}")))
    first = prompt(admission, "market_analyst", kind="tool_round")
    assert "fetch what you need with the tools" in first
    assert "macdh" not in first


def test_wrong_names_and_arguments_are_counted_and_answered_with_the_fix() -> None:
    result, admission, _ = run(
        TOOLS,
        calling(
            ("get_weather", "{}"),
            ("get_prices", '{"sessions": "many"}'),
            ("get_prices", '{"sessions": 3, "ticker": "TSLA"}'),
            ("get_prices", "not json"),
            ("get_prices", "[1]"),
            ("get_indicator", '{"name": "vibes"}'),
            ("get_indicator", "[" * 100_000),
            ("get_prices", ""),
        ),
    )
    assert result.tool_skill == ToolSkill(calls=8, valid=1, unknown_tool=1, bad_arguments=6)
    told = [part.text for part in admission.calls[1].request.parts if part.role == "tool"]
    assert "unknown tool 'get_weather'; known: get_prices, get_indicator" in told[0]
    assert "sessions" in told[1]
    assert "ticker" in told[2]
    assert "no JSON object" in told[3]


def test_a_loop_of_calls_is_capped_and_the_report_asked_for() -> None:
    def script(site: CallSite, request: Request) -> Reply:
        if request.tools:
            return Answer("", tool_calls=(ToolCall(f"c{site.index}", "get_prices", "{}"),), finish_reason="tool_calls")
        return obedient(site, request)

    result, admission, _ = run(Pipeline(inputs="tools", analysts=("market",), tool_rounds=3), script)
    asked = [call.site.kind for call in admission.calls if call.site.role == "market_analyst"]
    assert asked == ["tool_round"] * 3 + ["primary"]
    assert result.tool_skill == ToolSkill(calls=3, valid=3, capped_rounds=1)
    assert "No more calls" in prompt(admission, "market_analyst")
    assert result.reports["market_analyst"]


def test_a_flood_of_calls_in_one_answer_is_cut() -> None:
    result, admission, _ = run(TOOLS, calling(*[("get_prices", '{"sessions": 1}')] * 100))
    assert (result.tool_skill.calls, result.tool_skill.valid) == (100, 16)
    assert sum("not run" in part.text for part in admission.calls[1].request.parts) == 84


def test_a_conversation_cannot_outgrow_its_token_budget() -> None:
    def script(site: CallSite, request: Request) -> Reply:
        if request.tools:
            calls = tuple(ToolCall(f"c{site.index}-{at}", "get_prices", '{"sessions": 250}') for at in range(10))
            return Answer("", tool_calls=calls, finish_reason="tool_calls")
        return obedient(site, request)

    pipeline = Pipeline(inputs="tools", analysts=("market",), tool_rounds=4, budget_tokens={"market": 2000})
    result, admission, _ = run(pipeline, script)
    assert result.tool_skill.valid == 40
    assert "[cut here:" in prompt(admission, "market_analyst")
    assert "token budget of tool results is used up" in prompt(admission, "market_analyst")
    assert len(prompt(admission, "market_analyst")) < 15_000


def test_a_form_is_filled_in_after_the_research() -> None:
    result, admission, _ = run(Pipeline(inputs="tools", analysts=("sentiment",)))
    kinds = [
        (call.site.kind, call.request.schema is not None) for call in admission.calls if call.site.role == "sentiment_analyst"
    ]
    assert kinds == [("tool_round", False), ("primary", True)]
    assert "sentiment_analyst/0/primary/0" in result.parsed


def test_every_analyst_has_tools_and_only_analysts_get_them() -> None:
    result, admission, _ = run(Pipeline(inputs="tools"))
    assert result.decision_status == "typed"
    assert {call.site.role for call in admission.calls if call.request.tools} == {
        "market_analyst",
        "sentiment_analyst",
        "news_analyst",
        "fundamentals_analyst",
    }


def test_a_single_call_with_tools_can_fetch_everything() -> None:
    result, admission, _ = run(Pipeline(inputs="tools", depth="single_call"))
    assert result.error is None
    names = {tool.name for tool in admission.calls[0].request.tools}
    assert {"get_prices", "get_news", "get_statement", "get_macro", "get_insider_transactions"} <= names


def test_a_model_without_tools_fails_with_the_fix() -> None:
    def script(site: CallSite, request: Request) -> Reply:
        return Unsupported("this model has no tools; use inputs: prefetch") if request.tools else obedient(site, request)

    result, _, _ = run(TOOLS, script)
    assert result.error is not None
    assert "inputs: prefetch" in str(result.error)


def test_the_tools_of_every_field_serve_the_snapshot() -> None:
    kit = toolkit(snapshot(), ("market", "sentiment", "news", "fundamentals"))
    arguments = {"get_indicator": {"name": "rsi"}, "get_statement": {"kind": "cash_flow_statement"}}
    for name, tool in kit.items():
        assert isinstance(tool.invoke(arguments.get(name, {})), str)
        assert spec(tool).parameters["additionalProperties"] is False
        assert spec(tool).description


WRITTEN = [
    '{"name": "get_prices", "arguments": {"sessions": 5}}',
    '```json\n{"name": "get_prices", "parameters": {"sessions": 5}}\n```',
    '<tool_call>\n{"name": "get_prices", "arguments": {"sessions": 5}}\n</tool_call>',
    "<|python_tag|>get_prices(sessions=5)",
    '<|python_tag|>{"name": "get_weather", "parameters": {}}',
    '[TOOL_CALLS][{"name": "get_prices", "arguments": {"sessions": 5}}]',
    "<function=get_prices><parameter=sessions>5</parameter></function>",
    "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>get_prices",
    'I look at the prices first.\n{"function": "get_prices", "args": {"sessions": 5}}',
    '{"type": "function", "function": {"name": "get_weather", "arguments": "{}"}}',
    "get_prices(sessions=5)",
    "{'name': 'get_prices', 'arguments': {'sessions': 5}}",
]


@pytest.mark.parametrize("text", WRITTEN)
def test_a_tool_call_written_as_text_is_counted_and_asked_once_more(text: str) -> None:
    replies: Iterator[Reply] = iter(
        [text, Answer("", tool_calls=(ToolCall("c", "get_prices", "{}"),)), "The close stands at 208.99."]
    )
    result, admission, _ = run(
        TOOLS, lambda site, request: next(replies) if "analyst" in site.role else obedient(site, request)
    )
    assert result.reports["market_analyst"] == "The close stands at 208.99."
    assert result.tool_skill == ToolSkill(calls=2, valid=1, written_calls=1)
    assert "nothing was called" in admission.calls[1].request.parts[-1].text


@pytest.mark.parametrize("text", WRITTEN)
def test_a_model_that_only_writes_calls_is_asked_twice_and_leaves_no_report(text: str) -> None:
    result, admission, _ = run(TOOLS, lambda site, request: text if "analyst" in site.role else obedient(site, request))
    assert len([call for call in admission.calls if call.site.role == "market_analyst"]) == 2
    assert (result.tool_skill.valid, result.tool_skill.written_calls) == (0, 2)
    assert "there is no report from this role" in prompt(admission, "bull", round=1)


@pytest.mark.parametrize(
    "text",
    [
        "The close stands at 208.99; get_prices(sessions=5) showed no gap.",
        '{"trend": "up", "name": "Apple Inc."}',
        "The function of the 50-day average is support.",
        "I used the tool get_prices. The name of the game is momentum.",
    ],
)
def test_a_report_that_mentions_a_tool_is_a_report(text: str) -> None:
    result, _, _ = run(TOOLS, lambda site, request: text if "analyst" in site.role else obedient(site, request))
    assert result.reports["market_analyst"] == text
    assert result.tool_skill == ToolSkill()
