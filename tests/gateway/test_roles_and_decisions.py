"""Who speaks in a request, and what counts as a program's decision."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from agents import Answer, Part, ToolCall, ToolSpec
from domain import scales
from harness.errors import InvalidInput
from harness.experiment.attached import Attached, roles_of, shipped_roles
from harness.gateway import decision, suggesting
from harness.gateway.asked import Asked
from harness.gateway.conversation import Exchange
from tests.harness.rows import call_row

SPOKEN = {
    (
        "",
        "You are a helpful AI assistant. You are a trading assistant tasked with analyzing financial markets.",
        "GO",
    ): "market_analyst",
    ("SentimentReport", "", "anything"): "sentiment_analyst",
    ("", "You are a social media and company specific news researcher/analyst", "x"): "sentiment_analyst",
    ("", "You are a news researcher tasked with analyzing recent news and trends", "x"): "news_analyst",
    ("", "You are a researcher tasked with analyzing fundamental information", "x"): "fundamentals_analyst",
    ("", "", "You are a Bull Analyst advocating. Earlier: You are a Bear Analyst"): "bull",
    ("", "", "You are a Bear Analyst making the case"): "bear",
    ("", "", "As the portfolio manager and debate facilitator, your role"): "research_manager",
    ("ResearchPlan", "", "As the Research Manager"): "research_manager",
    ("", "You are a trading agent analyzing market data", "x"): "trader",
    ("", "", "As the Risky Risk Analyst, your role"): "aggressive",
    ("", "", "As the Safe/Conservative Risk Analyst, your"): "conservative",
    ("", "", "As the Neutral Risk Analyst"): "neutral",
    ("", "", "As the Risk Management Judge and Debate Facilitator"): "portfolio_manager",
    ("", "", "As the Portfolio Manager, synthesize"): "portfolio_manager",
    ("", "You are an efficient assistant that extracts the decision", "x"): "signal",
    ("", "You are Warren Buffett. Decide", "x"): "buffett",
    ("", "", "你是一位看涨分析师，负责"): "bull",
    ("", "", "作为风险管理委员会主席和辩论主持人"): "portfolio_manager",
    ("", "您是一位专业的金融分析助手，负责从交易员的分析报告中提取", "x"): "signal",
    ("", "您是一位专业的财经新闻分析师", "请对股票 AAPL 进行全面分析，交易日期为"): "news_analyst",
    ("", "", "请对股票 AAPL 进行全面分析，交易日期为 2012-06-15。"): "market_analyst",
    ("", "You write poems", "x"): "other",
}


@pytest.mark.parametrize("asked", SPOKEN)
def test_the_shipped_rules_name_the_speaker(asked: tuple[str, str, str]) -> None:
    assert shipped_roles().name(*asked) == SPOKEN[asked]


def test_own_rules_come_first_and_wrong_ones_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "roles.yaml"
    file.write_text("rules:\n  - {role: poet, system: '^You write', decides: true}\n")
    roles = roles_of(file)
    assert (roles.name("", "You write poems", ""), "poet" in roles.deciders) == ("poet", True)
    for text, problem in (
        ("- {role: x, user: '('}", "no regular expression"),
        ("- {who: x}", "expected role"),
        ("3", "a list"),
    ):
        file.write_text(text)
        with pytest.raises(InvalidInput, match=problem):
            roles_of(file)


SCALES: dict[tuple[object, float | None], str | None] = {
    ("BUY", None): "Buy",
    ("**Sell**", None): "Sell",
    ("strong_buy", None): "Buy",
    ("outperform", None): "Overweight",
    ("bullish", 90): "Buy",
    ("bullish", 0.4): "Overweight",
    ("bearish", 40): "Underweight",
    ("neutral", 55): "Hold",
    ("观望", None): "Hold",
    ("看跌", 80): "Sell",
    ("maybe", None): None,
    ("", None): None,
    (7, None): None,
}


@pytest.mark.parametrize("stated", SCALES)
def test_other_scales_are_mapped_once(stated: tuple[object, float | None]) -> None:
    assert scales.rating_of(*stated) == SCALES[stated]


def said(role: str, answer: Answer, forced: str = "") -> Exchange:
    tools = (ToolSpec(forced, "", {}),) if forced else ()
    asked = Asked("chat", "m", (Part("user", "x"),), tools=tools, tool_choice=forced or None)
    exchange = Exchange(asked, role, "f", 0, is_forced_by_schema=False)

    async def answered() -> Answer:
        return answer

    async def end() -> None:
        exchange.task = asyncio.ensure_future(answered())
        await exchange.task

    asyncio.run(end())
    return exchange


def forced(rating: str, **more: object) -> Exchange:
    call = ToolCall("id", "PortfolioDecision", json.dumps({"rating": rating, **more}))
    return said("portfolio_manager", Answer("", tool_calls=(call,), finish_reason="tool_calls"), "PortfolioDecision")


def cut() -> Exchange:
    return said("portfolio_manager", Answer("I th", finish_reason="length", truncated=True), "PortfolioDecision")


BUY, HOLD = '{"decision": "BUY"}', 'log\n{"decision": "HOLD"}'
PROSE = said("portfolio_manager", Answer("On balance.\n\nRating: Sell"))
VAGUE = said("portfolio_manager", Answer("It could go either way."))
CASES: dict[str, tuple[Sequence[Exchange], str, tuple[str | None, str, str, str | None]]] = {
    "forced tool": ([forced("Underweight")], BUY, ("Underweight", "typed", "forced tool", "BUY")),
    "cut forced answer": ([cut()], HOLD, (None, "truncated", "none", "HOLD")),
    "cut, then free text": ([cut(), PROSE], "", ("Sell", "recovered", "text of portfolio_manager", None)),
    "json line": ([VAGUE], BUY, ("Buy", "typed", "last JSON line", "BUY")),
    "default hold": ([VAGUE], HOLD, (None, "unparsed", "none", "HOLD")),
    "text": ([PROSE], "done", ("Sell", "recovered", "text of portfolio_manager", None)),
    "no deciding role": ([said("buffett", Answer("ok"))], '{"signal": "bearish", "confidence": 80}',
                         ("Sell", "typed", "last JSON line", "bearish")),
    "neutral after a cut": ([said("buffett", Answer("o", finish_reason="length", truncated=True))], '{"signal": "neutral"}',
                            (None, "truncated", "none", "neutral")),
    "refused": ([said("portfolio_manager", Answer("No.", finish_reason="refused"))], BUY, (None, "refused", "none", "BUY")),
    "nothing": ([], "", (None, "missing", "none", None)),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_decision_is_proved_by_the_calls(case: str) -> None:
    exchanges, stdout, expected = CASES[case]
    read = decision.read(Attached((), Path(), Path()), exchanges, stdout)
    assert (read.decision.rating if read.decision else None, read.status, read.source, read.word) == expected


def test_details_of_a_forced_decision_are_kept() -> None:
    exchange = forced("Buy", executive_summary="Cheap.", price_target=120.5, time_horizon="6 weeks", confidence=80)
    read = decision.read(Attached((), Path(), Path()), [exchange], "").decision
    assert read is not None
    assert (read.rationale, read.target_price, read.horizon, read.confidence) == ("Cheap.", 120.5, "6 weeks", 0.8)


def test_rules_are_suggested_from_unnamed_prompts() -> None:
    texts = ["You are a Risk Officer who checks limits.", "You are a Risk Officer who checks limits.\nMore.", "Write a poem"]
    messages = [{"message_id": str(place), "role": "system", "text": text} for place, text in enumerate(texts)]
    calls = [call_row("c", str(place), role="other", message_ids=[str(place)]) for place in range(3)] + [
        call_row("c", "x", role="bull", message_ids=[])
    ]
    proposed = suggesting.suggestions(calls, messages)
    assert [(rule.role, rule.where, rule.calls) for rule in proposed] == [
        ("risk_officer", "system", 2),
        ("write_a_poem", "system", 1),
    ]
    text = suggesting.as_yaml(proposed, calls)
    assert "1 of 4 calls are named already" in text
