"""Inputs by tools: analysts request parts of the frozen snapshot, and their use of tools is counted."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from agents.decisions.forms import FORMS
from agents.errors import ModelCallError, PipelineError, Unsupported
from agents.inputs import views
from agents.inputs.snapshot import Snapshot
from agents.llms import estimate_tokens
from agents.pipeline import prompts, written_calls
from agents.pipeline.context import Context
from agents.pipeline.flow import Turn, TurnResult
from agents.pipeline.turn import conclude, free_text
from agents.types import Answer, Part, ToolCall, ToolSkill, ToolSpec
from domain.text import decode_json

if TYPE_CHECKING:
    from langchain_core.tools import BaseTool

_MAX_CALLS = 16
"""Number of calls in one answer that are run; further ones are refused with a message."""
_RESULT_TOKENS = 3000
"""Budget for the result of one call."""
_ALL_RESULTS_TOKENS = 12_000
"""Budget for all results of one analyst, unless budget_tokens has one for its fields."""


class _Arguments(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _PricesArguments(_Arguments):
    """The newest sessions as a table: date, open, high, low, close, volume."""

    sessions: int = Field(20, ge=1, le=250, description="how many sessions, the newest first")


class _IndicatorArguments(_Arguments):
    """One indicator as of the decision, with its value one session earlier."""

    name: Literal[
        "close_50_sma",
        "close_200_sma",
        "close_10_ema",
        "macd",
        "macds",
        "macdh",
        "rsi",
        "boll",
        "boll_ub",
        "boll_lb",
        "atr",
        "vwma",
    ] = Field(description="name of the indicator")


class _StatementArguments(_Arguments):
    """One filed statement, the newest quarter first."""

    kind: Literal["income_statement", "balance_sheet", "cash_flow_statement"] = Field(description="which statement")


class _FundamentalsArguments(_Arguments):
    """Growth, margins, valuation and dividends, computed from the filed statements."""


class _InsidersArguments(_Arguments):
    """Insider transactions, the newest first."""


class _MacroArguments(_Arguments):
    """Economic series with their newest values."""


class _NewsArguments(_Arguments):
    """News texts before the decision, the newest first."""

    scope: Literal["company", "global", "social"] = Field(
        "company", description="about the company, the market, or social media"
    )
    days: int = Field(7, ge=1, le=30, description="how many days back")


_TOOLS: Mapping[str, tuple[type[_Arguments], Callable[..., str]]] = {
    "get_prices": (_PricesArguments, views.prices_view),
    "get_indicator": (_IndicatorArguments, views.indicator_view),
    "get_news": (_NewsArguments, views.news_view),
    "get_insider_transactions": (_InsidersArguments, views.insiders_view),
    "get_macro": (_MacroArguments, views.macro_view),
    "get_statement": (_StatementArguments, views.statement_view),
    "get_fundamentals": (_FundamentalsArguments, views.fundamentals_view),
}
"""Tool name -> its arguments, whose docstring is the tool's description, and the view that it returns."""

_BY_FIELD: Mapping[str, tuple[str, ...]] = {
    "market": ("get_prices", "get_indicator"),
    "sentiment": ("get_news",),
    "news": ("get_news", "get_insider_transactions", "get_macro"),
    "fundamentals": ("get_fundamentals", "get_statement"),
}
"""An analyst's field -> the tools that it is offered."""


def toolkit(snapshot: Snapshot, fields: Sequence[str]) -> Mapping[str, BaseTool]:
    """Tool name -> tool over the snapshot, for an analyst's fields. Raises PipelineError if there are none."""
    names = [name for field in fields for name in _BY_FIELD.get(field, ())]
    if not names:
        raise PipelineError(f"no tools for data {', '.join(fields) or 'nothing'}; known: {', '.join(_BY_FIELD)}")
    return {name: _tool(name, snapshot) for name in dict.fromkeys(names)}


