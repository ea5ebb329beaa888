"""The answer as a table: one line per arm with every figure a reader compares; page, terminal and Markdown print it alike."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from reports.answer.lineup_text import lineup_text
from reports.format import MINUS, count, known, percent_text, seconds_text, significant
from reports.grounding import of_run as grounding_of_run
from reports.money import breakdown
from reports.verdict import DIFFERENCE_LEVEL, GOOD_ENOUGH, NOT_GOOD_ENOUGH

if TYPE_CHECKING:
    import pandas as pd

    from reports.answer.findings import Comparison, Findings, MetricRow
    from reports.load import Run
    from reports.stats.estimate import Estimate
    from reports.verdict import GoodEnough, Verdict

PER = 1000
"""Decisions that a cost is stated for."""
FEW_CASES, FEW_FIGURES = 12, 50
"""Below these, what a share rests on is part of its cell."""
NO_USABLE = "no usable decision"
DROPPED = "dropped by the screen"


@dataclass(frozen=True)
class Figure:
    """One cell of the table."""

    text: str
    """Empty if unknown; then `why` gives the reason."""
    note: str = ""
    """Second line: the difference from the baseline, or where the figure comes from."""
    key: float | None = None
    """What the column is sorted by; None sorts last."""
    why: str = ""
    basis: str = ""
    """What a share rests on where that is little, for example "3 of 8 figures"."""


@dataclass(frozen=True)
class Word:
    """The verdict on an arm."""

    text: str
    tone: str
    """good | open | bad | idle: colour and shape of the mark."""
    note: str
    """The bound or the gap, in points."""


@dataclass(frozen=True)
class ArmLine:
    """One arm."""

    arm: str
    kind: str
    """baseline | candidate | rule."""
    lineup: str
    """Which models play which roles."""
    cost: Figure
    saved: Figure
    same: Figure
    opposite: Figure
    usable: Figure
    invented: Figure
    tokens: Figure
    time: Figure
    word: Word
    gap: tuple[float, float, float] | None = None
    """Same rating against the baseline's noise floor: difference and the ends of the interval that the verdict rests on."""


@dataclass(frozen=True)
class Column:
    """A column in the order of the page."""

    name: str
    heading: str
    short: str
    """On a phone and in a terminal."""
    first: str
    """Direction of the first sort: up | down."""


def columns(baseline: str | None) -> tuple[Column, ...]:
    """The columns after the arm's name."""
    like = f"Same rating as {baseline}" if baseline else "Same rating"
    return (
        Column("cost", f"Cost per {PER:,} decisions", f"per {PER:,}", "up"),
        Column("saved", "Saved", "saved", "down"),
        Column("same", like, "same rating", "down"),
        Column("opposite", "Opposite trade", "opposite", "up"),
        Column("usable", "Usable", "usable", "down"),
        Column("invented", "Invented figures", "invented", "up"),
        Column("tokens", "Tokens in / out", "tokens", "up"),
        Column("time", "Median time", "time", "up"),
    )


def lines(run: Run, findings: Findings) -> tuple[ArmLine, ...]:
    """Every arm: the baseline first, then by same rating, unknown ones after the others, rules last."""
    made = [_line(run, findings, arm) for arm in findings.arms]
    order = {"baseline": 0, "candidate": 1, "rule": 2}
    return tuple(sorted(made, key=lambda line: (order[line.kind], math.inf if line.same.key is None else -line.same.key)))


def usd(value: float) -> str:
    """Dollars of many decisions: no cents from $100."""
    if abs(value) >= 99.5:
        return f"${value:,.0f}"
    return f"${value:,.2f}" if abs(value) >= 0.1 or not value else f"${significant(value, 2)}"


def points(value: float) -> str:
    """A signed difference of shares in percentage points, without the unit."""
    text = f"{value * 100:+.1f}".replace("-", MINUS)
    return "0.0" if text[1:] == "0.0" else text


def span_of_points(low: float, high: float) -> str:
    """Two losses as a range, for example "2 to 10 points"."""
    ends = sorted(abs(end) * 100 for end in (low, high))
    texts = [f"{end:.0f}" if end >= 1 else f"{end:.1f}" for end in ends]
    return f"{texts[0]} points" if texts[0] == texts[1] else f"{texts[0]} to {texts[1]} points"


