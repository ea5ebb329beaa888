"""The plan as people read it: a table of arms, and beside each heading what it means for the run."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from harness.planning import caps
from harness.planning.caps import Cap
from harness.planning.counting_text import input_lines, output_line
from harness.planning.draws import Interval
from harness.planning.per_decision_text import per_decision
from harness.planning.plan import Plan
from harness.planning.provable_text import advices, proves
from reports.format import significant
from reports.tables import ARROW, JUDGES

if TYPE_CHECKING:
    from rich.console import Console

Line = tuple[str, str]
"""Heading and text."""


def show(plan: Plan, console: Console) -> None:
    """Print a plan within the width of the terminal; nothing is cut."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(title=f"plan of {plan.experiment}", title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("arm", overflow="fold", min_width=12)
    for heading in ("cells", "calls", "in", "out", "cost, 80 %", "time, 80 %"):
        table.add_column(heading, justify="right", no_wrap=True)
    for name, arm in {**plan.arms, **plan.again}.items():
        numbers = [f"{arm.cells:,}", f"{arm.calls:,}", _short(arm.input_tokens), _short(arm.output_tokens)]
        table.add_row(Text(_short_name(name)), *numbers, usd(arm.cost), seconds(arm.time))
    console.print(table)
    below = Table.grid(padding=(0, 2, 0, 0))
    below.add_column(no_wrap=True, style="bold")
    below.add_column(overflow="fold")
    above = ""
    for heading, text in lines(plan):
        below.add_row("" if heading == above else heading, Text(text))
        above = heading
    console.print(below)


def lines(plan: Plan) -> Iterator[Line]:
    """What the table does not say."""
    yield "cells", f"{plan.cells:,} in the matrix, {plan.to_run:,} to run with {plan.calls:,} calls"
    if plan.again:
        cells, calls = sum(one.cells for one in plan.again.values()), sum(one.calls for one in plan.again.values())
        yield "then", f"replays and judges as declared: {cells:,} cells, at most {calls:,} calls, in every sum below"
    for name, roles in plan.exchanged.items():
        yield "exchanged", f"{name}: {', '.join(roles)}"
    if plan.reused.cells:
        yield "reused", f"{plan.reused.cells:,} of {plan.cells:,} cells are there from earlier runs, {_saved(plan)}"
    for name, server in plan.servers.items():
        yield "server", f"{name} is {server.class_and_why}"
    yield "cost", _cost(plan)
    for text in per_decision(plan.arms):
        yield "a decision", text
    yield "time", f"{seconds(plan.total_time)} for all arms together"
    for cap in plan.caps:
        yield "cap", _cap(cap)
    if plan.calls:
        for text in input_lines(plan):
            yield "tokens in", text
        yield "tokens out", output_line(plan)
    if plan.unknown_models:
        yield "unknown", f"{', '.join(plan.unknown_models)}: not in the table of models, so the intervals are wider"
    for name, provable in plan.detectable.items():
        yield "can prove", f"{name}: {proves(provable)}"
    yield from (("spend on", advice) for advice in advices(plan.detectable))
    if plan.undetectable:
        yield "can prove", f"{', '.join(plan.undetectable)}: how much they scatter is not known before a run"
    for check in plan.checks:
        if check.status != "ok":
            yield check.status, f"{check.name}: {check.found}" + (f" ({check.fix})" if check.fix else "")


def usd(interval: Interval) -> str:
    if interval.low is None or interval.mid is None or interval.high is None:
        return "unknown"
    if not interval.high:
        return "$0"
    digits = 2 if interval.high < 0.1 else 3
    places = max(0, digits - 1 - math.floor(math.log10(interval.high)))
    low, mid, high = (f"{amount:,.{places}f}" for amount in (interval.low, interval.mid, interval.high))
    return f"${mid} ({low}–{high})"


def seconds(interval: Interval) -> str:
    if interval.low is None or interval.mid is None or interval.high is None:
        return "unknown"
    if not interval.high:
        return "0 s"
    size, unit = (1, "s") if interval.high < 120 else (60, "min") if interval.high < 7200 else (3600, "h")
    digits = 1 if unit == "h" else 0
    low, mid, high = (f"{value / size:.{digits}f}" for value in (interval.low, interval.mid, interval.high))
    return f"{mid} {unit} ({low}–{high})"


def _cost(plan: Plan) -> str:
    """Bills and own hardware apart, so that an unknown part does not hide a known one."""
    whole, api = plan.total_cost, plan.total_api_cost
    if whole == api:
        return f"{usd(whole)}, all of it billed by hosted models" if whole.high else usd(whole)
    billed = f"hosted models bill {usd(api)}" if api.high or api.high is None else "no hosted model is asked"
    if whole.mid is not None:
        return f"{usd(whole)} with own hardware; {billed}"
    return f"{billed}; the whole is unknown, never $0: say local_cost, or prices: FILE, for what has no price yet"


def _saved(plan: Plan) -> str:
    saved = plan.reused.saved_usd
    if saved is None:
        return "what that saves is unknown"
    return f"${_money(saved)} saved" if saved else "no bill saved: they ran on own hardware"


def _cap(cap: Cap) -> str:
    verdict = "binds" if cap.chance >= 0.5 else "may bind" if cap.chance >= caps.LIKELY else "is not likely to bind"
    what = {
        "run": f"{cap.chance:.0%} chance that it stops the run",
        "model": f"{cap.chance:.0%} chance that it stops this model",
        "cell": f"cuts {cap.chance:.0%} of the cells of the dearest arm",
        "call": f"refuses {cap.chance:.0%} of the calls",
    }[cap.binds]
    enough = "is enough for all" if cap.binds == "call" else f"is enough in 9 of 10 {cap.binds}s"
    need = f"; ${_money(cap.would_need)} {enough}" if cap.would_need else ""
    return f"{cap.name} ${_money(cap.usd)} {verdict}: {what}{need}"


def _money(amount: float) -> str:
    """Three digits that say something; cents from a dollar on."""
    return (
        f"{amount:,.0f}"
        if amount >= 1_000
        else significant(amount)
        if amount < 1
        else f"{amount:,.{2 if amount < 100 else 1}f}"
    )


def _short_name(arm: str) -> str:
    """A replay or a judgement without the arm that it is of: there is one only."""
    before, arrow, target = arm.rpartition(ARROW)
    judge = before.partition(JUDGES)[0] + JUDGES.rstrip() if JUDGES in before else ""
    return f"{judge}{arrow}{target}".strip()


def _short(tokens: float) -> str:
    if tokens < 10_000:
        return f"{tokens:,.0f}"
    return f"{tokens / 1e3:,.0f}k" if tokens < 999_500 else f"{tokens / 1e6:,.1f}M"