def spec(tool: BaseTool) -> ToolSpec:
    """A tool as a request carries it."""
    arguments, _ = _TOOLS[tool.name]
    schema = arguments.model_json_schema()
    keys = ("type", "properties", "required", "additionalProperties")
    parameters: dict[str, Any] = {key: schema[key] for key in keys if key in schema}
    return ToolSpec(tool.name, tool.description, parameters)


def _tool(name: str, snapshot: Snapshot) -> BaseTool:
    from langchain_core.tools import StructuredTool

    arguments, view = _TOOLS[name]
    description = (arguments.__doc__ or "").strip()
    return StructuredTool(name=name, description=description, args_schema=arguments, func=_function(partial(view, snapshot)))


def _function(view: Callable[..., Any]) -> Callable[..., str]:
    """A function with keyword arguments only, because LangChain inspects the signature."""

    def call(**arguments: Any) -> str:
        return str(view(**arguments))

    return call


@dataclass(frozen=True)
class _ToolConversation:
    """A tool conversation so far."""

    parts: tuple[Part, ...]
    remaining_tokens: int
    """Budget for further tool results."""
    skill: ToolSkill = field(default_factory=ToolSkill)


async def take_turn(ctx: Context, turn: Turn, earlier: Sequence[TurnResult]) -> TurnResult:
    """Take a turn, with tools or without. An unusable answer is a result too; raises AgentsError if the call fails."""
    if ctx.pipeline.inputs == "tools" and "snapshot" in turn.role.reads:
        return await research(ctx, turn)
    parts = prompts.prompt(ctx.snapshot, ctx.pipeline, turn, earlier, ctx.output_cap(turn.role.name))
    async with ctx.cache.turn(turn, earlier) as caching:
        return await conclude(ctx, turn, parts, caching=caching)


async def research(ctx: Context, turn: Turn) -> TurnResult:
    """An analyst's turn with tools: rounds of calls, then its report. Raises Unsupported for a model without tools."""
    kit = toolkit(ctx.snapshot, turn.role.data)
    conversation = _ToolConversation(_opening(ctx, turn), _budget(ctx, turn))
    tools = tuple(map(spec, kit.values()))
    for index in range(ctx.pipeline.tool_rounds):
        answer = await _ask(ctx, turn, conversation.parts, tools, index)
        if answer.tool_calls:
            conversation = _with_results(conversation, answer, kit)
            continue
        written = written_calls.count(answer.text, kit)
        if not written or conversation.skill.written_calls:
            return _checked(await _report(ctx, turn, conversation, answer), kit)
        conversation = _with_reminder(conversation, answer, written)
    stop = Part("user", "# Tools\nNo more calls: write your answer now, from what you have.")
    skill = conversation.skill + ToolSkill(capped_rounds=1)
    return _checked(await conclude(ctx, turn, (*conversation.parts, stop), skill), kit)


async def _ask(ctx: Context, turn: Turn, parts: Sequence[Part], tools: Sequence[ToolSpec], index: int) -> Answer:
    caching = ctx.cache.tool_round(turn.role.name, parts, goes_on=index + 1 < ctx.pipeline.tool_rounds)
    try:
        return await ctx.ask(
            turn.role.name, parts, tools=tools, round=turn.round, kind="tool_round", index=index, caching=caching
        )
    except ModelCallError as error:
        if error.cause != "unsupported":
            raise
        model = ctx.model(turn.role.name)
        fix = "inputs: prefetch for this arm, or a model with tools"
        raise Unsupported(f"{model.alias} ({model.name}) cannot call tools: {error}; fix: {fix}") from error


def run(call: ToolCall, kit: Mapping[str, BaseTool]) -> tuple[str, ToolSkill]:
    """The text that answers a call, and how the call counts; for a wrong call the text names what is allowed."""
    if call.name not in kit:
        return f"unknown tool {call.name[:60]!r}; known: {', '.join(kit)}", ToolSkill(calls=1, unknown_tool=1)
    try:
        arguments = _decoded(call.arguments)
        text = str(kit[call.name].invoke(arguments))
    except (ValueError, PipelineError) as error:
        return f"wrong arguments for {call.name}: {_one_line(error)}", ToolSkill(calls=1, bad_arguments=1)
    return text, ToolSkill(calls=1, valid=1)


