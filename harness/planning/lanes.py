"""What each lane would cost and how long it would take, and the cheapest one that ends in time."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from domain import units
from domain.lanes import LANES
from harness.errors import InvalidInput, Problem
from harness.planning import forecast
from harness.planning.forecast import CostPart, Forecaster, Interval

if TYPE_CHECKING:
    from harness.experiment.servers import ServerSpec
    from harness.planning.workload import Workload

COMPARED = ("now", "flex", "background_2h", "background_8h", "batch")


@dataclass(frozen=True)
class LaneForecast:
    """All hosted models of an experiment in one lane."""

    lane: str
    api_cost: Interval
    time: Interval
    """Seconds until the last hosted answer, or the last self-hosted one of the same run."""
    stages: int
    """How often a cell waits for answers, at most."""

    def to_plain(self) -> dict[str, Any]:
        cost, time = self.api_cost.to_plain(), self.time.to_plain()
        return {"lane": self.lane, "api_cost_usd": cost, "time_s": time, "stages": self.stages}


def options(
    forecaster: Forecaster,
    steps: Sequence[Sequence[CostPart]],
    servers: Mapping[str, ServerSpec],
    at_once: Collection[str] = (),
) -> tuple[LaneForecast, ...]:
    """Each lane that some server offers; `steps` follow one another: the matrix, then replays and judges.

    `at_once`: arms that need each answer at once, so that their models cannot be in a deferred lane."""
    offered: set[str] = set()
    excluded: set[str] = set()
    for part in (part for step in steps for part in step if part.cells):
        for call in part.workload.calls:
            lanes = servers[call.model.server].lanes
            offered |= lanes
            if part.arm in at_once:
                excluded |= {lane for lane in lanes if LANES[lane].is_deferred}
    return tuple(_option(lane, forecaster, steps, servers) for lane in COMPARED if lane in offered - excluded)


def _option(
    lane: str, forecaster: Forecaster, steps: Sequence[Sequence[CostPart]], servers: Mapping[str, ServerSpec]
) -> LaneForecast:
    moved = [[replace(part, workload=_in_lane(part.workload, lane, servers)) for part in step if part.cells] for step in steps]
    arms = [forecaster.arm(part) for step in moved for part in step]
    api = forecast.total([None if arm.api_cost.mid is None else arm.api_draws for arm in arms])
    seconds: Any = 0.0
    for step in moved:
        seconds = seconds + forecaster.seconds_of_step(step)
    waits = [forecast.stages(part.workload.calls) for step in moved for part in step]
    return LaneForecast(lane, forecast.interval(api), forecast.interval(seconds), max(waits, default=0))


def _in_lane(workload: Workload, lane: str, servers: Mapping[str, ServerSpec]) -> Workload:
    calls = tuple(
        replace(call, model=replace(call.model, params={**call.model.params, "lane": lane}))
        if lane in servers[call.model.server].lanes
        else call
        for call in workload.calls
    )
    return replace(workload, calls=calls)


def cheapest(lanes: Sequence[LaneForecast], within_s: float) -> LaneForecast | None:
    """The cheapest lane that ends in time in nine of ten draws."""
    in_time = [lane for lane in lanes if lane.time.high is not None and lane.time.high <= within_s]
    return min(in_time, key=lambda lane: (lane.api_cost.mid is None, lane.api_cost.mid or 0.0, lane.time.high), default=None)


def seconds_left(by: str | None, within: str | None, now: dt.datetime) -> float | None:
    """Seconds until --by or within --within; None without either. `now` has the local time zone. Raises InvalidInput."""
    if by and within:
        raise InvalidInput([Problem("--by", "--by and --within set the same limit", "give one of them")])
    if within:
        return _within_s(within)
    return _by_s(by, now) if by else None


def _within_s(within: str) -> float:
    try:
        seconds = float(units.seconds(within))
    except ValueError as error:
        raise InvalidInput([Problem("--within", str(error), "write 12h, or 90m")]) from error
    if seconds <= 0:
        raise InvalidInput([Problem("--within", f"{within} leaves no time", "write 12h, or 90m")])
    return seconds


def _by_s(by: str, now: dt.datetime) -> float:
    if clock := re.fullmatch(r"(\d{1,2}):(\d{2})", by):
        hour, minute = int(clock[1]), int(clock[2])
        if hour < 24 and minute < 60:
            moment = now.replace(hour=hour, minute=minute, second=0, microsecond=0)
            return ((moment if moment > now else moment + dt.timedelta(days=1)) - now).total_seconds()
    try:
        moment = dt.datetime.fromisoformat(by)
    except ValueError:
        fix = "write 08:00 (the next one), or 2026-12-01T08:00"
        raise InvalidInput([Problem("--by", f"cannot read {by!r} as a time", fix)]) from None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=now.tzinfo)
    if moment <= now:
        raise InvalidInput([Problem("--by", f"{by} is in the past (it is {now:%Y-%m-%d %H:%M})", "name a later time")])
    return (moment - now).total_seconds()


def advice(lanes: Sequence[LaneForecast], within_s: float, usd: Any, local_time: Interval) -> str:
    """Which lane to take, as a sentence. `local_time`: seconds that self-hosted servers compute in every lane."""
    hours = within_s / 3600
    if chosen := cheapest(lanes, within_s):
        found = f"{chosen.lane} is the cheapest lane that ends within {hours:.1f} h in nine of ten cases"
        return f"{found}: {usd(chosen.api_cost)}; --lane {chosen.lane}"
    fastest: LaneForecast | None = min(
        (lane for lane in lanes if lane.time.high is not None), key=lambda lane: lane.time.high or 0.0, default=None
    )
    if fastest is None or fastest.time.high is None:
        return "no lane can be forecast: its time is unknown"
    needs = f"the fastest, {fastest.lane}, needs up to {fastest.time.high / 3600:.1f} h"
    if local_time.high and local_time.high > within_s:
        needs = f"self-hosted models alone need up to {local_time.high / 3600:.1f} h, whatever the lane"
    return f"no lane ends within {hours:.1f} h in nine of ten cases; {needs}: take fewer cells, or more time"


def describe(lane: LaneForecast, usd: Any, seconds: Any) -> list[str]:
    """Figures of a row: dollars, time, share of the price, stages."""
    return [usd(lane.api_cost), seconds(lane.time), f"{LANES[lane.lane].share:.0%}", str(lane.stages)]


def to_plain(lanes: Sequence[LaneForecast]) -> Mapping[str, Any]:
    return {lane.lane: lane.to_plain() for lane in lanes}
