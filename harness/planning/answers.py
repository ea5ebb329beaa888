"""What a matrix settles before it runs: the chance that an equal arm is shown good enough, and by which metric it may fail."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from harness.cells import Cell
from harness.experiment.spec import Experiment
from reports import design
from reports.design import Assumptions, Design
from reports.metrics import outcomes
from reports.stats import means
from reports.verdict import MARGINS, POWER

if TYPE_CHECKING:
    from reports.load import Run
    from reports.metrics.facts import Facts

ENOUGH_DATES = 12
"""Dates from which the spread of an earlier run replaces the assumed one."""


@dataclass(frozen=True)
class Settles:
    """What the matrix settles about one metric."""

    margin: float | None
    """As declared, or the default of "good enough"."""
    power: float | None
    """Chance that an equal arm is shown not worse than the margin; None without a margin."""
    smallest_margin: float | None
    """Smallest margin that is settled with 80 % power; None if there is none."""
    difference: float | None
    """Smallest difference that is shown with 80 % power, for metrics without a margin."""
    unit: str
    """share | usd | s | return ...; ratio if arms are compared by their ratio."""
    nothing: str
    """Why nothing is settled, and what to do about it; empty otherwise."""
    source: str
    """What the spread rests on."""


@dataclass(frozen=True)
class Answers:
    """What the matrix settles about an arm that is equal to the baseline."""

    dates: int
    tickers: float
    baseline_repeats: int
    arm_repeats: int
    good_enough: float
    """Chance that an equal arm is shown good enough."""
    own_view: float
    """The same for an arm that agrees as often but has its own view of each case."""
    metrics: Mapping[str, Settles]
    unknown: tuple[str, ...]
    """Declared metrics of which no spread is known."""

    @property
    def is_settled(self) -> bool:
        return self.good_enough >= POWER

    def to_plain(self) -> dict[str, Any]:
        return asdict(self)


def gate_margins(experiment: Experiment) -> dict[str, float]:
    """The margins of "good enough", as declared or by default."""
    declared = {name: terms.margin for name, terms in experiment.compare.metrics.items() if terms.margin is not None}
    return {name: declared.get(name, margin) for name, margin in MARGINS.items()}


def of_matrix(experiment: Experiment, cells: Sequence[Cell], assumptions: Assumptions | None = None) -> Answers | None:
    """What the cells settle; None if they compare no arm with models with the baseline."""
    planned = _design(experiment, cells)
    if planned is None:
        return None
    known, margins = assumptions or Assumptions(), gate_margins(experiment)
    metrics: dict[str, Settles] = {}
    unknown = []
    for name in dict.fromkeys([*margins, *experiment.compare.metrics]):
        declared = experiment.compare.metrics.get(name)
        margin = margins.get(name) or (declared.margin if declared else None)
        try:
            metrics[name] = _settles(name, margin, planned, cells, known, experiment.baseline or "")
        except KeyError:
            unknown.append(name)
    power = {own: design.good_enough_power(margins, planned, known, own_view=own) for own in (False, True)}
    repeats = planned.baseline_repeats, planned.arm_repeats
    return Answers(planned.dates, planned.tickers, *repeats, power[False], power[True], metrics, tuple(unknown))


def _design(experiment: Experiment, cells: Sequence[Cell]) -> Design | None:
    baseline = [cell for cell in cells if cell.arm == experiment.baseline]
    others = Counter(cell.arm for cell in cells if cell.lineup and cell.arm != experiment.baseline)
    cases = {cell.case_id for cell in baseline}
    if not baseline or not others:
        return None
    dates = len({cell.date for cell in baseline})
    return Design(dates, len(cases) / dates, len(baseline) // len(cases), max(1, min(others.values()) // len(cases)))


def _settles(
    name: str, margin: float | None, planned: Design, cells: Sequence[Cell], known: Assumptions, baseline: str
) -> Settles:
    metric = design.metric_named(name)
    if metric.horizon:
        windows = outcomes.windows_of_dates(sorted({cell.date for cell in cells}), metric.horizon)
        planned = Design(windows, planned.tickers, planned.baseline_repeats, planned.arm_repeats)
    spread = known.prior(name, planned)
    nothing = _nothing(planned, spread.sd, baseline)
    smallest = None if nothing else design.smallest_margin(name, planned, known)
    difference = None
    if margin is None and not nothing:
        difference = design.detectable(name, cases=planned.cases, dates=planned.dates, assumed=spread)
    power = None if margin is None else design.power(name, margin, planned, known)
    unit = "ratio" if metric.scale == "ratio" else metric.unit
    return Settles(margin, power, smallest, difference, unit, nothing, spread.source)


def _nothing(planned: Design, sd: float, baseline: str) -> str:
    if planned.dates < 2:
        return "one date settles nothing: cases of one date count as one; add dates"
    if not math.isfinite(sd):
        return f"add repeats: with one decision per case, how often {baseline} agrees with itself cannot be measured"
    return ""


# --- earlier runs ------------------------------------------------------------------------------------------------------


def of_earlier_run(results: str, experiment: str) -> Assumptions:
    """The spreads of the newest finished run of an experiment; assumptions without one."""
    from harness.storage import run_folder
    from harness.storage.folder import open_folder

    for folder in run_folder.runs(open_folder(results), experiment):
        if folder.store.folder.exists("cells.parquet"):
            from reports import load

            run = load(folder.store.folder.url)
            if not run.is_interim:
                return measured(run)
    return Assumptions()


def measured(run: Run) -> Assumptions:
    """The spreads of a finished run, from its worst arm; assumptions where it has too few dates."""
    from reports.metrics.facts import Facts

    facts, source = Facts(run), f"measured in run {run.run_id}"
    arms = [arm for arm in facts.arms if arm != facts.baseline and arm not in facts.rules]
    if facts.baseline is None or not arms or facts.dates.nunique() < ENOUGH_DATES:
        return Assumptions()
    repeats = Design(1, 1.0, *(max(1, int(facts.ended[arm].median())) for arm in (facts.baseline, arms[0])))
    factors = {}
    assumed = design.variance_of_same_rating(repeats)
    if math.isfinite(assumed) and (variance := _variance(facts, "same_rating", arms)) is not None:
        factors = {"same_rating": variance / assumed, "same_rating_source": source}
    usable = {"failing": _failing(facts), "failing_source": source}
    grounding = _variance(facts, "grounding", arms)
    spreads = {} if grounding is None else {"grounding": design.Prior(math.sqrt(grounding), 0.1, source)}
    return Assumptions(**factors, **usable, measured=spreads)  # type: ignore[arg-type]


def _failing(facts: Facts) -> float:
    """How often the baseline fails; half a failure more, since none in few runs does not mean never."""
    is_usable = facts.usable[facts.cells["arm"] == facts.baseline]
    return float(((~is_usable).sum() + 0.5) / (len(is_usable) + 1))


def _variance(facts: Facts, name: str, arms: Sequence[str]) -> float | None:
    """Variance of a case's difference to the baseline, of the arm that varies most; None if no arm has one on enough dates."""
    from reports.metrics.measure import MetricData

    data = MetricData(facts, design.metric_named(name))
    variances = []
    for arm in arms:
        test = data.test(arm, str(facts.baseline))
        if test is None or test.estimate.dates < ENOUGH_DATES:
            continue
        apart = data.differences(arm, str(facts.baseline))
        # Over date means, so that what a date's cases have in common is in it; the design's formula adds that part again.
        shared = 1 + (apart.cases / apart.dates - 1) * design.Assumptions().prior(name, Design(2, 1.0, 2, 1)).icc
        variances.append(float(means.of_dates(apart.means).se) ** 2 * apart.cases / shared)
    return max(variances, default=None)