def _line(run: Run, findings: Findings, arm: str) -> ArmLine:
    comparison = findings.row("same_rating").comparisons.get(arm)
    return ArmLine(
        arm=arm,
        kind="baseline" if arm == findings.baseline else "rule" if arm in findings.rules else "candidate",
        lineup=lineup_text(run.settings, arm),
        cost=_cost(run, findings, arm),
        saved=_saved(findings, arm),
        same=_same(findings, arm),
        opposite=_share(findings, "opposite_trade", arm),
        usable=_usable(findings, arm),
        invented=_invented(run, findings, arm),
        tokens=_tokens(findings, arm),
        time=_time(run, findings, arm),
        word=_word(findings, arm),
        gap=_gap(comparison),
    )


# --- figures -------------------------------------------------------------------------------------------------------------


def _cost(run: Run, findings: Findings, arm: str) -> Figure:
    estimate = findings.row("cost").values[arm]
    if arm in findings.rules:
        return Figure("$0", "no model", 0.0)
    if not known(estimate.value):
        return Figure("", "", None, _why_no_cost(run, findings, arm))
    cells = run.measured_cells[run.measured_cells["arm"] == arm]
    missing = int(cells["cost_usd"].isna().sum())
    note = f"{missing} of unknown cost" if missing else _basis(cells, findings.counts[arm].usable)
    ends = ""
    if known(estimate.low) and known(estimate.high):
        ends = f"95 % interval {usd(estimate.low * PER)} to {usd(estimate.high * PER)}"
    return Figure(usd(estimate.value * PER), note, estimate.value * PER, ends)


def _basis(cells: pd.DataFrame, usable: int) -> str:
    """What the cost rests on; of a mixed one, the hosted part."""
    bases = set(cells["cost_basis"].dropna())
    hosted = cells["api_cost_usd"].sum()
    if bases == {"mixed"} or (len(bases) > 1 and "api_price" in bases):
        return f"{usd(float(hosted) / usable * PER)} hosted" if known(hosted) and usable else "hosted and own machine"
    return BASES.get(next(iter(bases)), "") if len(bases) == 1 else ""


BASES = {
    "api_price": "list price",
    "gpu_time": "GPU time",
    "cpu_time": "CPU time",
    "energy": "electricity",
    "estimate": "estimate",
}
"""What a cost rests on, in words."""


def _why_no_cost(run: Run, findings: Findings, arm: str) -> str:
    counts = findings.counts[arm]
    if counts.ended and not counts.usable:
        return "no decision was usable"
    calls = run.calls.loc[run.calls["arm"] == arm, ["arm", "cost_usd", "server", "provider", "outcome"]]
    return breakdown.why_no_cost(run, calls) or ("no case has ended" if not counts.ended else "its cost is unknown")


def _saved(findings: Findings, arm: str) -> Figure:
    row = findings.row("cost")
    comparison = row.comparisons.get(arm)
    if comparison is None or arm in findings.rules:
        return Figure("–")
    own, base = comparison.own.value, comparison.base.value
    if not (known(own) and known(base)):
        return Figure("", why=comparison.note or "the cost of one of the two is unknown")
    if base <= 0:
        return Figure("–", f"{comparison.baseline} costs nothing")
    share, dollars = 1 - own / base, (base - own) * PER
    text = f"{MINUS if share < 0 else ''}{_percent(abs(share))}"
    return Figure(text, usd(dollars).replace("$-", f"{MINUS}$") + _other_costs(row, comparison), dollars)


def _other_costs(row: MetricRow, comparison: Comparison) -> str:
    """Both costs over the cases of the comparison, where they are not those of the two lines; else empty."""
    pairs = [(comparison.own, comparison.arm), (comparison.base, comparison.baseline)]
    texts = [usd(figure.value * PER) for figure, _ in pairs]
    shown = [usd(row.values[arm].value * PER) for _, arm in pairs]
    return "" if texts == shown else f" ({texts[0]} from {texts[1]})"


def _percent(share: float) -> str:
    """A share of dollars: never 100 % where something is paid."""
    if 0.995 <= share < 1:
        return f"{min(share * 100, 99.9):.1f}\u202f%"
    return percent_text(share) if share < 10 else f"{share * 100:,.0f}\u202f%"


def _same(findings: Findings, arm: str) -> Figure:
    row = findings.row("same_rating")
    comparison = row.comparisons.get(arm)
    if comparison is None:
        floor = row.values[arm]
        if not known(floor.value):
            return Figure("", why=f"{arm} was asked once per case, so its agreement with itself is not known")
        return Figure(_tenths(floor.value), "asked again, with itself", floor.value, basis=_cases(findings, floor))
    if not known(comparison.estimate.value):
        plain = row.values[arm]
        if not known(plain.value):
            return Figure("", why=comparison.note or "no case has a usable decision of both")
        return Figure(_tenths(plain.value), "no repeats to compare with", plain.value, comparison.note, _cases(findings, plain))
    return Figure(
        _tenths(comparison.own.value),
        _apart(comparison) + _other_base(row, comparison),
        comparison.own.value,
        basis=_cases(findings, comparison.own),
    )


