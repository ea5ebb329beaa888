"""python -m benchmarks.forecast (after `make demo`)

Forecast against bill over simulated experiments: how often the plan's 80 % interval holds what the fake server billed.

Each experiment is a world of its own: how much its models write, how much cells differ, how prompts are counted there, how
often a form must be asked again, how warm the cache is. A first small run is measured, the plan is made from it by the
product's own code, the rest is run, and the bill is held against it. A second kind of plan has nothing measured and rests on
the declared priors alone. Worlds are drawn as the priors say that models differ: this tests what the plan makes of them
(prices, caches, hand-offs, averages of few cells), not whether the priors hold for a model that nobody has measured yet.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import random
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import agents
from agents import Answer, Call, CallSite, Permit, Request, WorstCase
from harness.cells import Cell
from harness.experiment import matrix, spec
from harness.experiment.servers import ServerSpec
from harness.money import pricing
from harness.planning import experience, forecast, rendering, workload
from harness.planning.forecast import ArmForecast, CostPart, Forecaster
from harness.planning.workload import REASONING_TOKENS
from harness.storage import rows
from harness.storage.folder import Folder, open_folder
from harness.storage.snapshots import freeze_cells
from harness.storage.store import Store, files_of
from tests.fakes.process import FakeModels, fake_server

EXPERIMENT = """
name: simulated
tickers: [AAPL, MSFT]
dates: [2011-03-15, 2011-06-15, 2011-09-15, 2011-12-15]
repeats: 1
data: demo
models:
  big: {provider: openai, model: gpt-5}
  small: {provider: openai, model: gpt-5-mini}
arms: {big: {all: big}, hybrid: {deep: big, quick: small}}
"""
FORMS = frozenset({"sentiment_analyst", "research_manager", "trader", "portfolio_manager"})
COUNT_SPREAD = 0.04
"""How far a server's own count of a prompt lies from its tokenizer's: forms and tools are counted, too."""
MOST_BROKEN = 0.10
"""Largest share of calls that are asked again."""
FORM_TOKENS = 45
"""What the fake writes into a form."""
PROSE = 1.59
"""Tokens that the fake tells for one that its prose has in OpenAI's vocabulary: it counts four characters to a token."""
FIRST_CELLS = 3
"""Cells per arm of the first run."""


@dataclass(frozen=True)
class Seat:
    """One request of a cell, and what its prompt is recognised by."""

    role: str
    asked_tokens: int
    instruction: str


def seats(prompts: Sequence[agents.PlannedPrompt]) -> tuple[Seat, ...]:
    return tuple(Seat(one.site.role, one.output_tokens, one.parts[-1].text) for one in prompts)


@dataclass
class World:
    """What is true in one experiment, and unknown to the plan."""

    dice: random.Random
    seats: tuple[Seat, ...]
    factors: dict[str, float]
    """model -> how much it writes over the declared priors."""
    cell_spread: float
    counts: float
    """The server's own count of a prompt over its tokenizer's."""
    broken: float
    """Share of calls that are asked again."""
    warm: float
    """Share of a seen prefix that the cache gives."""

    @classmethod
    def draw(cls, seed: int, seats: tuple[Seat, ...]) -> World:
        dice = random.Random(seed)
        factors = {name: math.exp(dice.gauss(0, workload.OUTPUT_SPREAD)) for name in ("gpt-5", "gpt-5-mini")}
        counts = math.exp(dice.gauss(0, COUNT_SPREAD))
        return cls(dice, seats, factors, dice.uniform(0.10, 0.40), counts, dice.uniform(0, MOST_BROKEN), dice.random())

    def rules(self) -> list[dict[str, Any]]:
        """One cell's behaviour of each model in each seat."""
        own = math.exp(self.dice.gauss(0, self.cell_spread))
        return [rule for seat in self.seats for rule in self._seat(seat, own)]

    def _seat(self, seat: Seat, own: float) -> Iterator[dict[str, Any]]:
        is_broken = seat.role in FORMS and self.dice.random() < self.broken * len(self.seats) / len(FORMS)
        for model, factor in self.factors.items():
            told = {"model": model, "contains": seat.instruction}
            behaviour = self._behaviour(seat, factor * own)
            if is_broken:
                yield told | {"do": behaviour | {"text": "I would rather not say."}, "times": 1}
            yield told | {"do": behaviour}

    def _behaviour(self, seat: Seat, times: float) -> dict[str, Any]:
        """The fake fills forms in its own few words, so that what is hidden makes up the rest of what is written."""
        seen = FORM_TOKENS if seat.role in FORMS else max(20, round(seat.asked_tokens * times * PROSE))
        hidden = (seat.asked_tokens + REASONING_TOKENS["medium"]) * times - seen
        return {
            "output_tokens": seen,
            "reasoning_tokens": max(0, round(hidden)),
            "vocabulary": "o200k_base",
            "counts": self.counts,
            "warm": self.warm,
        }


