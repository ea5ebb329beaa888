"""The plan as people read it: a table of arms, and a few sentences."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from harness.planning.draws import Interval
from harness.planning.plan import Plan

if TYPE_CHECKING:
    from rich.console import Console

    from harness.planning.provable import Provable


def show(plan: Plan, console: Console) -> None:
    """Print a plan."""
    from rich import box
    from rich.table import Table

    table = Table(title=f"plan of {plan.experiment}", title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
    table.add_column("arm", no_wrap=True)
    for heading in ("cells", "calls", "in", "out", "cost, 80 %", "time, 80 %"):
        table.add_column(heading, justify="right", no_wrap=True)
    for name, arm in plan.arms.items():
        numbers = [f"{arm.cells:,}", f"{arm.calls:,}", _short(arm.input_tokens), _short(arm.output_tokens)]
        table.add_row(name, *numbers, usd(arm.cost), seconds(arm.time))
    console.print(table)
    for line in lines(plan):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def lines(plan: Plan) -> Iterator[str]:
    """What the table does not say."""
    yield f"{plan.cells} cells, {plan.to_run} to run; {plan.calls:,} calls"
    if plan.reused.cells:
        saved = "" if plan.reused.saved_usd is None else f", ${plan.reused.saved_usd:,.2f} saved"
        yield f"{plan.reused.cells} of {plan.cells} cells are there from earlier runs{saved}"
    yield f"hosted models bill {usd(plan.total_api_cost)}; everything costs {usd(plan.total_cost)}"
    yield f"it takes {seconds(plan.total_time)}"
    if plan.total_cost.mid is None:
        yield "    unknown because some hardware or model has no price: say local_cost, or prices: FILE; never counted as 0"
    for cap in plan.caps:
        need = "" if cap.would_need is None else f"; ${cap.would_need:,.2f} is enough in nine of ten cases"
        yield f"cap {cap.name} ${cap.usd:,.2f}: cuts the run with {cap.chance:.0%}{need}"
    for basis in dict.fromkeys(arm.basis for arm in plan.arms.values() if arm.calls):
        yield f"input tokens: {basis}; output tokens: {_learnt(plan)}"
    for name, provable in plan.detectable.items():
        yield f"can prove - {name}: {_provable(provable)}"
    if plan.undetectable:
        yield f"can prove - {', '.join(plan.undetectable)}: how much they scatter is not known before a run"
    for check in plan.checks:
        if check.status != "ok":
            yield f"{check.status}: {check.name}: {check.found}" + (f" ({check.mend})" if check.mend else "")


def usd(interval: Interval) -> str:
    if interval.low is None or interval.mid is None or interval.high is None:
        return "unknown"
    return f"${interval.mid:,.2f} ({interval.low:,.2f}–{interval.high:,.2f})"


def seconds(interval: Interval) -> str:
    if interval.low is None or interval.mid is None or interval.high is None:
        return "unknown"
    size, unit = (1, "s") if interval.high < 120 else (60, "min") if interval.high < 7200 else (3600, "h")
    digits = 1 if unit == "h" else 0
    low, mid, high = (f"{value / size:.{digits}f}" for value in (interval.low, interval.mid, interval.high))
    return f"{mid} {unit} ({low}–{high})"


def _short(tokens: float) -> str:
    if tokens < 10_000:
        return f"{tokens:,.0f}"
    return f"{tokens / 1e3:,.0f}k" if tokens < 1e7 else f"{tokens / 1e6:,.0f}M"


def _learnt(plan: Plan) -> str:
    if not plan.runs_learnt_from:
        return "declared priors, no earlier run"
    some = [arm for arm in plan.arms.values() if arm.calls]
    measured = sum(arm.is_measured for arm in some)
    runs = f"{plan.runs_learnt_from} earlier run{'s' if plan.runs_learnt_from > 1 else ''}"
    return f"measured in {runs} for {measured} of {len(some)} arms, else declared priors"


def _provable(one: Provable) -> str:
    if one.difference is None:
        return "nothing: one date proves nothing"
    size = f"{one.difference:.1%}" if one.unit == "ratio" else f"{one.difference:.3g}"
    text = f"differences from {size} on ({one.cases} cases, {one.dates} dates that count)"
    if one.margin is not None:
        needed = "" if one.cases_needed is None or one.can_prove else f", {one.cases_needed:,} cases would"
        text += f"; margin {one.margin:g} {'can' if one.can_prove else 'cannot'} be proven{needed}"
    return f"{text}; more money goes to {one.spend_on}"