def _other_base(row: MetricRow, comparison: Comparison, is_inverted: bool = False) -> str:
    """The baseline's figure over the cases of the comparison, where it is not the one of its own line; else empty."""
    base, shown = comparison.base.value, row.values[comparison.baseline].value
    texts = [_tenths(1 - value if is_inverted else value) for value in (base, shown)]
    return "" if texts[0] == texts[1] else f" from {texts[0]}"


def _cases(findings: Findings, estimate: Estimate) -> str:
    """How many cases a share rests on, where they are few or where others are left out."""
    cases, every = estimate.cases, max((row.cases for row in findings.row("usable").values.values()), default=0)
    if cases >= FEW_CASES:
        return ""
    return f"{cases} of {every} cases" if cases < every else count(cases, "case")


def _apart(comparison: Comparison) -> str:
    estimate = comparison.estimate
    if not comparison.has_interval:
        return points(estimate.value)
    return f"{points(estimate.value)} [{points(estimate.low)} to {points(estimate.high)}]"


def _gap(comparison: Comparison | None) -> tuple[float, float, float] | None:
    if comparison is None or not comparison.has_interval or not known(comparison.estimate.value):
        return None
    return comparison.estimate.value, comparison.estimate.low, comparison.estimate.high


def _tenths(share: float) -> str:
    text = f"{share * 100:.1f}"
    return f"{text.removesuffix('.0') if text in ('100.0', '0.0') else text}\u202f%"


def _share(findings: Findings, metric: str, arm: str) -> Figure:
    row = findings.row(metric)
    comparison, value = row.comparisons.get(arm), row.values[arm].value
    if comparison is not None and known(comparison.estimate.value):
        few = _cases(findings, comparison.own)
        note = points(comparison.estimate.value) + _other_base(row, comparison)
        return Figure(_tenths(comparison.own.value), note, comparison.own.value, basis=few)
    if not known(value):
        return Figure("", why=(comparison.note if comparison else "") or "no case has two decisions to compare")
    return Figure(_tenths(value), "with itself" if comparison is None else "", value, basis=_cases(findings, row.values[arm]))


def _usable(findings: Findings, arm: str) -> Figure:
    counts = findings.counts[arm]
    if not counts.ended:
        return Figure("", why="no case of this arm has ended")
    share = counts.usable / counts.ended
    return Figure(_tenths(share), f"{counts.usable:,} of {counts.ended:,}", share)


def _invented(run: Run, findings: Findings, arm: str) -> Figure:
    if arm in findings.rules:
        return Figure("–", "no text")
    row = findings.row("grounding")
    comparison, value = row.comparisons.get(arm), row.values[arm].value
    if comparison is not None and known(comparison.estimate.value):
        invented, few = 1 - comparison.own.value, _figures(run, arm)
        note = points(-comparison.estimate.value) + _other_base(row, comparison, is_inverted=True)
        return Figure(_tenths(invented), note, invented, basis=few)
    if not known(value):
        return Figure("", why="its texts hold no figure that could be traced")
    return Figure(_tenths(1 - value), "", 1 - value, basis=_figures(run, arm))


def _figures(run: Run, arm: str) -> str:
    """How many figures were traced, where they are few; the share is a mean over cases, so it may differ from their ratio."""
    cells = run.measured_cells.loc[run.measured_cells["arm"] == arm, "cell_id"]
    counts = grounding_of_run.by_cell(run)
    counts = counts[counts.index.isin(cells)]
    traced, invented = int(counts["figures"].sum()), int((counts["figures"] - counts["grounded"]).sum())
    return f"{invented} of {traced} figures" if traced < FEW_FIGURES else ""


def _tokens(findings: Findings, arm: str) -> Figure:
    if arm in findings.rules:
        return Figure("–", "no model")
    sent, written = (findings.row(name).values[arm].value for name in ("input_tokens", "output_tokens"))
    if not (known(sent) and known(written)):
        return Figure("", why="the server does not report its tokens")
    return Figure(_thousands(sent), f"{_thousands(written)} out", sent + written)


def _thousands(count: float) -> str:
    return f"{count / 1000:,.0f}k" if count >= 9950 else f"{count / 1000:.1f}k" if count >= 1000 else f"{count:.0f}"


