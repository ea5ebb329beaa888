"""A plan as terminal text: the table of arms, then remarks on tokens, cost, budget and what can be proven."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from harness.planning import lanes, plan, workload
from harness.planning.forecast import HOSTED, LOCAL, MIXED, Interval
from harness.planning.plan import CapForecast, Plan
from harness.planning.workload import ASSUMED, NOT_RENDERED, Counted
from harness.terminal import FigureRows
from reports.format import significant, usd_text
from reports.tables import ARROW, JUDGES

if TYPE_CHECKING:
    from rich.console import Console

    from harness.planning.forecast import ArmForecast


def input_lines(plan: Plan) -> Iterator[str]:
    """What the prompts are, then how each model's were counted."""
    yield from _prompts(plan)
    by_words: dict[str, list[str]] = {}
    for model, how in plan.counted.items():
        if how.how != ASSUMED:
            name = f"{model} ({how.vocabulary})" if how.vocabulary not in ("", model) else model
            by_words.setdefault(_words(how), []).append(name)
    for words, models in by_words.items():
        yield f"{', '.join(models)}: {words}"
    for name, arm in plan.arms.items():
        if arm.cached_tokens or arm.cache_write_tokens:
            each = (arm.input_tokens, arm.cached_tokens, arm.cache_write_tokens)
            total, read, written = (significant(tokens / arm.cells) for tokens in each)
            yield f"{name}: of {total} input tokens a decision {read} are read from a prompt cache, {written} written to it"


def _prompts(plan: Plan) -> Iterator[str]:
    bases = dict.fromkeys(arm.basis for arm in plan.arms.values() if arm.calls)
    if all(how.how != ASSUMED for how in plan.counted.values()):
        yield from bases
        return
    yield from (basis for basis in bases if NOT_RENDERED not in basis)
    if not any(NOT_RENDERED in basis for basis in bases):
        return
    if plan.unrendered:
        are = "is a network source" if len(plan.unrendered) == 1 else "are network sources"
        yield (
            f"NOT counted yet: {' and '.join(plan.unrendered)} {are}, which a plan does not contact. Until "
            "`run` has frozen the cases, which it does before it shows this plan again and asks, each kind of material is "
            f"taken to have {workload.USUAL_MATERIAL:,.0f} tokens or its token budget, and later roles to read what earlier "
            "ones are asked to write; the intervals are wider for it"
        )
    else:
        yield "NOT counted: the pipeline is your own, or its cases cannot be frozen here; token budgets are used instead"


def _words(how: Counted) -> str:
    ratio = "" if how.ratio == 1 else f", times {how.ratio:.3f} as reported in earlier runs"
    return {
        "measured": "as reported in earlier runs with the same prompts",
        "tokenizer": f"counted with the model's own tokenizer{ratio}",
        "calibrated ratio": f"no tokenizer at hand: estimated from the text, ratio {how.ratio:.2f} calibrated by earlier runs",
        "declared ratio": "no tokenizer at hand: estimated from the text, ratio 1.00 declared, no earlier run to calibrate it",
    }[how.how]


def output_line(plan: Plan) -> str:
    if not plan.runs_learnt_from:
        return "declared priors: what each role is asked to write, and hidden tokens by effort; no earlier run here"
    some = [arm for arm in plan.arms.values() if arm.calls]
    measured = sum(arm.is_measured for arm in some)
    runs = f"{plan.runs_learnt_from} earlier run{'s' if plan.runs_learnt_from > 1 else ''}"
    return f"measured in {runs} for {measured} of {len(some)} arms{'' if measured == len(some) else ', else declared priors'}"


def per_decision(arms: Mapping[str, ArmForecast]) -> Iterator[str]:
    """A line for each place, its arms from dear to cheap, then which hosted arms undercut a local one; nothing for one arm."""
    asking = {name: arm for name, arm in arms.items() if arm.calls}
    if len(asking) < 2:
        return
    for place in (HOSTED, LOCAL, MIXED):
        there = sorted((item for item in asking.items() if item[1].place == place), key=lambda item: -(item[1].cost.mid or 0.0))
        if there:
            yield f"{place}: " + ", ".join(f"{name} {_each(arm)}" for name, arm in there)
    yield from _undercut(asking)


