"""Which lane and how many blocks end in time: the most tested dates, then the cheapest lane, then the most looks."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from harness.errors import Problem
from harness.planning import plan as planning
from harness.planning.forecast import stages
from harness.planning.lanes import LaneForecast
from reports.finding import SearchDesign
from reports.format import seconds_text
from reports.stats import sequential

if TYPE_CHECKING:
    from harness.cells import Cell
    from harness.checking.resolved import ResolvedRun
    from harness.finding.chances import Chances

FEWEST_LOOKS = 2


@dataclass(frozen=True)
class Schedule:
    """A search in one lane."""

    design: SearchDesign
    lane: str | None
    """Lane of all hosted models; None: as they declare it."""
    seconds: float
    """Nine of ten searches end within this time."""

    @property
    def words(self) -> str:
        """Lane and blocks."""
        lane = f"lane {self.lane}" if self.lane else "the declared lanes"
        declared = self.design.declared
        fewer = f" instead of {declared[0]} of {declared[1]}" if declared else ""
        return f"{lane}, {self.design.looks} blocks of {len(self.design.blocks[0])} dates{fewer}"

    def too_short(self, option: str, within_s: float) -> Problem:
        what = (
            f"{seconds_text(within_s)} is too short for the screen and {self.design.looks} blocks: the shortest search "
            f"({self.words}) takes up to {seconds_text(self.seconds)} in nine of ten cases"
        )
        needed = f"{math.ceil(self.seconds / 60 + 0.5)}m" if self.seconds < 7200 else f"{self.seconds / 3600 + 0.05:.1f}h"
        fix = f"allow {needed} or more, or test fewer candidates, tickers or dates"
        return Problem(option, what, fix)

    def to_plain(self, within_s: float, power: Chances) -> dict[str, Any]:
        """For the JSON of `plan`."""
        return {
            "fits": self.seconds <= within_s,
            "lane": self.lane,
            "blocks": self.design.looks,
            "dates_of_block": len(self.design.blocks[0]),
            "time_s": self.seconds,
            "good_enough": power.good_enough,
            "picked": power.picked,
        }

    def lines(self, within_s: float, whole: Chances, power: Chances) -> Iterator[str]:
        """For the terminal of `plan`."""
        if self.seconds > within_s:
            problem = self.too_short("", within_s)
            yield f"  in time: no, {problem.what}; {problem.fix}"
            return
        times = f"{seconds_text(self.seconds)} (limit: {seconds_text(within_s)})"
        yield f"  in time: {self.words}; nine of ten searches end within {times}"
        if self.design.declared:
            chance = f"{power.picked:.0%} instead of {whole.picked:.0%}"
            yield f"  price of the time limit: the chance to recommend one, if all are equal, is {chance}"


@dataclass(frozen=True)
class Calendar:
    """Forecasts how long a search over the cells of one experiment takes."""

    resolved: ResolvedRun
    matrix: Sequence[Cell]
    where: planning.Where
    lane: str | None = None
    """Lane that the user has chosen; None: any that the models offer, unless they name their own."""

    def best(self, design: SearchDesign, within_s: float) -> Schedule | None:
        """The search that fits best, or the shortest one if none ends in time; None if no time is known."""
        prices, tried = self._prices(design), list[Schedule]()
        for designs in cuts(design):
            schedules = [schedule for cut in designs for schedule in self._schedules(cut, cut.looks, with_screen=True)]
            if in_time := [schedule for schedule in schedules if schedule.seconds <= within_s]:
                return min(in_time, key=lambda schedule: (*prices(schedule.lane), -schedule.design.looks, schedule.seconds))
            tried += schedules
        return min(tried, key=lambda schedule: schedule.seconds, default=None)

    def best_rest(self, design: SearchDesign, looks_left: int, within_s: float, *, with_screen: bool) -> Schedule | None:
        """The rest of a search whose design is fixed, in the cheapest lane that ends in time; None without one."""
        prices, schedules = self._prices(design), self._schedules(design, looks_left, with_screen=with_screen)
        in_time = [schedule for schedule in schedules if schedule.seconds <= within_s]
        return min(in_time, key=lambda schedule: (*prices(schedule.lane), schedule.seconds), default=None)

    def _schedules(self, design: SearchDesign, looks: int, *, with_screen: bool) -> Iterator[Schedule]:
        """One per lane. Blocks follow one another; the replays of the screen wait one stage more than its baseline."""
        screens = {lane.lane: lane for lane in self._lanes(_screen(self.matrix, design))}
        for block in self._lanes(_block(self.matrix, design)):
            screen = screens.get(block.lane)
            if block.time.high is None or screen is None or screen.time.high is None:
                continue
            screen_s = screen.time.high * (1 + 1 / max(screen.stages, 1)) if with_screen else 0.0
            yield Schedule(design, block.lane or None, screen_s + looks * block.time.high)

    def _prices(self, design: SearchDesign) -> Any:
        """Lane -> what to order it by: what a block of the whole design costs there, unknown prices last."""
        usd = {lane.lane: lane.api_cost.mid for lane in self._lanes(_block(self.matrix, design))}
        return lambda lane: (usd.get(lane or "") is None, usd.get(lane or "") or 0.0)

    def _lanes(self, cells: Sequence[Cell]) -> Sequence[LaneForecast]:
        """Every lane that may be taken; only the declared ones, as "", where the user or a model has named a lane."""
        forecast = planning.make(self.resolved, cells, self.where)
        declares_lanes = any(model.lane for model in self.resolved.experiment.models.values())
        if self.lane is None and not declares_lanes and forecast.lanes:
            return forecast.lanes
        waits = max((stages(calls) for calls in forecast.planned_calls.values()), default=1)
        return [LaneForecast("", forecast.total_api_cost, forecast.total_time, waits)]


def cuts(design: SearchDesign) -> Iterator[list[SearchDesign]]:
    """The designs to choose from, in groups of as many tested dates: all dates in fewer blocks, then fewer blocks."""
    dates = [date for block in design.blocks for date in block]
    fewer_looks = range(design.looks - 1, FEWEST_LOOKS - 1, -1)
    yield [design, *(_cut(design, sequential.blocks(dates, looks)) for looks in fewer_looks)]
    for looks in fewer_looks:
        yield [_cut(design, design.blocks[:looks])]


def _cut(design: SearchDesign, blocks: Sequence[tuple[str, ...]]) -> SearchDesign:
    return replace(design, blocks=tuple(blocks), declared=(design.looks, len(design.blocks[0])))


def _block(matrix: Sequence[Cell], design: SearchDesign) -> list[Cell]:
    """The last block, of which the fewest cells have been paid."""
    arms, dates = {design.baseline, *design.candidates}, design.blocks[-1]
    return [cell for cell in matrix if cell.arm in arms and cell.date.isoformat() in dates]


def _screen(matrix: Sequence[Cell], design: SearchDesign) -> list[Cell]:
    return [cell for cell in matrix if cell.arm == design.baseline and cell.case_id in design.screen_cases]
