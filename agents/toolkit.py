"""The tools themselves: small views of the frozen snapshot, as LangChain tools with strict arguments."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from agents.contract.request import ToolSpec
from agents.errors import PipelineError
from agents.inputs import views
from agents.inputs.snapshot import Snapshot

if TYPE_CHECKING:
    from langchain_core.tools import BaseTool


class _Arguments(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _Prices(_Arguments):
    """The newest sessions as a table: date, open, high, low, close, volume."""

    sessions: int = Field(20, ge=1, le=250, description="how many sessions, the newest first")


class _Indicator(_Arguments):
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


class _Statement(_Arguments):
    """One filed statement, the newest quarter first."""

    kind: Literal["income_statement", "balance_sheet", "cash_flow_statement"] = Field(description="which statement")


class _Fundamentals(_Arguments):
    """Growth, margins, valuation and dividends, computed from the filed statements."""


class _Insiders(_Arguments):
    """Insider transactions, the newest first."""


class _Macro(_Arguments):
    """Economic series with their newest values."""


class _News(_Arguments):
    """News texts before the decision, the newest first."""

    scope: Literal["company", "global", "social"] = Field(
        "company", description="about the company, the market, or social media"
    )
    days: int = Field(7, ge=1, le=30, description="how many days back")


Build = tuple[type[_Arguments], Callable[..., str]]

_TOOLS: Mapping[str, Build] = {
    "get_prices": (_Prices, views.prices_view),
    "get_indicator": (_Indicator, views.indicator_view),
    "get_news": (_News, views.news_view),
    "get_insider_transactions": (_Insiders, views.insiders_view),
    "get_macro": (_Macro, views.macro_view),
    "get_statement": (_Statement, views.statement_view),
    "get_fundamentals": (_Fundamentals, views.fundamentals_view),
}
"""The one table of tools: name -> its arguments, and the view that serves it."""

_BY_FIELD: Mapping[str, tuple[str, ...]] = {
    "market": ("get_prices", "get_indicator"),
    "sentiment": ("get_news",),
    "news": ("get_news", "get_insider_transactions", "get_macro"),
    "fundamentals": ("get_fundamentals", "get_statement"),
}
"""An analyst's field -> the tools it is offered."""


def toolkit(snapshot: Snapshot, fields: Sequence[str]) -> Mapping[str, BaseTool]:
    """Tools over the snapshot for an analyst's fields, by name. Raises PipelineError when there are none."""
    names = [name for field in fields for name in _BY_FIELD.get(field, ())]
    if not names:
        raise PipelineError(f"no tools for data {', '.join(fields) or 'nothing'}; known: {', '.join(_BY_FIELD)}")
    return {name: _tool(name, snapshot) for name in dict.fromkeys(names)}


def spec(tool: BaseTool) -> ToolSpec:
    """A tool as a request carries it."""
    arguments, _ = _TOOLS[tool.name]
    described = arguments.model_json_schema()
    keys = ("type", "properties", "required", "additionalProperties")
    schema: dict[str, Any] = {key: described[key] for key in keys if key in described}
    return ToolSpec(tool.name, tool.description, schema)


def _tool(name: str, snapshot: Snapshot) -> BaseTool:
    from langchain_core.tools import StructuredTool

    arguments, show = _TOOLS[name]
    return StructuredTool(name=name, description=_doc(arguments), args_schema=arguments, func=_plain(partial(show, snapshot)))


def _plain(show: Callable[..., Any]) -> Callable[..., str]:
    def call(**arguments: Any) -> str:
        return str(show(**arguments))

    return call


def _doc(arguments: type[_Arguments]) -> str:
    return (arguments.__doc__ or "").strip()
