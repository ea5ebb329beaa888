"""How a seat comes to its statement: at once from its prompt, or by way of tools."""

from __future__ import annotations

from collections.abc import Sequence

from agents import prompts
from agents.flow import Seat
from agents.statement import Statement
from agents.tools import research
from agents.turn import Hearing, conclude


async def speak(hearing: Hearing, seat: Seat, said: Sequence[Statement]) -> Statement:
    """Raises AgentsError when the model cannot be asked; an unusable answer is a statement like any other."""
    if hearing.pipeline.inputs == "tools" and "snapshot" in seat.role.reads:
        return await research(hearing, seat, said)
    parts = prompts.prompt(hearing.snapshot, hearing.pipeline, seat, said, hearing.cap(seat.role.name))
    return await conclude(hearing, seat, parts)
