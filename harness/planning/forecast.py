"""The forecast of an arm: cost and time as 80 % intervals over random draws."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from agents import Model
from domain.hardware import JOULES_PER_KWH, Hardware
from harness.experiment.servers import ServerSpec
from harness.money import pricing
from harness.money.pricing import PriceTable, Tokens
from harness.planning import workload
from harness.planning.cascades import Escalation
from harness.planning.experience import Experience, key_of
from harness.planning.workload import PlannedCall, Workload

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Draws = NDArray[np.float64]

COUNT = 4_000
LOW, HIGH = 10, 90


@dataclass(frozen=True)
class Interval:
    """10th, 50th and 90th percentile; None if unknown."""

    low: float | None
    mid: float | None
    high: float | None

    def to_plain(self) -> dict[str, float | None]:
        return {"low": self.low, "mid": self.mid, "high": self.high}


UNKNOWN = Interval(None, None, None)


def interval(draws: Draws | None) -> Interval:
    """The 80 % interval and the median of draws."""
    import numpy as np

    if draws is None:
        return UNKNOWN
    low, mid, high = (float(percentile) for percentile in np.percentile(draws, [LOW, 50, HIGH]))
    return Interval(low, mid, high)


def total(arms: Sequence[Draws | None]) -> Draws | None:
    """Sum over arms, draw by draw; None if one is unknown."""
    import numpy as np

    known_arms = [draws for draws in arms if draws is not None]
    if len(known_arms) < len(arms):
        return None
    return np.sum(known_arms, axis=0) if known_arms else np.zeros(COUNT)


def lognormal(name: str, spread: float) -> Draws:
    import numpy as np

    return np.exp(generator(name).normal(0.0, spread, COUNT)) if spread else np.ones(COUNT)


def generator(name: str) -> Any:
    """A seeded generator for each uncertain quantity, so that arms that share it share its draws."""
    import numpy as np

    return np.random.default_rng(int(sha256(name.encode()).hexdigest()[:12], 16))


HOSTED_CELLS_AT_ONCE = 32
_SOME = 1_000
"""Output tokens of a price request; the length of its prompt selects the tier."""
_UNCAPPED = 32_768
"""Most output tokens assumed for a call without a limit."""
CRITICAL_SHARE = 0.75
"""9 of 12 calls are sequential."""


HOSTED, LOCAL, MIXED = "hosted", "local", "hosted and local"
"""Where the models of an arm answer."""


@dataclass(frozen=True)
class ArmForecast:
    """Forecast of the missing cells of one arm."""

    cells: int
    calls: int
    """Planned calls; repairs and repeated requests are only part of cost and time."""
    input_tokens: float
    output_tokens: float
    cost: Interval
    """Total cost, local hardware included; unknown if a part is."""
    api_cost: Interval
    """Cost of hosted models."""
    time: Interval
    """Seconds, if nothing else ran on its servers."""
    basis: str
    is_measured: bool
    """Whether earlier runs measured the output of all its roles."""
    api_draws: Draws = field(repr=False)
    cost_draws: Draws | None = field(repr=False)
    cell_draws: Draws = field(repr=False)
    """Cost of one cell, with the spread between cells."""
    model_draws: Mapping[str, Draws] = field(repr=False)
    """alias -> cost of one hosted model in all cells of the arm."""
    worst_calls_usd: tuple[float, ...]
    """Worst case of each hosted call of a cell, with the longest allowed output."""
    cached_tokens: float = 0.0
    """Part of input_tokens that prompt caches with marks are expected to serve."""
    cache_write_tokens: float = 0.0
    """Part of input_tokens that is written to them."""
    place: str = ""
    """Where its models answer: hosted, local or both; empty for a rule or if nothing is left to run."""
    escalation: Escalation | None = None
    """Of a cascade: how many of its cases ask the second model."""


STAGE_PRIORS: Mapping[str, tuple[float, float]] = {
    "batch": (3600.0, 1.2),
    "background_2h": (2700.0, 0.8),
    "background_8h": (7200.0, 1.0),
}
"""Deferred lane -> median seconds until a stage is answered, and the standard deviation of its log, until a run has measured
them. OpenAI states only the windows (24 h, 2 h, 8 h), and that most batches take minutes to hours."""
FLEX_SLOWER = (2.0, 0.6)
"""Median factor on the time of a flex answer, and the standard deviation of its log."""


def stages(calls: Sequence[PlannedCall]) -> int:
    """How many calls of a cell follow one another: its analysts report at the same time."""
    analysts = sum(call.role.endswith("_analyst") for call in calls)
    return len(calls) - max(0, analysts - 1)


@dataclass(frozen=True)
class CostPart:
    """One arm to be forecast."""

    arm: str
    cells: int
    workload: Workload


class Forecaster:
    """Draws the uncertain quantities of each model once, and adds up."""

    def __init__(
        self, servers: Mapping[str, ServerSpec], table: PriceTable, experience: Experience, now: dt.datetime | None = None
    ) -> None:
        self._servers = servers
        self._table = table
        self._experience = experience
        self._now = now or dt.datetime.now(dt.UTC)

    def arm(self, part: CostPart) -> ArmForecast:
        """Forecast of one arm's cells."""
        import numpy as np

        calls, cells = part.workload.calls, part.cells
        nothing = np.zeros(COUNT)
        if not calls or not cells:
            zero = Interval(0.0, 0.0, 0.0)
            return ArmForecast(cells, 0, 0, 0, zero, zero, zero, part.workload.basis, True, nothing, nothing, nothing, {}, ())
        by_model = self._hosted(part)
        hosted = None if by_model is None else sum(by_model.values(), nothing)
        local = self._local(part)
        expected = [(call, _share(part, call)) for call in calls]
        total = None if hosted is None or local is None else hosted + local
        return ArmForecast(
            cells=cells,
            calls=round(sum(share for _, share in expected) * cells),
            input_tokens=sum(call.input_tokens * share for call, share in expected) * cells,
            output_tokens=sum(call.output_tokens * share for call, share in expected) * cells,
            cost=interval(total),
            api_cost=interval(hosted),
            time=interval(self.seconds(part)),
            basis=part.workload.basis,
            is_measured=all(call.is_measured for call in calls),
            api_draws=nothing if hosted is None else hosted,
            cost_draws=total,
            cell_draws=nothing if hosted is None else self._cell_usd(part, hosted) / cells * self._one_cell(part),
            model_draws=by_model or {},
            worst_calls_usd=self._worst(part),
            place=self._place(part),
            cached_tokens=sum(call.cacheable_tokens * share for call, share in expected if call.is_marked) * cells,
            cache_write_tokens=sum(call.cache_write_tokens * share for call, share in expected) * cells,
            escalation=part.workload.escalation,
        )

    def _cell_usd(self, part: CostPart, hosted: Draws) -> Draws:
        """Hosted cost of all cells, if each of them were like one that is drawn: of a cascade, escalated or not."""
        import numpy as np

        if part.workload.escalation is None:
            return hosted
        is_escalated = generator(f"{part.arm} one cell escalated").random(COUNT) < _escalated(part)
        return sum((self._hosted(part, is_escalated.astype(float)) or {}).values(), np.zeros(COUNT))

    def seconds(self, part: CostPart) -> Draws:
        """Wall time of an arm on its servers: work spread over the slots, never less than one cell's longest path."""
        import numpy as np

        work = np.zeros(COUNT)
        paths = np.zeros(COUNT)
        for call in part.workload.calls:
            spent = call.seconds * self._speed(call)
            work += spent * self._extra(call) * part.cells / self._slots(call) * _asked(part, call)
            paths += spent * CRITICAL_SHARE
        return np.maximum(np.maximum(work, paths), self._later_s(part))

    def seconds_of_step(self, parts: Sequence[CostPart]) -> Draws:
        """Servers work in parallel, arms on one server in sequence."""
        import numpy as np

        by_server: dict[str, Draws] = {}
        for part in parts:
            for server, seconds in self.work_s(part).items():
                by_server[server] = by_server.get(server, 0.0) + seconds
        longest = [self.seconds(part) for part in parts if part.cells]
        return np.max([*by_server.values(), *longest], axis=0) if longest else np.zeros(COUNT)

    def _later_s(self, part: CostPart) -> Draws | float:
        """Time that a cell waits for deferred answers, stage by stage; all cells of an arm wait together."""
        import numpy as np

        deferred = [call for call in part.workload.calls if call.model.lane.is_deferred]
        if not deferred or not part.cells:
            return 0.0
        lane = max((call.model.lane for call in deferred), key=lambda lane: lane.window_s)
        count, median_s, spread = self._experience.lanes.get(lane.name, (0, *STAGE_PRIORS[lane.name]))
        waits = [
            np.minimum(median_s * lognormal(f"{lane.name} stage {number}", spread), lane.window_s)
            for number in range(stages(deferred))
        ]
        common = lognormal(f"{lane.name} provider", 0.5 if count == 0 else 0.2)
        total: Draws = np.minimum(np.sum(waits, axis=0) * common, lane.window_s * len(waits))
        return total

    def local_seconds(self, parts: Sequence[CostPart]) -> Draws:
        """The same of self-hosted servers alone; 0 if none computes."""
        import numpy as np

        by_server: dict[str, Draws] = {}
        for part in parts:
            for server, seconds in self.work_s(part).items():
                if not self._servers[server].is_hosted:
                    by_server[server] = by_server.get(server, 0.0) + seconds
        return np.max([*by_server.values()], axis=0) if by_server else np.zeros(COUNT)

    def work_s(self, part: CostPart) -> dict[str, Draws]:
        """server -> seconds of wall time for this arm."""
        seconds_by_server: dict[str, Draws] = {}
        for call in part.workload.calls:
            spent = call.seconds * self._speed(call) * part.cells / self._slots(call) * _asked(part, call)
            seconds_by_server[call.model.server] = seconds_by_server.get(call.model.server, 0.0) + spent
        return seconds_by_server

    def _hosted(self, part: CostPart, escalated: Draws | None = None) -> dict[str, Draws] | None:
        """alias -> cost of a hosted model; None if a price is unknown. `escalated`: share of cases, if not as forecast."""
        import numpy as np

        usd_by_model: dict[str, Draws] = {}
        for call, server in self._hosted_calls(part):
            cost = self._bill(call, server)
            if cost is None:
                return None
            asked = escalated if call.is_second and escalated is not None else _asked(part, call)
            earlier = usd_by_model.get(call.model.alias, np.zeros(COUNT))
            usd_by_model[call.model.alias] = earlier + cost * self._extra(call) * asked
        times = part.cells * self._between_cells(part)
        return {alias: cost * times for alias, cost in usd_by_model.items()}

    def _hosted_calls(self, part: CostPart) -> list[tuple[PlannedCall, ServerSpec]]:
        pairs = [(call, self._servers[call.model.server]) for call in part.workload.calls]
        return [(call, server) for call, server in pairs if server.is_hosted]

    def _place(self, part: CostPart) -> str:
        places = {self._servers[call.model.server].is_hosted for call in part.workload.calls}
        return MIXED if len(places) > 1 else HOSTED if True in places else LOCAL

    def _bill(self, call: PlannedCall, server: ServerSpec) -> Draws | None:
        """Price of one call over the draws: input by its tier, the part found in the cache, output up to the cap."""
        read = int(call.input_tokens)
        fresh = self._usd(call, server, Tokens(read, 0))
        warm = self._usd(call, server, Tokens(read, 0, cached=min(read, int(call.cacheable_tokens))))
        written = self._usd(call, server, Tokens(read, _SOME))
        if written is None or fresh is None or warm is None:
            return None
        rewritten = self._usd(call, server, Tokens(read, 0, cache_write=min(read, int(call.cacheable_tokens))))
        writing = self._usd(call, server, Tokens(read, 0, cache_write=min(read, int(call.cache_write_tokens))))
        if not call.cache_write_tokens or rewritten is None or writing is None:
            rewritten = writing = fresh
        hit = self._cache_hit(call)
        cached = (writing + (warm - fresh) * hit + (rewritten - fresh) * (1 - hit)) * self._input(call)
        return cached + self._output(call) * (written - fresh) / _SOME

    def _worst(self, part: CostPart) -> tuple[float, ...]:
        pairs = self._hosted_calls(part)
        most = [self._usd(call, server, Tokens(int(call.input_tokens), call.output_cap or _UNCAPPED)) for call, server in pairs]
        return tuple(usd for usd in most if usd is not None)

    def _usd(self, call: PlannedCall, server: ServerSpec, tokens: Tokens) -> float | None:
        return self._table.usd(call.model.name, server, call.model.lane.price_tier, tokens, self._now)

    def energy_kwh(self, part: CostPart) -> Draws | None:
        """Electricity above idle of the machines of local calls; None if the power of one is unknown."""

        def kwh_per_s(hardware: Hardware) -> float | None:
            return None if hardware.watts is None else hardware.watts / JOULES_PER_KWH

        return self._machine(part, kwh_per_s)

    def _local(self, part: CostPart) -> Draws | None:
        """Cost of the machine time of local calls; None if unknown."""
        return self._machine(part, lambda hardware: pricing.local_usd(1.0, hardware))

    def _machine(self, part: CostPart, per_s: Callable[[Hardware], float | None]) -> Draws | None:
        """The machine time of local calls, which requests at a time share, times a rate; None if a rate is unknown."""
        import numpy as np

        total = np.zeros(COUNT)
        for call in part.workload.calls:
            server = self._servers[call.model.server]
            if not server.is_hosted:
                rate = per_s(server.hardware)
                if rate is None:
                    return None
                machine_s = max(call.busy_s, call.seconds) / self._slots(call)
                total += machine_s * self._speed(call) * self._extra(call) * rate * _asked(part, call)
        return total * part.cells * self._between_cells(part)

    def _output(self, call: PlannedCall) -> Draws:
        import numpy as np

        drawn: Draws = call.output_tokens * self._written(call)
        return np.minimum(drawn, call.output_cap) if call.output_cap else drawn

    def _input(self, call: PlannedCall) -> Draws:
        """Input scales with the length of earlier outputs, so that both are off together."""
        factor = self._factor(call.model, "input", call.counted.spread)
        return factor * (1 - call.handed_share + call.handed_share * self._written(call))

    def _written(self, call: PlannedCall) -> Draws:
        """Factor on the planned output of this model."""
        spread = self._measured(call.model) if call.is_measured else workload.output_spread(call.model)
        return self._factor(call.model, "output", spread)

    def _speed(self, call: PlannedCall) -> Draws:
        if call.model.lane.name == "flex":
            median, spread = FLEX_SLOWER
            return median * self._factor(call.model, "flex", spread) * self._at_once(call)
        return self._at_once(call)

    def _at_once(self, call: PlannedCall) -> Draws:
        return self._factor(call.model, "speed", 2 * self._measured(call.model) if call.is_measured else workload.SPEED_SPREAD)

    def _cache_hit(self, call: PlannedCall) -> Draws | float:
        """Share of the cacheable prefix that is found in the cache; what a run measured needs no assumption."""
        if call.counted.how == "measured":
            return 1.0
        low, high = workload.MARKED_HIT if call.is_marked else workload.CACHE_HIT
        drawn: Draws = low + (high - low) * generator(f"{_key(call.model)} cache").random(COUNT)
        return drawn

    def _extra(self, call: PlannedCall) -> float:
        """1 plus the share of repairs and repeated requests: as assumed, and as earlier runs measured for this role."""
        planned, more = self._experience.extra_of(call.model, call.role)
        return 1 + (workload.EXTRA_WEIGHT * workload.EXTRA_CALLS + more) / (workload.EXTRA_WEIGHT + planned)

    def _between_cells(self, part: CostPart) -> Draws:
        """How far the mean of these cells may lie from the arm's mean: smaller with more cells."""
        return lognormal(f"{part.arm} cells", workload.CELL_SPREAD / math.sqrt(max(part.cells, 1)))

    def _one_cell(self, part: CostPart) -> Draws:
        return lognormal(f"{part.arm} one cell", workload.CELL_SPREAD)

    def _measured(self, model: Model) -> float:
        """Uncertainty of a measured mean: smaller with more cells."""
        cells = self._experience.cells.get(_key(model), 1)
        return math.hypot(workload.MEASURED_SPREAD, workload.CELL_SPREAD / math.sqrt(cells))

    def _factor(self, model: Model, quantity: str, spread: float) -> Draws:
        return lognormal(f"{_key(model)} {quantity}", spread)

    def _slots(self, call: PlannedCall) -> int:
        server = self._servers[call.model.server]
        return min(server.slots, HOSTED_CELLS_AT_ONCE) if server.is_hosted else server.slots


def _asked(part: CostPart, call: PlannedCall) -> Draws | float:
    """Share of the cases that ask a call: all, but of a cascade's second lineup only the escalated ones."""
    return _escalated(part) if call.is_second else 1.0


def _share(part: CostPart, call: PlannedCall) -> float:
    """The mean of that share."""
    escalation = part.workload.escalation
    return escalation.share if call.is_second and escalation else 1.0


def _escalated(part: CostPart) -> Draws:
    import numpy as np

    escalation = part.workload.escalation
    if escalation is None:
        return np.ones(COUNT)
    drawn: Draws = generator(f"{escalation.key} escalated").beta(*escalation.beta, COUNT)
    return drawn


def _key(model: Model) -> str:
    return key_of(model.provider, model.name, model.params)
