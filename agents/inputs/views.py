"""The part of a snapshot that each analyst or tool shows, cut to a token budget."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from agents.errors import PipelineError
from agents.inputs import sheets
from agents.inputs.snapshot import Snapshot
from agents.inputs.text import Block, fit

NEWS_DAYS = 7
T = TypeVar("T")


def instrument(snapshot: Snapshot) -> str:
    """The short header of every prompt: instrument, decision time, and that nothing later is known."""
    if snapshot.masked:
        return (
            f"Instrument: {snapshot.label} (name withheld)\nDecision on day 0 ({_when(snapshot)}); nothing later is known.\n"
            "Prices are rescaled so that the last close is 100; company figures are rescaled too."
        )
    name = f" ({snapshot.name})" if snapshot.name else ""
    return f"Instrument: {snapshot.label}{name}\nDecision on {snapshot.date} ({_when(snapshot)}); nothing later is known."


def view(snapshot: Snapshot, analyst: str, budget_tokens: int | None = None) -> str:
    """The text for one analyst, at most about `budget_tokens` tokens; a cut is announced in it."""
    return fit(_entry("analyst", analyst, VIEWS)(snapshot), budget_tokens)


def prices_view(snapshot: Snapshot, sessions: int = sheets.SHOWN_SESSIONS, budget_tokens: int | None = None) -> str:
    """The last session and the newest `sessions` sessions as a table."""
    return fit([sheets.last_session(snapshot), sheets.price_table(snapshot, max(1, sessions))], budget_tokens)


def indicator_view(snapshot: Snapshot, name: str) -> str:
    """One of the twelve indicators."""
    return sheets.indicator_line(_entry("indicator", name, {row.name: row for row in snapshot.indicators}))


def news_view(snapshot: Snapshot, scope: str = "company", days: int = NEWS_DAYS, budget_tokens: int | None = None) -> str:
    """Texts of one scope (company, global, social) of the last `days` days."""
    _entry("scope", scope, sheets.SCOPES)
    return fit([sheets.news(snapshot, scope, days)], budget_tokens)


def statement_view(snapshot: Snapshot, kind: str, budget_tokens: int | None = None) -> str:
    """One statement (income_statement, balance_sheet, cash_flow_statement)."""
    _entry("statement", kind, sheets.STATEMENTS)
    return fit([sheets.statement(snapshot, kind)], budget_tokens)


def fundamentals_view(snapshot: Snapshot, budget_tokens: int | None = None) -> str:
    """Growth, margins, valuation and dividends."""
    return fit([sheets.computed(snapshot), sheets.dividends(snapshot)], budget_tokens)


def insiders_view(snapshot: Snapshot, budget_tokens: int | None = None) -> str:
    """Insider transactions."""
    return fit([sheets.insiders(snapshot)], budget_tokens)


def macro_view(snapshot: Snapshot, budget_tokens: int | None = None) -> str:
    """Economic series."""
    return fit([sheets.macro(snapshot)], budget_tokens)


def _market(snapshot: Snapshot) -> list[Block]:
    return [
        sheets.last_session(snapshot),
        sheets.returns(snapshot),
        sheets.indicators(snapshot),
        sheets.price_table(snapshot),
    ]


def _sentiment(snapshot: Snapshot) -> list[Block]:
    return [
        sheets.news(snapshot, "company", NEWS_DAYS, rank=1),
        sheets.news(snapshot, "social", NEWS_DAYS, rank=2),
        sheets.returns(snapshot),
    ]


def _news(snapshot: Snapshot) -> list[Block]:
    return [
        sheets.news(snapshot, "company", NEWS_DAYS, rank=1),
        sheets.news(snapshot, "global", NEWS_DAYS, rank=2),
        sheets.insiders(snapshot),
        sheets.macro(snapshot),
    ]


def _fundamentals(snapshot: Snapshot) -> list[Block]:
    statements = [sheets.statement(snapshot, kind) for kind in sheets.STATEMENTS] if snapshot.filings else []
    return [sheets.computed(snapshot), *statements, sheets.dividends(snapshot)]


VIEWS: Mapping[str, Callable[[Snapshot], list[Block]]] = {
    "market": _market,
    "sentiment": _sentiment,
    "news": _news,
    "fundamentals": _fundamentals,
}


def _when(snapshot: Snapshot) -> str:
    bar = snapshot.last
    return "after the close" if bar.available_at == snapshot.decision_time else f"last bar: {sheets.day(snapshot, bar.date)}"


def _entry(kind: str, name: str, table: Mapping[str, T]) -> T:
    if name not in table:
        raise PipelineError(f"unknown {kind} {name!r}; known: {', '.join(table)}")
    return table[name]