def _each(arm: ArmForecast) -> str:
    """Unknown stays unknown; what the hosted part bills is known also where the local one is not."""
    if arm.cost.mid is not None:
        return usd_text(arm.cost.mid / arm.cells)
    if arm.place == MIXED and arm.api_cost.mid is not None:
        return f"{usd_text(arm.api_cost.mid / arm.cells)} hosted, the local part unknown"
    return "unknown"


def _undercut(arms: Mapping[str, ArmForecast]) -> Iterator[str]:
    """Hosted arms whose whole interval lies below a local arm's."""
    for name, local in arms.items():
        least = local.cost.low
        if local.place != LOCAL or least is None:
            continue
        cheaper = [
            other
            for other, hosted in arms.items()
            if hosted.place == HOSTED and hosted.cost.high is not None and hosted.cost.high / hosted.cells < least / local.cells
        ]
        if cheaper:
            yield f"cheaper than {name} on its machine, although hosted: {', '.join(cheaper)}"


Line = tuple[str, str]
"""Heading and text."""


def show(plan: Plan, console: Console, within_s: float | None = None) -> None:
    """Print a plan within the width of the terminal; nothing is cut. `within_s`: time that is left for the run."""
    from rich.table import Table
    from rich.text import Text

    headings = ("cells", "calls", "in", "out", "cost, 80 %", "time, 80 %")
    rows = {_short_name(name): _figures(arm) for name, arm in {**plan.arms, **plan.again}.items()}
    console.print(FigureRows(f"plan of {plan.experiment}", "arm", headings, rows))
    if plan.lanes and plan.calls:
        in_lanes = {lane.lane: lanes.describe(lane, usd, seconds) for lane in plan.lanes}
        of_lane = ("API cost, 80 %", "time, 80 %", "price", "stages")
        console.print(FigureRows("all hosted models in one lane", "lane", of_lane, in_lanes))
    below = Table.grid(padding=(0, 2, 0, 0))
    below.add_column(no_wrap=True, style="bold")
    below.add_column(overflow="fold")
    above = ""
    for heading, text in (*_lane_lines(plan, within_s), *lines(plan)):
        below.add_row("" if heading == above else heading, Text(text))
        above = heading
    console.print(below)


def _lane_lines(plan: Plan, within_s: float | None) -> Iterator[Line]:
    if not (plan.lanes and plan.calls):
        return
    if within_s is not None:
        yield "lane", lanes.advice(plan.lanes, within_s, usd, plan.local_time)
    if any(arm.place in (LOCAL, MIXED) for arm in plan.arms.values()):
        alone = f", which alone compute for {seconds(plan.local_time)}" if plan.local_time.mid else ""
        yield "lane", f"time: until the last answer, those of self-hosted models in the same run included{alone}"
    priced = [lane for lane in plan.lanes if lane.api_cost.mid is not None]
    if priced and (unpriced := [lane.lane for lane in plan.lanes if lane not in priced]):
        yield (
            "lane",
            f"{', '.join(unpriced)}: no price known for every hosted model; it can be added to a price file (prices: FILE)",
        )
    if any(lane.lane.startswith("background") for lane in plan.lanes):
        yield "lane", "background lanes: OpenAI keeps each answer until it is recorded here, for 30 days at most"


def _figures(arm: ArmForecast) -> list[str]:
    numbers = [f"{arm.cells:,}", f"{arm.calls:,}", _short(arm.input_tokens), _short(arm.output_tokens)]
    return [*numbers, usd(arm.cost), seconds(arm.time)]


