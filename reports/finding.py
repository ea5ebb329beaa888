"""What `find` decided and why: its design, the screen and every look, as kept in find.json of the run folder.

The design is fixed before the first answer. A look is written once and never computed again, so that a flag stays.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from reports.metrics import catalog
from reports.metrics.facts import Facts
from reports.metrics.measure import MetricData, PairedTest
from reports.roles.screening import Screened
from reports.stats import sequential
from reports.stats.sequential import NotWorseTest, Standing
from reports.verdict import dates_needed

if TYPE_CHECKING:
    from reports.load import Run

FILE = "find.json"
RECOMMENDED = "recommended.yaml"
OPEN, GOOD, STOPPED, SCREENED_OUT = "open", "good enough", "stopped", "screened out"


@dataclass(frozen=True)
class SearchDesign:
    """What is fixed before the first answer."""

    baseline: str
    candidates: tuple[str, ...]
    gate: NotWorseTest
    screen_cases: tuple[str, ...]
    """Cases of the screen; their dates are in no block."""
    blocks: tuple[tuple[str, ...], ...]
    """Dates of each block, in the order of a hash."""
    tickers: tuple[str, ...]
    baseline_repeats: int
    arm_repeats: int
    declared: tuple[int, int] | None = None
    """Blocks, and dates of each, as the experiment declares them, if a time limit left fewer or larger ones."""

    @property
    def looks(self) -> int:
        return len(self.blocks)

    def dates_until(self, look: int) -> frozenset[str]:
        """Dates of the first blocks."""
        return frozenset(date for block in self.blocks[:look] for date in block)

    @property
    def cases_of_block(self) -> int:
        return len(self.blocks[0]) * len(self.tickers)

    @property
    def fixed_cells(self) -> int:
        """Cells of the same comparison without a screen and without looks."""
        per_case = self.baseline_repeats + self.arm_repeats * len(self.candidates)
        return self.cases_of_block * self.looks * per_case


@dataclass(frozen=True)
class ArmLook:
    """One arm at one look; lists are over the metrics of the gate."""

    p: tuple[float, ...]
    """Of the hypothesis that the arm is worse than the margin; NaN without a test."""
    estimates: tuple[float, ...]
    """Arm minus baseline, above zero is better."""
    at_least: tuple[float, ...]
    """Lower bound of each estimate at the level of this look."""
    at_most: tuple[float, ...]
    flags: tuple[bool, ...]
    smallest_p: tuple[float, ...]
    is_dropped: bool
    settled_at: int
    is_claimed: bool
    """Good enough at Holm's level over all arms that started."""
    goes_on: bool
    usd_per_decision: float | None
    cells: int
    dates_needed: tuple[int | None, ...] = ()
    """Dates that show an arm like the baseline not to be worse, with 80 % power; None: too many, or the spread is unknown."""

    @property
    def is_good(self) -> bool:
        return self.settled_at > 0


@dataclass(frozen=True)
class Look:
    """The comparisons after one block."""

    number: int
    arms: Mapping[str, ArmLook]
    baseline_usd_per_decision: float | None
    pick: str | None
    """The cheapest arm that may be recommended so far."""


@dataclass(frozen=True)
class Settling:
    """What settles an open comparison with 80 % power if the arm is like the baseline."""

    dates: int
    """Tested dates in all."""
    more_cases: int
    usd: float | None
    """Of both arms on the cases that are missing; None if a price is unknown."""


