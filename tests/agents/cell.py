"""A cell as tests run it: a demo case, a scripted lineup, an open gate."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Callable
from functools import cache
from typing import Any

from agents import Pipeline, Place, Result, Snapshot, decide, freeze_case, open_sources
from tests.fakes.scripted import OpenGate, Script, ScriptedClients, lineup, obedient


@cache
def snapshot() -> Snapshot:
    return freeze_case("AAPL", dt.date(2010, 3, 1), open_sources({"prices": "demo"}), {})


def run(
    pipeline: Pipeline | None = None,
    script: Script = obedient,
    *,
    gate: OpenGate | None = None,
    models: Any = None,
    delay_s: Callable[[Place], float] = lambda place: 0.0,
) -> tuple[Result, OpenGate, ScriptedClients]:
    gate = gate or OpenGate()
    clients = ScriptedClients(gate, script, delay_s)
    deciding = decide(snapshot(), lineup() if models is None else models, pipeline or Pipeline(), gate, clients)  # type: ignore[arg-type]
    return asyncio.run(deciding), gate, clients


def prompt(gate: OpenGate, role: str, round: int = 0, kind: str = "primary") -> str:
    """The whole prompt that a seat was sent."""
    for place, request in gate.admitted:
        if (place.role, place.round, place.kind) == (role, round, kind):
            return "\n\n".join(part.text for part in request.parts)
    raise AssertionError(f"{role}/{round}/{kind} was never asked")