def lines(plan: Plan) -> Iterator[Line]:
    """Remarks below the table."""
    yield "cells", f"{plan.cells:,} in the matrix, {plan.to_run:,} to run with {plan.calls:,} calls"
    if plan.again:
        cells, calls = (
            sum(replayed.cells for replayed in plan.again.values()),
            sum(replayed.calls for replayed in plan.again.values()),
        )
        yield "then", f"replays and judges as declared: {cells:,} cells, at most {calls:,} calls, in every sum below"
    for name, roles in plan.exchanged.items():
        yield "exchanged", f"{name}: {', '.join(roles)}"
    for name, arm in plan.arms.items():
        if arm.escalation is not None:
            yield "cascade", f"{name}: {arm.escalation.sentence}"
    if plan.reused.cells:
        yield "reused", f"{plan.reused.cells:,} of {plan.cells:,} cells are there from earlier runs, {_saved(plan)}"
    if plan.failed:
        yield "failed", f"{plan.failed:,} cells failed before: `python -m harness retry {plan.experiment}` lets them run again"
    for name, server in plan.servers.items():
        yield "server", f"{name} is {server.class_and_why}"
    yield "cost", _cost(plan)
    for text in per_decision(plan.arms):
        yield "a decision", text
    yield "time", f"{seconds(plan.total_time)} for all arms together"
    if plan.energy_kwh.high:
        yield "energy", f"{kwh(plan.energy_kwh)} above idle, of self-hosted models"
    for cap in plan.caps:
        yield "cap", _cap(cap)
    if plan.calls:
        for text in input_lines(plan):
            yield "tokens in", text
        yield "tokens out", output_line(plan)
    for name, figures in plan.cards.items():
        yield "card", f"{name}: {figures}"
    if plan.unknown_models:
        yield "unknown", f"{', '.join(plan.unknown_models)}: not in the table of models, so the intervals are wider"
    if plan.answers is not None:
        # Here, so that a run with problems reports them without importing SciPy.
        from harness.planning import answers

        yield from answers.lines(plan.answers, f"{plan.experiment}.yaml")
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


def kwh(interval: Interval) -> str:
    low, mid, high = (f"{value:.2g}" for value in (interval.low or 0.0, interval.mid or 0.0, interval.high or 0.0))
    return f"{mid} kWh ({low}–{high})"


def _cost(plan: Plan) -> str:
    """Hosted models and local hardware separately, so that an unknown part does not hide a known one."""
    total, api = plan.total_cost, plan.total_api_cost
    if total == api:
        return f"{usd(total)}, all of it billed by hosted models" if total.high else usd(total)
    billed = f"hosted models bill {usd(api)}" if api.high or api.high is None else "no hosted model is asked"
    if total.mid is not None:
        return f"{usd(total)} with own hardware; {billed}"
    return f"{billed}; the total is unknown, not $0: set local_cost, or prices: FILE, for what has no price yet"


def _saved(plan: Plan) -> str:
    saved = plan.reused.saved_usd
    if saved is None:
        return "what that saves is unknown"
    return f"${_money(saved)} saved" if saved else "no bill saved: they ran on own hardware"


def _cap(cap: CapForecast) -> str:
    verdict = "binds" if cap.chance >= 0.5 else "may bind" if cap.chance >= plan.LIKELY else "is not likely to bind"
    effect = {
        "run": f"{cap.chance:.0%} chance that it stops the run",
        "model": f"{cap.chance:.0%} chance that it stops this model",
        "cell": f"cuts {cap.chance:.0%} of the cells of the dearest arm",
        "call": f"refuses {cap.chance:.0%} of the calls",
    }[cap.binds]
    enough = "is enough for all" if cap.binds == "call" else f"is enough in 9 of 10 {cap.binds}s"
    need = f"; ${_money(cap.would_need)} {enough}" if cap.would_need else ""
    return f"{cap.name} ${_money(cap.usd)} {verdict}: {effect}{need}"


def _money(amount: float) -> str:
    """Three significant digits; cents from a dollar on."""
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