def _time(run: Run, findings: Findings, arm: str) -> Figure:
    median, slow = (findings.row(name).values[arm].value for name in ("service_p50", "service_p95"))
    if not known(median):
        return Figure("", why=_why_no_time(run, arm))
    return Figure(seconds_text(median), f"p95 {seconds_text(slow)}" if known(slow) else "", median)


def _why_no_time(run: Run, arm: str) -> str:
    calls = run.pipeline_calls
    lanes = breakdown.lanes_of(calls)[calls["arm"] == arm].dropna().unique()
    return breakdown.why_no_time(lanes) if len(lanes) else "no time was recorded"


# --- the verdict ---------------------------------------------------------------------------------------------------------


def _word(findings: Findings, arm: str) -> Word:
    if arm == findings.baseline:
        return Word("Baseline", "idle", "the yardstick")
    if arm in findings.rules:
        return Word("Reference", "idle", "a free rule, no candidate")
    if findings.is_interim:
        return Word("Not judged yet", "idle", "the run is not finished")
    judged = findings.good_enough.get(arm)
    if judged is None:
        return Word("Not judged", "idle", "")
    if arm in findings.screened_out:
        return Word("Not started", "idle", DROPPED)
    if judged.word == GOOD_ENOUGH:
        return Word("Good enough", "good", _loss(judged, "same_rating"))
    if judged.word == NOT_GOOD_ENOUGH:
        return Word("Not good enough", "bad", gap_words(judged, judged.failing[0]))
    return _undecided(judged) if findings.counts[arm].usable else Word("Undecided", "open", NO_USABLE)


def _undecided(judged: GoodEnough) -> Word:
    measured = [name for name in judged.undecided if known(judged.verdicts[name].loss)]
    if "same_rating" in judged.undecided and "same_rating" not in measured:
        return Word("Undecided", "open", _short(judged.verdicts["same_rating"].reason))
    name = measured[0] if measured else next(iter(judged.undecided), "same_rating")
    return Word("Undecided", "open", gap_words(judged, name))


def gap_words(judged: GoodEnough, metric: str) -> str:
    """What is known about a metric: the whole gap if it is one, else its bound; why there is no test otherwise."""
    verdict = judged.verdicts.get(metric)
    if verdict is None:
        return f"{NAMES[metric]} not measured"
    if known(verdict.high) and verdict.high < 0 and verdict.p_difference <= DIFFERENCE_LEVEL:
        return f"{span_of_points(verdict.low, verdict.high)} {_LESS[metric]}"
    return _loss(judged, metric) if known(verdict.loss) else f"no bound on {NAMES[metric]}"


_LESS = {"same_rating": "less alike", "usable": "fewer usable", "grounding": "more invented figures"}
NAMES = {"same_rating": "same rating", "usable": "usable decisions", "grounding": "invented figures"}


def _loss(judged: GoodEnough, metric: str) -> str:
    verdict = judged.verdicts[metric]
    return f"at most {loss_points(verdict)} {_LESS[metric]}" if verdict.loss else f"not {_LESS[metric]}"


def loss_points(verdict: Verdict) -> str:
    """The bound, for example "4.0 points"."""
    return f"{verdict.loss * 100:.1f} points"


def _short(reason: str) -> str:
    if "once" in reason:
        return "needs repeats"
    return "one date is too few" if "date" in reason else "no test"


# --- text ----------------------------------------------------------------------------------------------------------------


def text_rows(arm_lines: Sequence[ArmLine]) -> list[list[str]]:
    """The table as plain text, its head first; for a terminal and for Markdown."""
    head = ["arm", *(column.short for column in columns(None)), "in short"]
    return [head, *([line.arm, *(_text(line, column) for column in columns(None)), _word_text(line)] for line in arm_lines)]


def _text(line: ArmLine, column: Column) -> str:
    figure: Figure = getattr(line, column.name)
    if not figure.text:
        return "unknown"
    if column.name == "same" and line.gap:
        return f"{figure.text} ({figure.note})"
    if column.name == "saved" and "(" in figure.note:
        return f"{figure.text} ({figure.note.partition('(')[2]}"
    if column.name == "invented" and figure.basis:
        return f"{figure.text} ({figure.basis})"
    return f"{figure.text} / {figure.note}" if column.name == "tokens" and line.kind != "rule" else figure.text


def _word_text(line: ArmLine) -> str:
    return f"{line.word.text}: {line.word.note}" if line.word.note else line.word.text
