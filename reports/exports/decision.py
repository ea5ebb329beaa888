"""`decision.md`: one page for who signs: what to adopt, what it saves a month, what may be lost, until when it holds."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from domain.shutdowns import VENDOR
from reports.answer import sentences, table
from reports.answer.caveats import caveats
from reports.answer.findings import find
from reports.answer.lineup_text import lineup_text
from reports.answer.lineups import Advice, Lineup
from reports.exports.documents import escaped
from reports.format import known, plain
from reports.money.bill import DECISIONS
from reports.roles import hybrid, replays
from reports.trust import shutdowns
from reports.verdict import GATE

if TYPE_CHECKING:
    from reports.answer.findings import Findings
    from reports.load import Run

PRICES_HOLD = dt.timedelta(days=90)
"""How long list prices are taken to hold."""
BEFORE_SHUTDOWN = dt.timedelta(days=30)
"""Time to move away from a model that is turned off."""


def to_decision(run: Run) -> str:
    """The decision as Markdown, at 1,000 decisions a month."""
    if run.is_interim or not len(run.measured_cells):
        return f"# {escaped(run.name)}: no decision yet\n\nThe run is not finished; the same command continues it.\n"
    findings = find(run)
    advice = Advice(run, findings, hybrid.hybrids(run, replays.replays(run)))
    lines = [
        f"# {escaped(run.name)}: what to adopt",
        "",
        f"**{escaped(advice.sentence[0])}** {escaped(advice.sentence[1])}",
        "",
    ]
    lines += [f"- **{title}:** {escaped(text)}" for title, text in _facts(run, findings)]
    for lineup in advice.lineups:
        lines += ["", *_lineup(lineup)]
    warned = [f"{number}. {escaped(one.sentence)}" for number, one in enumerate(caveats(run, findings), start=1)]
    lines += ["", "## Before you rely on it", "", *(warned or ["Nothing to warn of."])]
    return "\n".join([*lines, ""])


def _facts(run: Run, findings: Findings) -> Iterator[tuple[str, str]]:
    pick = findings.pick.arm if findings.pick else None
    yield "Adopt", f"{pick} ({lineup_text(run.settings, pick)})" if pick else f"nothing new; keep {findings.baseline}"
    if pick:
        yield "Saves", _saved(findings, pick)
        yield "May lose", _losses(findings, pick)
    else:
        yield "Decisions", sentences.decisions(findings).text
    yield "Returns", sentences.returns(findings).text
    holds, recheck = _valid(run)
    yield "Valid until", holds
    yield "Check again", recheck
    counts = ", ".join(f"{arm} {one.usable:,} of {one.ended:,} usable" for arm, one in findings.counts.items())
    yield "Evidence", f"{findings.cases:,} cases on {findings.dates:,} dates, run {run.run_id}; {counts}"


def _saved(findings: Findings, arm: str) -> str:
    comparison = findings.row("cost").comparisons[arm]
    own, base = comparison.own.value, comparison.base.value
    if not (known(own) and known(base)):
        return f"not known: {comparison.note or 'a cost is unknown'}"
    saved = table.usd(abs(base - own) * DECISIONS)
    word = "" if base >= own else "nothing; costs more by "
    prices = f"{table.usd(own * DECISIONS)} instead of {table.usd(base * DECISIONS)}"
    return f"{word}{saved} a month at {DECISIONS:,} decisions ({prices})"


def _losses(findings: Findings, arm: str) -> str:
    """The bound of each metric of "good enough", each at its own level."""
    verdicts = findings.good_enough[arm].verdicts
    names = {"same_rating": "same rating", "usable": "usable decisions", "grounding": "figures that rest on the inputs"}
    parts = [
        f"{f'at most {table.loss_points(one)}' if one.loss else 'nothing'} of {names[term.metric]} ({1 - one.level:.1%})"
        for term in GATE
        if (one := verdicts.get(term.metric)) is not None and known(one.loss)
    ]
    cases = max((one.cases for one in verdicts.values()), default=0)
    return f"{', '.join(parts)}; against {findings.baseline}, over {cases:,} cases"


def _valid(run: Run) -> tuple[str, str]:
    """(until when it holds and why, when to look again)."""
    ends = [(one.date, f"{one.model} is shut down by {VENDOR}") for one in shutdowns.of_run(run)]
    day = _price_day(run)
    if day is not None:
        ends.append((day + PRICES_HOLD, f"prices are of {day}"))
    if not ends:
        return "not known: the run recorded neither price date nor shutdown", "before the next change of a model or a price"
    until, why = min(ends)
    recheck = until - BEFORE_SHUTDOWN if "shut down" in why else until
    others = "; ".join(f"{reason} ({date})" for date, reason in sorted(ends)[1:])
    return f"{until}: {why}{'; later: ' + others if others else ''}", str(max(recheck, day or recheck))


def _price_day(run: Run) -> dt.date | None:
    """The day of the price table, else the day on which the run began."""
    prices = run.manifest.get("prices")
    try:
        return dt.date.fromisoformat(str(prices["date"])) if isinstance(prices, dict) else run.record.started_on
    except (KeyError, ValueError):
        return run.record.started_on


def _lineup(lineup: Lineup) -> Iterator[str]:
    kind = "Lineup" if lineup.was_run else "Worth trying, not run yet"
    usd = f", {table.usd(lineup.usd * DECISIONS)} per {DECISIONS:,} decisions" if lineup.usd is not None else ""
    yield f"## {kind}: {escaped(lineup.name)}{usd}{'' if lineup.was_run or lineup.usd is None else ' (estimated)'}"
    yield ""
    yield from _fenced(lineup.yaml, "yaml")
    if lineup.config:
        yield ""
        yield from _fenced(lineup.config, "python")
    if lineup.config_note:
        yield from ("", escaped(lineup.config_note))


def _fenced(text: str, language: str) -> Iterator[str]:
    """A code block whose fence is longer than any in the text."""
    fence = "`" * max(3, *(len(run) + 1 for run in re.findall(r"`+", text)), 3)
    yield from (f"{fence}{language}", plain(text), fence)
