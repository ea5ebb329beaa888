"""Sentences about a search, for the terminal and the page."""

from __future__ import annotations

import math
from collections.abc import Iterator

from reports.finding import SCREENED_OUT, STOPPED, ArmLook, Finding
from reports.format import MINUS
from reports.roles.screening import Screened


def title(metric: str) -> str:
    return metric.replace("_", " ")


def points(share: float) -> str:
    """A signed difference of shares, in percentage points."""
    if math.isnan(share):
        return "unknown"
    text = f"{share * 100:+.1f}".replace("-", MINUS)
    return "0.0" if text[1:] == "0.0" else text


def bounds(finding: Finding, shown: ArmLook) -> Iterator[str]:
    """Each metric with its bound at the level of that look."""
    gate = finding.design.gate
    for place, name in enumerate(gate.metrics):
        low, estimate = shown.at_least[place], shown.estimates[place]
        worst = "not known" if math.isnan(low) else _at_most(low)
        seen = "" if math.isnan(estimate) else f" (seen {points(estimate)}, margin {gate.margins[place] * 100:g})"
        yield f"{title(name)} {worst}{seen}"


def _at_most(low: float) -> str:
    """The bound of a loss in words."""
    loss = f"{min(max(-low * 100, 0), 100):.1f}"
    return "not worse" if loss == "0.0" else f"at most {loss} points worse"


def look(number: int, shown: ArmLook, place: int) -> str:
    """One metric at one look: the difference with its interval."""
    value, low, high = (points(side[place]) for side in (shown.estimates, shown.at_least, shown.at_most))
    return f"look {number}: {value} points [{low} to {high}]"


def standing(shown: ArmLook) -> str:
    """State of an arm after a look."""
    if shown.is_claimed:
        return "good enough, also after correcting for all candidates"
    if shown.is_good:
        return "good enough on its own" + (", goes on to be recommended" if shown.goes_on else "")
    if shown.is_dropped:
        return "stopped: too far below a margin to catch up"
    return "open" if shown.goes_on else "not settled"


def screening(finding: Finding, arm: str) -> str:
    """Result of the screen for a candidate."""
    found = (finding.screened or {}).get(arm)
    if found is None:
        return "cannot be screened by replay (a cascade, another pipeline, or no role with a form is played by another model)"
    if found.is_dropped:
        return f"dropped by the screen: {'; '.join(found.reasons)}"
    return f"passed the screen: gives the recorded stance {_beside_floor(found, finding.design.baseline)}"


def _beside_floor(found: Screened, baseline: str) -> str:
    gap = round((found.alike - found.floor) * 100) if math.isfinite(found.alike - found.floor) else 0
    how = "as often as" if not gap else f"{abs(gap)} points {'more' if gap > 0 else 'less'} often than"
    return f"{how} {baseline} asked again ({found.prompts} prompts)"


def answer(finding: Finding) -> str:
    """The recommendation, or why there is none."""
    if finding.pick:
        look, baseline = finding.looks[-1], finding.design.baseline
        price, base = look.arms[finding.pick].usd_per_decision, look.baseline_usd_per_decision
        share = "" if price is None or not base else f", at {price / base * 100:.0f} % of the baseline's cost"
        odds = "such an answer is wrong in at most 5 of 100 searches"
        if finding.earlier:
            odds += f", but {earlier_looks(finding)}"
        return f"the cheapest arm that is good enough against {baseline} is {finding.pick}{share} ({odds})"
    if finding.screened is not None and not finding.started:
        return "no candidate passed the screen"
    if not finding.is_over:
        return "there is no answer yet"
    alone = [arm for arm in finding.started if (shown := finding.last(arm)) and shown.is_good]
    if alone:
        among = f"not shown to be when chosen among {len(finding.started)} candidates"
        return f"{' and '.join(alone)}: good enough when tested alone, but {among}"
    return "no candidate could be shown to be good enough"


def earlier_looks(finding: Finding) -> str:
    """What weakens the levels of a search that begins on answers which were looked at before."""
    searches, verb = ("searches", "have") if len(finding.earlier) > 1 else ("search", "has")
    runs = ", ".join(finding.earlier)
    return f"the earlier {searches} {runs} {verb} looked at some of these answers, so an error is somewhat more likely"


def unsettled(finding: Finding, *, with_bounds: bool = True) -> Iterator[str]:
    """Candidates without a recommendation, with what is known of them and what would settle it."""
    for arm in finding.design.candidates:
        shown = finding.last(arm)
        if shown is not None and finding.state(arm) != SCREENED_OUT and not shown.is_claimed:
            known = bounds(finding, shown) if with_bounds else ()
            yield "; ".join((f"{arm}: {standing(shown)}", *known, *_settling(finding, arm)))


def _settling(finding: Finding, arm: str) -> Iterator[str]:
    """What settling a comparison would take; nothing for an arm that was stopped."""
    if finding.state(arm) == STOPPED:
        return
    needed, baseline, last = finding.settling(arm), finding.design.baseline, finding.last(arm)
    if last is not None and last.is_good:
        yield f"to be recommended among {len(finding.started)} candidates it takes more dates, or fewer candidates"
    elif needed is None:
        yield "what settles it is not known: its spread was not measured, or no realistic number of dates is enough"
    elif not needed.more_cases:
        yield f"these dates show an arm like {baseline} in 80 % of searches, so more of them may not settle it"
    else:
        price = "" if needed.usd is None else f" (about ${needed.usd:,.2f} more)"
        tickers = len(finding.design.tickers)
        cases = f"{needed.dates} dates x {tickers} ticker{'s' * (tickers > 1)}"
        yield f"{cases} settle it with 80 % probability if it is like {baseline}{price}"
