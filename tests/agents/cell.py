"""A cell as tests run it: a demo case, a scripted lineup, an open admission."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Callable, Collection
from functools import cache
from typing import Any

from agents import CallSite, Context, Pipeline, Result, Snapshot, decide, freeze_case, open_sources
from tests.fakes.scripted import OpenAdmission, Script, ScriptedClients, lineup, obedient


@cache
def snapshot() -> Snapshot:
    return freeze_case("AAPL", dt.date(2010, 3, 1), open_sources({"prices": "demo"}), {})


def run(
    pipeline: Pipeline | None = None,
    script: Script = obedient,
    *,
    admission: OpenAdmission | None = None,
    models: Any = None,
    delay_s: Callable[[CallSite], float] = lambda site: 0.0,
    answered: Collection[tuple[str, int]] = (),
) -> tuple[Result, OpenAdmission, ScriptedClients]:
    admission = admission or OpenAdmission()
    clients = ScriptedClients(admission, script, delay_s)
    models = lineup() if models is None else models
    ctx = Context(models, pipeline or Pipeline(), admission, clients, snapshot(), answered=answered)  # type: ignore[arg-type]
    return asyncio.run(decide(ctx)), admission, clients


def prompt(admission: OpenAdmission, role: str, round: int = 0, kind: str = "primary") -> str:
    """The whole prompt that a turn was sent."""
    for site, request in admission.admitted:
        if (site.role, site.round, site.kind) == (role, round, kind):
            return "\n\n".join(part.text for part in request.parts)
    raise AssertionError(f"{role}/{round}/{kind} was never asked")