@dataclass(frozen=True)
class Finding:
    """Everything that a `find` has decided so far."""

    design: SearchDesign
    screened: Mapping[str, Screened | None] | None = None
    """Candidate -> what replay showed, None for one that replay cannot judge; None before the screen."""
    looks: tuple[Look, ...] = ()
    stopped_by: str = ""
    """Why it ended before the last look although comparisons are open: a budget, or the time; else empty."""
    planned_usd: Mapping[str, float] = field(default_factory=dict)
    """Arm -> dollars of one cell as planned before the first answer; without arms of unknown price."""
    earlier: tuple[str, ...] = ()
    """Searches that have looked at some of the same answers: their looks are not counted in the levels of this one."""

    @property
    def started(self) -> tuple[str, ...]:
        """Candidates that were compared in blocks."""
        screened = self.screened or {}
        return tuple(arm for arm in self.design.candidates if not (found := screened.get(arm)) or not found.is_dropped)

    @property
    def screened_out(self) -> frozenset[str]:
        """Candidates that the screen dropped."""
        return frozenset(self.design.candidates) - set(self.started)

    @property
    def open_arms(self) -> tuple[str, ...]:
        """Candidates that the next block goes on with."""
        if not self.looks:
            return self.started
        return tuple(arm for arm, shown in self.looks[-1].arms.items() if shown.goes_on)

    @property
    def is_over(self) -> bool:
        return len(self.looks) == self.design.looks or (self.screened is not None and not self.open_arms)

    @property
    def pick(self) -> str | None:
        return self.looks[-1].pick if self.looks else None

    def compared_at(self, number: int) -> tuple[str, ...]:
        """Candidates whose cells a recorded look is about."""
        if number == 1:
            return self.started
        return tuple(arm for arm, shown in self.looks[number - 2].arms.items() if shown.goes_on)

    def looks_of(self, arm: str) -> int:
        """How many blocks a candidate has played."""
        return sum(arm in self.compared_at(look.number) for look in self.looks)

    @property
    def cells_used(self) -> int:
        """Cells of the blocks so far, of the baseline and of all candidates."""
        design = self.design
        of_baseline = design.baseline_repeats * len(self.looks)
        of_candidates = design.arm_repeats * sum(map(self.looks_of, self.design.candidates))
        return design.cases_of_block * (of_baseline + of_candidates)

    def last(self, arm: str) -> ArmLook | None:
        """The last look at which an arm was looked at."""
        return self.looks[-1].arms.get(arm) if self.looks else None

    def state(self, arm: str) -> str:
        """State of a candidate."""
        if arm not in self.started:
            return SCREENED_OUT
        shown = self.last(arm)
        if shown is None:
            return OPEN
        return GOOD if shown.is_good else STOPPED if shown.is_dropped else OPEN

    def settling(self, arm: str) -> Settling | None:
        """What settles the metrics of an arm that are open; None if that is unknown. The difference seen is not used: it may
        be noise."""
        shown = self.last(arm)
        if shown is None or not shown.dates_needed:
            return None
        needed = [dates for dates, is_settled in zip(shown.dates_needed, shown.flags, strict=True) if not is_settled]
        known = [dates for dates in needed if dates is not None]
        if not known or len(known) < len(needed):
            return None
        design = self.design
        more_cases = max(0, max(known) - len(design.dates_until(self.looks_of(arm)))) * len(design.tickers)
        of_baseline, of_arm = self.looks[-1].baseline_usd_per_decision, shown.usd_per_decision
        if of_baseline is None or of_arm is None:
            return Settling(max(known), more_cases, None)
        usd = more_cases * (design.baseline_repeats * of_baseline + design.arm_repeats * of_arm)
        return Settling(max(known), more_cases, usd)

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1)

    @classmethod
    def of(cls, text: str) -> Finding:
        raw = json.loads(text)
        design = raw["design"]
        gate = NotWorseTest(**{key: tuple(values) for key, values in design["gate"].items()})
        blocks = tuple(tuple(block) for block in design["blocks"])
        lists = {key: tuple(design[key]) for key in ("candidates", "screen_cases", "tickers", "declared") if design.get(key)}
        screened = raw["screened"] and {arm: found and Screened(**_tuples(found)) for arm, found in raw["screened"].items()}
        looks = tuple(
            Look(**look | {"arms": {arm: ArmLook(**_tuples(shown)) for arm, shown in look["arms"].items()}})
            for look in raw["looks"]
        )
        wanted = SearchDesign(**design | lists | {"gate": gate, "blocks": blocks})
        return cls(wanted, screened, looks, raw["stopped_by"], raw.get("planned_usd", {}), tuple(raw.get("earlier", ())))


def _tuples(raw: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in raw.items()}


def read(run: Run) -> Finding | None:
    """The finding of a run; None if `find` did not make it."""
    text = run.read_text(FILE)
    return None if text is None else Finding.of(text)


# --- a look ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Shown:
    """The tests of one arm at a look; lists are over the metrics of the gate."""

    p: list[float] = field(default_factory=list)
    estimates: list[float] = field(default_factory=list)
    at_least: list[float] = field(default_factory=list)
    at_most: list[float] = field(default_factory=list)
    dates_needed: list[int | None] = field(default_factory=list)