def _budget(ctx: Context, turn: Turn) -> int:
    budgets = [ctx.pipeline.budget_tokens.get(name) for name in turn.role.data]
    return sum(tokens for tokens in budgets if tokens) or _ALL_RESULTS_TOKENS


def _opening(ctx: Context, turn: Turn) -> tuple[Part, ...]:
    """The usual prompt, with a reference to the tools instead of the material."""
    material = Part("user", "# Material\nNothing is shown here: fetch what you need with the tools, then write your answer.")
    instruction = prompts.instruction(turn, ctx.output_cap(turn.role.name))
    return (prompts.system_prompt(), prompts.case(ctx.snapshot), material, instruction)


async def _report(ctx: Context, turn: Turn, conversation: _ToolConversation, answer: Answer) -> TurnResult:
    """Free text is the report; a form needs one more request, with its schema and without tools."""
    if turn.role.output not in FORMS:
        return free_text(turn, answer, conversation.skill)
    notes = (Part("assistant", answer.text),) if answer.text.strip() else ()
    task = Part("user", "# Tools\nThat was the research. Give your answer now, in the form asked for.")
    return await conclude(ctx, turn, (*conversation.parts, *notes, task), conversation.skill)


def _with_reminder(conversation: _ToolConversation, answer: Answer, written: int) -> _ToolConversation:
    """The conversation after calls that were written as text: one request more, with the reason."""
    reminder = Part("user", f"# Tools\nThat was text, so nothing was called. {_HOW_TO_CALL}")
    skill = conversation.skill + ToolSkill(calls=written, written_calls=written)
    return replace(conversation, parts=(*conversation.parts, Part("assistant", answer.text), reminder), skill=skill)


def _checked(result: TurnResult, kit: Mapping[str, BaseTool]) -> TurnResult:
    """A report that is still a written tool call is counted and marked: it is no report."""
    written = written_calls.count(result.text, kit)
    if not written or result.status != "typed" or result.value is not None:
        return result
    skill = result.skill + ToolSkill(calls=written, written_calls=written)
    return replace(result, status="unparsed", note=_NO_REPORT, skill=skill)


_HOW_TO_CALL = "Call a tool in the format of tool calls, or write your answer without calling one."
_NO_REPORT = "Attention: this is a tool call written as text, which ran nothing; there is no report from this role."
_NOT_SHOWN = "not shown: the token budget of tool results is used up; write your answer from what you have"
_NOT_RUN = f"not run: at most {_MAX_CALLS} calls in one answer"


def _with_results(conversation: _ToolConversation, answer: Answer, kit: Mapping[str, BaseTool]) -> _ToolConversation:
    """The conversation continued with the model's calls and their results."""
    parts: list[Part] = [Part("assistant", answer.text, tool_calls=answer.tool_calls)]
    skill, remaining = conversation.skill, conversation.remaining_tokens
    for position, call in enumerate(answer.tool_calls):
        text, counted = run(call, kit) if position < _MAX_CALLS else (_NOT_RUN, ToolSkill(calls=1, bad_arguments=1))
        shown = prompts.shorten(text, min(remaining, _RESULT_TOKENS)) if remaining > 0 else _NOT_SHOWN
        remaining -= estimate_tokens(shown)
        parts.append(Part("tool", shown, tool_call_id=call.id))
        skill = skill + counted
    return _ToolConversation((*conversation.parts, *parts), remaining, skill)


def _decoded(text: str) -> dict[str, Any]:
    try:
        arguments = decode_json(text or "{}")
    except ValueError as error:
        raise ValueError("the arguments are no JSON object") from error
    if not isinstance(arguments, dict):
        raise ValueError("the arguments are no JSON object")
    return arguments


def _one_line(error: Exception) -> str:
    """An error on one line; pydantic's name each argument on a line of its own."""
    details = getattr(error, "errors", None)
    if callable(details):
        return "; ".join(f"{'.'.join(map(str, item['loc'])) or 'arguments'}: {item['msg']}" for item in details())[:400]
    return str(error)[:400]
