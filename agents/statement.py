"""What a seat said: its text, whole, with what the desk must know about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from agents.contract.result import ToolSkill
from agents.decisions.forms import Value
from agents.flow import Seat


@dataclass(frozen=True)
class Statement:
    """One seat's contribution."""

    seat: Seat
    text: str
    note: str = ""
    """What later roles are told about it: cut off, refused, empty, not in the required form."""
    status: str = "typed"
    """One of types.DECISION_STATUSES for a form; for free text typed, truncated, refused or missing."""
    value: Value | None = None
    """The typed object of a form."""
    parsed: Mapping[str, str] = field(default_factory=dict)
    """Place.key -> JSON of the object read from that call's answer."""
    skill: ToolSkill = field(default_factory=ToolSkill)
