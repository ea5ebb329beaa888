"""As-filed lines: of each one the version in force."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from agents.inputs.datum import Fact

STATEMENT_DAYS = 800
"""Periods that ended earlier than this before the decision are not kept: eight quarters and some."""


def latest(facts: Sequence[Fact]) -> tuple[Fact, ...]:
    """Of each line the value filed last, with the time from which it is known; a repetition is no news."""
    newest: dict[tuple[Any, ...], Fact] = {}
    for fact in sorted(facts, key=lambda fact: fact.available_at):
        key = (fact.statement, fact.item, fact.period_start, fact.period_end)
        if key not in newest or newest[key].value != fact.value:
            newest[key] = fact
    return in_order(tuple(newest.values()))


def in_order(facts: Sequence[Fact]) -> tuple[Fact, ...]:
    """By period, statement and item."""
    return tuple(sorted(facts, key=lambda fact: (fact.period_end, fact.statement, fact.item, str(fact.period_start))))
