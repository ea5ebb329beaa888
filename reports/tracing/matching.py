"""The fact of the inputs that a claim shows, exactly or rounded."""

from __future__ import annotations

import re
from collections.abc import Iterable

from reports.tracing.claims import Claim
from reports.tracing.given import Fact, Given
from reports.tracing.quantities import same_unit

_BESIDE = re.compile(r"\W*(\w{4,})")
_NEVER_BY_VALUE = frozenset({"target", "elsewhere"})
"""What others aim at and what statements do not show: a figure of that height, somewhere in the inputs, is no source of it."""
_NAMED = re.compile(r"(\w{3,})\s$")
LOW_PRECISION = 2
"""Digits up to which a figure is found somewhere by chance alone."""
_HEDGED = 0.025


def match(claim: Claim, given: Given) -> Fact | None:
    """The fact that a figure shows, exactly or rounded. A figure of few digits must share its quantity or its words."""
    quantity = claim.quantity
    half = max(quantity.half, _HEDGED * abs(quantity.value)) if quantity.is_hedged else quantity.half
    found = [fact for fact in given.near(quantity.value, half) if same_unit(quantity.unit, fact.unit)]
    named = [fact for fact in found if fact.label is not None and fact.label == claim.label]
    if claim.label in _NEVER_BY_VALUE:
        return _closest(claim, named) if named else None
    if not named and quantity.digits <= LOW_PRECISION:
        named = [fact for fact in found if _is_quoted(claim, fact)]
        return _closest(claim, named) if named else None
    return _closest(claim, named or found) if found else None


def _is_quoted(claim: Claim, fact: Fact) -> bool:
    """Whether the inputs show the very figure with a unit, with two decimals, or beside the same words."""
    if abs(abs(fact.value) - abs(claim.quantity.value)) > 1e-9 * abs(fact.value):
        return False
    beside = _BESIDE.match(claim.sentence, claim.end)
    is_beside = beside is not None and f"{claim.quantity.text}{beside[0]}".lower() in fact.line.lower()
    named = _NAMED.search(claim.sentence, 0, claim.at)
    is_name = named is not None and f"{named[1]} {claim.quantity.text}" in fact.line
    return bool(fact.unit) or claim.quantity.half < 0.01 or is_beside or is_name


def _closest(claim: Claim, facts: Iterable[Fact]) -> Fact:
    size = abs(claim.quantity.value)
    return min(facts, key=lambda fact: (claim.is_reversed(fact), abs(abs(fact.value) - size)))