@dataclass
class Recorder:
    """A gate that admits everything at once and keeps what was called."""

    calls: list[Call] = field(default_factory=list)

    async def recall(self, place: CallSite, request: Request) -> Answer | None:
        return None

    async def admit(self, place: CallSite, request: Request, worst_case: WorstCase) -> Permit:
        return Permit(f"{place.key}#{len(self.calls)}-{random.random()}")

    async def record(self, call: Call) -> float | None:
        self.calls.append(call)
        return None

    async def discard(self, place: CallSite, permit: Permit) -> None:
        return None


class Bench:
    """Everything that is the same in all simulated experiments."""

    def __init__(self, fake: FakeModels, folder: Path) -> None:
        path = folder / "simulated.yaml"
        path.write_text(EXPERIMENT)
        self.experiment = spec.load(path)
        self.fake, self.folder = fake, folder
        self.table = pricing.PriceTable()
        self.server = ServerSpec("openai", "openai", fake.url, api_key="sk-fake", parallel=16, is_hosted=True)
        cells = matrix.expand(self.experiment)
        names = freeze_cells(cells, open_folder(folder / "run"), folder / "shared")
        self.cells = [cell.frozen(names[cell.case_id], {}) for cell in cells]
        self.snapshots = {
            sha: agents.Snapshot.from_bytes((folder / "run" / "snapshots" / f"{sha}.json").read_bytes())
            for sha in set(names.values())
        }
        self.renderer = rendering.Renderer(list(self.snapshots.values()))
        self.seats = seats(agents.prompts_of(next(iter(self.snapshots.values())), cells[0].pipeline))

    async def run(self, cells: Sequence[Cell], world: World, results: Folder, run_id: str) -> dict[str, float]:
        """Play cells against the fake server and keep them as a run does; arm -> what was billed."""
        clients = agents.Clients({"openai": replace(self.server.as_agents_server(), api="responses")})
        store, bills = Store(results.at(f"simulated/{run_id}")), dict.fromkeys(self.experiment.arms, 0.0)
        self.fake.reset()
        try:
            for cell in cells:
                self.fake.control(rules=world.rules())
                calls = await self._play(cell, clients)
                bills[cell.arm] += self._keep(store, cell, calls, run_id)
        finally:
            await clients.aclose()
        store.compact()
        return bills

    async def _play(self, cell: Cell, clients: agents.Clients) -> list[Call]:
        gate = Recorder()
        snapshot = self.snapshots[cell.snapshot_sha256]
        result = await agents.decide(agents.Context(cell.lineup, cell.pipeline, gate, clients, snapshot))
        if result.error:
            raise result.error
        return gate.calls

    def _keep(self, store: Store, cell: Cell, calls: Sequence[Call], run_id: str) -> float:
        priced = [pricing.price(call, self.server, self.table) for call in calls]
        lines = [
            rows.call_row(call, cell, run_id=run_id, attempt=1, outcome="answered", price=asdict(price))
            for call, price in zip(calls, priced, strict=True)
        ]
        parts = rows.message_rows(part for call in calls for part in call.request.parts)
        ending = rows.Ending("ok", 1, 0.0, 1.0, 1.0, "benchmark")
        receipt = rows.cell_row(cell, ending, lines, run_id=run_id, hosted={"openai"})
        store.put(files_of(cell.cell_id, 1, lines, parts, receipt))
        return sum(price.cost_usd or 0.0 for price in priced)

    def plan(self, cells: Sequence[Cell], learnt: experience.Experience) -> dict[str, ArmForecast]:
        """The product's own forecast of these cells."""
        forecaster = Forecaster({"openai": self.server}, self.table, learnt)
        found = {}
        for arm in self.experiment.arms:
            mine = [cell for cell in cells if cell.arm == arm]
            found[arm] = forecaster.arm(CostPart(arm, len(mine), workload.of_arm(mine[0], self.renderer, learnt)))
        return found