# --- words -------------------------------------------------------------------------------------------------------------


def lines(answers: Answers, file: str) -> Iterator[tuple[str, str]]:
    """Heading and text of what the matrix settles."""
    dates = f"{answers.dates} date{'s' * (answers.dates != 1)}"
    cases = f"{answers.dates * answers.tickers:,.0f} cases on {dates}, repeats {answers.baseline_repeats}"
    cases += f" and {answers.arm_repeats}" if answers.arm_repeats != answers.baseline_repeats else ""
    if answers.is_settled:
        yield (
            "good enough",
            f"settled: an equal arm is shown good enough in {answers.good_enough:.0%} of such runs, "
            f"one with its own view in {answers.own_view:.0%} ({cases})",
        )
    else:
        yield (
            "good enough",
            f"not settled: an equal arm is shown good enough in {answers.good_enough:.0%} of such runs ({cases}); "
            f"`plan {file} --budget USD` prints the design that settles most",
        )
    for name, settles in answers.metrics.items():
        yield "settles", f"{name}: {settled(settles)}"
    if answers.unknown:
        yield "settles", f"{', '.join(answers.unknown)}: how much they vary is not known before a run"


def settled(settles: Settles) -> str:
    """One metric: its margin with the power, or what else it shows."""
    if settles.nothing:
        return f"nothing: {settles.nothing}"
    if settles.margin is None or settles.power is None:
        shown = "no difference" if settles.difference is None else f"differences from {size(settles.unit, settles.difference)}"
        return f"{shown} ({settles.source})"
    text = f"not worse than {size(settles.unit, settles.margin)}, power {settles.power:.0%}"
    if settles.power < POWER and settles.smallest_margin is not None:
        text += f"; 80 % from {size(settles.unit, settles.smallest_margin)} on"
    return f"{text} ({settles.source})"


def size(unit: str, value: float) -> str:
    """A margin or difference with its unit."""
    if unit == "ratio":
        return f"{value:.0%}" if value >= 0.1 else f"{value:.1%}"
    if unit == "share":
        return f"{100 * value:.3g} points"
    return f"{1e4 * value:,.0f} bp" if unit == "return" else f"{value:.2g} {unit}"
