"""Execute a `find`: the baseline's cases of the screen, the screen, then block by block until no comparison is open.

Every step is a part of one run with its cells, journal and ledger, so the same command continues it after any death. What was
decided is written to find.json before the next step begins.
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from harness.checking import preflight
from harness.checking.resolved import ResolvedRun
from harness.errors import InvalidInput
from harness.experiment import matrix, spec
from harness.experiment.shared_prompts import with_sharing
from harness.experiment.spec import Experiment
from harness.finding import design as designs
from harness.finding import earlier, recommend, screen, terminal
from harness.finding.earlier import PURPOSE
from harness.finding.in_time import Calendar
from harness.finding.prices import BlockPrices, planned_usd, refuse_too_little
from harness.planning import plan as planning
from harness.runs import finish, reuse, run
from harness.runs.approval import ask_before_spending
from harness.runs.display import Display
from harness.runs.progress import RunOutcome
from harness.runs.session import RunOptions, RunPlan, connect, open_broker, run_cells, start_workers, unfinished_cells
from harness.storage import run_folder
from reports import finding as findings
from reports.finding import Finding
from reports.format import seconds_text
from reports.load import load

if TYPE_CHECKING:
    from redis import Redis
    from rich.console import Console

    from harness.cells import Cell
    from harness.storage.rows import Row
    from harness.workers.local_workers import LocalWorkers


@dataclass(frozen=True)
class FindOptions:
    """The options of `harness find`."""

    run: RunOptions
    margins: str | None = None
    within_s: float | None = None
    """Choose lane and blocks that end within this many seconds from now, and start no block that would end later."""


class _Cut(Exception):
    """The money or the time is used up, or the user stopped the run; a later command goes on."""

    def __init__(self, outcome: RunOutcome, reason: str) -> None:
        super().__init__(reason)
        self.outcome, self.reason = outcome, reason


def find(options: FindOptions, console: Console) -> int:
    """Run or continue a `find`; returns the exit code. Raises InvalidInput with all problems before anything is paid."""
    steps = _Steps.of(options, console).in_time(console)
    steps.refuse_too_little()
    steps.display.say(terminal.headline(steps.finding, steps.plan.run))
    reason = ""
    outcome = RunOutcome.nothing()
    if not steps.finding.is_over:
        ask_before_spending(steps.plan, earlier.of_design(steps.plan.matrix, steps.finding.design), console)
        with open_broker(steps.plan) as url, connect(url) as client, contextlib.ExitStack() as stack:
            try:
                steps.play_all(url, client, start_workers(steps.plan, url, stack))
            except _Cut as cut:
                outcome, reason = cut.outcome, cut.reason
    return steps.close(outcome, reason)


class _Steps:
    """The steps of one find, over the files of its run folder."""

    def __init__(self, options: FindOptions, plan: RunPlan, finding: Finding, display: Display) -> None:
        self.options, self.plan, self.finding, self.display = options, plan, finding, display
        self.started_at, self.ended_before = time.monotonic(), len(plan.run.store.receipts())
        self._asked: dict[str, Cell] = {}
        """Cells of the matrix that were needed so far, by key."""

    @classmethod
    def of(cls, options: FindOptions, console: Console) -> _Steps:
        """Resolve everything. Raises InvalidInput."""
        now = options.run.clock()
        experiment = experiment_of(options.run)
        cells = matrix.expand(experiment, now)
        wanted = designs.make(experiment, options.margins, now)
        resolved = resolve(experiment, options.run)
        folder, finding = earlier.take_up(experiment, wanted, cells, resolved.digests, options.run)
        cells = matrix.in_order(earlier.of_design(cells, wanted), resolved.hosted)
        plan = RunPlan(options.run, replace(resolved, matrix=tuple(cells)), cells, folder)
        return cls(options, plan, finding, Display(console, f"{experiment.name}/{folder.run_id} find", options.run.page))

    @property
    def experiment(self) -> Experiment:
        return self.plan.experiment

    def in_time(self, console: Console) -> _Steps:
        """The steps with the lane and the blocks that end in time; unchanged without --by or --within.

        The screen and each block wait for their answers, so a deferred lane takes its stages for each of them. Blocks are
        chosen once, before the first answer. Raises InvalidInput if even two blocks are too long."""
        within_s, finding = self.options.within_s, self.finding
        if within_s is None or finding.is_over:
            return self
        where = planning.Where(self.options.run.results, self.options.run.snapshots)
        calendar = Calendar(self.plan.resolved, self.plan.matrix, where, self.options.run.lane)
        if self.has_fixed_design:
            looks_left, with_screen = finding.design.looks - len(finding.looks), finding.screened is None
            chosen = calendar.best_rest(finding.design, looks_left, within_s, with_screen=with_screen)
        else:
            chosen = calendar.best(finding.design, within_s)
        if chosen is None:
            return self
        if chosen.seconds > within_s:
            raise InvalidInput([chosen.too_short("--within", within_s)])
        self.display.say(
            f"in time: {chosen.words}; what is left ends within {seconds_text(chosen.seconds)} in nine of ten cases"
        )
        steps = self
        if chosen.lane not in (None, "now"):
            steps = _Steps.of(replace(self.options, run=replace(self.options.run, lane=chosen.lane)), console)
        steps.finding = replace(steps.finding, design=chosen.design)
        return steps

    @property
    def has_fixed_design(self) -> bool:
        """Whether an earlier command wrote the design down before its first answer."""
        return self.plan.run.store.folder.exists(findings.FILE)

    def refuse_too_little(self) -> None:
        """Raises InvalidInput if the budget cannot pay for the screen and one block."""
        if self.finding.looks:
            return
        first = [*self.cells_of_screen(), *self.cells_of_block(1, self.finding.design.candidates)]
        refuse_too_little(self.plan, first)

    def play_all(self, url: str, client: Redis, workers: LocalWorkers | None) -> None:
        """All steps that are left. Raises _Cut."""
        self.broker = (url, client, workers)
        if self.finding.screened is None and not self.finding.planned_usd:
            self.finding = replace(self.finding, planned_usd=planned_usd(self.plan))
        self.play(self.cells_of_screen(), "screen: the baseline")
        if self.finding.screened is None:
            self.screen()
        for number in range(1, self.finding.design.looks + 1):
            compared = self.finding.open_arms if number > len(self.finding.looks) else self.finding.compared_at(number)
            if not compared:
                return
            cells = self.cells_of_block(number, compared)
            if number <= len(self.finding.looks):
                self._asked |= {cell.cell_key: cell for cell in cells}
                continue
            self.refuse_unaffordable(cells)
            self.play(cells, f"block {number} of {self.finding.design.looks}")
            self.look()

    def screen(self) -> None:
        """Replay, drop hopeless candidates, and keep what was found."""
        store, design = self.plan.run.store, self.finding.design
        store.compact()
        cells, roles = screen.replays(self.experiment, design, store, self.plan.resolved.digests)
        self.play(cells, "screen: replays")
        store.compact()
        screened = screen.judge(load(store.folder.url), self.experiment, design, store, roles)
        self.finding = replace(self.finding, screened=screened)
        self.keep()
        for line in terminal.of_screen(self.finding):
            self.display.say(line)

    def look(self) -> None:
        """Test every open comparison over all complete blocks, and keep what was found."""
        store = self.plan.run.store
        store.compact()
        self.finding = findings.look_at(load(store.folder.url), self.finding)
        self.keep()
        for line in terminal.of_look(self.finding):
            self.display.say(line)

    def play(self, cells: Sequence[Cell], step: str) -> None:
        """Run the cells of a step that have not ended. Raises _Cut unless all of them end."""
        url, client, workers = self.broker
        cells = with_sharing(cells) if all(cell.kind == "pipeline" for cell in cells) else cells
        plan = replace(self.plan, chosen=cells, resolved=self._resolved_with(cells))
        frozen = self._frozen(plan, cells)
        self._asked |= {cell.cell_key: cell for cell in cells if cell.kind == "pipeline"}
        ended = self._ended(plan, frozen, client)
        left = unfinished_cells(frozen, ended)
        if left or plan.run.store.manifest().get("cells") != len(self._asked):
            run.write_start(plan, client, [cell for cell in frozen.values() if cell.kind == "pipeline"], self._manifest())
            self.keep()
        if not left:
            return
        self.display.say(f"{step}: {len(left)} of {len(frozen)} cells to do")
        outcome = run_cells(plan, frozen, ended, url, client, self.display, workers)
        if outcome.stopped:
            raise _Cut(outcome, "")
        if outcome.unserved:
            raise _Cut(outcome, f"a server did not serve {step}")
        receipts = plan.run.store.receipts()
        undone = [name for name in frozen if name not in receipts or receipts[name]["status"] == "over_budget"]
        if undone:
            raise _Cut(RunOutcome(not_run=len(undone)), f"the budget ended in {step} (raise --budget)")

    def _frozen(self, plan: RunPlan, cells: Sequence[Cell]) -> dict[str, Cell]:
        """By id; replays carry the snapshot of the cell that they replay."""
        if all(cell.kind == "pipeline" for cell in cells):
            return run.freeze(plan, self.display)
        return {cell.cell_id: cell for cell in cells}

    def _ended(self, plan: RunPlan, cells: dict[str, Cell], client: Redis) -> dict[str, Row]:
        """Receipts of the run; cells that a budget cut short run again, and earlier runs are searched for the others."""
        store, ended = plan.run.store, plan.run.store.receipts()
        for name in [name for name in cells if name in ended and ended[name]["status"] == "over_budget"]:
            store.reopen(name)
            del ended[name]
        missing = unfinished_cells(cells, ended)
        earlier_runs = [] if plan.options.fresh or not missing else reuse.earlier_runs(plan.options.results, plan.run)
        if not earlier_runs:
            return ended
        taken = reuse.take_receipts(store, earlier_runs, missing)
        ended = store.receipts()
        missing = unfinished_cells(cells, ended)
        shared = plan.options.broker is not None
        calls = reuse.take_journals(client, plan.run.run_id, earlier_runs, missing, shared=shared)
        calls += reuse.take_answers(client, plan.run.run_id, earlier_runs, missing)
        if taken or calls:
            self.display.say(f"reused from earlier runs: {taken} ended cells, {calls} answers to other cells")
        return ended

    def _resolved_with(self, cells: Sequence[Cell]) -> ResolvedRun:
        """Workers must know the pipelines of replays as well."""
        more = [cell for cell in cells if cell.kind != "pipeline"]
        return replace(self.plan.resolved, matrix=(*self.plan.resolved.matrix, *more))

    def _manifest(self) -> dict[str, Any]:
        """What the manifest records of a find: the cells that were needed so far are all that it has to have."""
        return {
            "asked": run_folder.asked_of(self.plan.matrix, self.plan.resolved.digests, PURPOSE),
            "cells": len(self._asked),
            "cells_by_arm": dict(Counter(cell.arm for cell in self._asked.values())),
            "purpose": PURPOSE,
        }

    def keep(self) -> None:
        self.plan.run.store.folder.write(findings.FILE, self.finding.to_json().encode())

    def refuse_unaffordable(self, cells: Sequence[Cell]) -> None:
        """Raises _Cut if the next block does not fit what is left of the budget or of the time."""
        prices = BlockPrices.of(self.plan.run.store.receipts().values())
        reason = prices.too_dear(cells, self.experiment.budget.run_usd) or self._too_late(prices, cells)
        if reason:
            raise _Cut(RunOutcome(not_run=len(cells)), reason)

    def _too_late(self, prices: BlockPrices, cells: Sequence[Cell]) -> str:
        if self.options.within_s is None or not self.finding.looks:
            return ""
        spent_s = time.monotonic() - self.started_at
        needed_s = prices.seconds(cells, spent_s, self.ended_before)
        if needed_s is None or spent_s + needed_s <= self.options.within_s:
            return ""
        return f"the next block takes about {needed_s / 60:,.0f} minutes, longer than the time that is left (raise --within)"

    def cells_of_screen(self) -> list[Cell]:
        design = self.finding.design
        return [cell for cell in self.plan.matrix if cell.arm == design.baseline and cell.case_id in design.screen_cases]

    def cells_of_block(self, number: int, arms: Sequence[str]) -> list[Cell]:
        """Cells of the baseline and of these arms on the dates of a block."""
        dates, players = self.finding.design.blocks[number - 1], {self.finding.design.baseline, *arms}
        return [cell for cell in self.plan.matrix if cell.arm in players and cell.date.isoformat() in dates]

    def close(self, outcome: RunOutcome, reason: str) -> int:
        """Tables, page, recommendation and exit code."""
        self.finding = replace(self.finding, stopped_by=reason)
        if not self._asked:
            self._asked = {cell.cell_key: cell for cell in self._needed()}
        if self.plan.run.store.manifest():
            self.keep()
        path = recommend.write(self.plan, self.finding)
        plan = replace(self.plan, resolved=replace(self.plan.resolved, matrix=tuple(self._asked.values())))
        code = finish.finish(plan, outcome, self.display)
        for line in terminal.summary(self.finding, path):
            self.display.say(line)
        return code

    def _needed(self) -> Iterator[Cell]:
        """Every cell that the looks so far are made of."""
        yield from self.cells_of_screen()
        for look in self.finding.looks:
            yield from self.cells_of_block(look.number, self.finding.compared_at(look.number))


def experiment_of(options: RunOptions) -> Experiment:
    """The experiment without the replays and judges that it declares for `run`. Raises InvalidInput."""
    loaded = spec.load(options.path, options.overrides, options.folder)
    return loaded.model_copy(update={"replay": None, "judge": None})


def resolve(experiment: Experiment, options: RunOptions) -> ResolvedRun:
    """Raises InvalidInput with everything that failed."""
    return preflight.look(
        experiment,
        experiment_dir=options.experiment_dir,
        servers_file=options.servers,
        results=options.results,
        broker=options.broker,
        snapshots=options.snapshots,
        now=options.clock(),
    ).require()