@dataclass(frozen=True)
class Hit:
    """One arm's interval and its bill."""

    low: float
    mid: float
    high: float
    bill: float

    @property
    def is_inside(self) -> bool:
        return self.low <= self.bill <= self.high


async def experiment(bench: Bench, seed: int) -> tuple[list[Hit], list[Hit]]:
    """Hits of the plan after a first run, and of the plan without one."""
    world = World.draw(seed, bench.seats)
    first, rest = split(bench, seed)
    results = open_folder(bench.folder / f"results-{seed}")
    early = bench.plan(first, experience.Experience())
    paid = await bench.run(first, world, results, "1-first")
    later = bench.plan(rest, experience.read(results))
    bills = await bench.run(rest, world, results, "2-rest")
    return _hits(later, bills), _hits(early, paid)


def split(bench: Bench, seed: int) -> tuple[list[Cell], list[Cell]]:
    """A few cells per arm for the first run, and the others."""
    order = random.Random(seed).sample(bench.cells, len(bench.cells))
    first = [cell for arm in bench.experiment.arms for cell in [one for one in order if one.arm == arm][:FIRST_CELLS]]
    return first, [cell for cell in order if cell not in first]


def _hits(plans: Mapping[str, ArmForecast], bills: Mapping[str, float]) -> list[Hit]:
    arms = [(plan.api_cost, bills[arm]) for arm, plan in plans.items()]
    total = forecast.interval(forecast.total([plan.api_draws for plan in plans.values()]))
    pairs = [*arms, (total, sum(bills.values()))]
    return [Hit(one.low or 0.0, one.mid or 0.0, one.high or 0.0, bill) for one, bill in pairs]


def by_arm(hits: Sequence[Hit]) -> dict[str, Any]:
    """All intervals, then those of each arm and of the sum."""
    names = ("big", "hybrid", "total")
    return _summary(hits) | {name: _summary(hits[place::3])["coverage"] for place, name in enumerate(names)}


def _summary(hits: Sequence[Hit]) -> dict[str, Any]:
    widths = [hit.high / hit.low for hit in hits]
    misses = [abs(math.log(hit.bill / hit.mid)) for hit in hits]
    return {
        "intervals": len(hits),
        "coverage": round(sum(hit.is_inside for hit in hits) / len(hits), 3),
        "below": round(sum(hit.bill < hit.low for hit in hits) / len(hits), 3),
        "above": round(sum(hit.bill > hit.high for hit in hits) / len(hits), 3),
        "high_over_low": round(_median(widths), 2),
        "typical_miss": f"x/÷ {math.exp(_median(misses)):.2f}",
    }


def _median(values: Sequence[float]) -> float:
    return sorted(values)[len(values) // 2]


async def measure(experiments: int, seed: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="forecast-") as folder, fake_server() as fake:
        bench = Bench(fake, Path(folder))
        later: list[Hit] = []
        early: list[Hit] = []
        for number in range(experiments):
            after, before = await experiment(bench, seed + number)
            later += after
            early += before
    both = later + early
    return {
        "experiments": experiments,
        "interval": "80 %",
        "coverage": _summary(both)["coverage"],
        "after_a_first_run": by_arm(later),
        "from_priors": by_arm(early),
        "note": "arms of one experiment share their models, so their intervals are not independent",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiments", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    print(json.dumps(asyncio.run(measure(options.experiments, options.seed)), indent=2, ensure_ascii=False))


if __name__ == "__main__":
    main()