def look_at(run: Run, finding: Finding) -> Finding:
    """The finding with the look after its next block, which must be complete for the baseline and every open arm."""
    design, number = finding.design, len(finding.looks) + 1
    tests = _Tests(run, design, number)
    shown = {arm: tests.of_arm(arm) for arm in finding.open_arms}
    arms = finding.started
    nothing = [math.nan] * len(design.gate.metrics)
    p, estimates = (
        np.array([getattr(shown[arm], part) if arm in shown else nothing for arm in arms]) for part in ("p", "estimates")
    )
    is_open = np.array([arm in shown for arm in arms])
    standing = sequential.after_look(_standing(finding), design.gate, p, estimates, is_open, number, design.looks)
    usd = {arm: tests.usd_per_decision(arm) for arm in (design.baseline, *arms)}
    order = sorted(range(len(arms)), key=lambda place: (usd[arms[place]] is None, usd[arms[place]] or 0.0, place))
    by_cost, everyone = _ordered(standing, order), np.ones(len(arms), bool)
    claimed = sequential.holm_claims(by_cost, design.gate, everyone)
    going_on = sequential.still_open(by_cost, design.gate, everyone, number, design.looks)
    pick = int(sequential.recommended(by_cost, design.gate, everyone))
    places = {arm: order.index(place) for place, arm in enumerate(arms)}
    before = finding.looks[-1].arms if finding.looks else {}
    looked = {
        arm: _arm_look(
            standing, place, shown.get(arm) or before[arm],
            is_claimed=bool(claimed[places[arm]]), goes_on=arm in shown and bool(going_on[places[arm]]),
            usd_per_decision=usd[arm], cells=tests.cells(arm),
        )
        for place, arm in enumerate(arms)
    }  # fmt: skip
    look = Look(number, looked, usd[design.baseline], None if pick < 0 else arms[order[pick]])
    return replace(finding, looks=(*finding.looks, look))


def _arm_look(standing: Standing, place: int, shown: _Shown | ArmLook, **more: Any) -> ArmLook:
    return ArmLook(
        p=tuple(shown.p),
        estimates=tuple(shown.estimates),
        at_least=tuple(shown.at_least),
        at_most=tuple(shown.at_most),
        dates_needed=tuple(shown.dates_needed),
        flags=tuple(map(bool, standing.flags[place])),
        smallest_p=tuple(map(float, standing.smallest_p[place])),
        is_dropped=bool(standing.is_dropped[place]),
        settled_at=int(standing.settled_at[place]),
        **more,
    )


def _standing(finding: Finding) -> Standing:
    """The standing of the arms that started, as of the last look."""
    arms = finding.started
    if not finding.looks:
        return sequential.before_any_look((len(arms),), finding.design.gate)
    last = [finding.looks[-1].arms[arm] for arm in arms]
    return Standing(
        np.array([shown.flags for shown in last]),
        np.array([shown.smallest_p for shown in last]),
        np.array([shown.is_dropped for shown in last]),
        np.array([shown.settled_at for shown in last]),
    )


def _ordered(standing: Standing, order: Sequence[int]) -> Standing:
    return Standing(standing.flags[order], standing.smallest_p[order], standing.is_dropped[order], standing.settled_at[order])


class _Tests:
    """The tests of the gate over the first blocks of a run."""

    def __init__(self, run: Run, design: SearchDesign, look: int) -> None:
        dates = run.cells["date"].dt.strftime("%Y-%m-%d")
        self._run = run.with_cells(run.cells[dates.isin(design.dates_until(look))])
        self._design, self._look = design, look

    @cached_property
    def _facts(self) -> Facts:
        return Facts(self._run)

    @cached_property
    def _metrics(self) -> list[MetricData]:
        known = {metric.name: metric for metric in catalog.all_metrics(self._run.settings.horizons)}
        return [MetricData(self._facts, known[name]) for name in self._design.gate.metrics]

    def of_arm(self, arm: str) -> _Shown:
        shown = _Shown()
        for data, margin, level in zip(self._metrics, self._design.gate.margins, self._design.gate.levels, strict=True):
            self._add(shown, data, data.test(arm, self._design.baseline), margin, level)
        return shown

    def _add(self, shown: _Shown, data: MetricData, test: PairedTest | None, margin: float, level: float) -> None:
        if test is None or test.estimate.dates < 2 or not np.isfinite(test.sample.se):
            for values in (shown.p, shown.estimates, shown.at_least, shown.at_most):
                values.append(math.nan)
            shown.dates_needed.append(None)
            return
        sample = test.sample if data.metric.better == "higher" else test.sample.flipped()
        nominal = sequential.look_levels(level, self._design.looks)[self._look - 1]
        low, high = sample.bounds(2 * nominal)
        shown.p.append(float(sample.p_above(-margin)))
        shown.estimates.append(float(sample.value))
        shown.at_least.append(float(low))
        shown.at_most.append(float(high))
        shown.dates_needed.append(dates_needed(sample, margin, test.estimate.dates, level))

    def usd_per_decision(self, arm: str) -> float | None:
        """Dollars of all cells of these blocks per usable decision; None if a cost is unknown or no decision is usable."""
        cells = self._facts.cells[self._facts.cells["arm"] == arm]
        usable = int(self._facts.usable.loc[cells.index].sum())
        return None if not usable or cells["cost_usd"].isna().any() else float(cells["cost_usd"].sum()) / usable

    def cells(self, arm: str) -> int:
        return int((self._facts.cells["arm"] == arm).sum())
