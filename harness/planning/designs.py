"""`plan --budget` and `--margin`: the cheapest design that settles "good enough", with price, hours and the YAML to paste."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import agents
from domain import units
from harness.errors import InvalidInput, Problem
from harness.experiment import cases
from harness.experiment.spec import Experiment
from harness.planning import answers
from harness.planning.answers import size
from harness.terminal import print_hanging
from reports import design
from reports.design import Assumptions, Design
from reports.format import usd_text
from reports.verdict import MARGINS

if TYPE_CHECKING:
    from rich.console import Console

    from harness.planning.plan import Plan

FEWEST_DATES, MOST_TICKERS = 12, 3
"""Fewer dates make tests bold, and more tickers on a date add little: three share their market."""
REPEATS = ((3, 3), (3, 2), (3, 1))
"""Repeats of the baseline and of each arm for which the error was simulated."""
OFFERED = (0.05, 0.10, 0.15)
"""Margins of same rating whose prices are shown."""
WIDEST = 0.40
"""Margins above this settle nothing that a reader could use."""


@dataclass(frozen=True)
class Offer:
    """A design that settles its margins with 80 % power, and what it takes."""

    margins: Mapping[str, float]
    tickers: tuple[str, ...]
    dates: int
    baseline_repeats: int
    arm_repeats: int
    power: float
    cells: int
    usd: float
    """Of hosted models and of local hardware, where its price is known."""
    hours: float
    unpriced: tuple[str, ...]
    """Arms whose local cost is unknown and not in `usd`."""

    def to_plain(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Rates:
    """What one cell of each arm takes, from the plan of the whole matrix."""

    baseline: str
    usd: Mapping[str, float]
    unpriced: tuple[str, ...]
    hours: float
    """Of the whole matrix."""
    seconds: Mapping[str, float]
    cells: Mapping[str, int]

    @classmethod
    def of(cls, plan: Plan, baseline: str) -> Rates:
        """Raises InvalidInput if a price of a hosted model is unknown."""
        usd, unpriced = {}, []
        arms = {name: arm for name, arm in plan.arms.items() if arm.cells}
        for name, arm in arms.items():
            cost = arm.api_cost.mid if arm.cost.mid is None else arm.cost.mid
            if cost is None:
                what = f"the price of a hosted model of {name} is unknown, so no design has a price"
                raise InvalidInput([Problem("--budget", what, "add it to prices: FILE")])
            usd[name] = cost / arm.cells
            unpriced += [name] if arm.cost.mid is None else []
        seconds = {name: (arm.time.mid or 0.0) / arm.cells for name, arm in arms.items()}
        hours = (plan.total_time.mid or 0.0) / 3600
        return cls(baseline, usd, tuple(unpriced), hours, seconds, {name: arm.cells for name, arm in arms.items()})

    def cells_of(self, name: str, planned: Design, rules: frozenset[str]) -> int:
        repeats = 1 if name in rules else planned.baseline_repeats if name == self.baseline else planned.arm_repeats
        return round(planned.cases * repeats)

    def offer(
        self,
        margins: Mapping[str, float],
        tickers: tuple[str, ...],
        planned: Design,
        power: float,
        rules: frozenset[str],
    ) -> Offer:
        cells = {name: self.cells_of(name, planned, rules) for name in self.usd}
        work = sum(self.cells[name] * self.seconds[name] for name in cells)
        share = sum(count * self.seconds[name] for name, count in cells.items()) / work if work else 0.0
        return Offer(
            margins=dict(margins),
            tickers=tickers,
            dates=planned.dates,
            baseline_repeats=planned.baseline_repeats,
            arm_repeats=planned.arm_repeats,
            power=power,
            cells=sum(cells.values()),
            usd=sum(count * self.usd[name] for name, count in cells.items()),
            hours=self.hours * share,
            unpriced=self.unpriced,
        )


@dataclass(frozen=True)
class Designs:
    """What a budget or margins lead to."""

    budget_usd: float | None
    offers: tuple[Offer, ...]
    """The cheapest design of each margin."""
    chosen: Offer | None
    """The design for the wanted margins, else the one with the smallest margins within the budget; None: nothing fits."""
    yaml: str
    """The chosen design, to paste into the experiment."""
    left_out: tuple[str, ...]
    """Tickers of the experiment that the design does not need."""
    source: str

    def to_plain(self) -> dict[str, Any]:
        return asdict(self)


def read_margins(texts: Sequence[str]) -> dict[str, float]:
    """`same_rating=10pp` -> 0.10. Raises InvalidInput for other metrics and sizes."""
    margins = {}
    for text in texts:
        name, _, amount = text.partition("=")
        if name not in MARGINS:
            what = f'{name!r} is not a metric of "good enough"; known: {", ".join(MARGINS)}'
            raise InvalidInput([Problem("--margin", what, "write --margin same_rating=10pp")])
        try:
            margins[name] = units.share(amount)
        except ValueError as error:
            raise InvalidInput([Problem("--margin", str(error), "write --margin same_rating=10pp")]) from error
        if not 0 < margins[name] <= WIDEST:
            what = f"{text}: a margin lies above 0 and is at most {size('share', WIDEST)}"
            raise InvalidInput([Problem("--margin", what, "write --margin same_rating=10pp")])
    return margins


def find(
    experiment: Experiment,
    plan: Plan,
    budget_usd: float | None,
    wanted: Mapping[str, float],
    assumptions: Assumptions | None = None,
) -> Designs:
    """The cheapest designs. Raises InvalidInput if the experiment compares no arm, or a price is unknown."""
    known = assumptions or Assumptions()
    margins = answers.gate_margins(experiment) | dict(wanted)
    others = [name for name, arm in plan.arms.items() if name != experiment.baseline and arm.calls]
    if experiment.baseline is None or not others:
        raise InvalidInput([Problem("plan", "one arm alone has nothing to be compared with", "add an arm")])
    tickers = experiment.tickers[:MOST_TICKERS]
    rules = frozenset(name for name, arm in experiment.arms.items() if getattr(arm, "rule", None))
    rates = Rates.of(plan, experiment.baseline)

    def cheapest(same_rating: float) -> Offer | None:
        return _cheapest(margins | {"same_rating": same_rating}, tickers, rates, rules, known)

    sizes = (wanted["same_rating"],) if "same_rating" in wanted else OFFERED
    if wanted and "same_rating" not in wanted:
        sizes = (margins["same_rating"],)
    offers = tuple(offer for each in sizes if (offer := cheapest(each)) is not None)
    chosen = offers[0] if wanted and offers else _within(offers, budget_usd)
    if chosen is None and budget_usd is not None and not wanted:
        chosen = _widest_within(cheapest, budget_usd)
    yaml = "" if chosen is None else to_yaml(experiment, chosen)
    return Designs(budget_usd, offers, chosen, yaml, tuple(experiment.tickers[MOST_TICKERS:]), known.same_rating_source)


def _cheapest(
    margins: Mapping[str, float], tickers: tuple[str, ...], rates: Rates, rules: frozenset[str], known: Assumptions
) -> Offer | None:
    offers = []
    for baseline_repeats, arm_repeats in REPEATS:
        start = Design(FEWEST_DATES, len(tickers), baseline_repeats, arm_repeats)
        dates = design.dates_needed(margins, start, known)
        if dates is not None:
            planned = Design(max(dates, FEWEST_DATES), len(tickers), baseline_repeats, arm_repeats)
            power = design.good_enough_power(margins, planned, known)
            offers.append(rates.offer(margins, tickers, planned, power, rules))
    return min(offers, key=lambda offer: (offer.usd, offer.hours), default=None)


def _within(offers: Sequence[Offer], budget_usd: float | None) -> Offer | None:
    """The smallest margin within the budget."""
    return next((offer for offer in offers if budget_usd is not None and offer.usd <= budget_usd), None)


def _widest_within(cheapest: Any, budget_usd: float) -> Offer | None:
    """The smallest margin in whole points above those offered whose design fits the budget."""
    for points in range(math.floor(100 * OFFERED[-1]) + 1, math.floor(100 * WIDEST) + 1):
        offer: Offer | None = cheapest(points / 100)
        if offer is not None and offer.usd <= budget_usd:
            return offer
    return None


# --- YAML --------------------------------------------------------------------------------------------------------------


def to_yaml(experiment: Experiment, offer: Offer) -> str:
    """The keys of the experiment that the design changes."""
    repeats = (
        str(offer.baseline_repeats)
        if offer.baseline_repeats == offer.arm_repeats
        else f"{{baseline: {offer.baseline_repeats}, arms: {offer.arm_repeats}}}"
    )
    terms = {name: f"{{margin: {100 * margin:g}pp}}" for name, margin in offer.margins.items()}
    for name, declared in experiment.compare.metrics.items():
        if name not in terms:
            terms[name] = "{}" if declared.margin is None else f"{{margin: {declared.margin:g}}}"
    metrics = ", ".join(f"{name}: {text}" for name, text in terms.items())
    return "\n".join(
        [
            f"tickers: [{', '.join(offer.tickers)}]",
            f"dates: {dates_yaml(experiment, offer.dates)}",
            f"repeats: {repeats}",
            "compare:",
            f"  baseline: {experiment.baseline}",
            f"  metrics: {{{metrics}}}",
        ]
    )


def dates_yaml(experiment: Experiment, count: int, now: dt.datetime | None = None) -> str:
    """A rule for so many dates, spread over the experiment's own period, which is begun earlier if it is too short."""
    days = cases.decision_dates(experiment.dates, now)
    sessions = agents.sessions_between(days[0], days[-1])
    first = days[0]
    while len(sessions) < count:
        first -= dt.timedelta(days=2 * (count - len(sessions)) + 7)
        sessions = agents.sessions_between(first, days[-1])
    every = max(1, len(sessions) // count)
    chosen = sessions[-1 - every * (count - 1) :: every] if first != days[0] else sessions[: every * count : every]
    return f"{{from: {chosen[0]}, to: {chosen[-1]}, every_sessions: {every}}}   # {len(chosen)} dates"


# --- words -------------------------------------------------------------------------------------------------------------


def show(designs: Designs, experiment: Experiment, console: Console) -> None:
    """Print the prices of the margins, then the chosen design."""
    console.print(f"What settles {experiment.name}: an equal arm is shown good enough in 80 of 100 runs", style="bold")
    for text in lines(designs):
        print_hanging(console, text[:2] if text[:2] in ("> ", "  ") else "", text.removeprefix("> ").strip())
    if designs.yaml:
        console.print("\nTo paste into the experiment:\n", style="bold")
        console.print(designs.yaml, highlight=False, markup=False, soft_wrap=True)


def lines(designs: Designs) -> Iterator[str]:
    """The offers, one a line, and what was chosen."""
    for offer in designs.offers:
        mark = ">" if offer is designs.chosen else " "
        yield f"{mark} {_offer(offer)}"
    if designs.chosen is not None and designs.chosen not in designs.offers:
        yield f"> {_offer(designs.chosen)}"
    budget = designs.budget_usd
    if designs.chosen is None:
        limit = "" if budget is None else f" {usd_text(budget)} is too little for any margin up to {size('share', WIDEST)}."
        yield f"Nothing is settled.{limit} Ask for fewer arms or cheaper models."
    elif budget is not None and designs.chosen.usd <= budget:
        yield f"> marks the smallest margins that {usd_text(budget)} settles; its lines for the experiment are below."
    elif budget is not None and designs.chosen.usd > budget:
        yield f"It costs {usd_text(designs.chosen.usd)}, more than the budget of {usd_text(budget)}."
    if designs.chosen is not None and designs.chosen.unpriced:
        yield f"The local cost of {', '.join(designs.chosen.unpriced)} is unknown and not in these prices."
    if designs.left_out:
        yield f"Not needed: {', '.join(designs.left_out)}; more than {MOST_TICKERS} tickers on a date add little."
    yield f"Margin 5 costs nearly four times margin 10. Spread of same rating {designs.source}."


def _offer(offer: Offer) -> str:
    margins = ", ".join(f"{name} {size('share', margin)}" for name, margin in offer.margins.items())
    repeats = f"{offer.baseline_repeats} and {offer.arm_repeats}"
    return (
        f"{margins}: {usd_text(offer.usd)}, {offer.hours:.1f} h, {offer.cells:,} decisions "
        f"({offer.dates} dates x {len(offer.tickers)} tickers, repeats {repeats}; power {offer.power:.0%})"
    )
